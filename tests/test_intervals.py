"""Wilson's interval holds the true share as often as it says, and has a width where all or none are hits."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest

from saywhy.intervals import proportion


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
