"""Probabilities, classes and answers follow what a classifier is for: one class, any number of labels, one logit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saywhy.attribution import COMPOSITES, METHODS, attribute
from saywhy.classifiers.classifier import Classifier
from saywhy.classifiers.evidence import class_evidence
from saywhy.errors import SaywhyError
from saywhy.questions.explain import explain, explain_pictures
from saywhy.questions.options import ExplainOptions
from saywhy.spaces.own import ClassifierSpace
from saywhy.types import Vocabulary
from tests.helpers import TRANSFORM, FakeSpace, Then, TinyNet, picture, silence_biases, tiny_classifier
from tests.questions.test_explain import Certain
from tests.spaces.test_own import FakeEncoder

PIXELS = torch.stack([TRANSFORM(picture(seed=n)) for n in range(3)])
WORDS = Vocabulary(("red", "green", "blue", "thing", "other"), ("",) * 5)


def own(network: nn.Module, **options: Any) -> Classifier:
    return Classifier.from_module(network, transform=TRANSFORM, **options)


class Says(nn.Module):
    """TinyNet whose logits are the given ones, nearly whatever the picture."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.net = TinyNet(len(logits))
        with torch.no_grad():
            self.net.head.weight.mul_(1e-3)
            self.net.head.bias.copy_(torch.tensor(logits))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


# -- one logit --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [lambda y: y, lambda y: y[:, 0], lambda y: y.squeeze(), lambda y: y.sigmoid(), lambda y: y[:, 0].sigmoid()]
)
def test_one_logit_is_a_class_and_its_opposite(shape: Callable) -> None:
    network = TinyNet(1)
    classifier = own(Then(network, shape), labels=["pneumonia"])
    assert classifier.task == "binary"
    assert classifier.labels == ("pneumonia", "not pneumonia")
    with torch.no_grad():
        logit = network.eval()(PIXELS)
    logits = classifier.logits(PIXELS)
    torch.testing.assert_close(logits, torch.cat([logit, -logit], 1))
    torch.testing.assert_close(classifier.probabilities(logits)[:, :1], logit.sigmoid())
    torch.testing.assert_close(classifier.probabilities(logits).sum(1), torch.ones(3))
    (row,) = classifier.predict([picture()])
    assert len(row) == 2
    assert row[0].probability >= 0.5 >= row[1].probability
    torch.testing.assert_close(classifier.logits(PIXELS[:1]), logits[:1])


@pytest.mark.parametrize(
    ("logit", "said", "probability"), [(2.0, "pneumonia", 0.8808), (-2.0, "not pneumonia", 0.8808)]
)
def test_a_negative_logit_says_the_opposite(logit: float, said: str, probability: float) -> None:
    e = explain(picture(), model=own(Says(logit), labels=["pneumonia"]), vocabulary=WORDS, space=FakeSpace())
    assert e.target.name == said
    assert e.target.probability == pytest.approx(probability, abs=2e-3)
    assert e.summary.startswith(f"It says *{said}* (0.88).")
    assert e.settings["task"] == "binary"
    assert e.from_json(e.to_json()).settings["task"] == "binary"


def test_both_classes_of_one_logit_are_explained_and_are_each_others_negative() -> None:
    network = TinyNet(1)
    classifier = own(network, labels=["pneumonia"])
    assert classifier.class_index("not pneumonia") == 1
    for method in METHODS:
        for composite in COMPOSITES if method == "lrp" else (None,):
            yes, no = (attribute(classifier, PIXELS, t, method, composite) for t in (0, "not pneumonia"))
            assert yes.values.any()
            torch.testing.assert_close(no.values, -yes.values, rtol=1e-4, atol=1e-6)
            assert no.logits == pytest.approx([-x for x in yes.logits])


def test_relevance_of_one_logit_is_the_logit() -> None:
    classifier = own(silence_biases(TinyNet(1)), labels=["pneumonia"])
    found = attribute(classifier, PIXELS, target=1, composite="epsilon")
    assert found.values.sum((1, 2)).tolist() == pytest.approx(found.logits, rel=1e-2, abs=1e-5)


