"""The shares of relevance that the phrases benchmark reports."""

from __future__ import annotations

import numpy as np
import pytest

from saywhy.bench import run_benchmark
from saywhy.bench.phrases import MARGIN, _shares
from saywhy.errors import SaywhyError
from saywhy.types import Geometry

FRAME = Geometry((160, 160), (80, 80), (2.0, 2.0), (0.0, 0.0))


def test_shares_are_of_the_part_and_of_a_box_of_its_size_anywhere() -> None:
    even = np.ones((80, 80), np.float32)
    side = (40 + 2 * MARGIN) / 2
    area = side**2 / 80**2
    assert _shares(even, (40, 40, 80, 80), FRAME) == pytest.approx((area, area))
    on_it = np.zeros((80, 80), np.float32)
    on_it[30, 30] = 3
    on, anywhere = _shares(on_it, (40, 40, 80, 80), FRAME)
    assert on == 1
    assert 0 < anywhere < 0.2
    assert _shares(np.zeros((80, 80), np.float32), (40, 40, 80, 80), FRAME) == (0, 0)
    assert _shares(even, (0, 0, 160, 160), FRAME) == pytest.approx((1, 1))


def test_what_is_outside_of_the_frame_is_no_place() -> None:
    cut = Geometry((160, 160), (80, 80), (1.0, 1.0), (40.0, 40.0))
    even = np.ones((80, 80), np.float32)
    on, _ = _shares(even, (0, 0, 60, 60), cut)
    assert on == pytest.approx((20 + MARGIN) ** 2 / 80**2)


def test_only_the_worlds_own_models() -> None:
    with pytest.raises(SaywhyError, match="resnet or vit"):
        run_benchmark("phrases", None, model="timm:resnet18")


@pytest.mark.slow
def test_phrases_are_seen_on_their_parts() -> None:
    report = run_benchmark("phrases", 20, model="resnet", space="world:aviary")
    (every,) = [row for row in report.rows if row["part"] == "all"]
    assert float(every["on the part"].split()[0]) > 3 * every["a box anywhere"]
