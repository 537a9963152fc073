"""Slices and the worst group: planted ones are found in words and tested on other pictures; noise gives none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saywhy.audits.facts import facts_of, first_half
from saywhy.audits.findings import slices, worst_group
from saywhy.audits.mixture import error_groups
from tests.audits.made import view_of

CLASSES = ("crow", "gull", "wren")
GROUNDS = ("snow", "grass", "sky")


def _rows(
    count: int = 900, hard: tuple[str, str] | None = ("crow", "snow"), seed: int = 0, words: str = "words"
) -> list[dict[str, Any]]:
    """Pictures of three classes on three grounds, 95 % right, 40 % where ``hard``."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        truth, ground, site = (int(rng.integers(3)) for _ in range(3))
        right = rng.random() < (0.4 if hard == (CLASSES[truth], GROUNDS[ground]) else 0.95)
        predicted = truth if right else (truth + 1) % 3
        rows.append(
            {
                "number": number, "file": f"{number}.jpg", "truth": CLASSES[truth], "true_class": truth,
                "prediction": CLASSES[predicted], "predicted": predicted, "correct": right,
                "true_probability": float(rng.uniform(0.5, 1) if right else rng.uniform(0, 0.5)),
                words: [GROUNDS[ground], *(w for w in ("black bill", "red leg", "long tail") if rng.random() < 0.4)],
                "metadata": {"site": f"site {site}", "id": str(number)},
                "cells": rng.dirichlet(np.ones(9)).tolist(), "border": float(rng.random()),
                "properties": {"brightness": float(rng.random()), "aspect": 0.0},
            }
        )  # fmt: skip
    return rows


def test_a_planted_slice_is_first_and_named_by_both_facts(tmp_path: Path) -> None:
    tested = slices.find(view_of(tmp_path / "a", _rows(), labels=CLASSES))
    first = tested.findings[0]
    assert set(first.about) == {"crow", "snow"}
    assert "of “crow” said to show “snow”" in first.sentence
    assert f"of the {first.details['tested']['pictures']} that did not choose them" in first.sentence
    assert "go with" in first.sentence
    assert not first.decides
    assert first.effect.high < -0.2
    assert first.p is not None
    assert first.p in tested.p


def test_numbers_are_those_of_the_other_half(tmp_path: Path) -> None:
    rows = _rows()
    view = view_of(tmp_path / "a", rows, labels=CLASSES)
    counts = slices.find(view).findings[0].details["tested"]
    half = first_half(np.arange(len(rows)))
    other = [row for row, first in zip(rows, half, strict=True) if not first and row["truth"] == "crow"]
    snow = [row["correct"] for row in other if "snow" in row["words"]]
    rest = [row["correct"] for row in other if "snow" not in row["words"]]
    assert counts == {"right": sum(snow), "pictures": len(snow), "others_right": sum(rest), "others": len(rest)}


def test_nothing_is_found_where_nothing_is_planted(tmp_path: Path) -> None:
    found = [
        len(slices.find(view_of(tmp_path / str(seed), _rows(400, None, seed), labels=CLASSES)).findings)
        for seed in range(12)
    ]
    assert sum(count > 0 for count in found) <= 2


def test_what_only_stands_out_is_said_to_be_uncertain(tmp_path: Path) -> None:
    tested = slices.find(view_of(tmp_path / "a", _rows(words="concepts"), labels=CLASSES))
    assert "in which “snow” stands out" in tested.findings[0].sentence
    assert "need not be there" in tested.findings[0].sentence


def test_facts_leave_out_what_names_single_pictures_and_what_does_not_vary(tmp_path: Path) -> None:
    facts = facts_of(view_of(tmp_path / "a", _rows(), labels=CLASSES))
    values = {fact.value for fact in facts.facts}
    assert {"crow", "snow", "site: site 1", "little brightness", "border"} <= values
    assert not any("aspect" in value or value.startswith("id:") for value in values)
    assert facts.holds.shape == (len(facts.facts), 900)
    assert not facts.sampled


def test_of_many_pictures_a_sample_is_read_and_said(tmp_path: Path) -> None:
    facts = facts_of(view_of(tmp_path / "a", _rows(), labels=CLASSES), limit=300)
    assert 200 < len(facts.numbers) < 400
    assert facts.sampled == f"on {len(facts.numbers)} of 900 pictures"


def test_halves_do_not_go_with_the_order_of_pictures() -> None:
    numbers = np.arange(100_000)
    half, other = first_half(numbers), first_half(numbers, seed=1)
    for every in (2, 7, 40, 1000):
        shares = np.bincount(numbers % every, half) / np.bincount(numbers % every)
        assert np.abs(shares - 0.5).max() < 0.2
    assert abs((half == other).mean() - 0.5) < 0.02


def test_the_mixture_finds_what_looks_alike_and_is_wrong() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=1200)
    vectors = rng.normal(0, 1, (1200, 20))
    vectors[np.arange(1200), truth] += 6
    odd = rng.random(1200) < 0.1
    vectors[odd, 10] += 8
    wrong = rng.random(1200) < np.where(odd, 0.8, 0.03)
    predicted = np.where(wrong, (truth + 1) % 3, truth)
    first = first_half(np.arange(1200))
    groups = error_groups(vectors.astype(np.float32), truth, predicted, first)
    worst = groups[0] & ~first
    assert odd[worst].mean() > 0.9
    assert (predicted != truth)[worst].mean() > 0.5


def test_the_worst_group_is_by_class_and_column_and_measured_elsewhere(tmp_path: Path) -> None:
    rows = _rows(hard=None)
    rng = np.random.default_rng(1)
    for row in rows:
        if row["truth"] == "gull" and row["metadata"]["site"] == "site 2":
            row["correct"] = bool(rng.random() < 0.3)
    (finding,) = worst_group.find(view_of(tmp_path / "a", rows, labels=CLASSES)).findings
    assert finding.about == ("gull", "site: site 2")
    assert finding.p is None
    assert finding.effect.high < 0
    assert f"of the {finding.details['pictures']} that did not choose them" in finding.sentence
    half = first_half(np.arange(len(rows)))
    group = [
        row["correct"] for row, first in zip(rows, half, strict=True)
        if not first and row["truth"] == "gull" and row["metadata"]["site"] == "site 2"
    ]  # fmt: skip
    assert finding.details["accuracy"]["value"] == pytest.approx(np.mean(group))
    everything = np.mean([row["correct"] for row, first in zip(rows, half, strict=True) if not first])
    assert finding.effect.value == pytest.approx(np.mean(group) - everything)
    assert {one["by"] for one in finding.details["groups"]} == {"class", "site"}
    assert all(not rows[number]["correct"] for number in finding.examples)


def test_a_worst_group_that_the_other_half_does_not_bear_out_is_no_finding(tmp_path: Path) -> None:
    tested = worst_group.find(view_of(tmp_path / "a", _rows(hard=None), labels=CLASSES))
    assert not tested.findings
    assert "not clearly less often than all" in tested.note


@pytest.mark.parametrize("module", [slices, worst_group])
def test_pictures_without_a_truth_give_a_note(tmp_path: Path, module: Any) -> None:
    tested = module.find(
        view_of(tmp_path / "a", [{"number": 0, "file": "0.jpg", "predicted": 0, "prediction": "crow"}])
    )
    assert not tested.findings
    assert tested.note
