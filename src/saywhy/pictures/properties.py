"""What a picture is like, whatever it shows: how bright, how sharp, how large, in a frame or not. No network is asked.

``pictures.altering`` changes each of these in another picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from PIL import Image

from saywhy.pictures.plain import frame, measured
from saywhy.pictures.reading import JPEG_QUALITY

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Rec. 601: of red, green and blue."""
BLOCK = 8  # pixels of a side of the blocks of a JPEG
BLOCKS_SIDE = 512  # pixels of the middle of a picture in which they are sought
RIM_EVEN = 40  # of 255: how far a line of pixels along a side may be from one colour, where a frame is sought
MOST_FRAME = 0.16  # of the shorter side: a line so deep lies inside any frame
LEAST_LIGHT = 1e-3


def properties(image: Image.Image) -> Mapping[str, float]:
    """Name -> number, of an RGB picture; those that ``of_pixels`` gives, and:

    pixels: the logarithm to base 2 of how many there are. aspect: the same of width over height.
    blocks: how much more values differ across the edges of 8 x 8 blocks than elsewhere (natural logarithm); 0 where
            there are none: no JPEG, a mild one, or one that was resized. At the picture's own size.
    jpeg:   the quality by which it was saved, 1 to 100, from the quantisation tables of its file; there where the file
            is a JPEG and ``read_picture`` read it.
    framed: 1 where it has a border of one colour with a clear inner edge (``plain.frame``), else 0.
    """
    pixels = measured(image)
    found = of_pixels(pixels)
    found |= {
        "pixels": float(np.log2(image.width * image.height)), "aspect": float(np.log2(image.width / image.height)),
        "blocks": blocks(image), "framed": float(_may_have_frame(pixels) and frame(pixels) is not None),
    }  # fmt: skip
    if JPEG_QUALITY in image.info:
        found["jpeg"] = float(image.info[JPEG_QUALITY])
    return found


def of_pixels(pixels: np.ndarray) -> dict[str, float]:
    """Of pixels (H, W, 3) uint8, or floats of the same range, 0..255:

    brightness: the mean luma (Rec. 601), 0..1. contrast: its standard deviation.
    saturation: the mean difference of a pixel's largest and smallest channel, 0..1.
    red, blue:  the cast: the logarithm to base 2 of a channel's mean over that of the luma.
    sharpness:  the logarithm of the variance of the Laplacian over that at a quarter of the size: what is shown changes
                both alike, a blur the first far more; about 0 to -2 where sharp, below -3 where blurred.
    vignette:   the logarithm to base 2 of the mean luma in the corners over that in the middle.
    """
    red, green, blue = np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32) / 255
    luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    light = max(float(luma.mean()), LEAST_LIGHT)
    cast = [float(np.log2(max(float(channel.mean()), LEAST_LIGHT) / light)) for channel in (red, blue)]
    chroma = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return {
        "brightness": float(luma.mean()), "contrast": float(luma.std()), "saturation": float(chroma.mean()),
        "red": cast[0], "blue": cast[1], "sharpness": sharpness(luma), "vignette": vignette(luma),
    }  # fmt: skip


def sharpness(luma: np.ndarray) -> float:
    """Of (H, W) luma, 0..1; see ``of_pixels``. 0 where nothing is there to be sharp."""
    height, width = (side // 4 * 4 for side in luma.shape)
    if min(height, width) < 16:
        return 0.0
    quarter = luma[:height, :width].reshape(height // 4, 4, width // 4, 4).mean((1, 3))
    return float(np.log((1e-7 + _laplacian(luma).var()) / (1e-7 + _laplacian(quarter).var())))


def vignette(luma: np.ndarray) -> float:
    """Of (H, W) luma, 0..1; see ``of_pixels``. 0 of a picture of a few pixels."""
    corners, middle = _places(*luma.shape)
    if not corners.any() or not middle.any():
        return 0.0
    return float(np.log2(max(luma[corners].mean(), LEAST_LIGHT) / max(luma[middle].mean(), LEAST_LIGHT)))


@lru_cache(maxsize=8)
def _places(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) bool: the corners and the middle."""
    far = radius(height, width)
    return far > 1, far < 0.6


def radius(height: int, width: int) -> np.ndarray:
    """(H, W) how far each pixel is from the middle: 1 in the middle of each side."""
    down, across = ((np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1 for side in (height, width))
    return np.sqrt(down[:, None] ** 2 + across[None] ** 2)


def blocks(image: Image.Image) -> float:
    """How much the blocks of a JPEG show; see ``properties``."""
    width, height = image.size
    left, top = (max(0, (side - BLOCKS_SIDE) // 2) for side in (width, height))
    middle = image.crop((left, top, min(width, left + BLOCKS_SIDE), min(height, top + BLOCKS_SIDE)))
    luma = np.asarray(middle.convert("L"), np.int16)
    found = []
    for across in (luma, np.ascontiguousarray(luma.T)):
        steps = np.abs(across[1:] - across[:-1]).sum(1, dtype=np.int32) / across.shape[1]
        if len(steps) < 4 * BLOCK:
            continue
        by_place = np.median(steps[: len(steps) // BLOCK * BLOCK].reshape(-1, BLOCK), 0) + 0.05
        edge, next_to_it = np.sort(by_place)[[-1, -2]]
        found.append(np.log(edge / next_to_it))
    return float(np.mean(found)) if found else 0.0


def _may_have_frame(pixels: np.ndarray) -> bool:
    """Whether the outermost lines are of one colour and lines within are not; the test itself takes far longer."""
    deep = round(MOST_FRAME * min(pixels.shape[:2]))
    if deep < 1:
        return False
    rim, inner = (
        np.concatenate([part[0], part[-1], part[:, 0], part[:, -1]]).astype(np.int16)
        for part in (pixels, pixels[deep:-deep, deep:-deep])
    )
    colour = np.median(rim, 0)
    off = np.abs(inner - colour).max(1) > RIM_EVEN / 4
    return bool((np.abs(rim - colour).max(1) <= RIM_EVEN).mean() > 0.85 and off.mean() > 0.5)


def _laplacian(luma: np.ndarray) -> np.ndarray:
    """(H - 2, W - 2) of (H, W)."""
    inner = luma[1:-1, 1:-1]
    return np.asarray(luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner)
