"""The script for a machine with a GPU does all that it does there on a CPU too, in small, so that it cannot rot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from saywhy.bench.speed import lrp as lrp_speed
from tests import gpu_check


def test_every_section_but_the_tests_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lrp_speed, "OURS", {"resnet50": ("epsilon",)})
    monkeypatch.setattr(lrp_speed, "BATCH", 1)
    sections = [name for name in gpu_check.SECTIONS if name != "tests"]
    words = [str(tmp_path), "--device", "cpu", "--quick", "--only", ",".join(sections)]
    assert gpu_check.main(words) == 0, capsys.readouterr().out
    document = json.loads((tmp_path / "gpu-check.json").read_text())
    assert list(dict.fromkeys(row["section"] for row in document["rows"])) == sections
    assert not [row for row in document["rows"] if row["good"] is False]
    assert sum(row["good"] is True for row in document["rows"]) >= 10
    assert all(Path(__file__).parents[1].joinpath(path).exists() for path in gpu_check.TESTED)


def test_a_section_that_fails_is_a_row_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(run: gpu_check.Run) -> object:
        yield gpu_check.Row("memory", "before", 1.0, True)
        raise RuntimeError("Expected all tensors to be on the same device")

    monkeypatch.setitem(gpu_check.SECTIONS, "memory", broken)
    monkeypatch.setitem(gpu_check.SECTIONS, "speed", lambda run: iter([gpu_check.Row("speed", "ratio", 1.5)]))
    assert gpu_check.main([str(tmp_path), "--device", "cpu", "--only", "memory,speed"]) == 1
    said = [row["what"] for row in json.loads((tmp_path / "gpu-check.json").read_text())["rows"]]
    assert said[0] == "before"
    assert "same device" in said[1]
    assert "ratio" in said
    assert "NO" in capsys.readouterr().out


def test_without_a_gpu_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main([str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == "gpu-check: skipped, as torch sees no GPU here\n"
    assert not (tmp_path / "out").exists()
