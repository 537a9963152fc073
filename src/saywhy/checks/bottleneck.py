"""Can the category be predicted from the scores of the rationales alone? If not, it comes from elsewhere.

The third test of whether rationales are used, besides those of ``rationale_use``; a linear map from named scores to
categories is LaBo's bottleneck (Yang et al. 2023).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import final

import numpy as np
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.intervals import Interval, difference, interval

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)  # C of the logistic regression, among which a held part chooses


@final
@dataclass(frozen=True)
class Bottleneck:
    """How well the category can be predicted from the scores of the rationales alone; all in percent.

    accuracy: of the categories predicted so. full: of the method itself, on the same pictures.
    gap:      full - accuracy, paired: what the method's category has from elsewhere.
    chance:   accuracy of always saying the training half's most frequent category.
    """

    accuracy: Interval
    full: Interval
    gap: Interval
    chance: float


def bottleneck(
    train_scores: np.ndarray | Tensor,
    train_labels: np.ndarray | Tensor,
    test_scores: np.ndarray | Tensor,
    test_labels: np.ndarray | Tensor,
    full: np.ndarray | Tensor,
    best: int | None = None,
    seed: int = 0,
) -> Bottleneck:
    """Logistic regression from (N, R) scores of rationales to categories, as LaBo's, compared with the method itself.

    Columns are standardised; the strength of the penalty is chosen on a quarter of the training half.

    full: (N_test,) bool, the pictures whose category the method itself has right.
    best: keep each picture's so many best rationales, what each has above the next one, and 0 for all others; None:
          all scores. With as many rationales as the space has dimensions the scores can hold all that the picture's
          vector holds, and all of them are no bottleneck; a few are.

    The regression has seen categories where the method may not have (CLIP), so that a gap below 0 is no error.

    Raises SaywhyError for arrays that do not fit, scores that are not finite, and a training half of one category.
    """
    halves = [(np.asarray(train_scores, np.float64), np.asarray(train_labels)),
              (np.asarray(test_scores, np.float64), np.asarray(test_labels))]  # fmt: skip
    (scores, labels), (asked, truth) = halves
    hits = np.asarray(full, bool)
    if any(x.ndim != 2 or not len(x) or y.shape != x.shape[:1] for x, y in halves) or scores.shape[1] != asked.shape[1]:
        raise SaywhyError(
            f"scores of shape {scores.shape} and {asked.shape} with labels of {labels.shape} and {truth.shape}; both "
            "halves need (N, R) scores with N labels, and the same R rationales"
        )
    if hits.shape != truth.shape:
        raise SaywhyError(f"{hits.shape} hits of the method itself for {truth.shape} pictures; give one per picture")
    if not np.isfinite(scores).all() or not np.isfinite(asked).all():
        raise SaywhyError("scores of rationales are not finite; no category can be predicted from them")
    if len(np.unique(labels)) < 2:
        raise SaywhyError("the training half has only one category; a bottleneck needs at least two")
    if best is not None:
        scores, asked = _only_best(scores, best), _only_best(asked, best)
    held = _held(labels, np.random.default_rng(seed))
    strength = 1.0
    if held.any():
        fitted = [_told(scores[~held], labels[~held], scores[held], penalty) == labels[held] for penalty in STRENGTHS]
        strength = STRENGTHS[int(np.argmax([hit.mean() for hit in fitted]))]
    right = _told(scores, labels, asked, strength) == truth
    names, counts = np.unique(labels, return_counts=True)
    return Bottleneck(
        accuracy=interval(100.0 * right),
        full=interval(100.0 * hits),
        gap=difference(100.0 * hits, 100.0 * right),
        chance=100 * float((truth == names[counts.argmax()]).mean()),
    )


def _told(scores: np.ndarray, labels: np.ndarray, asked: np.ndarray, strength: float) -> np.ndarray:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with warnings.catch_warnings():
        # One that has not converged is a little more penalised than it says; the held part judges it as it is.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=500)).fit(scores, labels)
    return fitted.predict(asked)


def _held(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N,) bool: about a quarter of each category, none of a category's only picture."""
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        held[rng.permutation(np.flatnonzero(labels == label))[1::4]] = True
    return held


def _only_best(scores: np.ndarray, best: int) -> np.ndarray:
    """What the best of each row have above the next one; 0 elsewhere."""
    if not 1 <= best < scores.shape[1]:
        raise SaywhyError(f"best must be at least 1 and less than the {scores.shape[1]} rationales; it is {best}")
    next_one = -np.partition(-scores, best, axis=1)[:, best]
    return np.maximum(scores - next_one[:, None], 0)
