"""bench seen: rows for what is said and for its controls, and a calibration that is asked for."""

from __future__ import annotations

import pytest

from saywhy.bench import run_benchmark
from saywhy.errors import SaywhyError


def test_rows_say_what_is_said_and_what_controls_would_give() -> None:
    report = run_benchmark("seen", 4, space="world:aviary")
    assert {row["scenes"] for row in report.rows} == {"species", "random"}
    words = [row["words"] for row in report.rows if row["scenes"] == "species"]
    assert words == ["as said", "dealt", "constant", "base rates", "2 sd, top three"]
    of = {row["words"]: float(row["true %"].split()[0]) for row in report.rows if row["scenes"] == "species"}
    assert of["as said"] > of["dealt"]
    looks, reliability = report.more
    assert sum(row["words"] for row in looks[2]) == pytest.approx(4 * sum(r["a picture"] for r in report.rows[::5]))
    pairs = [row["pairs"] for row in reliability[2] if row["p"] != "calibration error"]
    assert sum(pairs) == 2 * 4 * 139  # a letter in the corner is never there, so that nothing is known of it


def test_a_space_without_a_calibration_is_refused() -> None:
    with pytest.raises(SaywhyError, match="no calibration"):
        run_benchmark("seen", 1, space="world:aviary/captioned")
