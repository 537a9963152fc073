"""The bench of plain facts: what counts as named, and the numbers that it must show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from saywhy.answers.claims import MEASURED
from saywhy.bench.plain_facts import CHOOSE, PLAIN, REPORT, _named, fine_tuned, looked_at
from saywhy.errors import SaywhyError
from saywhy.types import Claim
from saywhy.worlds.pasted import CLASSES, KINDS, Marks, paste, pasted_scene


def claim(text: str) -> Claim:
    return Claim(text, "picture", MEASURED, 0.5, None, "", said=True)


def test_a_mark_is_named_by_its_kind_and_rightly_by_its_colour_and_place() -> None:
    mask = np.zeros((100, 100), bool)
    mask[80:88, 5:13] = True
    marks = Marks()
    assert _named([claim("a small yellow square, lower left")], "square", marks, mask) == (True, True)
    assert _named([claim("a small yellow square, upper left")], "square", marks, mask) == (True, False)
    assert _named([claim("a small red square, lower left")], "square", marks, mask) == (True, False)
    assert _named([claim("a small yellow rectangle, lower left")], "square", marks, mask) == (False, False)
    letter = claim("a small white letter-like mark, upper right corner")
    assert _named([letter], "letter", marks, mask) == (True, True)
    assert _named([letter], "letter", replace(marks, corner="lower left"), mask) == (True, False)
    assert _named([claim("the picture is brighter than usual")], "brightness", marks, mask) == (True, True)
    dark = replace(marks, light=-50.0)
    assert _named([claim("the picture is brighter than usual")], "brightness", dark, mask) == (True, False)
    assert _named([], "frame", marks, mask) == (False, False)


def test_marks_are_pasted_where_they_are_said_to_be() -> None:
    grey = np.full((160, 160, 3), 120, np.uint8)
    for kind in KINDS:
        painted, mask = paste(grey, kind, Marks(), np.random.default_rng(0))
        assert (painted[~mask] == 120).all()
        assert (painted[mask] != 120).any(1).all()
    darker, _ = paste(grey, "brightness", Marks(light=0.5), np.random.default_rng(0))
    further, _ = paste(grey, "brightness", Marks(light=-50.0), np.random.default_rng(0))
    assert (darker[0, 0, 0], further[0, 0, 0]) == (60, 70)


def test_only_the_affected_classes_show_a_mark() -> None:
    marked = [bool(pasted_scene(label, 9_700_000, Marks(), 64)[1].any()) for label in range(len(CLASSES))]
    assert marked == [False] * PLAIN + [True] * len(KINDS)


def test_what_is_chosen_on_is_not_reported_on() -> None:
    assert not set(CHOOSE) & set(REPORT)
    assert not set(CHOOSE.values()) & set(REPORT.values())


def test_an_unknown_tower_is_refused() -> None:
    from saywhy.bench.plain_facts import run

    with pytest.raises(SaywhyError, match="resnet or vit"):
        run(model="world:aviary")
    with pytest.raises(SaywhyError, match="report or choose"):
        run(model="resnet", marks="all")


@pytest.mark.slow
def test_planted_marks_are_named_and_nothing_is_where_none_is_planted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path))
    seed, marks = 9_530_000, REPORT[9_530_000]
    rows = looked_at(fine_tuned(seed, marks, "resnet"), seed, marks, 240, "resnet")
    for n, kind in enumerate(KINDS):
        right = [row for row in rows if row["label"] == PLAIN + n and row["right"]]
        assert len(right) >= 10, kind
        assert np.mean([row["own"][kind][0] for row in right]) >= 0.8, kind
    none = [row for row in rows if row["label"] < PLAIN]
    for who in ("own", "aviary"):
        assert np.mean([any(said for said, _ in row[who].values()) for row in none]) <= 0.03
