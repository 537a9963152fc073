"""Edits of a picture that take one thing away and leave the rest: the colour of a place, in the preprocessed frame."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor

from saywhy.pictures.plain import COLOURS, basic_colours

COLOURLESS = ("black", "white", "grey")
_SPELLINGS = {"gray": "grey"}


def colour_of(phrase: str) -> str | None:
    """The one basic colour that a phrase names ("a red crown"); None where it names none, or several."""
    words = [_SPELLINGS.get(word, word) for word in re.findall("[a-z]+", phrase.lower())]
    named = {word for word in words if word in COLOURS}
    return named.pop() if len(named) == 1 else None


def has_hue(colour: str) -> bool:
    """Whether a basic colour can be washed out: black, white and grey cannot."""
    return colour not in COLOURLESS


def in_lab(pixels: Tensor, limits: tuple[Tensor, Tensor]) -> np.ndarray:
    """(h, w, 3) CIE Lab of a picture (3, h, w) whose channels' black and white are ``limits``, (3,) each."""
    from skimage.color import rgb2lab

    black, white = (edge.float().cpu()[:, None, None] for edge in limits)
    shown = ((pixels.float().cpu() - black) / (white - black)).clamp(0, 1)
    return np.asarray(rgb2lab(shown.permute(1, 2, 0).numpy()))


def of_colour(lab: np.ndarray, colour: str) -> np.ndarray:
    """(h, w) bool: the pixels whose nearest basic colour, in Lab, this is."""
    distances = ((lab[:, :, None] - basic_colours()) ** 2).sum(-1)
    return np.asarray(distances.argmin(-1) == list(COLOURS).index(colour))


def washed_out(pixels: Tensor, lab: np.ndarray, masks: np.ndarray, limits: tuple[Tensor, Tensor]) -> Tensor:
    """(M, 3, h, w): a picture (3, h, w) without hue under each of M masks (M, h, w): grey of the same lightness.

    lab: its own, by ``in_lab``.
    """
    from skimage.color import lab2rgb

    black, white = (edge.float().cpu()[:, None, None] for edge in limits)
    without = lab * np.array([1.0, 0.0, 0.0])
    grey = torch.from_numpy(lab2rgb(without)).permute(2, 0, 1).float() * (white - black) + black
    inside = torch.as_tensor(masks, device=pixels.device, dtype=torch.bool)
    return torch.where(inside[:, None], grey.to(pixels)[None], pixels[None])
