"""The classifier's own space."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saywhy.errors import SaywhyError
from saywhy.spaces.own import PHRASES, ClassifierSpace, class_prompts, picture_vectors
from saywhy.spaces.text_encoder import load_encoder
from saywhy.spaces.text_to_weights import MAPPERS, fit
from saywhy.spaces.text_to_weights.closed_form import KernelRidge
from saywhy.types import Space
from tests.helpers import picture, tiny_classifier


class FakeEncoder:
    """A text encoder without weights: each text has a direction of its own. Counts what it is asked to keep."""

    name = "a fake encoder"

    def __init__(self, fingerprint: str = "fake-1") -> None:
        self.fingerprint = fingerprint
        self.kept: list[str] = []

    def encode(self, texts: Sequence[str]) -> Tensor:
        self.kept += texts
        return self.encode_once(texts)

    def encode_once(self, texts: Sequence[str]) -> Tensor:
        seeds = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in texts]
        rows = [torch.randn(48, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return F.normalize(torch.stack(rows), dim=1)


def test_the_classifiers_own_space_has_its_classes_in_it() -> None:
    """A class name's own prompt lands nearest to its own row: the mapper is right at least where it was fitted."""
    classifier = tiny_classifier()
    space = ClassifierSpace(classifier, load_encoder())
    assert isinstance(space, Space)
    texts = space.encode_texts(class_prompts(classifier.labels))
    assert (texts @ space.reference().T).argmax(1).tolist() == list(range(5))
    images = space.encode_images([picture(seed=n) for n in range(3)])
    torch.testing.assert_close(images.norm(dim=1), torch.ones(3))
    assert images.shape[1] == texts.shape[1] == 16


def test_phrases_have_a_kernel_of_their_own_unless_a_mapper_is_given() -> None:
    classifier, encoder = tiny_classifier(), FakeEncoder()
    mapper = ClassifierSpace(classifier, encoder).mapper
    assert isinstance(mapper, KernelRidge)
    assert {"width": mapper.width, "ridge": mapper.ridge} == PHRASES
    texts = encoder.encode(class_prompts(classifier.labels))
    for method in ("ridge", "neighbours"):
        mapper = fit(texts, classifier.head.weight, method=method)
        space = ClassifierSpace(classifier, encoder, mapper)
        assert torch.equal(space.encode_texts(["red", "blue"]), mapper(encoder.encode(["red", "blue"])))


def test_pictures_may_come_as_features() -> None:
    classifier = tiny_classifier()
    space, pictures = ClassifierSpace(classifier, FakeEncoder()), [picture(seed=n) for n in range(40)]  # two batches
    features = classifier.features(classifier.preprocess(pictures))
    torch.testing.assert_close(space.encode_features(features), space.encode_images(pictures), rtol=1e-4, atol=1e-5)


def test_what_all_classes_share_is_nothing_to_the_picture() -> None:
    """A softmax ignores a constant added to all rows of a head, and so does the space, but for the features' half."""
    classifier, features, phrases = tiny_classifier(), torch.rand(3, 16), ["red", "blue"]
    before = ClassifierSpace(classifier, FakeEncoder())
    pictures, texts = before.encode_features(features), before.encode_texts(phrases)
    with torch.no_grad():
        head = classifier.network.head
        assert isinstance(head, nn.Linear)
        head.weight += torch.randn(16)
    after = ClassifierSpace(classifier, FakeEncoder())
    torch.testing.assert_close(after.encode_features(features), pictures, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after.encode_texts(phrases), texts, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after.reference(), before.reference(), rtol=1e-4, atol=1e-5)


def test_texts_asked_once_are_not_kept() -> None:
    encoder = FakeEncoder()
    space = ClassifierSpace(tiny_classifier(), encoder)
    encoder.kept.clear()
    once = space.encode_texts_once(["red", "blue"])
    assert not encoder.kept
    assert torch.equal(once, space.encode_texts(["red", "blue"]))
    assert encoder.kept == ["red", "blue"]


def test_the_direction_of_a_class() -> None:
    space = ClassifierSpace(tiny_classifier(), FakeEncoder())
    torch.testing.assert_close(space.class_direction(2), space.reference()[2])


@pytest.mark.parametrize("method", sorted(set(MAPPERS) - {"mlp", "icis"}))
def test_a_space_is_kept_and_comes_back(method: str, tmp_path: Path) -> None:
    classifier, encoder = tiny_classifier(), FakeEncoder()
    mapper = fit(encoder.encode(class_prompts(classifier.labels)), classifier.head.weight, method=method)
    space = ClassifierSpace(classifier, encoder, mapper)
    path = space.save(tmp_path / "space.safetensors")
    again = ClassifierSpace.load(path, classifier, encoder)
    torch.testing.assert_close(again.encode_texts(["red", "blue"]), space.encode_texts(["red", "blue"]))
    with pytest.raises(SaywhyError, match="another text encoder"):
        ClassifierSpace.load(path, classifier, FakeEncoder("fake-2"))
    with pytest.raises(SaywhyError, match="another classifier"):
        ClassifierSpace.load(path, tiny_classifier(), encoder)  # other random weights


def test_labels_that_do_not_compete_count_by_their_sigmoids() -> None:
    """Of two labels that are true the surer one does not hide the other, as a softmax would have it."""
    weight, logits = torch.eye(3), torch.tensor([4.0, 8.0, -8.0])
    directions = F.normalize(weight - weight.mean(0), dim=1)
    (one,), (several,) = (
        picture_vectors(torch.zeros(1, 3), weight, logits, competing) @ directions.T for competing in (True, False)
    )
    assert one[1] > one[0] + 0.3
    assert several[0] == pytest.approx(float(several[1]), abs=0.05)
    assert several[:2].min() > several[2] + 1
