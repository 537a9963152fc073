"""Temperatures for the terms of a scoring, so that its probabilities of rationales and categories are what they say.

Softmaxes over thousands of texts at CLIP's scale are too sure after tuning. Each term gets a temperature of its own,
fitted on pictures that were not trained on (Guo et al. 2017).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from saywhy.banks import WordBank
from saywhy.calibration import Blocks, fit_temperature
from saywhy.rationale_metrics import Gold, padded
from saywhy.rationales import Scoring, columns_for, log_joint, probabilities, rank


def calibrated_scoring(
    images: Tensor, bank: WordBank, gold: Gold, scoring: Scoring, scale: float, inverse: WordBank | None = None
) -> Scoring:
    """The scoring with a temperature for each of its terms, fitted on (N, d) pictures and what is true of them.

    "rationale" over all rationales, "category" over all categories, "pair" and "inverse" over the categories given a
    true rationale: P(c | r, I). A scoring of pairs alone has one softmax, over all of them, and is fitted on that.

    Raises SaywhyError as ``rank``.
    """
    plain = replace(scoring, temperatures={})
    if set(scoring.terms) <= {"pair", "inverse"}:
        columns = padded([[c * len(bank.rationales) + r for r in sorted(true)] for c, true in _truths(gold)])
        (term,) = scoring.terms
        of_pairs = bank if term == "pair" or inverse is None else inverse
        found = fit_temperature(_pair_logits(images, of_pairs, scale), columns)
        return replace(scoring, temperatures={term: found})
    temperatures = {}
    first = torch.tensor([min(true) for _, true in _truths(gold)])
    for term in plain.terms:
        if term == "rationale":
            cosines, labels = images @ bank.rationales.T, gold.table
        elif term == "category":
            cosines, labels = images @ bank.categories.T, gold.categories
        else:
            of_pairs = bank if term == "pair" or inverse is None else inverse
            cosines, labels = _given(images, of_pairs, first), gold.categories
        temperatures[term] = fit_temperature((scale * cosines).numpy(), labels)
    return replace(scoring, temperatures=temperatures)


def logits(
    images: Tensor, bank: WordBank, scoring: Scoring, scale: float, inverse: WordBank | None = None
) -> dict[str, np.ndarray | Blocks]:
    """Log-probabilities of "category" (N, C), "rationale" (N, R) and "joint" (N, C * R, in blocks)."""
    best = rank(images, bank, scoring, 1, scale, inverse)
    found = probabilities(images, bank, scoring, scale, best, inverse)

    def joint() -> Iterator[np.ndarray]:
        for _, grid in log_joint(images, bank, scoring, scale, inverse):
            yield grid.flatten(1).numpy()

    tiny = torch.finfo(torch.float32).tiny
    return {
        "category": found.categories.clamp(min=tiny).log().numpy(),
        "rationale": found.rationales.clamp(min=tiny).log().numpy(),
        "joint": joint,
    }


def _truths(gold: Gold) -> list[tuple[int, frozenset[int]]]:
    return list(zip(gold.categories.tolist(), gold.rationales, strict=True))


def _pair_logits(images: Tensor, bank: WordBank, scale: float) -> Blocks:
    def blocks() -> Iterator[np.ndarray]:
        for _, block in bank.blocks(columns_for(len(images))):
            yield (scale * images @ block.flatten(0, 1).float().T).numpy()

    return blocks


def _given(images: Tensor, bank: WordBank, rationales: Tensor) -> Tensor:
    """(N, C) cosines with every category because of the picture's own rationale."""
    everything = torch.arange(len(bank.categories))
    found = images.new_empty(len(images), len(everything))
    for rationale in rationales.unique():
        mine = rationales == rationale
        found[mine] = images[mine] @ bank.pairs(everything, rationale.expand(len(everything))).T
    return found
