"""Fine-tuning, and measuring what a network relies on."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from saywhy.training.worlds.reliance import fine_tuned, measure
from saywhy.worlds.reliance import CAUSES, NAMES, Pool


class Linear(nn.Module):
    """Two logits that a known sum over the first row of pixels makes."""

    def __init__(self, weights: np.ndarray) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.as_tensor(weights, dtype=torch.float32))

    def forward(self, pixels: Tensor) -> Tensor:
        shown = pixels[:, 0, :96].reshape(len(pixels), len(NAMES), -1).mean(2)  # a stripe of 8 rows for each cause
        margin = shown @ self.weights
        return torch.stack([-margin / 2, margin / 2], 1)


def test_what_a_sum_of_causes_relies_on_is_known_in_closed_form() -> None:
    weights = np.zeros(len(NAMES))
    weights[[0, 4]] = 3, -4
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 2, (96, len(CAUSES))).astype(np.uint8)
    levels[:, 0], levels[:, 4] = np.tile([0, 0, 1, 1], 24), np.tile([0, 1], 48)  # independent of each other

    def shown(which: np.ndarray) -> np.ndarray:
        rows = np.pad((which * 255).astype(np.uint8).repeat(8, 1), ((0, 0), (0, 128 - 96)))
        return rows[:, :, None, None].repeat(128, 2).repeat(3, 3)

    changed = np.stack([shown(levels ^ one) for one in np.eye(len(CAUSES), dtype=np.uint8)], 1)
    with torch.no_grad():
        found = measure(Linear(weights), Pool(shown(levels), levels, levels), changed)
    assert found.reliance["background"] == pytest.approx(0.6, abs=0.001)
    assert found.reliance["wing color"] == pytest.approx(0.8, abs=0.001)
    assert max(value for name, value in found.reliance.items() if name not in ("background", "wing color")) < 1e-4
    assert found.decided["wing color"] == 1
    assert found.decided["letter"] == 0


def test_a_few_pictures_teach_a_plain_difference() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 64)
    pixels = rng.integers(60, 120, (64, 3, 160, 160)).astype(np.uint8)
    pixels[labels == 1, 0] += 120  # red
    classifier = fine_tuned(pixels, labels, ("plain", "red"), epochs=15, device="cpu")
    with torch.no_grad():
        logits = classifier.logits((torch.as_tensor(pixels[:, :, 16:144, 16:144]).float() / 255 - 0.5) / 0.5)
    assert (logits.argmax(1).numpy() == labels).mean() > 0.95
    assert classifier.labels == ("plain", "red")
