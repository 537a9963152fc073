"""How well scores of causes agree with what classifiers rely on.

AUPRC, F1 and Pearson: of the metrics in use these pass NeuronEval's two checks (Oikarinen et al., ICML 2025): a truth
of which half of the positives are missing, and one with as many false ones beside them, both score lower.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from saywhy.intervals import Interval, interval_of, resampled

DRAWS = 500
Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""(scores, truth, weights), each (P,) -> a number; NaN where it cannot be told."""


def auprc(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """Average precision of scores for a truth that is 0 or 1."""
    from sklearn.metrics import average_precision_score

    if not (weights * truth).any():
        return float("nan")
    return float(average_precision_score(truth, scores, sample_weight=weights))


def f1(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """F1 of what is said, where the score is above 0, for a truth that is 0 or 1."""
    said = scores > 0
    both, all_said, all_true = ((weights * x).sum() for x in (said * truth, said, truth))
    return float(2 * both / (all_said + all_true)) if all_said + all_true else float("nan")


def pearson(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """Correlation of scores with graded truth; 0 for scores that are all the same."""
    weights = weights / weights.sum()
    a, b = scores - weights @ scores, truth - weights @ truth
    scale = (weights @ a**2) * (weights @ b**2)
    return float(weights @ (a * b) / np.sqrt(scale)) if scale > 1e-24 else 0.0


def above_usual(scores: np.ndarray, usual: np.ndarray, rate: float = 0.05) -> np.ndarray:
    """(N, C) scores less what is usual for each of C causes, in its deviations, less what few exceed: said above 0.

    usual: (K, C) scores of causes that nothing rests on, NaN for the others. rate: the share of those above 0.
    """
    mean, deviation = np.nanmean(usual, 0), np.nanstd(usual, 0)
    typical = np.nanmedian(deviation)  # a cause of which nothing was ever said is not sure of itself for that
    deviation = np.maximum(deviation, typical if typical > 0 else 1.0)
    at_least = np.nanquantile((usual - mean) / deviation, 1 - rate, method="higher")
    return (scores - mean) / deviation - at_least


def over_classifiers(measure: Measure, scores: np.ndarray, truth: np.ndarray, draws: int = DRAWS) -> Interval:
    """The measure over all pairs (N, C) of classifier and cause, with the interval of a bootstrap over classifiers."""
    causes = scores.shape[1]

    def of(weights: np.ndarray) -> float:
        pairs = np.repeat(weights, causes)
        return measure(scores.ravel()[pairs > 0], truth.ravel()[pairs > 0], pairs[pairs > 0])

    drawn = resampled(len(scores), lambda weights: np.array([of(one) for one in weights]), draws)
    return interval_of(of(np.ones(len(scores))), drawn[~np.isnan(drawn)])
