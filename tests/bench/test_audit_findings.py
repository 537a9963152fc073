"""The benches of audits' findings: made-up rows are like real ones, and dealt classes leave nothing to describe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from saywhy.audits.store import Store
from saywhy.audits.tables import PICTURES, REGIONS
from saywhy.bench import run_benchmark
from saywhy.bench.audit_descriptions import DEALT, dealt_audit
from saywhy.bench.audit_findings import make_up
from saywhy.errors import SaywhyError


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("made-up") / "audit"
    make_up(folder, 900, 6, phrases=20, features=8, vector=8, part=300)
    return Store.open(folder)


def test_made_up_rows_have_all_columns_and_add_up(made_up: Store) -> None:
    view = made_up.view()
    assert view.sql("SELECT * FROM pictures LIMIT 0").column_names == list(PICTURES)
    assert view.sql("SELECT * FROM regions LIMIT 0").column_names == list(REGIONS)
    assert view.sql("SELECT number FROM pictures ORDER BY number")["number"].to_pylist() == list(range(900))
    assert view.sql("SELECT count(*) AS n FROM pictures WHERE correct != (predicted = true_class)")["n"][0].as_py() == 0
    assert not view.sql("SELECT * FROM pictures WHERE abs(list_sum(cells) - 1) > 1e-3").num_rows
    assert not view.sql("SELECT * FROM pictures WHERE list_sum(probabilities) > 1.001").num_rows
    _, vectors = view.matrix("features")
    assert vectors.shape == (900, 8)


def test_the_same_rows_are_made_again_and_not_twice(made_up: Store, tmp_path: Path) -> None:
    make_up(made_up.folder, 900, 6, phrases=20, features=8, vector=8, part=300)
    assert made_up.view().count == 900
    make_up(tmp_path / "other", 900, 6, phrases=20, features=8, vector=8, part=300)
    query = "SELECT number, predicted, words, cells FROM pictures ORDER BY number"
    assert Store.open(tmp_path / "other").view().sql(query).equals(made_up.view().sql(query))


def test_dealing_keeps_classes_together_and_words_in_place(made_up: Store, tmp_path: Path) -> None:
    before = made_up.view().sql("SELECT * FROM pictures ORDER BY number")
    after = dealt_audit(made_up, tmp_path / "dealt", 0).view().sql("SELECT * FROM pictures ORDER BY number")
    for name in PICTURES:
        assert (before[name].to_pylist() == after[name].to_pylist()) == (name not in DEALT), name
    kept = [sorted(zip(*(table[name].to_pylist() for name in ("predicted", "true_class", "correct")), strict=True))
            for table in (before, after)]  # fmt: skip
    assert kept[0] == kept[1]


@pytest.mark.slow
def test_dealt_classes_leave_little_to_describe(made_up: Store) -> None:
    report = run_benchmark("audit-descriptions", 3, audit=str(made_up.folder))
    found = {row["kind"]: row for row in report.rows}
    assert found["recognised by"]["findings"] == 6
    assert found["confused classes"]["findings"] >= 1
    assert found["groups differ"]["findings"] == 1
    assert max(row["where dealt, on average"] for row in report.rows) < 1


def test_all_findings_are_measured_in_a_process_of_their_own() -> None:
    report = run_benchmark("audit-findings", 1, rows="400")
    assert report.rows[-1]["kind"] == "all"
    assert report.rows[-1]["seconds"] > 0
    assert 0.05 < report.rows[-1]["peak, GiB"] < 8


@pytest.mark.parametrize("given", [{"rows": "many"}, {"rows": "0"}])
def test_rows_that_are_no_number_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(SaywhyError, match="whole number"):
        run_benchmark("audit-findings", 1, **given)


def test_without_an_audit_there_is_nothing_to_deal() -> None:
    with pytest.raises(SaywhyError, match="--audit"):
        run_benchmark("audit-descriptions", 1)


def test_a_probability_that_is_dealt_would_tell_right_from_wrong() -> None:
    assert "probability" not in DEALT
    assert np.isin(["correct", "predicted"], DEALT).all()
