"""How a calibration is shown: a reliability diagram, and a table of what each phrase reached out of fold."""

from __future__ import annotations

import csv
import io
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from saywhy.answers.drawing import as_png, literal, new_figure

if TYPE_CHECKING:
    from saywhy.seen.calibration import Calibration

COLUMNS = ("phrase", "pictures", "base rate", "AUC", "said", "precision when said")


def phrase_rows(calibration: Calibration) -> list[dict[str, str | float]]:
    """A row a phrase, in the order of the vocabulary; NaN where there was nothing to count."""
    figures = calibration.figures
    columns = (figures.known, figures.rate, figures.auc, figures.said, figures.precision)
    return [
        dict(zip(COLUMNS, (phrase, *map(float, values)), strict=True))
        for phrase, *values in zip(calibration.phrases, *columns, strict=True)
    ]


def phrases_csv(calibration: Calibration) -> str:
    """These rows as CSV; empty cells where there was nothing to count."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in phrase_rows(calibration):
        writer.writerow({k: v if isinstance(v, str) else "" if np.isnan(v) else f"{v:.6g}" for k, v in row.items()})
    return text.getvalue()


def reliability_png(calibration: Calibration) -> bytes:
    """A PNG: what got about a probability out of fold, and how often it was there; below, how many pairs that is."""
    of = calibration.reliability
    figure = new_figure(figsize=(5, 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[4, 1], sharex=True)
    above.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    above.plot(of.said, of.true, "o-", color="#2563a8")
    if np.isfinite(calibration.threshold):
        above.axvline(calibration.threshold, color="#c2410c", linewidth=1, linestyle="--")
        above.text(calibration.threshold, 0.02, "said from here ", color="#c2410c", ha="right", fontsize=8)
    above.set(ylabel="share that is there", ylim=(0, 1))
    title = fill(f"{calibration.space}, vocabulary {calibration.vocabulary}: {calibration.basis}", 70)
    above.set_title(literal(title), fontsize=9)
    below.bar(of.said, of.count, width=0.06, color="0.6")
    below.set(xlabel="probability", ylabel="pairs", yscale="log", xlim=(0, 1))
    return as_png(figure)
