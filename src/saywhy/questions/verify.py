"""Is what an explanation claims of the decision true? Each claim is put to the test on the classifier that decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saywhy.answers.drawing import open_picture
from saywhy.answers.explanation import Explanation
from saywhy.answers.summary import summarise
from saywhy.checks.outcomes import of_logits
from saywhy.checks.surroundings import FAST as FAST_SWAPS
from saywhy.checks.surroundings import FULL as FULL_SWAPS
from saywhy.checks.surroundings import check_surroundings, other_pictures
from saywhy.checks.where import CONTROLS, chances, check_masks
from saywhy.classifiers.classifier import Classifier
from saywhy.classifiers.outputs import MULTI
from saywhy.errors import SaywhyError
from saywhy.pictures.in_batches import Failure, opened
from saywhy.pictures.reading import PictureLike, read_picture
from saywhy.pictures.sources import read_sources
from saywhy.questions.options import CHECKS, RUNNER_UP, check_checks
from saywhy.questions.why_not import asked_other, called_by, counterfactual
from saywhy.questions.words_tested import FAST_WORDS, words_tested
from saywhy.seen.references import Reference
from saywhy.types import Check, Claim, Region, Space

NONE, FAST, FULL = CHECKS
FULL_CONTROLS = 99
LENDING = 16  # pictures of a run or a reference that are kept to lend their surroundings
NEAR = 0.05  # of the margin: how far the logit of a copy of the picture may lie from that of the picture


@final
class Tested(NamedTuple):
    """What an explanation claims of a decision, after its tests."""

    regions: tuple[Region, ...]
    claims: tuple[Claim, ...]
    surroundings: Check | None = None


@final
class Others:
    """Pictures that lend their surroundings to others: those of a reference, and the latest of a run.

    What a picture of a run is tested with depends on the pictures that came with it and before it, unless none but
    those of the reference lend. A picture of the reference lends itself nothing.
    """

    def __init__(
        self, reference: Sequence[Image.Image] = (), classifier: Classifier | None = None, none_else: bool = False
    ) -> None:
        """reference: pictures that the classifier knows, LENDING at most are kept. none_else: only these lend."""
        self._kept: list[tuple[int, Tensor]] = []
        self._none_else = False
        if reference and classifier is not None:
            pixels = classifier.preprocess(list(reference)[:LENDING])
            self.add(pixels, classifier.logits(pixels).argmax(1).tolist())
            self._none_else = none_else

    def add(self, pixels: Tensor, predicted: Sequence[int]) -> None:
        """Keep the latest of (N, C, h, w) pictures, with what is said of them, where these may lend."""
        if self._none_else:
            return
        self._kept = [*self._kept, *zip(predicted, pixels, strict=True)][-LENDING:]

    def lend(self, pixels: Tensor, predicted: Sequence[int], n: int, count: int) -> list[Tensor]:
        """At most ``count`` pictures (C, h, w) for picture n of (N, C, h, w) of one batch."""
        own = pixels[n]
        kept = [
            (c, one) for c, one in self._kept if one.shape == own.shape and not torch.equal(one, own.to(one.device))
        ]
        rng = chances(own, predicted[n])
        if self._none_else:
            pixels, predicted, n = pixels[n : n + 1], predicted[n : n + 1], 0
        classes = [*predicted, *(c for c, _ in kept)]
        pictures = [*pixels, *(one for _, one in kept)]
        return [pictures[k] for k in other_pictures(classes, n, count, rng)]


def lending(classifier: Classifier, reference: Reference | None, checks: str, *, none_else: bool = False) -> Others:
    """What lends surroundings to the pictures of a run: those of the reference, where there is one, and of the run.

    none_else: where there is a reference, only its pictures.
    """
    if reference is None or checks == NONE:
        return Others()
    named = [reference] if isinstance(reference, str | Path) else list(reference)
    pictures = opened(read_sources([str(one) for one in named], LENDING))
    return Others([image for _, image in pictures if not isinstance(image, Failure)], classifier, none_else)


def put_to_the_test(
    classifier: Classifier,
    pixels: Tensor,
    which: Sequence[int],
    targets: Sequence[int],
    logits: Tensor,
    regions: Sequence[Sequence[Region]],
    claims: Sequence[Sequence[Claim]],
    checks: str = FAST,
    others: Others | None = None,
    *,
    images: Sequence[Image.Image],
    space: Space | None,
) -> list[Tested]:
    """The regions and claims of N explanations with what became of each, as one batch.

    pixels:  (P, C, h, w), preprocessed, of P pictures. which: of which of them each explanation is.
    targets: N class indices. logits: (P, classes) of the pictures as they are.
    regions: of each explanation. claims: likewise. checks: of CHECKS.
    others:  pictures beside those of the batch that lend their surroundings.
    images:  of each explanation, as RGB. space: whose words its claims are; without it no word can be tested.
    """
    check_checks(checks)
    if checks == NONE:
        return [
            Tested(tuple(replace(r, used=None) for r in each), tuple(replace(c, used=None) for c in said))
            for each, said in zip(regions, claims, strict=True)
        ]
    pixels = pixels.to(classifier.device)
    masks = [np.stack([region.mask for region in each]) if each else np.zeros((0, 1, 1), bool) for each in regions]
    found = check_masks(
        classifier, pixels[list(which)], targets, masks, logits=logits[list(which)], always=checks == FULL,
        controls=FULL_CONTROLS if checks == FULL else CONTROLS,
    )  # fmt: skip
    others = Others() if others is None else others
    predicted, passes = logits.argmax(1).tolist(), FULL_SWAPS if checks == FULL else FAST_SWAPS
    around = [
        check_surroundings(
            classifier, pixels[n], target, others.lend(pixels, predicted, n, passes), passes=passes,
            before=of_logits(classifier, logits[n : n + 1], [target]),
        )
        for n, target in zip(which, targets, strict=True)
    ]  # fmt: skip
    others.add(pixels, predicted)
    told = words_tested(
        classifier, images, pixels[list(which)], targets, logits[list(which)], claims, space,
        most=None if checks == FULL else FAST_WORDS,
    )  # fmt: skip
    return [
        Tested(tuple(replace(region, used=used) for region, used in zip(each, of, strict=True)), said, swapped)
        for each, of, said, swapped in zip(regions, found, told, around, strict=True)
    ]


def verify(
    explanation: Explanation,
    classifier: Classifier,
    picture: PictureLike | None = None,
    *,
    space: Space | None = None,
    checks: str = FAST,
    others: Sequence[PictureLike] = (),
) -> Explanation:
    """The explanation, with each claim about the decision put to the test; earlier tests are replaced.

    >>> verify(explanation, classifier).regions[0].used.verdict
    'borne out'

    classifier: the one that was explained.
    picture:    the one that was explained; None: the copy that the explanation holds, where the classifier says the
                same of it.
    space:      whose words the explanation says; without it they cannot be tested.
    checks:     of CHECKS: "fast" spends at most 64 forward passes, "full" more, and asks what would make another class.
    others:     pictures that lend their surroundings, four or more; without them those cannot be tested.

    Raises SaywhyError for another classifier, another picture, or a copy too coarse to stand for it.
    """
    check_checks(checks)
    if explanation.settings["model"] != classifier.name:
        raise SaywhyError(f"the explanation is of {explanation.settings['model']}, not of {classifier.name}")
    image: Image.Image = open_picture(explanation.picture) if picture is None else read_picture(picture)
    pixels = classifier.preprocess([image])
    if tuple(pixels.shape[-2:]) != (explanation.geometry.frame[1], explanation.geometry.frame[0]):
        raise SaywhyError(f"the explanation of {explanation.picture.name} is of another frame than {classifier.name}'s")
    logits = classifier.logits(pixels).float().cpu()

    def verified(one: Explanation) -> Explanation:
        return _verified(one, classifier, image, pixels, logits, checks, lent, space)

    lent = [read_picture(other) for other in others]
    return replace(verified(explanation), more=tuple(map(verified, explanation.more)))


def _verified(
    e: Explanation,
    classifier: Classifier,
    image: Image.Image,
    pixels: Tensor,
    logits: Tensor,
    checks: str,
    others: Sequence[Image.Image],
    space: Space | None,
) -> Explanation:
    now, margin = float(logits[0, e.target.index]), float((logits[0, e.target.index] - logits[0].mean()).abs())
    if abs(now - e.target.logit) > NEAR * max(margin, 1e-6):
        raise SaywhyError(
            f"{classifier.name} gives {e.target.name} a logit of {now:.3f}, and {e.target.logit:.3f} when "
            f"{e.picture.name} was explained: give the same picture=, as it was"
        )
    (tested,) = put_to_the_test(
        classifier, pixels, [0], [e.target.index], logits, [e.regions], [e.claims], checks, Others(others, classifier),
        images=[image], space=space,
    )  # fmt: skip
    turned, other = e.counterfactual, asked_other(RUNNER_UP, classifier, logits[0], e.target.index)
    if checks == FULL and other is not None:
        turned = counterfactual(
            image, e.picture.name, pixels[0], classifier, logits[0], e.target.index,
            other if turned is None else turned.other.index, tested.regions, space, called_by(others, classifier),
            geometry=e.geometry, method=e.heatmap.method, composite=e.heatmap.composite,
        )  # fmt: skip
    labels = [classifier.prediction(logits[0], c) for c in classifier.said(logits[0])]
    summary = summarise(
        e.picture, e.target, e.predictions, tested.regions, tested.claims, e.heatmap,
        labels if classifier.task == MULTI else None, silence=e.silence, surroundings=tested.surroundings,
    )  # fmt: skip
    return replace(
        e, regions=tested.regions, claims=tested.claims, surroundings=tested.surroundings, summary=summary,
        counterfactual=turned, settings=dict(e.settings) | {"checks": checks},
    )  # fmt: skip
