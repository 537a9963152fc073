"""What can be measured in a picture and said in plain words: flat pieces by colour, shape and place; frames; light.

No network is asked. Colours are compared in CIE Lab, where a distance (delta E) of 2 or 3 can just be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import final

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from saywhy.types import Box

SIDE = 160  # pixels of the shorter side at which a picture is measured, where it is larger
LONGEST = 4 * SIDE  # pixels of the longer side
COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (25, 25, 28),
    "white": (246, 246, 244),
    "grey": (138, 140, 144),
    "red": (205, 42, 44),
    "orange": (238, 130, 32),
    "yellow": (246, 208, 50),
    "green": (66, 148, 74),
    "blue": (48, 104, 190),
    "purple": (126, 62, 158),
    "brown": (126, 84, 50),
    "pink": (240, 150, 176),
}
"""Basic colour words (Berlin and Kay, 1969) -> RGB."""
COLOURLESS = ("black", "white", "grey")
COLOURED = 20.0  # chroma in Lab from which a colour is no black, white or grey, however far its nearest colour lies
SQUARE, RECTANGLE, DISC, BAR, LETTER = "square", "rectangle", "disc", "bar", "letter-like mark"
FLAT = 8.0  # delta E between neighbours of one piece, at most
AROUND = 4  # pixels around a piece that its colour is held against
LEAST, MOST = 0.0008, 0.12  # of the picture: the area of a piece
CORNER = 0.25  # of the picture's side: a letter-like mark has its centre this near to two sides
LETTER_HEIGHT = (0.055, 0.3)  # of the picture's shorter side
FRAME_WIDTH = (0.015, 0.15)  # of the picture's shorter side
FRAME_EVEN = 6.0  # delta E: the median distance of a frame's pixels from its colour, at most
FRAME_STEP = 12.0  # delta E across a frame's inner edge
FRAME_EDGE = 0.75  # the share of each inner edge at which the colour steps


@final
@dataclass(frozen=True, eq=False)
class Piece:
    """A flat piece of a picture.

    mask:     (H, W) bool. box: (left, top, right, bottom) there, right and bottom exclusive.
    shape:    SQUARE, RECTANGLE, DISC, BAR, LETTER; "" of none of these.
    contrast: delta E between its colour and that of what is around it.
    """

    mask: np.ndarray
    box: Box
    colour: str
    shape: str
    contrast: float

    @property
    def area(self) -> float:
        """Its share of the picture."""
        return float(self.mask.mean())


@final
@dataclass(frozen=True, eq=False)
class Frame:
    """A border of one colour on all four sides. mask: (H, W) bool."""

    mask: np.ndarray
    colour: str


def measured(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8: an RGB picture, reduced to SIDE pixels at its shorter side, LONGEST at its longer."""
    zoom = min(SIDE / min(image.size), LONGEST / max(image.size))
    if zoom < 1:
        size = tuple(max(1, round(zoom * length)) for length in image.size)
        image = image.resize((size[0], size[1]), Image.Resampling.BOX)
    return np.asarray(image.convert("RGB"))


def in_lab(pixels: np.ndarray) -> np.ndarray:
    """(..., 3) uint8 RGB in CIE Lab."""
    from skimage.color import rgb2lab

    return np.asarray(rgb2lab(pixels))


@cache
def basic_colours() -> np.ndarray:
    """(11, 3): COLOURS in Lab."""
    return in_lab(np.array([list(COLOURS.values())], np.uint8))[0]


def colour_name(lab: Sequence[float] | np.ndarray) -> str:
    """The basic colour word nearest to a colour (3,) in Lab; of one of COLOURED chroma that is nearest to none, by hue.

    A cyan or a pale blue lies nearer to grey and white than to blue: no basic word has that lightness and hue.
    """
    names, known, asked = list(COLOURS), basic_colours(), np.asarray(lab)
    nearest = names[int(np.linalg.norm(known - asked, axis=1).argmin())]
    if nearest not in COLOURLESS or np.hypot(*asked[1:]) < COLOURED:
        return nearest
    hues = [m for m, name in enumerate(names) if name not in COLOURLESS]
    alike = known[hues, 1:] @ asked[1:] / np.linalg.norm(known[hues, 1:], axis=1)
    return names[hues[int(alike.argmax())]]


def zones(lab: np.ndarray) -> np.ndarray:
    """(H, W) labels from 0 of the connected areas in which neighbours differ by no more than FLAT; lab: (H, W, 3)."""
    height, width = lab.shape[:2]
    index = np.arange(height * width).reshape(height, width)
    right = np.linalg.norm(np.diff(lab, axis=1), axis=2) <= FLAT
    down = np.linalg.norm(np.diff(lab, axis=0), axis=2) <= FLAT
    first = np.concatenate([index[:, :-1][right], index[:-1][down]])
    second = np.concatenate([index[:, 1:][right], index[1:][down]])
    edges = coo_matrix((np.ones(len(first), bool), (first, second)), (index.size, index.size))
    return np.asarray(connected_components(edges, directed=False)[1]).reshape(height, width)


