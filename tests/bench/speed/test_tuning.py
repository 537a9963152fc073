"""The benchmark of tuning, on a small network: its tables, and that what is compared is comparable."""

from __future__ import annotations

import json

import pytest
import torch

from saywhy.bench.speed import tuning as tuning_speed
from saywhy.bench.speed.tuning import PLAIN, Case
from saywhy.spaces.visual_prompts import PromptedTower
from tests.networks import clip_vit, pixels


def test_steps_and_losses_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"cpu": 2, "cuda": 2}
    cases = {name: Case(clip_vit, 2, name == "deep", 3, 4, sizes) for name in ("shallow", "deep")}
    monkeypatch.setattr(tuning_speed, "CASES", cases)
    monkeypatch.setattr(tuning_speed, "LOSSES", {"cpu": (4, 300, 8), "cuda": (4, 300, 8)})
    monkeypatch.setattr(tuning_speed, "in_fresh_process", lambda work, *args: work(*args))
    report = tuning_speed.run(1)
    assert [row["case"] for row in report.rows] == ["shallow"] * 3 + ["deep"] * 3
    assert [row["ratio"] for row in report.rows if row["what"] == PLAIN] == [1, 1]
    assert all(0 < row["lowest"] <= row["ratio"] <= row["highest"] for row in report.rows)
    ((_, columns, losses),) = report.more
    assert [row["loss"] for row in losses] == list(tuning_speed.WAYS)
    assert all(set(columns) == set(row) for row in losses)
    assert json.loads(json.dumps(report.document()))["batches"] == {"shallow": 2, "deep": 2}


def test_the_plain_tower_has_as_many_tokens_and_as_many_gradients() -> None:
    """With no more tokens it is the tower; with more, every block sees as many as with prompts."""
    visual, images = clip_vit().requires_grad_(False), pixels(2)
    torch.testing.assert_close(tuning_speed._plain(visual, images, 0), visual(images))
    shapes: list[tuple[torch.Size, bool]] = []
    for block in visual.transformer.resblocks:
        block.register_forward_hook(lambda module, given, out: shapes.append((out.shape, out.requires_grad)))
    tuning_speed._plain(visual, images, 3)
    PromptedTower(visual, torch.zeros(1, 3, 32))(images)
    assert shapes[: len(shapes) // 2] == shapes[len(shapes) // 2 :]
    assert all(gradient for _, gradient in shapes)
