"""Figures of the surgery study: verdict against truth, matched channels, and what a heatmap cannot tell."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from saywhy.activation_matching import Matching
from saywhy.ask import Estimate
from saywhy.class_evidence import EVIDENCE, class_evidence
from saywhy.classifiers import Classifier
from saywhy.clip_space import ClipSpace
from saywhy.feature_maps import recorded, resized
from saywhy.modules import frozen
from saywhy.operated_space import image_tower, match_classifier

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
    """Channels of CLIP beside the classifier's that replace them, on the same four pictures; the best matches."""
    from matplotlib.figure import Figure

    matching = match_classifier(clip, classifier, images, clip_layers="stages")
    layer, ours, theirs = _best_layer(matching, clip, classifier, images[:4])
    order = layer.scores.argsort(descending=True)[: min(PAIRS, int(layer.matched.sum()))]
    figure = Figure(figsize=(9, 1.25 * len(order) + 0.6), layout="constrained")
    axes = figure.subplots(len(order) + 1, 9, width_ratios=[1.6, *[1] * 8], squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for n, image in enumerate(images[:4]):
        axes[0, 1 + n].imshow(image)
        axes[0, 5 + n].imshow(image)
    axes[0, 1].set_title("CLIP's channel", loc="left", fontsize=9)
    axes[0, 5].set_title(f"that of {classifier.name.rpartition('/')[2]}", loc="left", fontsize=9)
    for row, channel in zip(axes[1:], order.tolist(), strict=True):
        text = f"{layer.layer} {channel}\n{_source_name(layer, channel)}\nr = {layer.scores[channel]:.2f}"
        row[0].text(0, 0.5, text, fontsize=8, va="center")
        for start, maps in ((1, ours[:, channel]), (5, theirs[:, int(layer.channels[channel])])):
            for n, one in enumerate(maps):
                row[start + n].imshow(one.numpy(), vmin=float(maps.min()), vmax=float(maps.max()), cmap="viridis")
    return _png(figure)


def _best_layer(matching: Matching, clip: ClipSpace, classifier: Classifier, images: Sequence[Image.Image]) -> Any:
    """The layer with most positions of those with a match; its maps, and the evidence on its grid (N, C, h, w)."""
    tower = image_tower(clip)
    pixels = torch.stack([clip.transform(image) for image in images]).to(clip.device)
    layer = next((one for one in matching.layers if one.matched.any()), matching.layers[0])
    their_pixels = classifier.preprocess(images).to(classifier.device, classifier.dtype)
    source = class_evidence(classifier, their_pixels)
    with (
        frozen(tower), frozen(source),
        recorded(tower, [layer.layer]) as ours, recorded(source, [EVIDENCE]) as theirs,
    ):  # fmt: skip
        tower(pixels)
        source(their_pixels)
    height, width = ours[layer.layer].shape[2:]
    return layer, ours[layer.layer].cpu(), resized(theirs[EVIDENCE].cpu().float(), (height, width))


def _source_name(layer: Any, channel: int) -> str:
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
    bars: Mapping[str, tuple[Estimate, Estimate]],
) -> bytes:
    """For each classifier: Grad-CAM on the same pictures, and beside it what is kept of colour and of shape."""
    from matplotlib.figure import Figure

    shown = [estimate for pair in bars.values() for estimate in pair]
    figure = Figure(figsize=(2 * len(images) + 3.2, 2.1 * len(maps)), layout="constrained")
    axes = figure.subplots(len(maps), len(images) + 1, width_ratios=[*[1] * len(images), 1.6], squeeze=False)
    for row, (name, heat) in zip(axes, maps.items(), strict=True):
        for axis, image, one in zip(row, images, heat, strict=False):
            axis.imshow(image)
            axis.imshow(one, cmap="inferno", alpha=0.55, extent=(0, image.width, image.height, 0))
            axis.set_axis_off()
        row[0].set_title(f"{name}: Grad-CAM", loc="left", fontsize=9)
        for place, (estimate, colour) in enumerate(zip(bars[name], (RED, BLUE), strict=True)):
            spread = [[estimate.value - estimate.low], [estimate.high - estimate.value]]
            row[-1].barh(1 - place, estimate.value, xerr=spread, color=colour, height=0.6)
        row[-1].set_yticks([1, 0], ["colour", "shape"])
        row[-1].set_xlim(min(0, *(one.low for one in shown)), 1.05 * max(1, *(one.high for one in shown)))
        row[-1].set_title("what captions still tell apart", loc="left", fontsize=9)
        row[-1].spines[["top", "right"]].set_visible(False)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()
