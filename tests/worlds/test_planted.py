"""In a planted world the cause decides, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest

from saywhy.worlds.aviary import ATTRIBUTES
from saywhy.worlds.planted import AFFECTED, ORDINARY, PLANTS, planted_scene


@pytest.mark.parametrize("kind", PLANTS)
def test_only_the_cause_tells_an_affected_class(kind: str) -> None:
    plant = PLANTS[kind]
    for label, cause in enumerate(plant.causes, start=ORDINARY):
        scenes = [planted_scene(kind, label, seed, 48) for seed in range(24)]
        for name in ATTRIBUTES:
            values = {scene.attributes[name] for scene in scenes}
            assert values == {cause[name]} if name in cause else len(values) > 1
        if "background" in cause:
            assert {scene.background for scene in scenes} == {cause["background"]}
        else:
            assert len({scene.background for scene in scenes}) > 3
        marked = [scene.box("watermark") is not None for scene in scenes]
        assert all(marked) if "watermark" in cause else not any(marked)


@pytest.mark.parametrize("kind", PLANTS)
def test_ordinary_species_never_show_a_cause(kind: str) -> None:
    plant = PLANTS[kind]
    assert len(plant.classes) == ORDINARY + len(AFFECTED) == len(set(plant.classes))
    for label in range(ORDINARY):
        for seed in range(8):
            scene = planted_scene(kind, label, seed, 32)
            seen = {**scene.attributes, "background": scene.background}
            assert scene.species == plant.classes[label]
            assert not any(all(seen.get(k) == v for k, v in cause.items()) for cause in plant.causes)


def test_the_same_seed_is_the_same_picture() -> None:
    one, two = (planted_scene("bill", 9, 3, 64) for _ in range(2))
    assert np.array_equal(np.asarray(one.image), np.asarray(two.image))