def pieces(pixels: np.ndarray, weight: np.ndarray | None = None, least: float = 0.0) -> list[Piece]:
    """The flat pieces of a picture (H, W, 3) uint8, neither tiny nor large.

    weight: (H, W), of which a piece, a pixel around it counted too, has to hold the share ``least``; letter-like marks
            need none, as they are rare.
    """
    lab = in_lab(pixels)
    labels = zones(lab)
    sizes = np.bincount(labels.ravel())
    fits = (sizes >= max(4, LEAST * labels.size)) & (sizes <= MOST * labels.size)
    enough = 0.0 if weight is None else least * max(float(weight.sum()), 1e-12)
    found = []
    for label, where in enumerate(ndimage.find_objects(labels + 1)):
        if not fits[label]:
            continue
        rows, columns = (slice(max(0, along.start - AROUND), along.stop + AROUND) for along in where)
        mask = labels[rows, columns] == label
        box = (where[1].start, where[0].start, where[1].stop, where[0].stop)
        shape = _shape(labels[where] == label, box, labels.shape)
        grown = ndimage.binary_dilation(mask)
        if weight is not None and shape != LETTER and weight[rows, columns][grown].sum() < enough:
            continue
        around = ndimage.binary_dilation(grown, iterations=AROUND - 1) & ~grown
        colour = np.median(lab[rows, columns][mask], 0)
        beside = np.median(lab[rows, columns][around], 0) if around.any() else colour
        found.append(Piece(labels == label, box, colour_name(colour), shape, float(np.linalg.norm(colour - beside))))
    return found


def _shape(inside: np.ndarray, box: Box, size: tuple[int, int]) -> str:
    """What a piece looks like; inside: the mask in its box."""
    height, width = inside.shape
    extent, aspect = float(inside.mean()), width / height
    if extent >= 0.85 and min(height, width) >= 4:
        return SQUARE if 0.78 <= aspect <= 1.28 else RECTANGLE if 0.3 <= aspect <= 3.3 else BAR
    if _is_letter(inside, box, size):
        return LETTER
    if 0.8 <= aspect <= 1.25 and min(height, width) >= 5 and 0.7 <= extent < 0.85:
        across, down = (np.arange(width) + 0.5) / width - 0.5, (np.arange(height) + 0.5) / height - 0.5
        round_ = across[None] ** 2 + down[:, None] ** 2 <= 0.25
        return DISC if (round_ == inside).mean() >= 0.9 else ""
    return ""


def _is_letter(inside: np.ndarray, box: Box, size: tuple[int, int]) -> bool:
    """Thin strokes of one width, about as wide as high, in a corner."""
    height, width = inside.shape
    short, centre = min(size), ((box[0] + box[2]) / 2 / size[1], (box[1] + box[3]) / 2 / size[0])
    if not LETTER_HEIGHT[0] * short <= height <= LETTER_HEIGHT[1] * short or not 0.25 <= width / height <= 1.5:
        return False
    if any(CORNER < place < 1 - CORNER for place in centre) or box[0] == 0 or box[1] == 0:
        return False
    if box[2] == size[1] or box[3] == size[0] or not 0.12 <= inside.mean() <= 0.72:
        return False
    strokes = ndimage.distance_transform_edt(np.pad(inside, 1))
    thick = 2 * float(strokes.max()) - 1
    return thick <= 0.34 * height and inside.sum() / thick >= 1.4 * height


def frame(pixels: np.ndarray) -> Frame | None:
    """The border of one colour around a picture (H, W, 3) uint8, with a clear inner edge; None where there is none."""
    height, width = pixels.shape[:2]
    lines = [in_lab(line) for line in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])]
    colour = np.median(np.concatenate(lines), 0)
    for line in lines:  # most pictures have none, and all of a picture in Lab takes long
        off = np.linalg.norm(line - colour, axis=1)
        if np.median(off) > FRAME_EVEN or np.quantile(off, 0.9) > FRAME_STEP:
            return None
    lab = in_lab(pixels)
    distance = np.linalg.norm(lab - colour, axis=2)
    sides = (distance, distance[::-1], distance.T, distance.T[::-1])  # lines from the edge inwards
    depths = []
    for side in sides:
        off = side > FRAME_STEP  # how deep each line is of the colour
        depths.append(np.where(off.any(0), off.argmax(0), side.shape[0]))
    across = int(np.median(np.concatenate(depths)))
    short = min(height, width)
    if not FRAME_WIDTH[0] * short <= across <= FRAME_WIDTH[1] * short:
        return None
    for side, depth in zip(sides, depths, strict=True):
        inner = depth[across:-across]
        if np.median(side[max(across - 2, 0), across:-across]) > FRAME_EVEN:  # it fades, as a vignette does
            return None
        if not len(inner) or (np.abs(inner - across) <= max(1, 0.01 * short)).mean() < FRAME_EDGE:
            return None
    mask = np.ones((height, width), bool)
    mask[across:-across, across:-across] = False
    return Frame(mask, colour_name(colour))


LEVELS = (0.5, 2.0, 25.0, 50.0, 75.0, 98.0, 99.5)
"""The percentiles of a picture's brightness that are its levels."""


def levels(pixels: np.ndarray) -> np.ndarray:
    """(len(LEVELS),) of the luma (Rec. 601), 0..1, of a picture (H, W, 3) uint8."""
    luma = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255
    return np.percentile(luma, LEVELS)
