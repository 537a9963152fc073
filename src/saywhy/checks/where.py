"""Does the decision rest on the regions? Each is filled, and the class is watched beside equal areas elsewhere.

Equal areas have the shapes of the picture's regions, turned over or not, at any place of the frame, that of the region
too: so a region that was drawn at random has a uniform p. They are shared by the regions of a picture. Measured beside
controls of each region's own shape, of the largest, and away from the regions: docs/checks.md.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from saywhy.checks.elsewhere import equal_areas
from saywhy.checks.filling import rest, ring
from saywhy.checks.outcomes import Outcomes, of_logits, outcomes
from saywhy.checks.verdicts import LEAST, check_of, settled
from saywhy.classifiers.classifier import Classifier
from saywhy.types import Check

CONTROLS = 39  # of four regions, one alone can then be borne out: 4 / (1 + 39) = LEVEL
CHANGE = "filled with the mean colour around it"


def check_masks(
    classifier: Classifier,
    pixels: Tensor,
    targets: Sequence[int],
    masks: Sequence[np.ndarray],
    *,
    logits: Tensor | None = None,
    controls: int = CONTROLS,
    always: bool = False,
) -> list[list[Check]]:
    """For each of N pictures a check of each of its regions.

    pixels:   (N, C, h, w), preprocessed. targets: N class indices. masks: of each picture (R, h, w) bool, R may be 0.
    logits:   (N, classes) of the pictures as they are; None: they are asked first.
    controls: equal areas elsewhere for each picture, shared by its regions. always: also where no region's fall
              matters; else no passes are spent there on what cannot be borne out, and its p is None.

    Spends 1 pass a region, ``controls`` a picture, and 1 for what is left of the class where only a region is kept:
    that with the greatest fall, or (always) each whose fall matters.
    """
    if logits is None:
        logits = classifier.logits(pixels)
    before = of_logits(classifier, logits, targets)
    counts = [len(each) for each in masks]
    owners = [n for n, count in enumerate(counts) for _ in range(count)]
    asked = [targets[n] for n in owners]

    def filled() -> Iterator[Tensor]:
        for image, each in zip(pixels, masks, strict=True):
            if len(each):
                yield from ring(image, torch.as_tensor(each))

    after = _split(outcomes(classifier, filled(), asked), counts)
    falls = [(before.logits[n] - found.logits).numpy() for n, found in enumerate(after)]
    matters = [fall >= LEAST * max(float(before.margins[n]), 0.0) for n, fall in enumerate(falls)]
    keeping = [
        m if always else m & (np.arange(len(m)) == fall.argmax()) if len(m) else m
        for m, fall in zip(matters, falls, strict=True)
    ]
    compared = [controls if len(m) and (always or m.any()) else 0 for m in matters]

    def elsewhere() -> Iterator[Tensor]:
        for n, count in enumerate(compared):
            if count:
                areas = shared_areas(masks[n], count, chances(pixels[n], targets[n]))
                for part in torch.as_tensor(areas).split(8):
                    yield from ring(pixels[n], part)

    def kept() -> Iterator[Tensor]:
        for n, m in enumerate(keeping):
            if m.any():
                yield from rest(pixels[n], torch.as_tensor(masks[n][m]))

    beside = _split(outcomes(classifier, elsewhere(), np.repeat(targets, compared).tolist()), compared)
    found_kept = _split(
        outcomes(classifier, kept(), np.repeat(targets, [int(m.sum()) for m in keeping]).tolist()),
        [int(m.sum()) for m in keeping],
    )
    results = []
    for n, count in enumerate(counts):
        own, margin = before[n : n + 1], float(before.margins[n])
        left = iter((found_kept[n].margins / margin).tolist() if margin > 0 else [])
        checks = []
        for r in range(count):
            keeps = next(left, None) if keeping[n][r] else None
            spent = 1 + (keeps is not None) + (compared[n] if r == 0 else 0)  # controls are counted once a picture
            check = check_of(CHANGE, own, after[n][r : r + 1], beside[n] if compared[n] else None, passes=spent)
            checks.append(replace(check, keeps=keeps))
        results.append(settled(checks))
    return results


def shared_areas(masks: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, h, w) bool: equal areas elsewhere, of the shapes of R masks (R, h, w) in turn, at any place."""
    each = [len(range(r, count, len(masks))) for r in range(len(masks))]
    return np.concatenate([equal_areas(mask, k, rng) for mask, k in zip(masks, each, strict=True) if k])


def chances(pixels: Tensor, target: int) -> np.random.Generator:
    """The random numbers of one picture's checks: the same whenever it is asked again, alone or among others."""
    return np.random.default_rng([zlib.crc32(pixels.cpu().float().contiguous().numpy().tobytes()), target])


def _split(found: Outcomes, counts: Sequence[int]) -> list[Outcomes]:
    ends = np.cumsum([0, *counts]).tolist()
    return [found[slice(start, end)] for start, end in pairwise(ends)]
