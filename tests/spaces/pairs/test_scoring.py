"""A scoring is a value: it is compared, hashed, and written and read as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from saywhy.spaces.pairs.scoring import ECOR, Scoring

SCORINGS = [
    ECOR, Scoring(("inverse",), temperatures={"inverse": 2.0}),
    Scoring(("rationale", "pair"), "category", 0.7, {"pair": 2.0, "rationale": 0.5}),
]  # fmt: skip


def test_the_order_of_temperatures_does_not_matter() -> None:
    one = Scoring(temperatures={"pair": 2.0, "rationale": 0.5})
    for same in ({"rationale": 0.5, "pair": 2.0}, (("pair", 2.0), ("rationale", 0.5)), one.temperatures):
        assert one == Scoring(temperatures=same)
        assert hash(one) == hash(Scoring(temperatures=same))
    assert one.temperatures == (("rationale", 0.5), ("pair", 2.0))
    assert [one.temperature(term) for term in ("rationale", "pair", "category")] == [0.5, 2.0, 1.0]
    assert one.factors(10.0) == {"rationale": 20.0, "pair": 5.0}


def test_what_was_given_may_change_and_the_scoring_does_not() -> None:
    given = {"pair": 2.0}
    scoring = Scoring(temperatures=given)
    given["pair"] = 3.0
    assert scoring.temperature("pair") == 2.0


def test_scorings_are_told_apart_as_keys() -> None:
    assert len({*SCORINGS, Scoring(), Scoring(temperatures={"pair": 2.0})}) == len(SCORINGS) + 1


@pytest.mark.parametrize("scoring", SCORINGS)
def test_json_is_read_as_it_was_written(scoring: Scoring) -> None:
    again = Scoring(**json.loads(json.dumps(asdict(scoring))))
    assert again == scoring
    assert hash(again) == hash(scoring)
