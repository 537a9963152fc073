"""Figures of the surgery study: verdict against truth, matched channels, and what a heatmap cannot tell."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from saywhy.classifiers.classifier import Classifier
from saywhy.classifiers.layers import recorded, resized, stages
from saywhy.intervals import Interval
from saywhy.spaces.clip import ClipSpace
from saywhy.spaces.operated import image_tower, match_classifier
from saywhy.spaces.surgery.matching import LayerMatch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAIRS = 6  # matched channels shown
RED, BLUE, GREY = "#c0392b", "#2c6fbb", "#888888"


def verdict_figure(rows: Sequence[Mapping[str, Any]], controls: Sequence[Mapping[str, Any]]) -> bytes:
    """The verdict of each classifier against its true bias, with the controls' intervals as bands."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axis = figure.subplots()
    for control, colour in zip([c for c in controls if c["low"] is not None][:2], (GREY, BLUE), strict=True):
        axis.axhspan(control["low"], control["high"], color=colour, alpha=0.25, lw=0, label=control["control"])
    for row in rows:
        spread = [[row["verdict"] - row["low"]], [row["high"] - row["verdict"]]]
        axis.errorbar(row["colour's share"], row["verdict"], spread, fmt="o", ms=5, color=RED, lw=1)
    axis.axhline(0, color="black", lw=0.8)
    axis.set_xlabel("true bias: share of the logit margin that the colour moves")
    axis.set_ylabel("verdict of the captions: colour kept - shape kept")
    axis.legend(frameon=False, fontsize=8, loc="upper left")
    axis.spines[["top", "right"]].set_visible(False)
    return _png(figure)


@torch.no_grad()
def matching_figure(clip: ClipSpace, classifier: Classifier, images: Sequence[Image.Image]) -> bytes:
    """Channels of CLIP's first stage beside the classifier's that go with them best, on the same four pictures."""
    from matplotlib.figure import Figure

    tower = image_tower(clip)
    pixels = torch.stack([clip.transform(image) for image in images[:4]]).to(clip.device)
    first = stages(tower, pixels)[0]
    (layer,) = match_classifier(clip, classifier, images, layers="stages", clip_layers=[first]).layers
    names = [name for name, _ in layer.sources]
    with recorded(tower, [first]) as own, recorded(classifier.network, names) as others:
        tower(pixels)
        classifier.logits(classifier.preprocess(images[:4]))
    ours = own[first].cpu()
    grid = (ours.shape[2], ours.shape[3])
    theirs = torch.cat([resized(others[name].cpu(), grid) for name in names], 1)
    order = layer.scores.argsort(descending=True)[: min(PAIRS, int(layer.matched.sum()))]
    figure = Figure(figsize=(9, 1.1 * len(order) + 1.2), layout="constrained")
    axes = figure.subplots(len(order) + 1, 9, width_ratios=[1.6, *[1] * 8], squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for n, image in enumerate(images[:4]):
        axes[0, 1 + n].imshow(image)
        axes[0, 5 + n].imshow(image)
    axes[0, 1].set_title("CLIP's channel", loc="left", fontsize=9)
    axes[0, 5].set_title("the classifier's that goes with it", loc="left", fontsize=9)
    for row, channel in zip(axes[1:], order.tolist(), strict=True):
        text = f"{layer.layer} {channel}\n{_source_name(layer, channel)}\nr = {layer.scores[channel]:.2f}"
        row[0].text(0, 0.5, text, fontsize=8, va="center")
        for start, maps in ((1, ours[:, channel]), (5, theirs[:, int(layer.channels[channel])])):
            for n, one in enumerate(maps):
                row[start + n].imshow(one.numpy(), vmin=float(maps.min()), vmax=float(maps.max()), cmap="viridis")
    return _png(figure)


def _source_name(layer: LayerMatch, channel: int) -> str:
    """ "layer3 17" of the source's channel that goes with one of the target's."""
    place = int(layer.channels[channel])
    for name, count in layer.sources:
        if place < count:
            return f"{name} {place}"
        place -= count
    raise IndexError(channel)


def bias_figure(
    images: Sequence[Image.Image],
    maps: Mapping[str, np.ndarray],
    bars: Mapping[str, tuple[Interval, Interval]],
) -> bytes:
    """Pictures, each classifier's Grad-CAM of them, and beside it what is kept of colour and of shape."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.6 * len(images) + 3.4, 1.7 * (len(maps) + 1)), layout="constrained")
    axes = figure.subplots(len(maps) + 1, len(images) + 1, width_ratios=[*[1] * len(images), 1.8], squeeze=False)
    for axis in (*axes[:, :-1].flat, axes[0, -1]):
        axis.set_axis_off()
    for axis, image in zip(axes[0], images, strict=False):
        axis.imshow(image)
    widest = 1.05 * max(1.0, *(bar.high for pair in bars.values() for bar in pair))
    for row, (name, heat) in zip(axes[1:], maps.items(), strict=True):
        for axis, one in zip(row, heat, strict=False):
            axis.imshow(one, cmap="inferno")
        row[0].set_title(f"Grad-CAM, {name}", loc="left", fontsize=9)
        for place, (estimate, colour) in enumerate(zip(bars[name], (RED, BLUE), strict=True)):
            spread = [[estimate.value - estimate.low], [estimate.high - estimate.value]]
            row[-1].barh(1 - place, estimate.value, xerr=spread, color=colour, height=0.6)
        row[-1].set_yticks([1, 0], ["red | green", "5 | 8"])
        row[-1].set_xlim(min(0.0, *(bar.low for pair in bars.values() for bar in pair)), widest)
        row[-1].axvline(1, color="black", lw=0.8, ls=":")
        row[-1].set_title(f"left to captions, {name} (CLIP: 1)", loc="left", fontsize=9)
        row[-1].spines[["top", "right"]].set_visible(False)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()
