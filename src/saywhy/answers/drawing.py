"""Relevance drawn on the picture it belongs to."""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from saywhy.pictures.reading import read_picture
from saywhy.plumbing.names import shown
from saywhy.types import Box, Geometry, Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POSITIVE, NEGATIVE = (214, 39, 40), (31, 98, 190)  # red speaks for the class, blue against it
VISIBLE = 25  # opacity of 255, of a pixel that an eye can see
ALL_BUT = 0.01  # of a side that the network does not see, and nobody misses
LONGEST = 300  # characters of a line in a figure
BOXES = ("#ffb000", "#22c7a9", "#c77dff", "#4cc9f0", "#ff6b9d", "#b5e48c")


def heatmap_rgba(values: np.ndarray) -> np.ndarray:
    """(H, W, 4) uint8 from (H, W) signed relevance: red for, blue against, opaque where strong.

    Full strength is the 99.5th percentile of the magnitude, so that one pixel does not dim all others.
    """
    values = np.nan_to_num(np.asarray(values, np.float64), posinf=0, neginf=0)
    full = np.percentile(np.abs(values), 99.5) or np.abs(values).max() or 1.0
    strength = np.clip(np.abs(values) / full, 0, 1)
    colour = np.where((values > 0)[..., None], POSITIVE, NEGATIVE)
    return np.concatenate([colour, (strength**0.6 * 235)[..., None]], -1).astype(np.uint8)


def overlay(picture: Image.Image, values: np.ndarray, geometry: Geometry) -> Image.Image:
    """The picture, greyed a little, under its heatmap. The picture may be a copy of another size."""
    zoom = picture.width / geometry.size[0], picture.height / geometry.size[1]
    heat = Image.fromarray(heatmap_rgba(values))
    size = [max(1, round(geometry.frame[i] * geometry.scale[i] * zoom[i])) for i in (0, 1)]
    corner = [round(geometry.offset[i] * zoom[i]) for i in (0, 1)]
    grey = Image.blend(picture.convert("RGB"), picture.convert("L").convert("RGB"), 0.75)
    pale = Image.blend(grey, Image.new("RGB", grey.size, "white"), 0.35).convert("RGBA")
    layer = Image.new("RGBA", pale.size)
    layer.paste(heat.resize((size[0], size[1]), Image.Resampling.BILINEAR), (corner[0], corner[1]))
    return Image.alpha_composite(pale, layer).convert("RGB")


def speaks_against(values: np.ndarray) -> bool:
    """Whether a heatmap shows anything in blue that an eye can see."""
    values = np.asarray(values)
    return bool((heatmap_rgba(values)[..., 3][values < 0] >= VISIBLE).any())


def seen_part(geometry: Geometry) -> Box | None:
    """The part of a picture that the network saw, in its pixels; None where that is all of it, or nearly so."""
    box = geometry.to_original((0, 0, *geometry.frame))
    missing = (box[0], box[1], geometry.size[0] - box[2], geometry.size[1] - box[3])
    return box if any(left > ALL_BUT * geometry.size[n % 2] for n, left in enumerate(missing)) else None


def percent_box(box: Box, width: int, height: int) -> str:
    """Where a box lies on a picture of a page, as a style."""
    left, top, right, bottom = box
    return (
        f"left:{100 * left / width:.2f}%;top:{100 * top / height:.2f}%;"
        f"width:{100 * (right - left) / width:.2f}%;height:{100 * (bottom - top) / height:.2f}%"
    )


def open_picture(picture: Picture) -> Image.Image:
    """The display copy of a picture."""
    return read_picture(picture.jpeg)


def literal(text: str) -> str:
    """A text of a figure, in its lines: matplotlib reads dollar signs as mathematics, and cannot draw what is not seen.

    Of very long lines the middle is left out: no figure is so wide.
    """
    return "\n".join(shown(line, LONGEST) for line in text.split("\n")).replace("$", r"\$")


def new_figure(**options: Any) -> Figure:
    """An empty matplotlib figure that shows itself in a notebook, whatever backend is set. options: of ``Figure``."""
    return _figure_class()(**options)


def as_png(figure: Figure, dpi: int = 110) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


@cache
def _figure_class() -> type[Figure]:
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        def _repr_png_(self) -> bytes:
            return as_png(self)

    return ShownFigure
