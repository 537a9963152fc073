"""Networks of any number of channels are explained from tensors; transforms without a Resize at any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from saywhy.answers.explanation import Explanation, explanation_to_html
from saywhy.attribution import METHODS, attribute
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.pictures.transforms import Sized
from saywhy.questions.explain import explain
from saywhy.types import Vocabulary
from tests.attribution.test_phrases import own
from tests.helpers import FakeSpace, picture, tiny_classifier
from tests.questions.test_explain import Certain

WORDS = Vocabulary(("red", "green", "blue", "thing", "other"), ("",) * 5)
NAMES = ["forest", "river", "town"]
PLAIN = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.25] * 3)])


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path / "cache"))


def network(channels: int, width: int = 16) -> nn.Sequential:
    torch.manual_seed(channels)
    body = [nn.Conv2d(channels, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, width, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3))


def of_channels(channels: int) -> Classifier:
    return Classifier.from_module(network(channels), shape=(channels, 40, 32), labels=NAMES, name="satellite")


class Recorded(FakeSpace):
    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def encode_images(self, images: object) -> Tensor:
        self.sizes += [image.size for image in images]  # type: ignore[attr-defined]
        return super().encode_images(images)  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 13])
def test_a_tensor_is_explained_in_the_networks_own_space(channels: int) -> None:
    classifier = of_channels(channels)
    values = torch.randn(channels, 40, 32)
    space = own(classifier)  # of too few classes for words without a calibration
    found = explain(values, model=classifier, vocabulary=WORDS, space=space, calibration=Certain(), phrases=["water"])
    assert found.target.logit == pytest.approx(float(classifier.logits(values[None]).max()), rel=1e-4)
    assert torch.equal(found.heatmap.values, attribute(classifier, values[None]).values)
    assert (found.picture.width, found.picture.height) == found.geometry.frame == (32, 40)
    assert found.phrases[0].heatmap.values.shape == (1, 40, 32)
    assert found.settings["display"].startswith("channels 0, 1, 2" if channels > 2 else "channel 0")
    again = Explanation.from_json(found.to_json())
    shares = again.heatmap.channels
    if channels in (1, 3):
        assert shares is None
        assert "Relevance by channel" not in explanation_to_html(found)
    else:
        assert shares is not None
        assert shares.shape == (1, channels)
        assert float(shares.sum()) == pytest.approx(1)
        assert "Relevance by channel" in explanation_to_html(found)
    array = values.movedim(0, -1).numpy()
    same = explain(array, model=classifier, vocabulary=WORDS, space=FakeSpace(), display=0)
    assert torch.equal(same.heatmap.values, found.heatmap.values)
    assert same.settings["display"].endswith("a fake space sees this too")


def test_shares_are_those_of_the_channels_that_are_used() -> None:
    class Fourth(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(1, 3)
            nn.init.ones_(self.head.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x[:, 3:4].mean((2, 3)))

    classifier = Classifier.from_module(Fourth(), shape=(4, 8, 8), labels=NAMES)
    pixels = torch.rand(3, 4, 8, 8)
    for method in METHODS:
        shares = attribute(classifier, pixels, 0, method).channels if method != "grad-cam" else None
        if shares is not None:
            torch.testing.assert_close(shares, torch.tensor([[0.0, 0.0, 0.0, 1.0]] * 3))


def test_tensors_of_an_rgb_network_are_looked_at_as_it_gets_them() -> None:
    classifier, image = tiny_classifier(), picture()
    (pixels,) = classifier.preprocess([image])
    found = explain(pixels, model=classifier, vocabulary=WORDS, space=FakeSpace())
    expected = explain(image, model=classifier, vocabulary=WORDS, space=FakeSpace())
    assert torch.equal(found.heatmap.values, expected.heatmap.values)
    assert found.geometry.size == found.geometry.frame == (32, 32)
    assert "from black to white as the network gets them" in found.settings["display"]


def test_what_does_not_fit_the_network_is_refused() -> None:
    classifier = of_channels(4)
    with pytest.raises(SaywhyError, match=r"takes tensors of \(4, 40, 32\), and was given \(3, 40, 32\)"):
        explain(torch.randn(3, 40, 32), model=classifier, vocabulary=WORDS, space=FakeSpace())
    with pytest.raises(SaywhyError, match="was given an RGB picture"):
        classifier.predict([picture()])
    with pytest.raises(SaywhyError, match="nobody knows what is black"):
        attribute(classifier, torch.randn(1, 4, 40, 32), composite="epsilon-gamma-box")
    with pytest.raises(SaywhyError, match="tiny takes 3 channels, and a picture of 4 was given"):
        explain(torch.randn(4, 32, 32), model=tiny_classifier(), vocabulary=WORDS, space=FakeSpace())
    with pytest.raises(SaywhyError, match="display= says what is looked at of a tensor"):
        explain(picture(), model=tiny_classifier(), vocabulary=WORDS, space=FakeSpace(), display=0)
    for options in ({}, {"transform": PLAIN, "shape": (3, 32, 32)}):
        with pytest.raises(SaywhyError, match="give either transform="):
            Classifier.from_module(network(3), labels=NAMES, **options)  # type: ignore[arg-type]
    with pytest.raises(SaywhyError, match="cannot run on what its transform returns"):
        Classifier.from_module(network(3), shape=(4, 40, 32), labels=NAMES)


# -- transforms without a Resize --------------------------------------------------------------------------------------


def fixed(side: int) -> nn.Module:
    """A network of one size."""
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * (side // 2) ** 2, 3))


@pytest.mark.parametrize("side", [28, 32, 64])
def test_a_network_of_one_size_has_others_stretched_to_it(side: int) -> None:
    classifier = Classifier.from_module(fixed(side), transform=PLAIN, labels=NAMES)
    assert isinstance(classifier.transform, Sized)
    own_size = picture(side, side)
    assert torch.equal(classifier.preprocess([own_size])[0], PLAIN(own_size))
    for image in (own_size, picture(120, 90)):
        found = explain(image, model=classifier, vocabulary=WORDS, space=own(classifier))
        assert found.heatmap.values.shape == (1, side, side)
        assert found.geometry.frame == (side, side)
        assert found.geometry.scale == pytest.approx((image.width / side, image.height / side), rel=0.02)
        Explanation.from_json(found.to_json())


def test_a_network_of_any_size_takes_each_picture_at_its_own_and_crops_at_that() -> None:
    classifier = Classifier.from_module(network(3), transform=PLAIN, labels=NAMES)
    assert classifier.keeps_size
    for size in ((32, 32), (48, 20), (150, 100)):
        space = Recorded()
        space.classifier = classifier  # type: ignore[attr-defined]
        found = explain(picture(*size), model=classifier, vocabulary=WORDS, space=space)
        assert found.regions
        assert set(space.sizes) == {size}
        assert found.geometry.frame == found.geometry.size == size
        assert found.geometry.scale == pytest.approx((1, 1), rel=0.01)
        assert found.geometry.offset == pytest.approx((0, 0), abs=0.1)
        Explanation.from_json(found.to_json())
    assert not tiny_classifier().keeps_size


def test_a_network_that_takes_no_size_that_is_known_says_so() -> None:
    with pytest.raises(SaywhyError, match="cannot run on what its transform returns"):
        Classifier.from_module(fixed(50), transform=PLAIN, labels=NAMES)


def test_pictures_for_a_size_may_be_arrays() -> None:
    classifier = Classifier.from_module(fixed(32), transform=PLAIN, labels=NAMES)
    values = np.asarray(Image.new("RGB", (32, 32), "red"))
    assert explain(values, model=classifier, vocabulary=WORDS, space=FakeSpace()).target.name in NAMES
