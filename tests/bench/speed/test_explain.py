"""The benchmark times what it says: the three contenders, each over the heatmaps of its round."""

from __future__ import annotations

from saywhy.bench import run_benchmark
from saywhy.bench.speed.explain import CROPPED, HEATMAPS, POOLED


def test_every_contender_has_a_row() -> None:
    report = run_benchmark("explain-speed", 1, model="world:aviary")
    assert [row["what"] for row in report.rows] == [HEATMAPS, POOLED, CROPPED]
    assert report.rows[0]["ratio"] == 1
    assert all(row["lowest"] <= row["ratio"] <= row["highest"] for row in report.rows)
    assert report.document()["regions a picture"] > 1
