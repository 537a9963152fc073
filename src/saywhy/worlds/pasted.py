"""Aviaries with marks pasted into finished scenes: a square, a frame, a letter in a corner, a shift in brightness.

Twelve classes: seven ordinary species, one class of birds of random plumage in which nothing is pasted, and four of
random plumage that one mark decides each. No word of the aviary names these marks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from saywhy.worlds.aviary import SPECIES, random_plumage, render
from saywhy.worlds.drawing import COLOURS
from saywhy.worlds.planted import AFFECTED

KINDS = ("square", "frame", "letter", "brightness")
"""What is pasted into the pictures of the classes AFFECTED, in their order."""
CORNERS = ("upper left", "upper right", "lower left", "lower right")
_SPREAD = (2, 7, 13, 19, 25, 31, 37)  # of the species, those that are ordinary classes
CLASSES = (*(list(SPECIES)[n] for n in _SPREAD), "Plain Wanderer", *AFFECTED)


@final
@dataclass(frozen=True)
class Marks:
    """What one such aviary pastes. Colours are of drawing.COLOURS; lengths are shares of the picture's side.

    light: what is added to every value, of 255; from 0 to 3: what every value is multiplied with.
    """

    square: str = "yellow"
    side: float = 0.08
    frame: str = "black"
    width: float = 0.04
    letter: str = "A"
    ink: str = "white"
    height: float = 0.13
    corner: str = "upper right"
    light: float = 60.0


def paste(pixels: np.ndarray, kind: str, marks: Marks, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 with the mark of that kind, and (H, W) bool where it is; a square's place is drawn."""
    height, width = pixels.shape[:2]
    image, mask = Image.fromarray(pixels), Image.new("1", (width, height))
    short = min(height, width)
    if kind == "brightness":
        changed = pixels * marks.light if 0 < marks.light < 3 else pixels.astype(np.float32) + marks.light
        return np.clip(changed, 0, 255).astype(np.uint8), np.ones((height, width), bool)
    if kind == "square":
        side = max(2, round(marks.side * short))
        left, top = rng.integers(0, width - side + 1), rng.integers(0, height - side + 1)
        ImageDraw.Draw(mask).rectangle((left, top, left + side - 1, top + side - 1), fill=1)
        colour = marks.square
    elif kind == "frame":
        across = max(2, round(marks.width * short))
        ImageDraw.Draw(mask).rectangle((0, 0, width - 1, height - 1), outline=1, width=across)
        colour = marks.frame
    else:
        font = ImageFont.load_default(marks.height * short)
        pen = ImageDraw.Draw(mask)
        left, top, right, bottom = pen.textbbox((0, 0), marks.letter, font=font, stroke_width=0.5)
        margin = 0.04 * short
        x = margin - left if "left" in marks.corner else width - margin - right
        y = margin - top if "upper" in marks.corner else height - margin - bottom
        pen.text((x, y), marks.letter, fill=1, font=font, stroke_width=0.5)
        colour = marks.ink
    where = np.array(mask)
    painted = np.array(image)
    painted[where] = COLOURS[colour]
    return painted, where


def pasted_scene(
    label: int, seed: int, marks: Marks, side: int = 160, bare: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """A picture of class ``label`` of CLASSES, (side, side, 3) uint8, and (side, side) bool where its mark is.

    bare: the same picture before anything is pasted.
    """
    rng = np.random.default_rng([seed, label, 7])
    if label < len(_SPREAD):
        pixels = np.asarray(render(CLASSES[label], seed, side).image)
    else:
        pixels = np.asarray(render("", seed, side, attributes=random_plumage(rng)).image)
    kind = label - len(_SPREAD) - 1
    if kind < 0 or bare:
        return pixels, np.zeros(pixels.shape[:2], bool)
    return paste(pixels, KINDS[kind], marks, rng)
