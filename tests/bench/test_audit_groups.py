"""What the benchmarks of slices, clusters and label errors count."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from saywhy import SaywhyError
from saywhy.audits.finding import AuditFinding
from saywhy.audits.tables import as_table
from saywhy.bench import run_benchmark
from saywhy.bench.audit_clusters import CORNERS, _planted
from saywhy.bench.audit_labels import FILTERS, _measured
from saywhy.bench.audit_slices import _holds, _names, view_of
from saywhy.intervals import Interval
from saywhy.worlds.aviary import SPECIES


@pytest.mark.parametrize("name", ["audit-labels", "audit-slices", "audit-clusters"])
def test_what_was_chosen_and_what_is_reported_are_named(name: str) -> None:
    option = "seeds" if name == "audit-labels" else "scenes"
    with pytest.raises(SaywhyError, match="report or choose"):
        run_benchmark(name, 1, **{option: "both"})


def test_planted_label_errors_are_counted_for_each_way() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 100)
    odds = rng.uniform(0, 0.01, (400, 4))
    odds[np.arange(400), labels] += rng.uniform(0.8, 1, 400)
    rows, clean = _measured(odds / odds.sum(1, keepdims=True), labels, list("abcd"), range(3))
    assert [row["found by"] for row in rows] == ["saywhy audit", *(f"cleanlab, {name}" for name in FILTERS)]
    assert clean == 0
    assert float(rows[0]["precision"].split()[0]) == 1
    assert float(rows[0]["recall"].split()[0]) > 0.4
    assert rows[0]["changed"] == rows[1]["changed"] > 30


def _slice(*about: str) -> AuditFinding:
    facts = [{"kind": "word", "value": one} for one in about]
    return AuditFinding("slice", about, "", decides=False, effect=Interval(0, 0, 0), unit="", details={"facts": facts})


def test_a_slice_is_named_where_all_that_is_said_is_true_of_it() -> None:
    species = next(iter(SPECIES))
    plant = (species, "snow", "dark")
    assert _names(_slice(species, "snow"), plant)
    assert _names(_slice("little brightness"), plant)
    assert not _names(_slice(species, "grass"), plant)
    assert not _names(_slice("little brightness"), (species, "snow", "blurred"))


def test_a_slice_holds_where_other_pictures_of_it_are_worse() -> None:
    rows = [
        {"number": n, "file": str(n), "truth": "a", "words": ["snow"] if n % 2 else ["sky"], "correct": n % 4 != 1}
        for n in range(40)
    ]
    table = as_table("pictures", rows)
    assert _holds(_slice("snow"), table, ["a"])
    assert not _holds(_slice("sky"), table, ["a"])
    assert not _holds(_slice("sea"), table, ["a"])


def test_relevance_is_moved_into_a_corner_and_none_is_lost() -> None:
    maps = np.full((4, 256), 1 / 256)
    moved = _planted(maps, np.array([True, False, True, False]), 0.6, "lower left", np.random.default_rng(0))
    np.testing.assert_allclose(moved.sum(1), 1)
    row, column = CORNERS["lower left"]
    corner = moved.reshape(4, 16, 16)[:, row : row + 2, column : column + 2].sum((1, 2))
    np.testing.assert_allclose(corner, [0.6 + 0.4 * 4 / 256, 4 / 256] * 2)


def test_rows_are_numbered_anew(tmp_path: Path) -> None:
    rows = as_table("pictures", [{"number": n, "file": str(n)} for n in (7, 3)])
    view = view_of(rows.take(pa.array([1, 0])), ["a"], tmp_path / "audit")
    assert view.sql("SELECT number, file FROM pictures ORDER BY number").to_pylist() == [
        {"number": 0, "file": "3"}, {"number": 1, "file": "7"},
    ]  # fmt: skip
