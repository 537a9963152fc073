"""Vocabularies as vectors, and the labels of pictures and regions."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from saywhy.questions.labels import against_alternatives, encode_vocabulary, label_images
from saywhy.types import Vocabulary
from tests.helpers import FakeSpace, unit


def test_prompts_of_a_phrase_are_averaged() -> None:
    vocabulary = Vocabulary(("red", "blue"), ("", ""), {"": ("{}", "a {} thing", "not green but {}")})
    vectors = encode_vocabulary(vocabulary, FakeSpace())
    single = FakeSpace().encode_texts(["red", "a red thing", "not green but red"]).mean(0)
    torch.testing.assert_close(vectors[0], F.normalize(single, dim=0))


def test_alternatives_are_what_they_do_not_share() -> None:
    """Of what "red wing", "blue wing" and "green wing" share, nothing stays; what is in no group stays as it is."""
    wing, colours, other = unit(1, 12), unit(3, 12), unit(2, 12)
    phrases = F.normalize(torch.cat([3 * wing + colours, other]), dim=1)
    apart = against_alternatives(phrases, ["wing", "wing", "wing", None, None])
    torch.testing.assert_close(apart.norm(dim=1), torch.ones(5))
    assert (apart[:3] @ wing.T).abs().max() < 0.25 < (phrases[:3] @ wing.T).min()
    expected = F.normalize(phrases[:3] - phrases[:3].mean(0), dim=1)
    torch.testing.assert_close(apart[:3], expected)
    torch.testing.assert_close(apart[3:], phrases[3:])


def test_groups_do_not_touch_each_other_and_two_are_too_few() -> None:
    phrases = unit(8, 12)
    apart = against_alternatives(phrases, ["a", "b", "a", "b", "a", "b", "c", "c"])
    for rows in ([0, 2, 4], [1, 3, 5]):
        torch.testing.assert_close(apart[rows], against_alternatives(phrases[rows], ["x"] * 3))
    torch.testing.assert_close(apart[6:], phrases[6:])
    torch.testing.assert_close(against_alternatives(phrases, [None] * 8), phrases)


def test_only_some_spaces_and_only_exclusive_groups_are_told_apart() -> None:
    words = tuple(f"{colour} {part}" for part in ("wing", "bill") for colour in ("red", "green", "blue"))
    groups = ("wing",) * 3 + ("bill",) * 3
    vocabulary, plain = Vocabulary(words, groups, exclusive=frozenset({"wing"})), Vocabulary(words, groups)
    space = FakeSpace()
    as_they_are = encode_vocabulary(plain, space)
    torch.testing.assert_close(encode_vocabulary(vocabulary, space), as_they_are)
    space.alternatives = True  # type: ignore[attr-defined]
    torch.testing.assert_close(encode_vocabulary(plain, space), as_they_are)
    apart = encode_vocabulary(vocabulary, space)
    torch.testing.assert_close(apart[3:], as_they_are[3:])
    torch.testing.assert_close(apart[:3].sum(0), torch.zeros(3), rtol=0, atol=1e-5)


def test_labels_are_ranked_and_know_whose_opinion_they_are() -> None:
    from PIL import Image

    words = ("red", "green", "blue", *(f"thing {n}" for n in range(12)))
    vocabulary = Vocabulary(words, tuple("colour" if w in ("red", "green", "blue") else "other" for w in words))
    images = [Image.new("RGB", (20, 20), c) for c in ("red", "blue", "grey")]
    red, blue, grey = label_images(images, vocabulary, FakeSpace(), regions=[0, 1, None], top=3)
    assert (red.labels[0].text, blue.labels[0].text, red.labels[0].group) == ("red", "blue", "colour")
    assert (red.region, blue.region, grey.region) == (0, 1, None)
    assert [label.rank for label in red.labels] == [1, 2, 3]
    assert red.space == FakeSpace.name
    assert label_images([], vocabulary, FakeSpace(), regions=[]) == []
