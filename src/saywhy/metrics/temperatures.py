"""Temperatures for the terms of a scoring, so that its probabilities of rationales and categories are what they say.

Softmaxes over thousands of texts at CLIP's scale are too sure after tuning. P(r | I) and P(c | r, I) get a temperature
each, fitted on pictures that were not trained on (Guo et al. 2017).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from saywhy.metrics.calibration import Blocks, fit_temperature
from saywhy.pictures.truth import Gold
from saywhy.spaces.pairs.bank import Bank, WordBank
from saywhy.spaces.pairs.conditional import category_scores, conditional_scores
from saywhy.spaces.pairs.ranking import grids, log_joint, probabilities, rank
from saywhy.spaces.pairs.scorer import PairScorer
from saywhy.spaces.pairs.scoring import Scoring
from saywhy.spaces.similarity import UNUSUAL


def calibrated_scoring(images: Tensor, scorer: PairScorer[WordBank], gold: Gold) -> Scoring:
    """The scorer's scoring with temperatures for its terms, fitted on (N, d) pictures and what is true of them.

    The rationales' term has one of its own, fitted over all rationales. All others share one, for their sum is what
    P(c | r, I) is made of: fitted over the categories given a true rationale. Of a scoring without the rationales' term
    there is one softmax, over all pairs, and it is fitted on that.

    Raises SaywhyError as ``rank``, and where the numbers of truths and pictures differ.
    """
    scoring, plain = scorer.scoring, scorer.plain
    rank(images[:1], plain, 1)  # says what is wrong with the pictures
    if "rationale" not in scoring.terms:
        shared = fit_temperature(_pair_logits(images, plain), gold.pairs(len(plain.bank.rationales)))
        return replace(scoring, temperatures=dict.fromkeys(scoring.terms, shared))
    cosines = (images @ plain.bank.rationales.T).numpy()
    temperatures = {"rationale": fit_temperature(plain.factors["rationale"] * cosines, gold.table)}
    if others := [term for term in scoring.terms if term != "rationale"]:
        first = torch.tensor([min(true) for true in gold.rationales])
        of_category = category_scores(images, plain)
        given = torch.empty_like(of_category)
        for rows, scores in conditional_scores(images, plain, first, of_category=of_category):
            given[rows] = scores
        temperatures |= dict.fromkeys(others, fit_temperature(given.numpy(), gold.categories))
    return replace(scoring, temperatures=temperatures)


def logits(images: Tensor, scorer: PairScorer[Bank]) -> dict[str, np.ndarray | Blocks]:
    """Log-probabilities of "category" (N, C), "rationale" (N, R) and "joint" (N, C * R, in blocks)."""
    beliefs = probabilities(images, scorer, rank(images, scorer, 1))

    def joint() -> Iterator[np.ndarray]:
        for _, grid in log_joint(images, scorer):
            yield grid.flatten(1).numpy()

    tiny = torch.finfo(torch.float32).tiny
    return {
        "category": beliefs.categories.clamp(min=tiny).log().numpy(),
        "rationale": beliefs.rationales.clamp(min=tiny).log().numpy(),
        "joint": joint,
    }


def _pair_logits(images: Tensor, scorer: PairScorer[Bank]) -> Blocks:
    def blocks() -> Iterator[np.ndarray]:
        for _, grid in grids(images, scorer):
            yield grid.flatten(1).numpy()

    return blocks


def visible_threshold(standing: Tensor, gold: Gold, lists: Sequence[Sequence[int]]) -> float:
    """How far a rationale must stand out to be called visible: where true and absent ones are best told apart.

    Youden's point of the ROC curve: the share of true rationales above it less that of absent ones is greatest. A
    rationale that is in view in a third of all pictures can never stand two deviations above its mean, as 2 asks.

    standing: (N, R), ``standing_out`` of pictures that were not trained on. gold: what is true of them; what is on the
    list of a picture's category may be in view too, and counts for neither.
    """
    from sklearn.metrics import roc_curve

    true = torch.zeros_like(standing, dtype=torch.bool)
    known = torch.ones_like(true)
    for n, (category, rationales) in enumerate(zip(gold.categories.tolist(), gold.rationales, strict=True)):
        known[n, list(lists[category])] = False
        true[n, list(rationales)] = known[n, list(rationales)] = True
    if (known == true).all():  # nothing is known to be absent
        return UNUSUAL
    false_rate, true_rate, thresholds = roc_curve(true[known].numpy(), standing[known].numpy())
    return float(thresholds[1:][np.argmax((true_rate - false_rate)[1:])])  # the first is above all scores
