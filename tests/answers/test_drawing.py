"""Heatmaps drawn over pictures."""

from __future__ import annotations

import numpy as np

from saywhy.answers.drawing import heatmap_rgba, overlay
from saywhy.types import Geometry
from tests.helpers import picture


def test_colours_say_the_sign_and_strength() -> None:
    rgba = heatmap_rgba(np.array([[1.0, -1.0], [0.1, 0.0]]))
    assert rgba[0, 0, 0] > rgba[0, 0, 2]
    assert rgba[0, 1, 2] > rgba[0, 1, 0]
    assert rgba[0, 0, 3] > rgba[1, 0, 3] > rgba[1, 1, 3] == 0
    assert heatmap_rgba(np.full((4, 4), np.nan)).shape == (4, 4, 4)


def test_the_heatmap_lies_where_the_frame_lay() -> None:
    """Relevance in the left upper quarter of a frame that covers the right half of the picture."""
    values = np.zeros((32, 32))
    values[:16, :16] = 1
    drawn = np.asarray(overlay(picture(128, 64), values, Geometry((128, 64), (32, 32), (2.0, 2.0), (64.0, 0.0))), int)
    redness = drawn[..., 0] - drawn[..., 2]
    assert redness[8:24, 70:90].min() > redness[:, :60].max()
    assert redness[8:24, 70:90].min() > redness[40:, 70:].max()
