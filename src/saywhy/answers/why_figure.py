"""An answer and its rationales, drawn: the picture, and where each rationale is."""

from __future__ import annotations

import io
from textwrap import fill
from typing import TYPE_CHECKING

from PIL import Image

from saywhy.answers.drawing import literal, overlay
from saywhy.questions.why import Reason, Why

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAPS = ("with the category", "by itself")
FEWEST_COLUMNS = 3  # the sentence needs some width


def draw_why(why: Why) -> Figure:
    """A matplotlib figure: the picture, and a column of two heatmaps for each rationale; the sentence above."""
    from matplotlib.figure import Figure

    picture = why_picture(why)
    shown = [reason for reason in why.reasons if reason.heat is not None]
    columns = 1 + len(shown)
    width = 3.0 * max(columns, FEWEST_COLUMNS)
    rows = 2 if shown else 1
    tall = picture.height / picture.width
    figure = Figure(figsize=(width, 1.1 + rows * (0.25 + 3.0 * min(max(tall, 0.5), 1.6))), layout="constrained")
    axes = figure.subplots(rows, max(columns, FEWEST_COLUMNS), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    axes[0, 0].imshow(picture)
    axes[0, 0].set_title(literal(fill(f"{why.category} ({why.probability:.2f})", 30)), fontsize=10)
    for n, reason in enumerate(shown, start=1):
        assert reason.heat is not None
        for row, what in enumerate(MAPS):
            axes[row, n].imshow(overlay(picture, reason.heat[row].numpy(), why.geometry))
            title = f"{reason_title(reason)}\n{what}" if row == 0 else what
            axes[row, n].set_title(literal(title), fontsize=9)
    if shown:
        signed = why.settings["method"] == "lrp"
        legend = "red: speaks for it\nblue: against it" if signed else "red: where it is seen"
        axes[1, 0].text(0.0, 1.0, f"{why.settings['method']}\n{legend}", va="top", fontsize=9, color="#60666d")
    figure.suptitle(literal(fill(why.sentence, round(13 * width))), fontsize=11)
    return figure


def why_picture(why: Why) -> Image.Image:
    """The display copy of the picture."""
    return Image.open(io.BytesIO(why.picture.jpeg)).convert("RGB")


def reason_title(reason: Reason) -> str:
    """ "a long tail", and below it "P(r) 0.41, +2.3 sd": P(r | I), and how far it stands out where that is known."""
    out = "" if reason.unusual is None else f", {reason.unusual:+.1f} sd"
    return f"{fill(reason.rationale, 34)}\nP(r) {reason.probability:.2f}{out}"
