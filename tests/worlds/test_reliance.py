"""Scenes and labels of the classifiers of known reliance."""

import numpy as np
import pytest

from saywhy.worlds.reliance import CAUSES, KINDS, NAMES, PLAN, STRENGTHS, Pool, labelled, levels_of, paint


def drawn(count: int, world: int = 0) -> Pool:
    """Levels alone: labels need no pixels."""
    rng = np.random.default_rng(3)
    levels = rng.integers(0, 2, (count, len(CAUSES))).astype(np.uint8)
    return Pool(np.zeros((count, 1, 1, 3), np.uint8), levels, rng.integers(0, 3, (count, 10)).astype(np.uint8))


def test_each_kind_stands_at_each_strength_in_both_halves_and_nothing_planted_too() -> None:
    planted = {(one.kind, one.strength, one.reported) for one in PLAN if one.tower == "resnet" and one.kind != "none"}
    assert planted == {(kind, strength, half) for kind in KINDS for strength in STRENGTHS for half in (False, True)}
    nothing = [one for one in PLAN if one.kind == "none"]
    assert len(nothing) >= 8
    assert {one.reported for one in nothing} == {False, True}
    assert len(PLAN) >= 60
    assert len({one.name for one in PLAN}) == len(PLAN)


@pytest.mark.parametrize("cause", [n for n in NAMES if n not in ("background", "size", "position")])
def test_changing_one_cause_changes_only_its_place(cause: str) -> None:
    for world, seed in ((0, 5), (1, 6)):
        levels = levels_of(seed)
        levels[NAMES.index("size")] = 1
        other = levels ^ (np.arange(len(CAUSES)) == NAMES.index(cause))
        before, after = (paint(world, seed, some.astype(np.uint8)).astype(int) for some in (levels, other))
        changed = np.abs(before - after).max(2) > 0
        assert 0 < changed.mean() < 0.12


def test_labels_agree_with_the_cause_as_strongly_as_planned() -> None:
    scenes = drawn(4000)
    for reliant in PLAN:
        if not reliant.cause:
            continue
        rows, labels = labelled(reliant, scenes)
        agrees = (scenes.levels[rows, NAMES.index(reliant.cause)] == labels).mean()
        expected = reliant.strength + (1 - reliant.strength) / 2  # the rest agrees by chance in half
        assert agrees == pytest.approx(expected, abs=0.04)


def test_where_nothing_is_planted_no_cause_tells_the_class_and_a_weak_one_agrees_in_sixty_percent() -> None:
    scenes = drawn(4000)
    for reliant in PLAN:
        if reliant.cause:
            continue
        rows, labels = labelled(reliant, scenes)
        agrees = {name: (scenes.levels[rows, n] == labels).mean() for n, name in enumerate(NAMES)}
        if reliant.weak:
            assert agrees.pop(reliant.weak) == pytest.approx(0.6, abs=0.04)
        assert all(abs(share - 0.5) < 0.17 for share in agrees.values())