def test_two_names_are_in_class_order_as_binary_cross_entropy_is_trained() -> None:
    """A picture of class 1 has the target 1, so that a positive logit speaks for the second name."""
    network = TinyNet(1).train()
    images, targets = torch.randn(16, 3, 32, 32), torch.tensor([0.0, 1.0] * 8)
    images += targets[:, None, None, None] * 2
    optimiser = torch.optim.Adam(network.parameters(), 0.05)
    for _ in range(30):
        optimiser.zero_grad()
        F.binary_cross_entropy_with_logits(network(images)[:, 0], targets).backward()
        optimiser.step()
    classifier = own(network, labels={"dark": 0, "bright": 1})
    assert classifier.labels == ("dark", "bright")
    right = classifier.logits(images).argmax(1) == targets
    assert right.float().mean() > 0.8
    assert own(network).labels == ("positive", "negative")
    with pytest.raises(
        SaywhyError, match="3 class names for a classifier of one logit; give one, of what it speaks for"
    ):
        own(network, labels=["a", "b", "c"])


@pytest.mark.parametrize("end", [lambda y: y, lambda y: (y / 2).sigmoid()])
@pytest.mark.parametrize("labels", [["pneumonia"], ["healthy", "pneumonia"]])
def test_one_logit_has_a_head_and_a_space_of_its_own(labels: list[str], end: Callable) -> None:
    classifier = own(Then(TinyNet(1), end), labels=labels)
    features, head = classifier.features(PIXELS), classifier.head
    assert head.weight.shape == (2, 16)
    torch.testing.assert_close(features @ head.weight.T + head.bias, classifier.logits(PIXELS))
    space = ClassifierSpace(classifier, FakeEncoder())
    torch.testing.assert_close(space.class_direction(0), -space.class_direction(1))
    e = explain(picture(), model=classifier, vocabulary=WORDS, space=space, calibration=Certain())
    assert e.contrast is not None
    assert {e.target.index, e.contrast.other.index} == {0, 1}
    evidence = class_evidence(classifier, PIXELS)
    torch.testing.assert_close(evidence.eval()(PIXELS), classifier.logits(PIXELS) - head.bias, rtol=1e-4, atol=1e-6)


# -- any number of labels ---------------------------------------------------------------------------------------------


def test_labels_have_a_sigmoid_each() -> None:
    names = ["cat", "dog", "sofa", "car"]
    classifier = own(Says(4, 4, 4, -4), labels=names, task="multi-label")
    (row,) = classifier.predict([picture()])
    assert sorted(p.probability for p in row) == pytest.approx([0.018, 0.982, 0.982, 0.982], abs=1e-3)
    logits = classifier.logits(PIXELS)
    torch.testing.assert_close(classifier.probabilities(logits), logits.sigmoid())
    e = explain(picture(), model=classifier, vocabulary=WORDS, space=FakeSpace())
    assert e.summary.count("(0.98)") == 3
    assert f"; explained here is what speaks for *{e.target.name}*." in e.summary
    assert e.target == e.predictions[0]
    assert e.settings["task"] == "multi-label"
    assert "multi-label" in repr(classifier)
    car = explain(picture(), model=classifier, vocabulary=WORDS, space=FakeSpace(), target="car")
    assert "; explained here is what speaks for *car* (0.02)." in car.summary


def test_all_labels_that_are_said_are_in_the_answer_however_many() -> None:
    classifier = own(Says(*[3.0] * 7, -3.0, -4.0), task="multi-label")
    e = explain(picture(), model=classifier, vocabulary=WORDS, space=FakeSpace())
    assert len(e.predictions) == 8
    assert e.summary.count("(0.95)") == 7
    none = explain(picture(), model=own(Says(-1, -2), task="multi-label"), vocabulary=WORDS, space=FakeSpace())
    assert none.summary.startswith("It says none of its labels; the most probable is *class 0* (0.27).")
    one = explain(picture(), model=own(Says(1, -2), task="multi-label"), vocabulary=WORDS, space=FakeSpace())
    assert one.summary.startswith("It says *class 0* (0.73). ")


