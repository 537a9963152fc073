"""The shares that the shortcut benchmark reports."""

from __future__ import annotations

import numpy as np
import pytest

from saywhy.bench import run_benchmark
from saywhy.bench.shortcuts import MARGIN, _mask, _share
from saywhy.errors import SaywhyError
from saywhy.worlds.drawing import PARTS


def test_the_share_is_of_the_relevance_under_the_cause() -> None:
    parts = np.zeros((160, 160), np.uint8)
    parts[40:80, 40:80] = PARTS.index("bill")
    relevance = np.ones((128, 128), np.float32)
    background = _mask(parts, {"background"})
    assert background.mean() == pytest.approx(1 - 1 / 16)
    assert _share(relevance, background) == pytest.approx(15 / 16, abs=0.02)
    bill = _mask(parts, {"bill"})
    assert bill.sum() > (40 + MARGIN) ** 2  # with its margin
    relevance[:] = 0
    relevance[48, 48] = 3
    assert _share(relevance, bill) == pytest.approx(1)
    assert _share(relevance, background) == 0
    assert _share(np.zeros((128, 128), np.float32), bill) == 0


def test_only_the_worlds_own_models() -> None:
    with pytest.raises(SaywhyError, match="resnet or vit"):
        run_benchmark("shortcuts", None, model="timm:resnet18")


@pytest.mark.slow
def test_the_planted_background_is_found_and_no_other() -> None:
    report = run_benchmark("shortcuts", 96, model="resnet")
    rows = {(row["world"], row["method"]): row for row in report.rows}
    assert rows["aviary-background/resnet", "lrp"]["both"] >= 80
    assert rows["aviary/resnet", "lrp"]["both"] < 10
    planted = rows["aviary-background/resnet", "lrp"]
    assert planted["a word for it"] > planted["other classes"]
    assert {"a word: random box", "class's name", "said most often"} <= set(planted)
