"""How near, and how unusual: scores between pictures and phrases, made comparable between phrases."""

from __future__ import annotations

import torch
from torch import Tensor

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
        usual = reference @ texts.T
        return scores, (scores - usual.mean(0)) / usual.std(0).clamp(min=1e-6)
    if scores.shape[1] < 2:
        return scores, torch.zeros_like(scores)
    return scores, (scores - scores.mean(1, keepdim=True)) / scores.std(1, keepdim=True).clamp(min=1e-6)