def test_a_label_is_told_apart_from_one_that_is_not_said() -> None:
    classifier = own(Says(4, 3, -1, -2), task="multi-label", labels=["cat", "dog", "sofa", "car"])
    space = ClassifierSpace(classifier, FakeEncoder())
    e = explain(picture(), model=classifier, vocabulary=WORDS, space=space, calibration=Certain())
    assert e.target.name == "cat"
    assert e.contrast is not None
    assert e.contrast.other.name == "sofa"
    everything = own(Says(4, 3, 2), task="multi-label")
    space = ClassifierSpace(everything, FakeEncoder())
    e = explain(picture(), model=everything, vocabulary=WORDS, space=space, calibration=Certain())
    assert e.contrast is None


def hf_folder(path: Path, **options: Any) -> str:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        **options,
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained(path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(path)
    return f"hf:{path}"


def test_transformers_problem_type_is_the_task(tmp_path: Path) -> None:
    names = {"id2label": {0: "cat", 1: "dog", 2: "sofa"}, "label2id": {"cat": 0, "dog": 1, "sofa": 2}}
    several = hf_folder(tmp_path / "several", problem_type="multi_label_classification", **names)
    assert Classifier.load(several).task == "multi-label"
    assert Classifier.load(several, task="single-label").task == "single-label"
    assert Classifier.load(hf_folder(tmp_path / "one", **names)).task == "single-label"
    with pytest.raises(SaywhyError, match="is a network for regression"):
        Classifier.load(hf_folder(tmp_path / "number", problem_type="regression", **names))
    binary = Classifier.load(hf_folder(tmp_path / "binary", id2label={0: "ripe"}, label2id={"ripe": 0}))
    assert (binary.task, binary.labels) == ("binary", ("ripe", "not ripe"))


# -- what does not go together ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "task", "message"),
    [
        (3, "multilabel", "no task 'multilabel'; did you mean multi-label"),
        (3, "binary", "has 3 logits, and task='binary' is for one"),
        (1, "single-label", "has one logit, which is task='binary', not 'single-label'"),
    ],
)
def test_tasks_that_do_not_fit_are_refused(classes: int, task: str, message: str) -> None:
    with pytest.raises(SaywhyError, match=message):
        own(TinyNet(classes), task=task)


def test_one_class_of_several_is_as_it_was() -> None:
    classifier = tiny_classifier()
    assert classifier.task == own(TinyNet(3), task="single-label").task == "single-label"
    assert isinstance(classifier.network, TinyNet)
    logits = classifier.logits(PIXELS)
    assert torch.equal(classifier.probabilities(logits), logits.softmax(1))
    assert "task" not in explain(picture(), model=classifier, vocabulary=WORDS, space=FakeSpace()).settings


# -- which labels are said, and explained -----------------------------------------------------------------------------


def test_every_label_that_is_said_is_explained_in_one_answer() -> None:
    classifier = own(Says(4, -1, 3, 2, -2), task="multi-label", labels=["cat", "dog", "sofa", "car", "pen"])
    both = [("a", picture(seed=1)), ("b", picture(seed=2))]
    space = ClassifierSpace(classifier, FakeEncoder())
    found = explain_pictures(both, classifier, WORDS, space, ExplainOptions(target="all"))
    for (name, image), e in zip(both, found, strict=True):
        assert [one.target.name for one in e.each] == ["cat", "sofa", "car"]
        assert [one.picture.name for one in e.each] == [name] * 3
        for one in e.each:
            alone = explain(image, model=classifier, vocabulary=WORDS, space=space, target=one.target.name)
            torch.testing.assert_close(one.heatmap.values, alone.heatmap.values, rtol=1e-4, atol=1e-7)
            assert one.settings["target"] == one.target.index
            assert one.contrast is not None
            assert one.contrast.other.name == "dog"  # the best of those that are not said
            assert f"*{one.target.name}*" in one.summary
        again = e.from_json(e.to_json())
        assert [one.target for one in again.each] == [one.target for one in e.each]
        assert again.to_json() == e.to_json()
    html = found[0]._repr_html_()
    assert html.count("explained here is what speaks for") == 3
    assert "cat (0.98), sofa (0.95), car (0.88)" in repr(found[0])


