"""What an audit keeps of a picture: its row, the rows of its regions, and a thumbnail with its map."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from saywhy.answers.drawing import seen_part
from saywhy.audits.subject import Subject
from saywhy.audits.tables import GRID, KEPT
from saywhy.checks.objects import object_mask
from saywhy.classifiers.classifier import Classifier
from saywhy.classifiers.outputs import MULTI
from saywhy.pictures.collections import Entry
from saywhy.pictures.properties import properties
from saywhy.questions.described import Described, describe
from saywhy.types import Geometry, Region

BORDER = 0.125  # of the frame's shorter side
THUMBNAIL = 96  # pixels, longest side
THUMBNAIL_BYTES, MAP_BYTES = 5000, 2000  # at most
OF_FILE = ("pixels", "aspect", "blocks", "jpeg")  # properties of the whole picture, whatever the network sees
QUALITIES = (80, 60, 40, 20)  # of a JPEG, until it is small enough


@final
@dataclass(frozen=True, eq=False)
class Rows:
    """Of one picture: its row of ``tables.PICTURES`` less number, truth and metadata, and its rows of ``REGIONS``.

    seek: gives its columns about the object that stands out. show: makes its row of ``SHOWN``, less number, with JPEGs
    of at most THUMBNAIL_BYTES and MAP_BYTES. Both take long, and are done for samples.
    """

    picture: Mapping[str, Any]
    regions: Sequence[Mapping[str, Any]]
    seek: Callable[[], Mapping[str, Any]]
    show: Callable[[], Mapping[str, Any]]


def rows_of(subject: Subject, pictures: Sequence[tuple[str, Image.Image]]) -> list[Rows]:
    """What is kept of each (name, RGB picture) of a batch. Raises SaywhyError as ``describe``."""
    found = describe(
        pictures, subject.classifier, subject.vocabulary, subject.space, subject.options.explain, subject.seen,
        features=True,
    )  # fmt: skip
    return [_rows(subject, found, n) for n in range(len(pictures))]


def placed(rows: Rows, subject: Subject, number: int, entry: Entry) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The finished rows of picture ``number`` of the collection: with its name, its truth and what is known of it."""
    truths = [subject.name_of(label) for label in entry.labels]
    indices = subject.true_classes(entry)
    known = indices[0] if len(indices) == 1 else None
    picture = dict(rows.picture)
    said, probabilities = picture.pop("said"), picture.pop("all")
    right = None
    if indices and None not in indices:
        right = set(indices) == set(said) if subject.classifier.task == MULTI else said[0] in indices
    picture |= {
        "number": number, "file": entry.name, "truth": truths[0] if len(truths) == 1 else None, "truths": truths,
        "metadata": dict(entry.metadata), "true_class": known, "correct": right,
        "true_probability": None if known is None else float(probabilities[known]),
    }  # fmt: skip
    return picture, [dict(region) | {"number": number} for region in rows.regions]


def _rows(subject: Subject, found: Described, n: int) -> Rows:
    image, classifier = found.images[n], subject.classifier
    predictions, logits = found.predictions[n], found.logits[n]
    probabilities = classifier.probabilities(logits)
    best = probabilities.topk(min(KEPT, len(probabilities)))
    positive = found.heatmaps.positive[n]
    grid = shares(positive, GRID)
    whole, evidence = found.findings[n][0], found.evidence[n]
    facts = [claim for claim in found.claims[n] if claim.said]
    checks = found.heatmaps.checks
    picture = {
        "width": image.width, "height": image.height,
        "prediction": predictions[0].name, "predicted": predictions[0].index,
        "probability": predictions[0].probability, "logit": predictions[0].logit,
        "runner_up": predictions[1].name if len(predictions) > 1 else None,
        "runner_up_probability": predictions[1].probability if len(predictions) > 1 else None,
        "classes": best.indices.tolist(), "probabilities": best.values.tolist(),
        "shares": [region.share for region in found.regions[n]],
        "cells": shares(positive, 3).flatten().tolist(), "border": _share(positive, _border(positive)),
        "holds": checks[n].holds if checks else None,
        "properties": _properties(image, found.geometries[n]),
        "words": [claim.text for claim in facts], "there": [claim.there for claim in facts],
        "concepts": [label.text for label in whole.labels], "unusual": [label.unusual for label in whole.labels],
        "silence": found.silences[n] or None,
        "relevance": packed(grid), "look": _look(found.pixels[n], classifier),
        "vector": packed(found.encoded[n][0]),
        "features": None if found.features is None else packed(found.features[n]),
        "profile": packed(evidence.unusual.max(0).values),
        "said": classifier.said(logits), "all": probabilities,
    }  # fmt: skip
    regions = [_region(region, number, found, n) for number, region in enumerate(found.regions[n], start=1)]

    def seek() -> dict[str, Any]:
        object_ = object_mask(found.pixels[n])
        if object_ is None:
            return {}
        return {"on_object": _share(positive, object_), "object_area": float(object_.mean())}

    def show() -> dict[str, Any]:
        return {"thumbnail": small_jpeg(image, THUMBNAIL_BYTES), "map": small_jpeg(heat(positive), MAP_BYTES)}

    return Rows(picture, regions, seek, show)


