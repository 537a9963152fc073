"""Areas of a picture: the hottest of a heatmap, equal ones elsewhere, and the picture with an area painted over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from PIL import Image

from saywhy.errors import SaywhyError
from saywhy.plumbing.names import unknown

HOW = ("blur", "mean")
SPREAD = 1 / 16  # standard deviation of the blur, over the longer side
FARTHEST = 0.1  # share of all places from which an equal area is drawn where few or none are free of the first


def masked(picture: Image.Image, mask: np.ndarray, how: str = "blur") -> Image.Image:
    """The picture with the pixels under a mask, (H, W) bool, painted over; the others as they were.

    how: "blur": with the colours around, which run in from outside the mask, so that nothing of what was there shines
         through; "mean": with the mean colour of what is outside. Where nothing is, with that of the picture.

    Raises SaywhyError for another ``how``, and a mask that is not of the picture's size.
    """
    if how not in HOW:
        raise unknown("masking", how, HOW)
    width, height = picture.size
    if mask.shape != (height, width):
        raise SaywhyError(f"the mask is of shape {mask.shape}, the picture of {(height, width)}; resize the mask")
    mask = mask.astype(bool)
    pixels = np.array(picture.convert("RGB"), np.float32)
    outside = ~mask if not mask.all() else mask
    colour = pixels[outside].mean(0)
    if how == "mean" or mask.all():
        pixels[mask] = colour
    else:
        faint = 1e-3  # deep inside, where nothing runs in, the mean
        around = _blurred(outside[..., None].astype(np.float32)) + faint
        pixels[mask] = ((_blurred(pixels * outside[..., None]) + faint * colour) / around)[mask]
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def _blurred(values: np.ndarray) -> np.ndarray:
    """(H, W, n) blurred by three boxes: almost a Gaussian, in a time that does not grow with its width."""
    from scipy.ndimage import uniform_filter

    side = max(3, round(2 * SPREAD * max(values.shape[:2])))
    for _ in range(3):
        values = uniform_filter(values, (side, side, 1))
    return values


def random_masks_like(mask: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, H, W) bool: the mask, (H, W), moved to random places; what leaves on one side comes in on the other.

    All have its area. Places where they do not meet it at all are drawn evenly where those are many; else the tenth of
    all places where they meet it least. Each place once, while there are.
    """
    mask = mask.astype(bool)
    overlap = np.fft.irfft2(np.abs(np.fft.rfft2(mask)) ** 2, mask.shape).round()
    places = np.argwhere(overlap <= np.quantile(overlap, FARTHEST, method="lower"))
    chosen = rng.choice(places, count, replace=len(places) < count)
    return np.stack([np.roll(mask, shift, (0, 1)) for shift in chosen]) if count else np.zeros((0, *mask.shape), bool)


@final
@dataclass(frozen=True, eq=False)
class Trial:
    """A picture, the same without what its rationale is about, and the same without equal areas elsewhere."""

    picture: Image.Image
    changed: Image.Image
    elsewhere: tuple[Image.Image, ...]


def trial(
    picture: Image.Image,
    mask: np.ndarray,
    draws: int,
    rng: np.random.Generator,
    how: str = "blur",
    changed: Image.Image | None = None,
) -> Trial:
    """A picture without what is under a mask, (H, W) bool, and without as many equal areas elsewhere as draws.

    changed: the picture without it, where it is better known than by masking (drawn again without the part). What is
             masked elsewhere then leaves traces that it does not, so the test is the stricter.

    Raises SaywhyError as ``masked``, and for draws below 1.
    """
    check_draws(draws)
    areas = random_masks_like(mask, draws, rng)
    return Trial(
        picture,
        masked(picture, mask, how) if changed is None else changed,
        tuple(masked(picture, area, how) for area in areas),
    )


def check_draws(draws: int) -> None:
    if draws < 1:
        raise SaywhyError(f"draws must be at least 1; it is {draws}")
