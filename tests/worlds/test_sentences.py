"""Descriptions say what is true."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from saywhy.training.worlds.aviary_clips import _captions
from saywhy.worlds import aviary_facts
from saywhy.worlds.aviary import SPECIES
from saywhy.worlds.sentences import caption_of, describe_bird, sentences

FACTS = list(aviary_facts())
IS_SPECIES = np.array([part == "species" for part in aviary_facts().values()])


def said_in(caption: str) -> set[str]:
    """The facts that a caption names; a fact within a longer one that it names ("red bill" in ...) is not named."""
    named = set()
    for fact in sorted(FACTS, key=len, reverse=True):
        pattern = rf"(?<![\w-]){re.escape(fact)}(?![\w-])"
        if re.search(pattern, caption):
            named.add(fact)
            caption = re.sub(pattern, "#", caption)
    return named


@pytest.mark.parametrize("species", ["", *list(SPECIES)[:3]])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_caption_says_what_it_is_given_and_nothing_else(species: str, count: int) -> None:
    if not species and not count:
        return
    things = [fact for fact, name in zip(FACTS, IS_SPECIES, strict=True) if not name]
    for seed in range(60):
        rng = np.random.default_rng(seed)
        some = rng.choice(things, count, replace=False).tolist()
        caption = caption_of(species, some, rng)
        assert said_in(caption) == {*some, species} - {""}
        assert caption == caption_of(species, some, at(seed, things, count))
        assert "{" not in caption


def at(seed: int, things: list[str], count: int) -> np.random.Generator:
    """The generator of that seed after it has chosen things."""
    rng = np.random.default_rng(seed)
    rng.choice(things, count, replace=False)
    return rng


def test_captions_are_true_of_their_pictures_by_their_own_table() -> None:
    """A random table, in which some pictures show nothing and some only what species they are of."""
    rng = np.random.default_rng(0)
    true = rng.random((200, len(FACTS))) < 0.1
    true[:, IS_SPECIES] = False
    place = np.flatnonzero(IS_SPECIES)
    true[np.arange(0, 200, 2), rng.choice(place, 100)] = True
    true[:20, ~IS_SPECIES] = False  # every other of these shows nothing
    captions, said = _captions(torch.as_tensor(true), FACTS, IS_SPECIES, rng)
    assert said.dtype == torch.bool
    assert said.shape == (len(captions), len(FACTS))
    shown = true[true.any(1)]
    assert len(captions) == len(shown) == 190
    assert not (said.numpy() & ~shown).any()
    assert said.any(1).all()
    for caption, row in zip(captions, said.numpy(), strict=True):
        assert said_in(caption) == {FACTS[n] for n in np.flatnonzero(row)}
    assert (said.numpy()[:, IS_SPECIES].sum(1) <= 1).all()


def test_a_description_says_only_what_the_bird_has() -> None:
    has = SPECIES["Blue-crowned Kingfisher"]
    for seed in range(30):
        text = describe_bird(has, "snow", "", np.random.default_rng(seed))
        for part in ("crown", "nape", "belly", "back"):
            words = text.rstrip(".").split()
            if part in words:
                assert words[words.index(part) - 1] == has[f"has_{part}_color"]


def test_sentences_are_repeatable_and_varied() -> None:
    assert sentences(50, 3) == sentences(50, 3)
    assert len(set(sentences(200, 0))) > 180
    assert any("digit" in s or "number" in s for s in sentences(200, 0))
