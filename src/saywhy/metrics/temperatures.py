"""Temperatures for the terms of a scoring, so that its probabilities of rationales and categories are what they say.

Softmaxes over thousands of texts at CLIP's scale are too sure after tuning. P(r | I) and P(c | r, I) get a temperature
each, fitted on pictures that were not trained on (Guo et al. 2017).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from saywhy.intervals import Interval, interval_of, resampled
from saywhy.metrics.calibration import Blocks, fit_temperature
from saywhy.pictures.truth import Gold
from saywhy.spaces.pairs.bank import Bank, WordBank
from saywhy.spaces.pairs.conditional import category_scores, conditional_scores
from saywhy.spaces.pairs.ranking import grids, log_joint, probabilities, rank
from saywhy.spaces.pairs.scorer import PairScorer
from saywhy.spaces.pairs.scoring import Scoring

ABSENT_SHARE = 0.05  # of absent rationales that may be called visible
RESAMPLED = 500  # draws of pictures for the interval of an AUC


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


@final
@dataclass(frozen=True)
class Visibility:
    """How far a rationale must stand out to be called visible. threshold: None: that cannot be told. basis: why."""

    threshold: float | None
    basis: str


def visible_threshold(standing: Tensor, gold: Gold, lists: Sequence[Sequence[int]]) -> Visibility:
    """From where a rationale is called visible, if true and absent ones are told apart at all.

    They are, where the AUC of true against absent ones is above a half, with the lower end of its interval (over
    pictures) too. Then it is where both are best told apart (Youden's point of the ROC curve), but no lower than what
    ABSENT_SHARE of the absent ones reach; and more of the true ones must reach it.

    standing: (N, R), ``standing_out`` of pictures that were not trained on. gold: what is true of them; what is on the
    list of a picture's category may be in view too, and counts for neither.
    """
    from sklearn.metrics import roc_curve

    true = torch.zeros_like(standing, dtype=torch.bool)
    known = torch.ones_like(true)
    for n, (category, rationales) in enumerate(zip(gold.categories.tolist(), gold.rationales, strict=True)):
        known[n, list(lists[category])] = False
        true[n, list(rationales)] = known[n, list(rationales)] = True
    held = f"{len(standing)} held-out pictures"
    if (known == true).all():
        return Visibility(None, f"nothing is known to be absent from the {held}")
    pictures = known.nonzero()[:, 0].numpy()
    labels, scores = true[known].numpy(), standing[known].numpy()
    auc = _auc(scores, labels, pictures)
    told = f"AUC {auc} on {held}"
    if not auc.low > 0.5:
        return Visibility(None, f"true and absent rationales are not told apart ({told})")
    false_rate, true_rate, thresholds = roc_curve(labels, scores)
    best = thresholds[1:][np.argmax((true_rate - false_rate)[1:])]  # the first is above all scores
    threshold = max(float(best), float(np.quantile(scores[~labels], 1 - ABSENT_SHARE, method="higher")))
    of_true, of_absent = (float((scores[which] >= threshold).mean()) for which in (labels, ~labels))
    told = f"{of_true:.0%} of true and {of_absent:.0%} of absent rationales reach that; {told}"
    if of_true <= of_absent:
        return Visibility(None, f"absent rationales stand out as far as true ones ({told})")
    return Visibility(threshold, told)


def _auc(scores: np.ndarray, labels: np.ndarray, pictures: np.ndarray) -> Interval:
    """The chance that a true rationale scores above an absent one, with its interval over pictures.

    scores, labels, pictures: (K,) of each known pair of picture and rationale: its score, whether it is true, its
    picture.
    """
    _, places = np.unique(scores, return_inverse=True)

    def of(weights: np.ndarray) -> np.ndarray:
        found = []
        for weight in weights:
            of_each = weight[pictures]
            true, absent = (np.bincount(places, of_each * which) for which in (labels, ~labels))
            below = absent.cumsum() - absent / 2
            found.append((true * below).sum() / max(true.sum() * absent.sum(), 1e-12))
        return np.array(found)

    count = int(pictures.max()) + 1
    return interval_of(float(of(np.ones((1, count)))[0]), resampled(count, of, RESAMPLED))
