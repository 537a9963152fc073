"""Where the preprocessed frame lies on the original picture, found by probing and not by a table of transforms.

A transform is run on four pictures of the size in question: black, white, and two ramps whose grey grows from left to
right and from top to bottom. ``(ramp - black) / (white - black)`` undoes any normalisation per channel, so it says for
every pixel of the frame which column (row) of the original it shows; a line through these values is the geometry.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.types import Geometry

Transform = Callable[[Image.Image], Tensor]
"""From an RGB picture to the (C, H, W) input of a network."""

TINY_SIDE = 64  # pixels: ramps on pictures smaller than this are probed on an enlarged copy


def probe_geometry(transform: Transform, size: tuple[int, int]) -> Geometry:
    """The geometry of ``transform`` on pictures of ``size`` (width, height).

    Exact to a fraction of an original pixel for resizes, crops and pads in any order. Raises SaywhyError where the
    transform is anything else (random, rotating, mirrored).
    """
    zoom = max(1, -(-TINY_SIDE // min(size))) if min(size) < TINY_SIDE else 1
    probe_size = (size[0] * zoom, size[1] * zoom)
    black, white = (_run(transform, Image.new("RGB", probe_size, colour)) for colour in ("black", "white"))
    shown = (white - black).abs() > 1e-6  # elsewhere the transform has padded
    frame = (black.shape[-1], black.shape[-2])
    kept = zoom > 1 and frame == probe_size and _run(transform, Image.new("RGB", size)).shape[-2:] == (size[1], size[0])
    if kept:  # the enlarged copy stands for itself
        zoom, frame = 1, size
    scale, offset = [], []
    for axis in (0, 1):
        ramp = _run(transform, _ramp(probe_size, axis))
        position = torch.where(shown, (ramp - black) / (white - black), torch.nan).nanmean(0)  # (H, W), 0..1 along axis
        line = position.nanmean(axis).numpy() * 255  # the grey value in each column (row) of the frame
        slope, start = _fit(line, probe_size[axis])
        spread = float((position - position.nanmean(axis, keepdim=True)).abs().nan_to_num().max()) * 255
        steady = axis == 1 or torch.equal(ramp, _run(transform, _ramp(probe_size, axis)))
        if slope <= 0 or spread > 6 or not steady:
            raise SaywhyError(
                "the classifier's transform is not a fixed resize, crop or pad (it mirrors, rotates or is random), so "
                "boxes cannot be placed on the original picture; use its evaluation transform"
            )
        scale.append(slope / zoom)
        offset.append(start / zoom)
    return Geometry(size, frame, (scale[0], scale[1]), (offset[0], offset[1]))


def _run(transform: Transform, image: Image.Image) -> Tensor:
    return torch.as_tensor(transform(image)).float().cpu()


def _ramp(size: tuple[int, int], axis: int) -> Image.Image:
    """Grey that grows from 0 at the first to 255 at the last column (axis 0) or row (axis 1)."""
    length = size[axis]
    values = np.rint(np.arange(length) * (255 / (length - 1))).astype(np.uint8)
    grid = np.broadcast_to(values if axis == 0 else values[:, None], (size[1], size[0]))
    return Image.fromarray(np.ascontiguousarray(grid)).convert("RGB")


def _fit(grey: np.ndarray, length: int) -> tuple[float, float]:
    """(original pixels per frame pixel, original coordinate of the frame's first edge) from a line of grey values."""
    centre = grey * ((length - 1) / 255) + 0.5  # the original coordinate that each frame pixel's centre shows
    pixel = np.arange(len(grey)) + 0.5
    inside = np.isfinite(grey) & (grey > 4) & (grey < 251)  # resampling bends the ramp at the picture's borders
    if inside.sum() < 2:
        inside = np.isfinite(grey)
    slope, start = np.polyfit(pixel[inside], centre[inside], 1)
    if np.abs(slope * pixel[inside] + start - centre[inside]).max() > 0.02 * length + 1:
        slope = -1.0  # bent: no resize
    return float(slope), float(start)


def pixel_range(transform: Transform) -> tuple[Tensor, Tensor]:
    """(C,), (C,): the values that black and white have in the network's input."""
    black, white = (_run(transform, Image.new("RGB", (256, 256), colour)) for colour in ("black", "white"))
    return black.flatten(1).amin(1), white.flatten(1).amax(1)


def pasted(image: Image.Image, frame: Image.Image, mask: np.ndarray, geometry: Geometry) -> Image.Image:
    """The picture with what a frame shows under a mask (h, w) bool, where the frame lies; all else as it was."""
    size = [max(1, round(geometry.frame[i] * geometry.scale[i])) for i in (0, 1)]
    corner = round(geometry.offset[0]), round(geometry.offset[1])
    where = Image.fromarray((mask * 255).astype(np.uint8)).resize((size[0], size[1]), Image.Resampling.BILINEAR)
    changed = image.convert("RGB")
    changed.paste(frame.convert("RGB").resize((size[0], size[1]), Image.Resampling.BICUBIC), corner, where)
    return changed
