"""Plain facts on linear models: what each mark gives to the logit is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torchvision import transforms

from saywhy.answers.claims import MEASURED
from saywhy.classifiers.classifier import Classifier
from saywhy.pictures.plain import COLOURS, levels, measured
from saywhy.seen.plain_facts import UsualLight, plain_facts
from saywhy.types import BORNE_OUT, Claim, Region

SIDE = 96
GREEN = (70, 120, 60)


class Linear(nn.Module):
    """Class 0 sums weights x pixels; the two others have no weights."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.fc = nn.Linear(weights.numel(), 3, bias=False)
        self.fc.weight.data = torch.cat([weights.flatten()[None], torch.zeros(2, weights.numel())])

    def forward(self, pixels: Tensor) -> Tensor:
        return self.fc(pixels.flatten(1))


def said(
    image: Image.Image, weights: Tensor, usual: UsualLight | None = None, regions: tuple[Region, ...] = ()
) -> tuple[Claim, ...]:
    """What is said of a picture whose map is input x weights, exact for a linear model."""
    transform = transforms.ToTensor()
    classifier = Classifier.from_module(Linear(weights).eval(), transform=transform)
    pixels = classifier.preprocess([image])[0]
    logits = classifier.logits(pixels[None])[0]
    relevance = (pixels * weights).sum(0).numpy()
    return plain_facts(
        classifier, pixels, image, classifier.frame_on(image), relevance, 0, logits, regions, usual
    )  # fmt: skip


def drawn(draw: Callable[[ImageDraw.ImageDraw], None]) -> Image.Image:
    values = np.random.default_rng(0).normal(GREEN, 1.5, (SIDE, SIDE, 3))
    image = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    draw(ImageDraw.Draw(image))
    return image


def square(pen: ImageDraw.ImageDraw) -> None:
    pen.rectangle((10, 74, 18, 82), fill=COLOURS["yellow"])


def weights_at(left: int, top: int, right: int, bottom: int) -> Tensor:
    """Of the red channel, under a box."""
    weights = torch.zeros(3, SIDE, SIDE)
    weights[0, top:bottom, left:right] = 1.0
    return weights


def test_a_square_that_decides_is_said_with_the_fall_that_is_known() -> None:
    image = drawn(square)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[70:90, 5:25] = True
    far = np.zeros((SIDE, SIDE), bool)
    far[:10, :10] = True
    regions = (Region((0, 0, 10, 10), far, 0.1), Region((5, 70, 25, 90), mask, 0.9))
    (claim,) = said(image, weights_at(10, 74, 19, 83), regions=regions)
    assert (claim.text, claim.about, claim.space) == ("a small yellow square, lower left", "region 2", MEASURED)
    assert claim.said
    assert claim.used is not None
    assert claim.used.verdict == BORNE_OUT
    fall = 81 * (COLOURS["yellow"][0] - GREEN[0]) / 255  # its red goes to that of the grass
    assert claim.used.effect == pytest.approx(fall, rel=0.02)
    logit = 81 * COLOURS["yellow"][0] / 255
    assert claim.score == pytest.approx(fall / (logit - logit / 3), rel=0.02)


def test_a_square_on_which_nothing_rests_is_not_said() -> None:
    assert said(drawn(square), weights_at(60, 10, 69, 19)) == ()


def test_a_square_of_the_same_red_as_what_is_around_carries_relevance_and_is_not_said() -> None:
    image = drawn(lambda pen: pen.rectangle((10, 74, 18, 82), fill=(GREEN[0], 30, 160)))
    assert said(image, weights_at(10, 74, 19, 83)) == ()  # filling it changes no red: the logit does not fall


def test_nothing_is_said_of_a_plain_picture() -> None:
    assert said(drawn(lambda pen: None), torch.ones(3, SIDE, SIDE)) == ()


def test_a_frame_that_decides_is_said_and_one_that_does_not_is_not() -> None:
    image = drawn(lambda pen: pen.rectangle((0, 0, SIDE - 1, SIDE - 1), outline=COLOURS["yellow"], width=4))
    inside = weights_at(30, 30, 60, 60)
    weights = torch.zeros(3, SIDE, SIDE)
    weights[0] = 1.0
    weights[:, 4:-4, 4:-4] = 0.0
    (claim,) = said(image, weights)
    assert (claim.text, claim.about) == ("a yellow frame around the picture", "picture")
    assert said(image, inside) == ()


def test_a_letter_in_a_corner_that_decides_is_said() -> None:
    def letter(pen: ImageDraw.ImageDraw) -> None:
        pen.line([(80, 24), (84, 8), (88, 24)], fill=COLOURS["white"], width=2)
        pen.line([(81, 18), (87, 18)], fill=COLOURS["white"], width=2)

    (claim,) = said(drawn(letter), weights_at(78, 6, 90, 26))
    assert claim.text.endswith("white letter-like mark, upper right corner")


@pytest.mark.parametrize(("light", "word"), [(60, "brighter"), (-45, "darker")])
def test_light_that_decides_is_said_where_it_is_not_usual(light: int, word: str) -> None:
    rng = np.random.default_rng(1)
    around = [rng.normal(100, 5) + rng.normal(0, 25, (SIDE, SIDE, 3)) for _ in range(40)]
    plain = [Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)) for values in around]
    usual = UsualLight.of(np.stack([levels(measured(image)) for image in plain]))
    lit = Image.fromarray(np.clip(around[0] + light, 0, 255).astype(np.uint8))
    sign = float(np.sign(light))
    weights = torch.full((3, SIDE, SIDE), sign / SIDE**2)

    class Shifted(Linear):
        """As bright as usual, class 0 has the logit of the others."""

        def forward(self, pixels: Tensor) -> Tensor:
            return super().forward(pixels - 100 / 255)

    classifier = Classifier.from_module(Shifted(weights).eval(), transform=transforms.ToTensor())
    pixels = classifier.preprocess([lit])[0]
    arguments = (classifier, pixels, lit, classifier.frame_on(lit), np.zeros((SIDE, SIDE)), 0)
    (claim,) = plain_facts(*arguments, classifier.logits(pixels[None])[0], (), usual)
    assert (claim.text, claim.about) == (f"the picture is {word} than usual", "picture")
    assert claim.score == pytest.approx(1.5, rel=0.2)  # all of the logit, which is 1.5 times its margin
    assert claim.used is not None
    assert claim.used.passes == 2
    assert plain_facts(*arguments, classifier.logits(pixels[None])[0], ()) == ()  # nobody knows what is usual
    usual_pixels = classifier.preprocess([plain[1]])[0]
    found = plain_facts(
        classifier, usual_pixels, plain[1], classifier.frame_on(plain[1]), np.zeros((SIDE, SIDE)), 0,
        classifier.logits(usual_pixels[None])[0], (), usual,
    )  # fmt: skip
    assert found == ()
