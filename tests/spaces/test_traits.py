"""A space needs three members and imports nothing; what else it may know has one default each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.questions.ask import ask
from saywhy.questions.explain import explain
from saywhy.questions.labels import label_images
from saywhy.questions.names_and_defaults import check_space
from saywhy.spaces import traits
from saywhy.spaces.similarity import Usual
from saywhy.types import Space, Vocabulary
from tests.helpers import picture, tiny_classifier

WORDS = Vocabulary(("red", "green", "blue", "grey", "thing"), ("",) * 5)


class Outside:
    """A space as its author would write it: nothing of saywhy in it."""

    name = "a space of somebody else's"

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        means = [torch.tensor(image.resize((1, 1)).getpixel((0, 0)), dtype=torch.float32) for image in images]
        return F.normalize(torch.stack(means), dim=1)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        rows = [[1.0 if colour in text else 0.1 for colour in ("red", "green", "blue")] for text in texts]
        return F.normalize(torch.tensor(rows), dim=1)


class Knowing(Outside):
    """The same, with every member that a space may have."""

    context, alternatives, scale, objective = 2.0, True, 7.0, "dror"
    temperatures, words = {"pair": 2.0}, None
    usual = Usual(torch.zeros(3), torch.ones(3))

    def __init__(self) -> None:
        self.classifier = tiny_classifier()
        self.once: list[str] = []

    def reference(self) -> Tensor:
        return torch.eye(3).repeat(4, 1)

    def encode_texts_once(self, texts: Sequence[str]) -> Tensor:
        self.once += texts
        return self.encode_texts(texts)

    def class_direction(self, index: int) -> Tensor:
        return F.normalize(torch.tensor([1.0, float(index), 0.0]), dim=0)


def test_a_space_from_outside_is_one_and_explains() -> None:
    assert isinstance(Outside(), Space)
    found = explain(picture(), model=tiny_classifier(), vocabulary=WORDS, space=Outside(), top=2)
    assert found.concepts.space == Outside.name
    assert found.contrast is None
    answers = ask([picture(seed=n) for n in range(3)], [("a red thing", "a blue thing")], Outside())
    assert answers.scale == traits.SCALE


def test_what_a_space_does_not_say_has_one_default() -> None:
    space: Any = Outside()
    assert traits.reference_of(space) is None
    assert traits.context_of(space) == 1
    assert not traits.tells_alternatives_apart(space)
    assert torch.equal(traits.encode_once(space, ["red"]), space.encode_texts(["red"]))
    assert traits.scale_of(space) == 100
    assert not isinstance(space, traits.KnowsClasses)
    assert (
        traits.classifier_of(space) is traits.clip_of(space) is traits.words_of(space) is traits.usual_of(space) is None
    )
    assert traits.objective_of(space) == "ecor"
    assert traits.temperatures_of(space) == {}
    with pytest.raises(SaywhyError, match=f"{space.name} is not one"):
        traits.tower_of(space)


def test_what_a_space_says_is_heard() -> None:
    space: Any = Knowing()
    reference = traits.reference_of(space)
    assert reference is not None
    assert torch.equal(reference, space.reference())
    assert (traits.context_of(space), traits.scale_of(space), traits.objective_of(space)) == (2.0, 7.0, "dror")
    assert traits.tells_alternatives_apart(space)
    traits.encode_once(space, ["red"])
    assert space.once == ["red"]
    assert traits.classifier_of(space) is space.classifier
    assert traits.temperatures_of(space) == {"pair": 2.0}
    assert traits.usual_of(space) is space.usual


def test_what_a_space_says_changes_what_is_said() -> None:
    image = picture()
    plain, knowing = (label_images([image], WORDS, space, regions=[None])[0] for space in (Outside(), Knowing()))
    assert plain.labels[0].unusual != knowing.labels[0].unusual  # another idea of what is usual
    space = Knowing()
    found = explain(image, model=space.classifier, vocabulary=WORDS, space=space)
    assert found.contrast is not None
    assert found.contrast.other in found.predictions


def test_the_space_of_another_classifier_is_refused() -> None:
    check_space(Outside(), tiny_classifier())
    with pytest.raises(SaywhyError, match="use space='own'"):
        check_space(Knowing(), tiny_classifier(7))
