"""Where is a text in a picture, as CLIP sees it? The region of each picture that a text is in.

``why`` shows these regions, and the test of whether a rationale is used blurs them: in photographs nobody knows where
its part is, but the method can be asked where it sees it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saywhy.attribution.gscorecam import CHANNELS
from saywhy.attribution.regions import top_area
from saywhy.errors import SaywhyError
from saywhy.pictures.geometry import Transform, probe_geometry
from saywhy.spaces.text_heat import text_heat
from saywhy.spaces.traits import tower_of
from saywhy.types import Geometry, Space

SHARE = 0.15  # of the frame that a region covers, at most
SMOOTHING = 0.03  # sd of the Gaussian, as a share of the frame's shorter side, as in attribution/regions.py
ROUNDING = 1e-6  # of the strongest relevance, below which it says nothing
BATCH = 16  # pictures preprocessed together


class Seeing(Space, Protocol):
    """A CLIP, as it is or tuned."""

    @property
    def scale(self) -> float:
        """What cosines are multiplied by before a softmax over texts."""


def rationale_masks(
    space: Seeing,
    pictures: Sequence[Image.Image],
    texts: Tensor,
    share: float = SHARE,
    method: str = "lrp",
    channels: int = CHANNELS,
) -> list[np.ndarray]:
    """Where in each of N RGB pictures its text is, as the space sees it: (H, W) bool masks in the pictures' pixels.

    texts: (N, d) unit vectors, one for each picture.
    share: of the preprocessed frame that a mask covers. Less where less of the frame speaks for the text; where nothing
           does, the mask is empty. What lies outside the frame, which the tower does not see, is never in it.
    method, channels: see ``text_heat``.

    Raises SaywhyError where there are not N texts, for a share outside (0, 1], and as ``tower_of``, ``text_heat`` and
    ``probe_geometry``.
    """
    if len(texts) != len(pictures):
        raise SaywhyError(f"{len(texts)} texts for {len(pictures)} pictures; give one for each")
    tower, clip = tower_of(space)
    masks = []
    for start in range(0, len(pictures), BATCH):
        batch = pictures[start : start + BATCH]
        pixels = torch.stack([clip.transform(picture) for picture in batch]).to(clip.device)
        heats = text_heat(tower, pixels, texts[start : start + BATCH], space.scale, method, channels)
        geometries = {size: probe_geometry(clip.transform, size) for size in {picture.size for picture in batch}}
        masks += [
            on_picture(hot(heat.numpy(), share), geometries[picture.size])
            for heat, picture in zip(heats, batch, strict=True)
        ]
    return masks


def hot(heat: np.ndarray, share: float = SHARE) -> np.ndarray:
    """(H, W) bool: the hottest pixels of a signed heatmap, a share of all, and none that is not positive.

    Smoothed as for ``find_regions``, so that a pixel speaks for its neighbourhood: single hot pixels would leave
    specks, too small for a blur to hide anything.

    Raises SaywhyError as ``top_area``.
    """
    from scipy.ndimage import gaussian_filter

    positive = np.clip(heat.astype(np.float64), 0, None)
    smooth = gaussian_filter(positive, SMOOTHING * min(heat.shape), mode="constant")
    return top_area(smooth, share) & (smooth > ROUNDING * np.abs(heat).max())


def on_picture(area: np.ndarray, geometry: Geometry) -> np.ndarray:
    """(H, W) bool in the picture's pixels, of a mask, bool, of the preprocessed frame; False outside the frame."""
    inside, at = [], []
    for axis in (0, 1):
        centres = np.arange(geometry.size[axis]) + 0.5  # of the pixels
        on_frame = np.floor((centres - geometry.offset[axis]) / geometry.scale[axis]).astype(int)
        inside.append((on_frame >= 0) & (on_frame < geometry.frame[axis]))
        at.append(on_frame.clip(0, geometry.frame[axis] - 1))
    return area[np.ix_(at[1], at[0])] & np.outer(inside[1], inside[0])


def as_seen(picture: Image.Image, transform: Transform) -> Image.Image:
    """What a network sees of a picture: the part that is in its frame, in no more pixels than it has there.

    The transform gives the same for it as for the picture, up to rounding. Every area of it can be seen, while an area
    of the picture may have been cut off.

    Raises SaywhyError as ``probe_geometry``.
    """
    geometry = probe_geometry(transform, picture.size)
    box = geometry.to_original((0, 0, *geometry.frame))
    size = [max(1, round((box[i + 2] - box[i]) / max(geometry.scale[i], 1))) for i in (0, 1)]
    return picture.resize((size[0], size[1]), Image.Resampling.BICUBIC, box)
