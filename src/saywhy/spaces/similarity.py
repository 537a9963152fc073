"""How near, and how unusual: scores between pictures and phrases, made comparable between phrases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from saywhy.errors import SaywhyError

UNUSUAL = 2.0
"""Standard deviations above its usual score from which a phrase is said to fit."""
FEWEST = 8  # pictures or classes in a reference that says what is usual


def unusual_scores(images: Tensor, texts: Tensor, reference: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(N, M) cosines, and (N, M) how many standard deviations each lies above what is usual.

    Some phrases lie near every picture of a space (hubs), so that a cosine alone says little.

    images:    (N, d), unit length.
    texts:     (M, d), unit length.
    reference: (K, d) what pictures usually look like in the space; the usual score of a phrase is its mean over them.
               None, or fewer than FEWEST: what is usual is the mean over the vocabulary, for each picture.
    """
    scores = images @ texts.T
    if reference is not None and len(reference) >= FEWEST:
        return scores, usual_scores(reference, texts).deviations(scores)
    return scores, among_themselves(scores) if scores.shape[1] > 1 else torch.zeros_like(scores)


def among_themselves(scores: Tensor) -> Tensor:
    """(N, M) how many standard deviations each score lies above the mean of its row."""
    return deviations(scores, scores.mean(1, keepdim=True), scores.std(1, keepdim=True))


def deviations(scores: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """How many standard deviations scores lie above a mean; a deviation near zero counts as a small one."""
    return (scores - mean) / std.clamp(min=1e-6)


@final
@dataclass(frozen=True, eq=False)
class Usual:
    """What texts score on pictures in general: mean and deviation of their cosines, (R,) float32 each.

    visible_from: deviations above the mean from which a rationale is taken to be visible; None: that cannot be told.
    basis:        what that rests on, or why not; see ``visible_threshold``.
    """

    mean: Tensor
    std: Tensor
    visible_from: float | None = None
    basis: str = "no pictures say how far true and absent rationales stand out"

    def deviations(self, scores: Tensor) -> Tensor:
        """(N, R) how many standard deviations (N, R) cosines lie above what is usual."""
        return deviations(scores, self.mean, self.std)


def usual_scores(images: Tensor, texts: Tensor) -> Usual:
    """What texts (R, d) score on pictures in general, by (N, d) of them. Raises SaywhyError for fewer than FEWEST."""
    if len(images) < FEWEST:
        raise SaywhyError(f"{len(images)} pictures do not say what is usual; give {FEWEST} or more")
    cosines = images @ texts.T
    return Usual(cosines.mean(0), cosines.std(0))


def standing_out(images: Tensor, rationales: Tensor, usual: Usual | None = None) -> Tensor | None:
    """(N, R) how many standard deviations each rationale lies above what is usual; see ``similarity.unusual_scores``.

    Usual is what ``usual`` says of the rationale; without it, what the picture scores on the rationales. None where
    there are fewer than FEWEST of these: then nothing can be said.
    """
    cosines = images @ rationales.T
    if usual is not None:
        return usual.deviations(cosines)
    return among_themselves(cosines) if len(rationales) >= FEWEST else None
