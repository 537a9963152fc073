"""Relevance drawn on the picture it belongs to."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from saywhy.types import Explanation, Geometry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POSITIVE, NEGATIVE = (214, 39, 40), (31, 98, 190)  # red speaks for the class, blue against it
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
    place = [round(geometry.offset[i] * zoom[i]) for i in (0, 1)]
    grey = Image.blend(picture.convert("RGB"), picture.convert("L").convert("RGB"), 0.75)
    pale = Image.blend(grey, Image.new("RGB", grey.size, "white"), 0.35).convert("RGBA")
    layer = Image.new("RGBA", pale.size)
    layer.paste(heat.resize((size[0], size[1]), Image.Resampling.BILINEAR), (place[0], place[1]))
    return Image.alpha_composite(pale, layer).convert("RGB")


def open_picture(explanation: Explanation) -> Image.Image:
    """The display copy of the explained picture."""
    return Image.open(io.BytesIO(explanation.picture.jpeg)).convert("RGB")


def display_box(explanation: Explanation, region: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box of a region on a copy of the picture of ``size``, at least one pixel wide and high."""
    zoom = size[0] / explanation.picture.width, size[1] / explanation.picture.height
    box = [round(edge * zoom[i % 2]) for i, edge in enumerate(explanation.regions[region].box)]
    left, top = min(box[0], size[0] - 1), min(box[1], size[1] - 1)
    return left, top, max(box[2], left + 1), max(box[3], top + 1)


def draw_explanation(explanation: Explanation) -> Figure:
    """A matplotlib figure: the picture with its boxes, the heatmap, each region with its labels, and the sentence."""
    from textwrap import fill

    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    picture = open_picture(explanation)
    count = max(len(explanation.regions), 1)
    figure = Figure(figsize=(4.2 + 4.2 + 2.4 * count, 4.6), layout="constrained")
    axes = figure.subplots(1, 2 + count, width_ratios=[4.2, 4.2, *[2.4] * count])
    axes[0].imshow(picture)
    axes[1].imshow(overlay(picture, explanation.heatmap.values[0].numpy(), explanation.geometry))
    axes[0].set_title(literal(f"{explanation.target.name} ({explanation.target.probability:.2f})"))
    axes[1].set_title("red: for it, blue: against")
    for axis in axes:
        axis.set_axis_off()
    for n, finding in enumerate(explanation.findings):
        left, top, right, bottom = box = display_box(explanation, n, picture.size)
        colour = BOXES[n % len(BOXES)]
        for axis in axes[:2]:
            axis.add_patch(
                Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=2)
            )
        axis = axes[2 + n]
        axis.imshow(picture.crop(box))
        axis.set_title(f"{n + 1}: {explanation.regions[n].share:.0%} of relevance", color=colour, fontsize=9)
        words = [label.text for label in finding.labels[:3]] if finding.fits else ["nothing fits"]
        axis.text(0.5, -0.04, literal("\n".join(words)), transform=axis.transAxes, ha="center", va="top", fontsize=9)
    figure.suptitle(literal(fill(explanation.summary.replace("*", ""), 130)), fontsize=10)
    return figure


def literal(text: str) -> str:
    """matplotlib reads dollar signs as mathematics."""
    return text.replace("$", r"\$")
