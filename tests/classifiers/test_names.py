"""Names and indices of classes go together, whatever they are given as."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from saywhy.attribution import attribute
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.questions.explain import explain
from saywhy.types import Vocabulary
from saywhy.words.class_names import ClassNameWarning
from tests.helpers import TRANSFORM, FakeSpace, TinyNet, picture, tiny_classifier

WORDS = Vocabulary(("red", "green", "blue"), ("",) * 3)


def test_labels_may_be_a_data_sets_mapping(tmp_path: Path) -> None:
    def names(labels: object) -> tuple[str, ...]:
        return Classifier.from_module(TinyNet(2), transform=TRANSFORM, labels=labels).labels  # type: ignore[arg-type]

    assert names({"cat": 1, "dog": 0}) == names({0: "dog", 1: "cat"}) == ("dog", "cat")
    (tmp_path / "classes.json").write_text(json.dumps({"cat": 1, "dog": 0}))
    assert names(tmp_path / "classes.json") == ("dog", "cat")
    with pytest.raises(SaywhyError, match="0 to 1 without gaps, each once; these are 1 and 2"):
        names({"cat": 1, "dog": 2})
    with pytest.raises(SaywhyError, match="0 class names for a classifier of 2"):
        names([])


def test_a_name_of_several_classes_is_said_and_does_not_choose_one() -> None:
    with pytest.warns(ClassNameWarning, match="'crane' is the name of classes 0 and 2"):
        classifier = Classifier.from_module(TinyNet(3), transform=TRANSFORM, labels=["crane", "cat", "crane"])
    with pytest.raises(SaywhyError, match="'crane' is the name of classes 0 and 2 of TinyNet; give the index"):
        classifier.class_index("crane")
    assert classifier.class_index("cat") == 1
    alike = Classifier.from_module(TinyNet(3), transform=TRANSFORM, labels=["Cardigan", "cat", "cardigan"])
    assert (alike.class_index("Cardigan"), alike.class_index("cardigan")) == (0, 2)
    with pytest.raises(SaywhyError, match="classes 0 and 2"):
        alike.class_index("CARDIGAN")


@pytest.mark.parametrize("one", [1, np.int64(1), np.uint8(1), np.array(1), torch.tensor(1), "1", "king snake"])
def test_a_target_is_any_integer_or_a_name(one: object) -> None:
    classifier = tiny_classifier()
    assert classifier.class_index(one) == 1  # type: ignore[arg-type]
    expected = attribute(classifier, [picture()], target=1)
    found = attribute(classifier, [picture()], target=one)  # type: ignore[arg-type]
    assert found.targets == (1,)
    assert torch.equal(found.values, expected.values)
    e = explain(picture(), model=classifier, vocabulary=WORDS, space=FakeSpace(), target=one)  # type: ignore[arg-type]
    assert e.settings["target"] == 1
    assert e.from_json(e.to_json()).target.index == 1


def test_targets_are_one_each_from_an_array_too() -> None:
    classifier, pictures = tiny_classifier(), [picture(), picture(seed=1)]
    for targets in ([1, 2], np.array([1, 2]), torch.tensor([1, 2]), ["king snake", "2"]):
        assert attribute(classifier, pictures, target=targets).targets == (1, 2)  # type: ignore[arg-type]
    for wrong in (1.5, "snake", 99, None):
        with pytest.raises(SaywhyError):
            attribute(classifier, pictures, target=[0, wrong])  # type: ignore[list-item]


def test_a_number_that_is_a_name_is_the_name() -> None:
    names = ["0", "1", "10", "11", "2", "3", "7"]
    classifier = Classifier.from_module(TinyNet(7), transform=TRANSFORM, labels=names)
    assert [classifier.class_index(name) for name in names] == list(range(7))
    assert classifier.class_index(2) == 2
    assert classifier.class_index("5") == 5
    for wrong in ("²", "--1", "-1", "", "99"):
        with pytest.raises(SaywhyError):
            classifier.class_index(wrong)


def test_timms_larger_imagenets_have_names() -> None:
    classifier = Classifier.load("timm:vit_tiny_patch16_224.augreg_in21k", pretrained=False)
    assert len(classifier.labels) == 21843
    assert classifier.labels[:2] == ("organism, being", "benthos")
    assert len(set(classifier.labels)) == 21843
    assert any(name.startswith("crane (n") for name in classifier.labels)
