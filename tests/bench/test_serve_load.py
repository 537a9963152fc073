"""The load benchmark, small: a server process of its own, and what becomes of questions at once."""

from __future__ import annotations

import pytest

from saywhy.bench import run_benchmark


@pytest.mark.slow
def test_nothing_is_lost_or_wrong_under_load() -> None:
    report = run_benchmark("serve-load", 6, rounds="1", checks="none")
    (row,) = report.rows
    assert (row["answered"], row["lost"], row["wrong"]) == (6, 0, 0)
    assert report.summary["as saywhy.explain"]
    assert report.summary["filled up at"] >= 64
    assert report.summary["refused with"] == 503
    assert report.summary["a killed client's place is free after s"] < 5
    assert report.summary["exit code on Ctrl-C"] == 0
