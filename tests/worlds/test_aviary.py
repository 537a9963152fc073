"""The renderer tells the truth about what it draws."""

from __future__ import annotations

import numpy as np
import pytest

from saywhy.worlds.aviary import ATTRIBUTES, BACKGROUNDS, COLOURS, PARTS, SPECIES, phrases_of, render


def test_the_same_seed_draws_the_same_bird() -> None:
    first, second = (render("Ember Daggerbill", 7, 96) for _ in range(2))
    assert first.image.tobytes() == second.image.tobytes()
    assert np.array_equal(first.parts, second.parts)
    assert render("Ember Daggerbill", 8, 96).image.tobytes() != first.image.tobytes()


@pytest.mark.parametrize("species", SPECIES)
def test_every_species_has_all_parts_and_attributes(species: str) -> None:
    scene = render(species, 3, 192)
    assert set(scene.attributes) == set(ATTRIBUTES)
    for part in PARTS[1:]:
        assert scene.box(part) is not None or part in ("tail", "leg"), part  # a tail or leg may leave the picture
    assert set(phrases_of(species).values()) <= set(PARTS)


@pytest.mark.parametrize("part", ["bill", "crown", "belly", "leg", "back"])
def test_a_part_has_the_colour_it_is_said_to_have(part: str) -> None:
    """Nearest named colour, after the light is divided out by the brightness; grey tones are told apart by light."""
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
    assert checked >= 12
    assert right >= 0.75 * checked  # chance is a tenth; the light makes some greys white and some whites grey


def test_backgrounds_are_given_or_drawn() -> None:
    assert render("Snow Spatulebird", 1, 64, "sand").background == "sand"
    assert {render("Snow Spatulebird", seed, 32).background for seed in range(40)} == set(BACKGROUNDS)


def test_species_differ() -> None:
    assert len({tuple(s.values()) for s in SPECIES.values()}) == len(SPECIES) == 16
