"""The benchmark of matching and surgery, on small networks: its table, and that memory is what the formula says."""

from __future__ import annotations

import json

import pytest

from saywhy.bench import run_benchmark
from saywhy.bench.speed import surgery as surgery_speed
from tests.networks import SIZE, clip_resnet, clip_vit, resnet, vit


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surgery_speed, "NETWORKS", {"CNNs": (resnet, clip_resnet), "ViTs": (vit, clip_vit)})
    monkeypatch.setattr(surgery_speed, "SIZE", SIZE)
    monkeypatch.setattr(surgery_speed, "BATCHES", {"cpu": 2, "cuda": 2})


def test_speed_and_memory_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surgery_speed, "in_fresh_process", lambda work, *args: work(*args))
    report = run_benchmark("surgery-speed", 1)
    assert [row["networks"] for row in report.rows] == ["CNNs"] * 5 + ["ViTs"] * 5
    for row in report.rows:
        assert row["what"] == surgery_speed.PLAIN or 0 < row["lowest"] <= row["throughput"] <= row["highest"]
        assert row["what"] != surgery_speed.PLAIN or row["throughput"] == 1
    ((_, columns, memory),) = report.more
    assert [(row["networks"], row["layers"], row["batches"]) for row in memory] == [
        ("CNNs", "stages", surgery_speed.FEW), ("CNNs", "stages", surgery_speed.MANY), ("CNNs", "convolutions", 1),
        ("ViTs", "stages", surgery_speed.FEW), ("ViTs", "stages", surgery_speed.MANY),
    ]  # fmt: skip
    channels = [368, 32 * (1 + 2 + 4 + 8)]
    assert memory[0]["channels"] == f"{channels[0]} x {channels[1]}"
    assert memory[0]["sums"] == pytest.approx(16 * channels[0] * channels[1] / 1e6)
    assert all(set(columns) == set(row) for row in memory)
    assert json.loads(json.dumps(report.document()))["batch"] == 2


def test_a_fresh_process_measures_its_own_peak() -> None:
    """1 MB of maps, 3 MB of sums: the peak grows by no more than the interpreter's own noise besides."""
    few, many = surgery_speed.in_fresh_process(surgery_speed._memory, resnet, clip_resnet, "stages", 2, SIZE, "cpu")
    assert (few["batches"], many["batches"]) == (surgery_speed.FEW, surgery_speed.MANY)
    assert max(few["measured"], many["measured"]) < few["sums"] + few["maps"] + 60
