"""Why this and not that, on the embedded world and on small networks."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

import saywhy
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.pictures.geometry import pasted
from saywhy.pictures.reading import display_copy
from saywhy.questions.explain import explain, explain_pictures
from saywhy.questions.options import ExplainOptions
from saywhy.questions.why_not import called_by, why_not
from saywhy.types import Geometry, Vocabulary
from saywhy.worlds.scenes import draw
from tests.helpers import FakeSpace, picture, tiny_classifier

WORDS = Vocabulary(("red", "green", "blue"), ("",) * 3)


def test_what_was_changed_makes_the_other_class() -> None:
    classifier = Classifier.load("world:aviary")
    scene = draw("species", 5_000_003)[0].image
    lent = [draw("species", 5_000_040 + n)[0].image for n in range(40)]
    found = why_not(scene, model=classifier, others=lent)
    assert found.turned
    assert found.after.index == found.other.index
    assert 0 < found.area < 0.5
    assert found.picture is not None
    shown = Image.open(io.BytesIO(found.picture.jpeg))
    assert shown.size == scene.size
    (said,) = classifier.predict([shown])
    assert said[0].index == found.other.index  # the picture that is shown does what is said of it
    before = Image.open(io.BytesIO(display_copy(scene, "").jpeg))
    changed = np.abs(np.asarray(shown, float) - np.asarray(before, float)).max(2) > 40
    boxes = np.zeros_like(changed)  # with the blocks of JPEG around them
    for region in found.regions:
        left, top, right, bottom = region.box
        boxes[max(top - 16, 0) : bottom + 16, max(left - 16, 0) : right + 16] = True
    assert not changed[~boxes].any()
    assert saywhy.why_not is why_not


def test_explain_has_it_where_it_is_asked_for() -> None:
    classifier = tiny_classifier()
    image = picture(64, 48)
    options = {"model": classifier, "vocabulary": WORDS, "space": FakeSpace()}
    assert explain(image, **options).counterfactual is None
    full = explain(image, checks="full", **options).counterfactual
    named = explain(image, why_not="zebra", target="toucan", **options).counterfactual
    assert full is not None
    assert named is not None
    assert named.other.name == "zebra"
    assert named.concepts == ()
    with pytest.raises(SaywhyError, match="'toucan' is the explained class itself"):
        explain(image, why_not="toucan", target="toucan", **options)
    with pytest.raises(SaywhyError, match="okapi"):
        explain(image, why_not="okapi", **options)


def test_verify_asks_it_too_where_everything_is_tested() -> None:
    classifier = tiny_classifier()
    image = picture(64, 48)
    plain = explain(image, model=classifier, vocabulary=WORDS, space=FakeSpace(), checks="none")
    assert saywhy.verify(plain, classifier, image).counterfactual is None
    found = saywhy.verify(plain, classifier, image, checks="full").counterfactual
    assert found is not None
    assert found.other.index == plain.predictions[1].index
    asked = explain(image, model=classifier, vocabulary=WORDS, space=FakeSpace(), checks="full").counterfactual
    assert asked is not None
    assert [region.box for region in asked.regions] == [region.box for region in found.regions]


def test_tensors_are_asked_as_they_are() -> None:
    network = torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Flatten(), torch.nn.Linear(5 * 16, 3))
    classifier = Classifier.from_module(network, shape=(5, 32, 32), labels=["a", "b", "c"])
    found = why_not(torch.rand(5, 32, 32), model=classifier)
    assert found.passes > 2
    assert found.picture is None or (found.picture.width, found.picture.height) == (32, 32)


def test_in_a_run_the_class_itself_is_passed_over() -> None:
    classifier = tiny_classifier()
    asked = ExplainOptions(why_not="toucan", target="toucan", checks="none")
    (one,) = explain_pictures([("a", picture())], classifier, WORDS, FakeSpace(), asked)
    assert one.counterfactual is None


def test_the_nearest_picture_of_the_class_is_lent_and_never_the_picture_itself() -> None:
    classifier = tiny_classifier()
    images = [picture(40, 40, seed) for seed in range(4)]
    others = called_by(images, classifier)
    assert others is not None
    index = int(others.said[0])
    near = others.nearest(others.pixels[0], index)
    assert near is None or not torch.equal(near, others.pixels[0])
    assert others.nearest(others.pixels[0], 99) is None
    assert called_by([], classifier) is None


def test_pasting_changes_the_picture_where_the_frame_lies_and_nowhere_else() -> None:
    image = Image.new("RGB", (60, 40), "blue")
    mask = np.zeros((10, 10), bool)
    mask[2:5, 2:5] = True
    changed = np.asarray(
        pasted(image, Image.new("RGB", (10, 10), "red"), mask, Geometry((60, 40), (10, 10), (4.0, 4.0), (10.0, 0.0)))
    )
    red = changed[..., 0] > 250
    assert red[10:18, 20:28].all()
    assert not (changed[..., 0] > 0)[:, :14].any()
    assert not (changed[..., 0] > 0)[25:].any()
