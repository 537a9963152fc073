"""The benchmark's words and tables, without its classifiers."""

import numpy as np
import pytest

from saywhy.bench import run_benchmark
from saywhy.bench.reliance import CAUSE_OF, METHODS, NAMES, caption_groups, report
from saywhy.errors import SaywhyError
from saywhy.worlds.reliance import CAUSES, PLAN


def test_phrases_name_the_causes_that_the_world_has_words_for() -> None:
    assert CAUSE_OF["red wing"] == "wing color"
    assert CAUSE_OF["striped wing"] == "wing pattern"
    assert CAUSE_OF["water"] == "background"
    assert CAUSE_OF["a letter in the corner"] == "letter"
    assert CAUSE_OF["yellow bill"] == ""  # its colour is no cause here
    named = set(CAUSE_OF.values()) - {""}
    assert set(NAMES) - named == {"size", "position", "companion", "sex"}
    for world in (0, 1):
        for name, captions in caption_groups(world).items():
            assert all(CAUSE_OF[caption] == name for caption in captions)


def test_a_method_that_knows_beats_the_controls_and_says_little_where_nothing_is_planted() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 0.08, (len(PLAN), len(CAUSES)))
    for n, one in enumerate(PLAN):
        if one.cause:
            truth[n, NAMES.index(one.cause)] = 0.3 + 0.7 * one.strength
    knows, guesses = truth + rng.normal(0, 0.02, truth.shape), rng.random(truth.shape)
    found = report(list(PLAN), {"regions' words": knows, "whole picture's words": guesses}, truth)
    rows = {row["method"]: row for row in found.rows}
    assert set(rows) == {"regions' words", "whole picture's words", "random", "majority"} <= set(METHODS)
    value = {name: float(row["AUPRC"].split()[0]) for name, row in rows.items()}
    assert value["regions' words"] > 0.95 > 0.4 > max(value["whole picture's words"], value["random"])
    assert rows["regions' words"]["planted named %"] > 90
    assert rows["regions' words"]["nothing planted, said %"] < 15
    for _, columns, table in found.more:
        assert all(set(row) == set(columns) for row in table)


@pytest.mark.parametrize("options", [{"model": "timm:resnet18"}, {"captions": "perhaps"}])
def test_what_it_does_not_have_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(SaywhyError):
        run_benchmark("reliance", None, **options)
