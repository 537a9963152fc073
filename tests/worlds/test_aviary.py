"""The renderer tells the truth about what it draws."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from saywhy.worlds import aviary_facts
from saywhy.worlds.aviary import ATTRIBUTES, BACKGROUNDS, SPECIES, VALUES, part_of, phrases_of, random_plumage, render
from saywhy.worlds.drawing import COLOURS, PARTS

FINCH, SPOONBILL = "Red-crowned Finch", "White-crowned Spoonbill"


def test_the_same_seed_draws_the_same_bird() -> None:
    first, second = (render(FINCH, 7, 96) for _ in range(2))
    assert first.image.tobytes() == second.image.tobytes()
    assert np.array_equal(first.parts, second.parts)
    assert render(FINCH, 8, 96).image.tobytes() != first.image.tobytes()


def test_there_are_forty_species_and_no_two_are_near() -> None:
    assert len(SPECIES) == 40
    for one, other in combinations(SPECIES.values(), 2):
        assert sum(one[a] != other[a] for a in ATTRIBUTES) >= 9


def test_attributes_are_named_as_cub_names_them() -> None:
    from saywhy.words.cub_names import bundled_attributes

    known = set(bundled_attributes())
    assert len(known) == 312
    assert {f"{name}::{value}" for name, values in VALUES.items() for value in values} <= known


@pytest.mark.parametrize("species", list(SPECIES)[::5])
def test_every_species_has_all_parts_and_attributes(species: str) -> None:
    scenes = [render(species, seed, 192) for seed in range(4)]
    assert set(scenes[0].attributes) == set(ATTRIBUTES)
    for part in PARTS[1:-1]:  # one of them may be hidden in a picture or two
        assert sum(scene.box(part) is not None for scene in scenes) >= 2, part
    assert set(phrases_of(SPECIES[species]).values()) <= set(PARTS)
    assert {part_of(f"{name}::{values[0]}") for name, values in VALUES.items()} == set(PARTS[1:-1])


@pytest.mark.parametrize("part", ["bill", "crown", "belly", "leg", "back", "nape"])
def test_a_part_has_the_colour_it_is_said_to_have(part: str) -> None:
    """Nearest named colour of the middle one of its pixels; grey tones are told apart by light, which varies."""
    right = checked = 0
    for species in SPECIES:
        scene = render(species, 11, 256)
        pixels = np.asarray(scene.image, float)[scene.parts == PARTS.index(part)]
        if len(pixels) < 40:
            continue
        seen = np.median(pixels, 0)
        distances = {name: np.abs(np.array(rgb) - seen).sum() for name, rgb in COLOURS.items()}
        checked += 1
        right += min(distances, key=lambda name: distances[name]) == scene.attributes[f"has_{part}_color"]
    assert checked >= 25
    assert right >= 0.7 * checked  # chance is an eleventh


def test_backgrounds_are_given_or_drawn() -> None:
    assert render(SPOONBILL, 1, 64, "sand").background == "sand"
    assert {render(SPOONBILL, seed, 32).background for seed in range(60)} == set(BACKGROUNDS)


def test_a_letter_is_where_the_part_map_says() -> None:
    scene = render(SPOONBILL, 5, 192, watermark="X")
    box = scene.box("watermark")
    assert box is not None
    assert box[2] - box[0] < 40
    plain = render(SPOONBILL, 5, 192)
    assert plain.box("watermark") is None


def test_random_plumage_draws_every_value() -> None:
    rng = np.random.default_rng(0)
    drawn = [random_plumage(rng) for _ in range(300)]
    assert all({has[name] for has in drawn} == set(values) for name, values in VALUES.items())


def test_facts_are_unique_phrases_with_a_part() -> None:
    facts = aviary_facts()
    assert set(facts.values()) == {*PARTS, "species"}
    assert facts["hooked bill"] == "bill"
    assert facts["red upper tail"] == "tail"
    assert facts["snow"] == "background"
