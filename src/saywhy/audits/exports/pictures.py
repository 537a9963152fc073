"""Thumbnails and maps of an audit as arrays."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from saywhy.audits.told import Told

SIZE = 96  # pixels of each, with its margin


def beside(told: Told, number: int) -> np.ndarray | None:
    """(2 SIZE, SIZE, 3) uint8: a picture above the map of its relevance; None where neither was kept."""
    files = told.thumbnails.files(number)
    return None if files is None else np.concatenate([_square(one) for one in files], 0)


def grey(heat: bytes) -> Image.Image:
    """A map as levels of grey, brighter where more relevance is: what its red channel says, see ``rows.heat``."""
    return Image.open(io.BytesIO(heat)).convert("RGB").getchannel(0)


def _square(content: bytes) -> np.ndarray:
    square = Image.new("RGB", (SIZE, SIZE), "white")
    if content:
        picture = Image.open(io.BytesIO(content)).convert("RGB")
        picture.thumbnail((SIZE, SIZE))
        square.paste(picture, ((SIZE - picture.width) // 2, (SIZE - picture.height) // 2))
    return np.asarray(square)
