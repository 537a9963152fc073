"""Pictures without a file."""

from __future__ import annotations

import numpy as np
from PIL import Image


def picture(width: int = 96, height: int = 64, seed: int = 0) -> Image.Image:
    """A picture with something in it: a bright disc on a gradient."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    values = np.stack([x * 255 / width, y * 255 / height, np.full_like(x, 90.0)], -1) + rng.normal(
        0, 4, (height, width, 3)
    )
    values[np.hypot(x - width * 0.6, y - height * 0.4) < min(width, height) / 5] = (250, 220, 40)
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
