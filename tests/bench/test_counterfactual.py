"""The benchmarks of counterfactuals and of reasons run, and their tables say what they measure."""

from __future__ import annotations

import pytest

from saywhy.bench import counterfactual, run_benchmark
from saywhy.errors import SaywhyError


def test_a_planted_world_is_asked_for_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counterfactual, "LENDING", 24)
    report = run_benchmark("counterfactual", 3, world="aviary-bill")
    around, lent = report.rows
    assert (around["filled"], lent["filled"]) == ("with the colours around", "from the other class")
    for row in report.rows:
        assert row["pictures"] == 3
        assert row["most passes"] <= 64 + 19 + 2
        assert row["turned"] <= row["ahead"] <= 100
    with pytest.raises(SaywhyError, match="--world here is"):
        run_benchmark("counterfactual", 3, world="digits")


@pytest.mark.slow
def test_reasons_are_compared_with_random_ones() -> None:
    report = run_benchmark("reasons", 3)
    assert [row["rationales"] for row in report.rows] == [
        "the reasons given", "random rationales", "another picture's reasons",
    ]  # fmt: skip
    assert all(0 <= row["low"] <= row["borne out"] <= row["high"] <= 100 for row in report.rows)
