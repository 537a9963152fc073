"""Where a classifier looks, and what a space finds there: the first half of the main path, of a batch of pictures.

No sentence is written and nothing is put to the test: that is what ``explain`` adds, and an audit leaves out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from PIL import Image
from torch import Tensor

from saywhy.attribution import attribute
from saywhy.attribution.regions import find_regions
from saywhy.classifiers.borrowing import borrowed
from saywhy.classifiers.classifier import Classifier
from saywhy.classifiers.heads import run_with_features
from saywhy.classifiers.outputs import MULTI
from saywhy.classifiers.pooling import Look, pool_of
from saywhy.classifiers.pooling import look as look_at
from saywhy.errors import SaywhyError
from saywhy.questions.labels import encode_looks, encode_pooled, encode_shifted, encode_vocabulary, nearest, pieces
from saywhy.questions.options import EVERY, ExplainOptions
from saywhy.seen.calibration import Calibration
from saywhy.seen.evidence import Evidence, gather
from saywhy.seen.gate import NOTHING_KNOWN, Seen, claims_of
from saywhy.spaces.traits import KnowsFeatures
from saywhy.types import Claim, Finding, Geometry, Heatmap, Prediction, Region, Space, Vocabulary

TOP = 5  # predictions kept of a picture


@final
@dataclass(frozen=True, eq=False)
class Described:
    """Of P pictures, N pairs of a picture and a class that is explained; usually one each.

    pixels:      (P, C, h, w), preprocessed. logits: (P, classes) float32 on the CPU. predictions: of each picture.
    features:    (P, d) float32 on the CPU, what goes into the head; None where nobody asked, or there is none.
    look:        the classifier's pass that the regions were pooled in; None where they were seen as crops.
    which:       of which picture each of the N is. targets: their classes.
    heatmaps:    N maps. geometries, regions, crops: of each of the N.
    encoded:     of each of the N, (L, d) vectors of its looks in the space, the whole picture first.
    texts:       (M, d) the vocabulary. evidence, findings, claims: of each; the whole picture's finding is the first.
    silences:    of each, why nothing is said of it; "" where words may be said.
    images:      of each, RGB.
    """

    pixels: Tensor
    logits: Tensor
    predictions: list[tuple[Prediction, ...]]
    features: Tensor | None
    look: Look | None
    which: list[int]
    targets: list[int]
    images: list[Image.Image]
    heatmaps: Heatmap
    geometries: list[Geometry]
    regions: list[tuple[Region, ...]]
    crops: list[list[Image.Image]]
    encoded: Sequence[Tensor]
    texts: Tensor
    evidence: list[Evidence]
    findings: list[list[Finding]]
    claims: list[tuple[Claim, ...]]
    silences: list[str]

    @property
    def asked(self) -> list[tuple[int, int]]:
        """(picture, class) of each of the N."""
        return list(zip(self.which, self.targets, strict=True))


def describe(
    pictures: Sequence[tuple[str, Image.Image]],
    classifier: Classifier,
    vocabulary: Vocabulary,
    space: Space,
    options: ExplainOptions,
    seen: Seen = NOTHING_KNOWN,
    *,
    features: bool = False,
) -> Described:
    """Relevance, regions and words of (name, RGB picture) pairs, as one batch.

    features: whether what goes into the head is asked for too, where there is one.

    Raises SaywhyError for a target that the classifier does not know, or logits that are not finite.
    """
    pixels = classifier.preprocess([image for _, image in pictures])
    look = _look(classifier, pixels, space, seen)
    vectors: Tensor | None
    if look is None and features and classifier.has_head:
        with torch.no_grad(), borrowed(classifier.network) as shadow:
            taken = pixels.to(classifier.device, classifier.dtype, copy=True)
            vectors, logits = run_with_features(shadow, taken, classifier.head_place)
    else:
        vectors = None if look is None else look.features
        logits = classifier.logits(pixels) if look is None else look.logits
    plain = logits.float().cpu()
    chosen = [_targets(classifier, options.target, row) for row in plain]
    which = [n for n, targets in enumerate(chosen) for _ in targets]
    targets = [target for each in chosen for target in each]
    images = [pictures[n][1] for n in which]
    heatmaps = attribute(
        classifier, pixels[which], targets, options.method, options.composite,
        batch_size=len(pictures), plain=plain[which], names=[pictures[n][0] for n in which],
    )  # fmt: skip

    geometries = [classifier.frame_on(image) for image in images]
    regions = [find_regions(heatmaps.values[n].numpy(), g, count=options.regions) for n, g in enumerate(geometries)]
    crops = [pieces(image, areas, space) for image, areas in zip(images, regions, strict=True)]
    encoded: Sequence[Tensor]
    if look is not None and isinstance(space, KnowsFeatures):
        encoded = encode_pooled(look, which, regions, heatmaps.values, space)
    else:
        encoded = encode_looks([[image, *cut] for image, cut in zip(images, crops, strict=True)], space)
    texts = encode_vocabulary(vocabulary, space)
    shifted = encode_shifted(images, regions, space) if seen.shifts else None
    evidence = gather(encoded, texts, vocabulary, space, shifted)
    reasons = seen.silences([image for _, image in pictures])
    silences = [reasons[n] for n in which]
    findings, claims = [], []
    for row, found in enumerate(evidence):
        near, claimed = _words(found, encoded[row][0], len(regions[row]), targets[row], space, options, seen)
        if silences[row]:
            near, claimed = [replace(finding, labels=()) for finding in near], ()
        findings.append(near)
        claims.append(claimed)
    return Described(
        pixels, plain, [_best(classifier, row) for row in plain],
        None if vectors is None else vectors.float().cpu(), look, which, targets, images, heatmaps, geometries,
        regions, crops, encoded, texts, evidence, findings, claims, silences,
    )  # fmt: skip


def _words(
    evidence: Evidence,
    whole: torch.Tensor,
    regions: int,
    target: int,
    space: Space,
    options: ExplainOptions,
    seen: Seen,
) -> tuple[list[Finding], tuple[Claim, ...]]:
    """What is near in the whole picture (d,) and in each of its regions, and what is claimed of them."""
    if seen.alone is not None:
        near = seen.alone.near(whole, space.name, regions=regions, top=options.top)
        return near, seen.alone.claims(near[0], target)
    near = nearest(evidence, space.name, regions=(None, *range(regions)), top=options.top)
    return near, claims_of(evidence, near, seen)


def _look(classifier: Classifier, pixels: torch.Tensor, space: Space, seen: Seen) -> Look | None:
    """One pass that gives the classifier's own space all that it needs; None where regions have to be seen as crops.

    That is so where the network takes no mean over positions, and for a calibration that was fitted on crops.
    """
    fitted = seen.shifts or isinstance(seen.calibration, Calibration)
    if fitted or not isinstance(space, KnowsFeatures) or space.classifier.network is not classifier.network:
        return None
    if pool_of(classifier, pixels) is None:
        return None
    found = look_at(classifier, pixels)
    return found if found.pools else None


def check_target(target: int | str | tuple[int | str, ...] | None, classifier: Classifier) -> None:
    """Raises SaywhyError for a class that the classifier does not know."""
    _targets(classifier, target, torch.zeros(len(classifier.labels)))


def _targets(
    classifier: Classifier, target: int | str | tuple[int | str, ...] | None, logits: torch.Tensor
) -> list[int]:
    """The classes to explain of a picture with these logits (C,), each once."""
    if target is None:
        return [*classifier.said(logits), int(logits.argmax())][:1]
    given = target if isinstance(target, tuple) else (target,)
    if not given:
        raise SaywhyError("there is no target among the targets; leave them out, or name one")
    chosen: list[int] = []
    for one in given:
        if one == EVERY and not classifier.names_class(EVERY):
            chosen += classifier.said(logits) or [int(logits.argmax())]
        else:
            chosen.append(classifier.class_index(one))
    return list(dict.fromkeys(chosen))


def _best(classifier: Classifier, logits: torch.Tensor) -> tuple[Prediction, ...]:
    """The best classes of (C,) logits; of a multi-label classifier all that it says, and one that it does not."""
    said = classifier.said(logits)
    if classifier.task != MULTI:
        return classifier.predictions(logits[None], TOP)[0]
    ranked = classifier.predictions(logits[None], len(logits))[0]
    unsaid = next((n for n, p in enumerate(ranked) if p.index not in said), 0)
    last = max((n for n, p in enumerate(ranked) if p.index in said), default=0)
    return ranked[: max(TOP, unsaid + 1, last + 1)]
