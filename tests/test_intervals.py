"""Wilson's interval holds the true share as often as it says, and has a width where all or none are hits."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest
from scipy import stats

from saywhy.intervals import mean_interval, proportion, proportions_differ, rank_difference, share_changed


@pytest.mark.parametrize(("share", "count"), [(0.02, 200), (0.5, 50), (0.9, 100)])
def test_it_holds_the_true_share_in_95_of_100_draws(share: float, count: int) -> None:
    drawn = np.random.default_rng(0).binomial(count, share, 4000)
    held = [found.low <= share <= found.high for found in (proportion(int(hits), count) for hits in drawn)]
    assert 0.92 < np.mean(held) < 0.985


def test_none_of_many_is_surer_than_none_of_few() -> None:
    few, many = proportion(0, 10), proportion(0, 1000)
    assert few.value == few.low == 0
    assert few.high > 0.2
    assert many.high < 0.005
    assert proportion(10, 10).high == pytest.approx(1)
    assert isnan(proportion(0, 0).value)


def test_differences_of_shares_hold_what_they_should() -> None:
    """Of 95 % intervals about 95 % hold the truth, at counts as small as those of a class."""
    generator = np.random.default_rng(0)
    held = [
        found.low <= 0.3 <= found.high
        for _ in range(2000)
        for found in [proportions_differ(int(generator.binomial(30, 0.8)), 30, int(generator.binomial(50, 0.5)), 50)]
    ]
    assert 0.93 <= np.mean(held) <= 0.98
    held = []
    for _ in range(2000):
        gained, lost, _same = generator.multinomial(40, [0.2, 0.1, 0.7])
        found = share_changed(int(gained), int(lost), 40)
        held.append(found.low <= 0.1 <= found.high)
    assert 0.93 <= np.mean(held) <= 0.99
    assert share_changed(0, 0, 20).low < 0 < share_changed(0, 0, 20).high


def test_students_interval_is_scipys() -> None:
    values = np.random.default_rng(1).normal(size=12)
    found = mean_interval(values.mean(), values.std(ddof=1), 12)
    low, high = stats.t.interval(0.95, 11, loc=values.mean(), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert np.isinf(mean_interval(0.5, float("nan"), 1).high)
    assert np.isnan(mean_interval(float("nan"), float("nan"), 0).value)


def test_the_interval_of_a_rank_difference_holds_the_truth_in_about_95_of_100_draws() -> None:
    generator, truth = np.random.default_rng(0), 2 * stats.norm.cdf(1 / 2**0.5) - 1
    held = 0
    for _ in range(400):
        a, b = generator.normal(1, 1, 20), generator.normal(0, 1, 60)
        found = rank_difference(2 * float(stats.mannwhitneyu(a, b).statistic) / 1200 - 1, 20, 60)
        assert found.low <= found.value <= found.high
        held += found.low <= truth <= found.high
    assert 0.91 <= held / 400 <= 0.99
    assert rank_difference(1.0, 20, 60).low < 1
