import numpy as np
import pytest
import torch

from saywhy.checks.edits import in_lab, washed_out
from saywhy.checks.words import NO_COLOUR, NO_HUE, NO_MAP, NO_TENSORS, Word, check_words, evened, place_of, reframed
from saywhy.classifiers.classifier import Classifier
from saywhy.types import BORNE_OUT, NOT_BORNE_OUT, NOT_TESTABLE, Geometry
from tests.checks.linear import SIDE, Linear, linear_classifier

LIMITS = (torch.zeros(3), torch.ones(3))
RED, BLUE, GREY = (0.8, 0.16, 0.17), (0.19, 0.41, 0.75), (0.5, 0.5, 0.5)


def _classifier(weights: torch.Tensor) -> Classifier:
    """Of pictures as they are: black is 0, white is 1."""

    def transform(image):  # type: ignore[no-untyped-def]
        return torch.from_numpy(np.array(image.convert("RGB").resize((SIDE, SIDE)))).permute(2, 0, 1).float() / 255

    return Classifier.from_module(Linear(weights).eval(), transform=transform, name="linear")


def _picture() -> torch.Tensor:
    """A red square of 3 x 3 at the upper left, a blue one at the lower right, on grey."""
    pixels = torch.tensor(GREY)[:, None, None].repeat(1, SIDE, SIDE)
    pixels[:, 1:4, 1:4] = torch.tensor(RED)[:, None, None]
    pixels[:, 12:15, 12:15] = torch.tensor(BLUE)[:, None, None]
    return pixels


def _heat(top: int, left: int) -> np.ndarray:
    heat = np.zeros((SIDE, SIDE))
    heat[top : top + 3, left : left + 3] = 1.0
    return heat


def test_a_colour_that_a_linear_model_rests_on_is_borne_out_and_another_is_not() -> None:
    weights = torch.zeros(3, SIDE, SIDE)
    weights[0, 1:4, 1:4] = 1.0  # the redness of the upper left square
    pixels = _picture()[None]
    words = [Word("a red square", _heat(1, 1)), Word("a blue square", _heat(12, 12))]
    (found,) = check_words(_classifier(weights), pixels, [0], [words])
    assert [check.verdict for check in found] == [BORNE_OUT, NOT_BORNE_OUT]
    place = np.zeros((1, SIDE, SIDE), bool)
    place[0, 1:4, 1:4] = True
    grey = washed_out(pixels[0], in_lab(pixels[0], LIMITS), place, LIMITS)[0]
    assert found[0].effect == pytest.approx(float(9 * (RED[0] - grey[0, 2, 2])), abs=1e-4)
    assert found[0].margin == pytest.approx(9 * RED[0] * 2 / 3, abs=1e-4)
    assert found[1].effect == pytest.approx(0.0, abs=1e-5)
    assert [check.passes for check in found] == [1, 1]


def test_a_model_that_rests_on_brightness_does_not_rest_on_a_colour() -> None:
    weights = torch.zeros(3, SIDE, SIDE)
    weights[:, 1:4, 1:4] = torch.tensor([0.2126, 0.7152, 0.0722])[:, None, None]  # about its luminance
    (found,) = check_words(_classifier(weights), _picture()[None], [0], [[Word("a red square", _heat(1, 1))]])
    assert found[0].verdict == NOT_BORNE_OUT


def test_what_cannot_be_tested_says_why_and_costs_nothing() -> None:
    words = [
        Word("a hooked bill", _heat(1, 1)), Word("a grey sky", _heat(1, 1)), Word("a red square"),
        Word("a red square", _heat(12, 12)),
    ]  # fmt: skip
    (found,) = check_words(_classifier(torch.ones(3, SIDE, SIDE)), _picture()[None], [0], [words])
    assert {check.verdict for check in found} == {NOT_TESTABLE}
    reasons = [NO_COLOUR, NO_HUE, NO_MAP, "no red is where the space sees it and nothing else"]
    assert [check.reason for check in found] == reasons
    assert sum(check.passes for check in found) == 0


def test_nobody_knows_the_colours_of_a_network_that_takes_tensors() -> None:
    classifier = linear_classifier(torch.ones(3, SIDE, SIDE))
    (found,) = check_words(classifier, _picture()[None], [0], [[Word("a red square", _heat(1, 1))]])
    assert (found[0].verdict, found[0].reason) == (NOT_TESTABLE, NO_TENSORS)


def test_pictures_are_tested_alone_as_among_others() -> None:
    classifier = _classifier(torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)))
    pixels = torch.stack([_picture(), _picture().flip(2)])
    words = [[Word("a red square", _heat(1, 1))], [Word("grey"), Word("a red square", _heat(1, 12))]]
    together = check_words(classifier, pixels, [0, 1], words)
    for n in range(2):
        (alone,) = check_words(classifier, pixels[n : n + 1], [n], words[n : n + 1])
        assert [c.verdict for c in alone] == [c.verdict for c in together[n]]
        assert alone[-1].effect == pytest.approx(together[n][-1].effect, abs=1e-5)


def test_a_place_is_of_the_colour_where_the_map_is_high_and_no_rivals() -> None:
    lab = in_lab(_picture(), LIMITS)
    red, blue, both = (evened(heat) for heat in (_heat(1, 1), _heat(12, 12), _heat(1, 1) + _heat(12, 12)))
    assert red.sum() == pytest.approx(1.0)
    assert place_of("red", red, lab).sum() == 9
    assert place_of("red", red, lab, [blue]).sum() == 9
    assert not place_of("red", both, lab, [red]).any()  # where its map is half as high as the rival's
    assert not place_of("blue", red, lab).any()
    assert not place_of("red", evened(np.zeros((SIDE, SIDE))), lab).any()
    with pytest.raises(ValueError, match="names no basic colour"):
        place_of("hooked", red, lab)


def test_a_map_in_another_frame_lies_where_it_lay() -> None:
    whole = Geometry((32, 32), (8, 8), (4.0, 4.0), (0.0, 0.0))
    crop = Geometry((32, 32), (16, 16), (1.0, 1.0), (8.0, 8.0))  # the middle, at full size
    heat = np.zeros((8, 8))
    heat[3, 2] = 1.0  # original pixels 12 to 16 down, 8 to 12 across
    moved = reframed(heat, whole, crop)
    assert np.argwhere(moved).min(0).tolist() == [4, 0]
    assert np.argwhere(moved).max(0).tolist() == [7, 3]
    back = reframed(moved, crop, whole)
    assert back.sum() == 1
    assert back[3, 2] == 1
