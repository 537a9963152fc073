"""What is true of a scene is known without drawing it."""

from __future__ import annotations

import pytest

from saywhy.worlds.aviary import phrases_of
from saywhy.worlds.scenes import draw, facts_of


@pytest.mark.parametrize(("kind", "seed"), [("species", 5_000_003), ("species", 5_000_041), ("random", 5_000_004)])
def test_facts_are_those_of_the_drawn_scene(kind: str, seed: int) -> None:
    scene, _ = draw(kind, seed, 64)
    assert facts_of(kind, seed) == set(phrases_of(scene.attributes)) | {scene.background}
