"""Areas of a picture: the hottest of a heatmap, equal ones elsewhere, and the picture with an area painted over."""

from __future__ import annotations

import numpy as np
from PIL import Image
from torch import Tensor

from saywhy.errors import SaywhyError

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
        raise SaywhyError(f"pictures cannot be masked by {how!r}; there are {', '.join(HOW)}")
    width, height = picture.size
    if mask.shape != (height, width):
        raise SaywhyError(
            f"the mask is of shape {mask.shape}, the picture of {(height, width)}; bring the mask to its size"
        )
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
    return np.stack([np.roll(mask, place, (0, 1)) for place in chosen]) if count else np.zeros((0, *mask.shape), bool)


def top_area(heat: np.ndarray | Tensor, share: float) -> np.ndarray:
    """(H, W) bool: the hottest pixels of a heatmap, a share (above 0, to 1) of all, at least one.

    Of equals those that are first, so that its area does not depend on ties.

    Raises SaywhyError for another share, and a heatmap with values that are no numbers.
    """
    if not 0 < share <= 1:
        raise SaywhyError(f"the share of the picture must lie above 0, to 1; it is {share}")
    values = np.asarray(heat, np.float64)
    if np.isnan(values).any():
        raise SaywhyError("the heatmap holds values that are no numbers (NaN)")
    area = np.zeros(values.size, bool)
    area[np.argsort(-values, axis=None, kind="stable")[: max(1, round(share * values.size))]] = True
    return area.reshape(values.shape)