def test_several_targets_are_explained_in_their_order_each_once() -> None:
    classifier = tiny_classifier()
    e = explain(picture(), model=classifier, vocabulary=WORDS, space=FakeSpace(), target=["zebra", 0, "toucan"])
    assert [one.target.name for one in e.each] == ["zebra", "toucan"]
    (every,) = explain(picture(), model=classifier, vocabulary=WORDS, space=FakeSpace(), target="all").each
    assert every.target == every.predictions[0]
    named = own(TinyNet(3), labels=["some", "all", "none"])
    e = explain(picture(), model=named, vocabulary=WORDS, space=FakeSpace(), target="all")
    assert [one.target.name for one in e.each] == ["all"]  # a class of that name comes first
    for wrong in ("ostrich", ["zebra", "ostrich"], []):
        with pytest.raises(SaywhyError, match=r"has no class 'ostrich'|no target among"):
            explain(picture(), model=classifier, vocabulary=WORDS, space=FakeSpace(), target=wrong)


def test_thresholds_say_which_labels_are_said(tmp_path: Path) -> None:
    names, network = ["cat", "dog", "sofa"], Says(1.0, 0.5, -2.0)  # 0.73, 0.62, 0.12
    (tmp_path / "thresholds.json").write_text('{"sofa": 0.1, "cat": 0.9}')
    given: list[tuple[Any, list[str]]] = [
        (None, ["cat", "dog"]), (0.7, ["cat"]), ("0.7", ["cat"]), ([0.9, 0.5, 0.1], ["dog", "sofa"]),
        ({"sofa": 0.1}, ["cat", "dog", "sofa"]), (tmp_path / "thresholds.json", ["dog", "sofa"]), (0.99, []),
    ]  # fmt: skip
    for threshold, said in given:
        classifier = own(network, labels=names, task="multi-label", threshold=threshold)
        assert [names[c] for c in classifier.said(classifier.logits(PIXELS)[0])] == said
        e = explain(picture(), model=classifier, vocabulary=WORDS, space=FakeSpace())
        assert e.target.name == (said or ["cat"])[0]
        assert [name for name in names if f"*{name}*" in e.summary.split(";")[0]] == said or not said
        assert ("says none of its labels" in e.summary) == (not said)
        assert ("thresholds" in e.settings) == (threshold is not None)
        every = explain(picture(), model=classifier, vocabulary=WORDS, space=FakeSpace(), target="all")
        assert [one.target.name for one in every.each] == (said or ["cat"])
    assert own(network, labels=names, task="multi-label", threshold={"sofa": 0.1}).thresholds == (0.5, 0.5, 0.1)


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        (1.5, "a probability from 0 to 1, not 1.5"), ([0.5], "1 thresholds for 3 labels"), ("none.json", "none.json"),
        ({"soda": 0.5}, "there is no label 'soda'; did you mean sofa"), ([0.1, True, 0.2], "not True"),
        ([0.1, "high", 0.2], "not 'high'"), (float("nan"), "not nan"),
    ],
)  # fmt: skip
def test_thresholds_that_are_none_are_refused_in_a_line(threshold: Any, message: str) -> None:
    with pytest.raises(SaywhyError, match=message) as raised:
        own(Says(1, 0, -1), labels=["cat", "dog", "sofa"], task="multi-label", threshold=threshold)
    assert "\n" not in str(raised.value)


def test_a_threshold_is_for_labels_that_do_not_compete() -> None:
    with pytest.raises(SaywhyError, match="is single-label; a threshold is for task='multi-label'"):
        own(TinyNet(3), threshold=0.3)
