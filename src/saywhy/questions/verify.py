"""Is what an explanation claims of the decision true? Each claim is put to the test on the classifier that decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, final

import numpy as np
from torch import Tensor

from saywhy.answers.drawing import open_picture
from saywhy.answers.explanation import Explanation
from saywhy.answers.summary import summarise
from saywhy.checks.where import CONTROLS, check_masks
from saywhy.classifiers.classifier import Classifier
from saywhy.classifiers.outputs import MULTI
from saywhy.errors import SaywhyError
from saywhy.pictures.reading import PictureLike, read_picture
from saywhy.questions.options import CHECKS, check_checks
from saywhy.types import Check, Claim, Region

if TYPE_CHECKING:
    from PIL import Image

NONE, FAST, FULL = CHECKS
FULL_CONTROLS = 99
NEAR = 0.05  # of the margin: how far the logit of a copy of the picture may lie from that of the picture


@final
class Tested(NamedTuple):
    """What an explanation claims of a decision, after its tests."""

    regions: tuple[Region, ...]
    claims: tuple[Claim, ...]
    surroundings: Check | None = None


def put_to_the_test(
    classifier: Classifier,
    pixels: Tensor,
    targets: Sequence[int],
    logits: Tensor,
    regions: Sequence[Sequence[Region]],
    claims: Sequence[Sequence[Claim]],
    checks: str = FAST,
) -> list[Tested]:
    """The regions and claims of N explanations with what became of each, as one batch.

    pixels:  (N, C, h, w), preprocessed. targets: N class indices. logits: (N, classes) of the pictures as they are.
    regions: of each explanation. claims: likewise. checks: of CHECKS.
    """
    check_checks(checks)
    if checks == NONE:
        return [Tested(tuple(r), tuple(c)) for r, c in zip(regions, claims, strict=True)]
    masks = [np.stack([region.mask for region in each]) if each else np.zeros((0, 1, 1), bool) for each in regions]
    found = check_masks(
        classifier, pixels, targets, masks, logits=logits, always=checks == FULL,
        controls=FULL_CONTROLS if checks == FULL else CONTROLS,
    )  # fmt: skip
    return [
        Tested(tuple(replace(region, used=used) for region, used in zip(each, of, strict=True)), tuple(said))
        for each, of, said in zip(regions, found, claims, strict=True)
    ]


def verify(
    explanation: Explanation, classifier: Classifier, picture: PictureLike | None = None, *, checks: str = FAST
) -> Explanation:
    """The explanation, with each claim about the decision put to the test; earlier tests are replaced.

    >>> verify(explanation, classifier).regions[0].used.verdict
    'borne out'

    classifier: the one that was explained.
    picture:    the one that was explained; None: the copy that the explanation holds, where the classifier says the
                same of it.
    checks:     of CHECKS: "fast" spends at most 64 forward passes, "full" more.

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
    return replace(
        _verified(explanation, classifier, pixels, logits, checks),
        more=tuple(_verified(one, classifier, pixels, logits, checks) for one in explanation.more),
    )


def _verified(e: Explanation, classifier: Classifier, pixels: Tensor, logits: Tensor, checks: str) -> Explanation:
    now, margin = float(logits[0, e.target.index]), float((logits[0, e.target.index] - logits[0].mean()).abs())
    if abs(now - e.target.logit) > NEAR * max(margin, 1e-6):
        raise SaywhyError(
            f"{classifier.name} gives {e.target.name} a logit of {now:.3f}, and {e.target.logit:.3f} when "
            f"{e.picture.name} was explained: give the same picture=, as it was"
        )
    (tested,) = put_to_the_test(classifier, pixels, [e.target.index], logits, [e.regions], [e.claims], checks)
    labels = [classifier.prediction(logits[0], c) for c in classifier.said(logits[0])]
    summary = summarise(
        e.picture, e.target, e.predictions, tested.regions, tested.claims, e.heatmap,
        labels if classifier.task == MULTI else None, silence=e.silence, surroundings=tested.surroundings,
    )  # fmt: skip
    return replace(
        e, regions=tested.regions, claims=tested.claims, surroundings=tested.surroundings, summary=summary,
        settings=dict(e.settings) | {"checks": checks},
    )  # fmt: skip