def _properties(image: Image.Image, geometry: Geometry) -> dict[str, float]:
    """Of a picture: light, colours, sharpness and frame of what the network saw of it, the others of the file."""
    found, box = dict(properties(image)), seen_part(geometry)
    if box is not None:
        left, top, right, bottom = box
        seen = properties(image.crop((max(0, left), max(0, top), min(image.width, right), min(image.height, bottom))))
        found |= {name: value for name, value in seen.items() if name not in OF_FILE}
    return found


def _region(region: Region, number: int, found: Described, n: int) -> dict[str, Any]:
    from saywhy.answers.claims import region as region_name
    from saywhy.answers.claims import said

    rows, columns = np.nonzero(region.mask)
    labels = found.findings[n][number].labels
    left, top, right, bottom = region.box
    return {
        "region": number, "left": left, "top": top, "right": right, "bottom": bottom,
        "x": float(columns.mean() + 0.5) / region.mask.shape[1], "y": float(rows.mean() + 0.5) / region.mask.shape[0],
        "area": float(region.mask.mean()), "share": region.share,
        "labels": [label.text for label in labels], "unusual": [label.unusual for label in labels],
        "cosines": [label.score for label in labels],
        "said": [claim.text for claim in said(found.claims[n], region_name(number - 1))],
    }  # fmt: skip


def shares(positive: Tensor, cells: int) -> Tensor:
    """(cells, cells): how much of (H, W) positive relevance lies in each cell of a grid; adds up to 1, or 0."""
    found = F.adaptive_avg_pool2d(positive[None, None].double(), cells)[0, 0]
    return (found / found.sum().clamp(min=1e-12)).float()


def packed(values: Tensor) -> bytes:
    """Numbers as bytes of float16; ``unpacked`` gives them back."""
    return np.ascontiguousarray(values.detach().cpu().numpy().astype("<f2")).tobytes()


def unpacked(rows: Sequence[bytes]) -> np.ndarray:
    """(N, d) float32 of N packed vectors of one length; (0, 0) of none."""
    if not rows:
        return np.zeros((0, 0), np.float32)
    return np.frombuffer(b"".join(rows), "<f2").reshape(len(rows), -1).astype(np.float32)


def heat(positive: Tensor) -> Image.Image:
    """Positive relevance as a picture, dark to bright."""
    values = positive.numpy()
    top = max(float(np.quantile(values, 0.995)), 1e-12)
    level = (np.clip(values / top, 0, 1) * 255).astype(np.uint8)
    red, green, blue = level, np.clip(2.0 * level - 255, 0, 255), np.clip(60 - 0.2 * level, 0, 255)
    return Image.fromarray(np.stack([red, green, blue], -1).astype(np.uint8))


def _share(positive: Tensor, mask: np.ndarray) -> float:
    total = max(float(positive.sum()), 1e-12)
    return float(positive[torch.as_tensor(mask)].sum()) / total


def _border(positive: Tensor) -> np.ndarray:
    height, width = positive.shape
    wide = max(1, round(BORDER * min(height, width)))
    border = np.ones((height, width), bool)
    border[wide:-wide, wide:-wide] = False
    return border


def _look(pixels: Tensor, classifier: Classifier) -> bytes:
    """(GRID, GRID, 3) uint8: the preprocessed frame reduced, from black to white."""
    small = F.adaptive_avg_pool2d(pixels[None].float(), GRID)[0]
    small = small[[0, 1, 2]] if len(small) >= 3 else small[[0, 0, 0]]
    if classifier.takes_tensors:
        black, white = small.amin((1, 2)), small.amax((1, 2))
    else:
        black, white = classifier.pixel_range
        black, white = (black, white) if len(black) >= 3 else (black[[0, 0, 0]], white[[0, 0, 0]])
    level = (small - black[:3, None, None]) / (white - black)[:3, None, None].clamp(min=1e-6)
    return (255 * level).clamp(0, 255).byte().permute(1, 2, 0).numpy().tobytes()


def small_jpeg(image: Image.Image, most: int) -> bytes:
    """A JPEG of at most ``most`` bytes: coarser, and in the end smaller, where it takes more."""
    small = image.copy()
    side = THUMBNAIL
    while True:
        small.thumbnail((side, side))
        for quality in QUALITIES:
            buffer = io.BytesIO()
            small.save(buffer, "JPEG", quality=quality)
            if buffer.tell() <= most:
                return buffer.getvalue()
        side //= 2
