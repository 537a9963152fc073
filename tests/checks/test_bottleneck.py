"""The category from the scores of the rationales alone: where it can be told, and where it cannot."""

from __future__ import annotations

import numpy as np
import pytest

from saywhy.checks.bottleneck import Bottleneck, bottleneck
from saywhy.errors import SaywhyError


def made(pictures: int, strength: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, 8) scores, in which category c has its rationales 2c and 2c + 1 by ``strength``; (N,) labels of four."""
    rng = np.random.default_rng(seed)
    labels = np.arange(pictures) % 4
    scores = rng.normal(size=(pictures, 8))
    scores[np.arange(pictures), 2 * labels + rng.integers(0, 2, pictures)] += strength
    return 25 + scores, labels


def measured(strength: float, best: int | None = None, full: bool = True) -> Bottleneck:
    (scores, labels), (asked, truth) = made(200, strength, 0), made(160, strength, 1)
    return bottleneck(scores, labels, asked, truth, np.full(160, full), best)


@pytest.mark.parametrize("best", [None, 1, 2])
def test_it_tells_what_the_scores_hold(best: int | None) -> None:
    told, untold = measured(8, best), measured(0, best)
    assert told.accuracy.value > 95
    assert untold.accuracy.value < 40
    assert told.chance == untold.chance == 25
    for one in (told, untold):
        assert one.full.value == 100
        assert one.gap.value == pytest.approx(one.full.value - one.accuracy.value)
        assert one.gap.low <= one.gap.value <= one.gap.high
    assert untold.gap.low > 40
    assert measured(8, best, full=False).gap.high < -90


def test_units_of_a_rationale_do_not_matter() -> None:
    (scores, labels), (asked, truth) = made(120, 3, 0), made(80, 3, 1)
    full = np.ones(80, bool)
    factors, shifts = np.random.default_rng(2).uniform(0.1, 10, (2, 8))
    first = bottleneck(scores, labels, asked, truth, full)
    assert first == bottleneck(scores * factors + shifts, labels, asked * factors + shifts, truth, full)
    assert first == bottleneck(scores, labels * 7 - 3, asked, truth * 7 - 3, full)


def test_hardly_any_pictures_will_do() -> None:
    scores = np.array([[1.0], [2.0]])
    found = bottleneck(scores, np.array([0, 1]), np.array([[5.0]]), np.array([1]), np.array([False]))
    assert found.accuracy.value == found.accuracy.low == 100
    assert found.gap.value == -100


def test_what_cannot_be_told_from_is_refused() -> None:
    scores, labels = made(20, 1, 0)
    full = np.ones(20, bool)
    with pytest.raises(SaywhyError, match="the same R rationales"):
        bottleneck(scores, labels, scores[:, :5], labels, full)
    with pytest.raises(SaywhyError, match="with N labels"):
        bottleneck(scores, labels[:5], scores, labels, full)
    with pytest.raises(SaywhyError, match="hits of the method itself"):
        bottleneck(scores, labels, scores, labels, full[:5])
    with pytest.raises(SaywhyError, match="not finite"):
        bottleneck(scores, labels, scores * np.nan, labels, full)
    with pytest.raises(SaywhyError, match="has only one category"):
        bottleneck(scores, labels * 0, scores, labels, full)
    for best in (0, 8):
        with pytest.raises(SaywhyError, match=f"less than the 8 rationales; it is {best}"):
            bottleneck(scores, labels, scores, labels, full, best)
