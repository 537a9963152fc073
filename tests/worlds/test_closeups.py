from __future__ import annotations

import numpy as np
import pytest

from saywhy.worlds.aviary import SPECIES, VALUES, render
from saywhy.worlds.closeups import (
    PART_OF,
    SMALLEST,
    attributes_said,
    closeups,
    rationale_lists,
    rows,
    said,
    visible_parts,
)
from saywhy.worlds.drawing import PARTS

NAMES = tuple(SPECIES)[:3]


def test_every_species_lists_what_can_be_said_of_it() -> None:
    lists = rationale_lists(NAMES)
    assert list(lists) == list(NAMES)
    assert all(len(set(some)) == len(VALUES) for some in lists.values())
    assert set().union(*lists.values()) <= set(attributes_said())
    assert said("has_bill_color", "orange") == "an orange bill"


def test_a_picture_shows_what_it_was_taken_for() -> None:
    pictures = closeups(NAMES, 20, "test")
    for one in pictures:
        assert one.rationales[0] == one.attribute
        assert len(set(one.rationales)) == len(one.rationales)
        shown = (one.parts() == PARTS.index(PART_OF[one.attribute])).sum()
        assert shown >= SMALLEST / 2
    assert {one.species for one in pictures} == set(NAMES)


def test_pictures_are_the_same_for_the_same_arguments_and_others_elsewhere() -> None:
    first, again = closeups(NAMES, 4, "test"), closeups(NAMES, 4, "test")
    other = closeups(NAMES, 4, "train")
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, again, strict=True))
    assert not {one.seed for one in first} & {one.seed for one in other}


@pytest.mark.parametrize("part", [part for part in PARTS if part not in ("background", "watermark")])
def test_leaving_a_part_out_changes_that_part_and_nothing_else(part: str) -> None:
    whole, without = render(NAMES[0], 5_000_001), render(NAMES[0], 5_000_001, without=[part])
    changed = np.abs(np.asarray(whole.image, int) - np.asarray(without.image)).max(2) > 12
    shown = whole.parts == PARTS.index(part)
    assert not (without.parts == PARTS.index(part)).any()
    assert shown.sum() < SMALLEST or changed[shown].mean() > 0.4
    grown = np.zeros_like(shown)  # reduced from twice the size: the seam is a pixel wide
    for down in (-2, -1, 0, 1, 2):
        for across in (-2, -1, 0, 1, 2):
            grown |= np.roll(shown, (down, across), (0, 1))
    assert not changed[~grown].any()


def test_the_same_picture_with_another_attribute() -> None:
    one = next(p for p in closeups(NAMES, 20, "test") if p.attribute == "has_wing_color")
    assert np.array_equal(one.redrawn(), one.image)
    other = next(v for v in VALUES["has_wing_color"] if v != SPECIES[one.species]["has_wing_color"])
    changed = np.abs(np.asarray(one.redrawn(attributes={"has_wing_color": other}), int) - np.asarray(one.image)).max(2)
    wing = one.parts() == PARTS.index("wing")
    assert changed[wing].mean() > changed[~wing].mean()


def test_a_part_outside_the_window_is_not_in_view() -> None:
    parts = np.zeros((160, 160), np.uint8)
    parts[10:20, 10:20] = PARTS.index("eye")
    assert "eye" in visible_parts(parts, (0, 0, 40, 40))
    assert "eye" not in visible_parts(parts, (16, 0, 160, 160))  # less than half of it
    assert "eye" not in visible_parts(parts, (30, 30, 160, 160))


def test_rows_for_the_layout() -> None:
    pictures = closeups(NAMES, 3, "test")
    for one, (split, category, rationales, image) in zip(pictures, rows(pictures, "test"), strict=True):
        assert (split, category) == ("test", one.species)
        assert rationales[0] == said(one.attribute, SPECIES[one.species][one.attribute])
        assert set(rationales) <= set(rationale_lists()[category])
        assert image is one.image
