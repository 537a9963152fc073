"""Pictures in which the place of something is filled with something else, in the preprocessed frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

RING = 0.04  # of the frame's shorter side: how wide the ring around a place is whose mean colour fills it


def ring(pixels: Tensor, masks: Tensor) -> Tensor:
    """(M, C, h, w): one picture (C, h, w) with the pixels under each of M masks (M, h, w) at the mean of those around.

    Around are the pixels of a ring of RING; where a mask leaves no ring, all pixels outside it; where it leaves none,
    the picture's own mean.
    """
    inside = masks.to(pixels.device, torch.bool)
    width = max(2, round(RING * min(pixels.shape[1:])))
    outside = _grown(inside, width) & ~inside
    for around in (~inside, torch.ones_like(inside)):
        outside = torch.where(outside.flatten(1).any(1)[:, None, None], outside, around)
    weights = outside.to(torch.float32)
    colours = torch.einsum("mhw,chw->mc", weights, pixels.float()) / weights.sum((1, 2))[:, None]
    return torch.where(inside[:, None], colours[:, :, None, None].to(pixels.dtype), pixels[None])


def others(pixels: Tensor, masks: Tensor, pictures: Tensor) -> Tensor:
    """(M, C, h, w): one picture (C, h, w) with what another shows at the same place under each mask (M, h, w).

    pictures: (M, C, h, w), one for each mask.
    """
    return torch.where(masks.to(pixels.device, torch.bool)[:, None], pictures, pixels[None])


def rest(pixels: Tensor, masks: Tensor) -> Tensor:
    """(M, C, h, w): one picture (C, h, w) of which only what is under each of M masks (M, h, w) is left.

    All else has its own mean colour; of a mask that leaves nothing out, all is left.
    """
    outside = ~masks.to(pixels.device, torch.bool)
    weights = outside.to(torch.float32)
    colours = torch.einsum("mhw,chw->mc", weights, pixels.float()) / weights.sum((1, 2)).clamp(min=1)[:, None]
    return torch.where(outside[:, None], colours[:, :, None, None].to(pixels.dtype), pixels[None])


def _grown(masks: Tensor, width: int) -> Tensor:
    """(M, h, w) bool: masks grown by so many pixels in each direction."""
    counts = F.pad(masks.int(), (width + 1, width, width + 1, width)).cumsum(1).cumsum(2)  # of true pixels before each
    side = 2 * width + 1
    lower, upper = counts[:, side:], counts[:, :-side]
    return lower[:, :, side:] - lower[:, :, :-side] - upper[:, :, side:] + upper[:, :, :-side] > 0
