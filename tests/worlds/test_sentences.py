"""Descriptions say what is true."""

from __future__ import annotations

import numpy as np

from saywhy.worlds.aviary import SPECIES
from saywhy.worlds.sentences import describe_bird, sentences


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
