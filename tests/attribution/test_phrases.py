"""A phrase is a target: its row is explained as a class's is, and a CLIP shows where it sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from saywhy.attribution import METHODS, LooksForTexts, attribute
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.spaces.own import ClassifierSpace
from saywhy.spaces.text_heat import text_heat
from saywhy.spaces.tuned import TunedSpace
from tests.helpers import FakeSpace, picture, silence_biases, tiny_classifier
from tests.networks import vit
from tests.questions.test_why import colour_clip, painted


class Encoder:
    """Texts at random, the same each time."""

    fingerprint = "encoder"

    def encode(self, texts: Sequence[str]) -> Tensor:
        rows = [torch.randn(8, generator=torch.Generator().manual_seed(sum(map(ord, text)))) for text in texts]
        return F.normalize(torch.stack(rows), dim=1)

    encode_once = encode


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path / "cache"))


def vit_classifier() -> Classifier:
    transform = transforms.Compose([transforms.Resize((64, 64)), transforms.ToTensor()])
    return Classifier.from_module(vit(), transform=transform, labels=["a", "b", "c", "d", "e"], name="vit")


def own(classifier: Classifier) -> ClassifierSpace:
    return ClassifierSpace(classifier, Encoder())  # type: ignore[arg-type]


IMAGES = [picture(seed=n) for n in range(3)]
CLASSIFIERS: dict[str, Callable[[], Classifier]] = {"convolutions": tiny_classifier, "ViT": vit_classifier}


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("method", METHODS)
def test_a_row_that_is_a_classs_own_has_its_map(name: str, method: str) -> None:
    """By every method, and by the composite that the network has by default."""
    classifier = CLASSIFIERS[name]()
    nn.init.zeros_(classifier.network.get_submodule("head").bias)  # type: ignore[arg-type]
    rows = classifier.head.weight[[3, 1]]
    asked = classifier.with_rows(rows, ["three", "one"])
    found = attribute(asked, IMAGES, [0, 1, 0], method)
    expected = attribute(classifier, IMAGES, [3, 1, 3], method)
    assert found.composite == expected.composite
    torch.testing.assert_close(found.values, expected.values, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(torch.tensor(found.logits), torch.tensor(expected.logits), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_relevance_of_a_phrase_adds_up_to_what_the_features_say_of_it(name: str) -> None:
    classifier = CLASSIFIERS[name]()
    silence_biases(classifier.network)
    space = own(classifier)
    pixels = classifier.preprocess(IMAGES)
    found = attribute(classifier, pixels, "a red crown", composite="epsilon", space=space)
    (row,) = space.encode_texts(["a red crown"])
    said = classifier.features(pixels).float() @ row
    torch.testing.assert_close(torch.tensor(found.logits), said, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.values.sum((1, 2)), said, rtol=1e-2, atol=1e-3 * float(said.abs().max()))


def test_one_each_is_what_each_has_alone() -> None:
    classifier = tiny_classifier()
    space, phrases = own(classifier), ["a red crown", "a bill", "a red crown"]
    together = attribute(classifier, IMAGES, phrases, space=space, batch_size=2)
    assert together.targets == tuple(phrases)
    assert together.values.shape == (3, 32, 32)
    for n, phrase in enumerate(phrases):
        alone = attribute(classifier, IMAGES[n : n + 1], phrase, space=space)
        torch.testing.assert_close(alone.values[0], together.values[n], rtol=1e-4, atol=1e-7)
    assert not torch.allclose(together.values[0], attribute(classifier, IMAGES[:1], "a bill", space=space).values[0])


def test_a_class_stays_a_class() -> None:
    classifier = tiny_classifier()
    for target in ("Toucan", "0", 0, None, [0, "toucan", "TOUCAN"]):
        found = attribute(classifier, IMAGES, target, space=own(classifier))
        expected = attribute(classifier, IMAGES, target)
        assert found.targets == expected.targets
        assert torch.equal(found.values, expected.values)
    with pytest.raises(SaywhyError, match="has no class 'a red crown'"):
        attribute(classifier, IMAGES, "a red crown")


def test_a_clip_shows_where_it_sees_a_phrase() -> None:
    clip, classifier = colour_clip(), tiny_classifier()
    image = painted(red=(0, 0, 64, 48), blue=(96, 72, 128, 96))
    found = attribute(classifier, [image, image], ["red", "blue"], space=clip)
    assert found.values.shape == (2, 32, 32)
    red, blue = found.positive
    assert red[:16, :16].sum() > 0.9 * red.sum() > 0
    assert blue[24:, 24:].sum() > 0.9 * blue.sum() > 0
    pixels = clip.transform(image)[None]
    texts = clip.encode_texts(["red", "blue"])
    assert torch.equal(found.values, text_heat(Tower.of(clip), pixels, texts, 20.0))
    cosines = (clip.encode_images([image]) @ texts.T)[0]
    torch.testing.assert_close(torch.tensor(found.logits), cosines)
    assert clip.text_frame(image).frame == (32, 32)
    cam = attribute(classifier, [image], "blue", method="gscorecam", space=clip)
    assert cam.positive[0, 24:, 24:].sum() > 0.5 * cam.positive.sum()
    torch.testing.assert_close(cam.logits[0], float(cosines[1]))


class Tower:
    @staticmethod
    def of(clip: object) -> nn.Module:
        tower = getattr(clip, "image_tower", None)
        assert isinstance(tower, nn.Module)
        return tower


def test_what_cannot_be_looked_for_is_refused() -> None:
    classifier, clip = tiny_classifier(), colour_clip()
    space = own(classifier)
    refused: list[tuple[str, dict[str, object]]] = [
        ("'toucan' is a class and 'a bill' is none", {"target": ["a bill", "toucan", "a bill"], "space": space}),
        ("2 targets for 3 pictures", {"target": ["a bill", "a crown"], "space": space}),
        ("a fake space cannot say where a phrase is", {"target": "a bill", "space": FakeSpace()}),
        ("the space belongs to vit, not to tiny", {"target": "a bill", "space": own(vit_classifier())}),
        ("no method 'grad-cam'", {"target": "a bill", "space": clip, "method": "grad-cam"}),
        ("no composite 'epsilo'", {"target": "a bill", "space": clip, "composite": "epsilo"}),
        ("takes none", {"target": "a bill", "space": clip, "composite": "epsilon", "method": "gscorecam"}),
    ]
    for message, options in refused:
        with pytest.raises(SaywhyError, match=message):
            attribute(classifier, IMAGES, **options)  # type: ignore[arg-type]
    with pytest.raises(SaywhyError, match="give pictures, not a tensor"):
        attribute(classifier, classifier.preprocess(IMAGES), "a bill", space=clip)


def test_which_spaces_look_for_texts() -> None:
    assert isinstance(own(tiny_classifier()), LooksForTexts)
    assert isinstance(colour_clip(), LooksForTexts)
    assert issubclass(TunedSpace, LooksForTexts)
    assert not isinstance(FakeSpace(), LooksForTexts)


def test_pictures_may_be_of_several_sizes() -> None:
    images: list[Image.Image] = [picture(96, 64), picture(64, 96)]
    assert attribute(tiny_classifier(), images, "red", space=colour_clip()).values.shape == (2, 32, 32)
