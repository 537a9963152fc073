"""From the evidence of a picture to a row of numbers a phrase, from which a probability is learned.

A score alone does not say whether a phrase is there: some phrases score high everywhere, and phrases that exclude each
other share their score ("red wing" is near wherever "orange wing" is true). So a phrase is held against what it scores
on pictures in general and against the other values of its attribute, and a ridge regression on the scores of these
values says how they are confused. Scores of other attributes are left out on purpose: from them a kind of bird could be
recognised, and its colours be recited, seen or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from saywhy.seen.evidence import Evidence
from saywhy.types import Vocabulary

VIEWS = 3  # of a phrase: in the whole picture, at its best look, over all looks
FEATURES = (
    "whole", "best", "mean", "rank", "base rate", "usual best", "usual whole", "margin", "margin at the look",
    "margin in the whole", "alternatives at the look", "regression", "margin of the regression",
)  # fmt: skip
"""What each column says of a phrase: scores, how they lie among what is usual for it, and how far above the best of the
other values of its attribute (above zero, where it has none)."""
RIDGE = 10.0  # penalty, in pictures
SHRUNK = 10.0  # pictures of the mean base rate that are added to a phrase's own
_LOW = -1e9


@final
@dataclass(frozen=True, eq=False)
class Pooling:
    """What is known of M phrases, with K of them at most in an attribute.

    prior:   (M,) base rates, 0..1; NaN where nothing is known of a phrase.
    centre, scale: (VIEWS, M) mean and deviation of the scores over the pictures.
    rivals:  (M, K) int: the phrase itself, then the other values of its attribute; -1 fills up.
    weights: (M, K, VIEWS) of the regression, on standardised scores.
    """

    prior: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    rivals: np.ndarray
    weights: np.ndarray

    def features(self, views: np.ndarray, at: np.ndarray, regression: np.ndarray | None = None) -> np.ndarray:
        """(N, M, F) float64 of N pictures.

        views: (N, VIEWS, M). at: (N, M, K), as ``views_of`` gives them. regression: (N, M), where it was computed
        without the picture itself; else it is computed.
        """
        standard = (views - self.centre) / self.scale
        if regression is None:
            regression = self.regression(standard)
        whole, best, mean = views.transpose(1, 0, 2)
        usual_whole, usual_best = standard[:, 0], standard[:, 1]
        others = self.rivals[:, 1:]
        none = others < 0
        look = (at - self.centre[1][self.rivals]) / self.scale[1][self.rivals]
        rivals_at = np.where(none, np.nan, at[:, :, 1:])
        lone = none.all(1)
        alternatives = np.where(lone, 0.0, np.nansum(rivals_at, 2) / np.maximum((~none).sum(1), 1))
        prior = np.nan_to_num(self.prior, nan=0.5)
        columns = (
            whole, best, mean, np.log1p((best[:, None, :] > best[:, :, None]).sum(2)),
            np.broadcast_to(np.log(prior / (1 - prior)), best.shape), usual_best, usual_whole,
            usual_best - self._best_rival(usual_best), usual_best - _most(look[:, :, 1:], none),
            usual_whole - self._best_rival(usual_whole), alternatives, regression,
            regression - self._best_rival(regression),
        )  # fmt: skip
        return np.stack(columns, 2)

    def regression(self, standard: np.ndarray) -> np.ndarray:
        """(N, M) how much the scores of a phrase and its alternatives, (N, VIEWS, M) standardised, speak for it."""
        rows = _gathered(standard, self.rivals)
        return np.einsum("nmkv,mkv->nm", rows, self.weights) + np.nan_to_num(self.prior, nan=0.5)

    def _best_rival(self, values: np.ndarray) -> np.ndarray:
        """(N, M) the highest of (N, M) values among the other values of a phrase's attribute; 0 where it has none."""
        return _most(values[:, self.rivals[:, 1:]], self.rivals[:, 1:] < 0)


def _most(values: np.ndarray, none: np.ndarray) -> np.ndarray:
    """(N, M) the highest of (N, M, K - 1) values that are there; 0 where none is."""
    if values.shape[2] == 0:
        return np.zeros(values.shape[:2])
    return np.where(none.all(1), 0.0, np.where(none, _LOW, values).max(2))


def _gathered(standard: np.ndarray, rivals: np.ndarray) -> np.ndarray:
    """(N, M, K, VIEWS): the views of each phrase's alternatives; 0 where there are fewer."""
    return np.where((rivals < 0)[..., None], 0.0, standard.transpose(0, 2, 1)[:, rivals])


def rivals_of(vocabulary: Vocabulary) -> np.ndarray:
    """(M, K) int: each phrase, then the other values of its attribute; -1 fills up."""
    attributes = [vocabulary.attribute(m) for m in range(len(vocabulary))]
    members: dict[str, list[int]] = {}
    for m, attribute in enumerate(attributes):
        if attribute is not None:
            members.setdefault(attribute, []).append(m)
    rows = [
        [m, *(other for other in members.get(attribute or "", ()) if other != m)]
        for m, attribute in enumerate(attributes)
    ]
    table = np.full((len(rows), max(map(len, rows))), -1)
    for filled, row in zip(table, rows, strict=True):
        filled[: len(row)] = row
    return table


def views_of(evidence: Sequence[Evidence], rivals: np.ndarray, shifts: bool) -> tuple[np.ndarray, np.ndarray]:
    """(N, VIEWS, M) scores, and (N, M, K) those of each phrase's alternatives in the look that it stands out in.

    shifts: by the scores that are averaged over shifted crops.
    """
    views, at = [], []
    for one in evidence:
        scores = (one.steady if shifts and one.steady is not None else one.unusual).double().numpy()
        views.append(np.stack([scores[0], scores.max(0), scores.mean(0)]))
        at.append(scores[scores.argmax(0)[:, None], rivals])
    return np.stack(views), np.stack(at)


def learned(views: np.ndarray, truth: np.ndarray, rivals: np.ndarray) -> tuple[Pooling, np.ndarray]:
    """What N pictures teach, and (N, M) the regression of each picture as if it had not been among them.

    truth: (N, M) 1, 0, or NaN where it is not known.

    The second follows in closed form from the residual of ridge regression (leave one out).
    """
    known = ~np.isnan(truth)
    count = known.sum(0)
    overall = truth[known].mean() if known.any() else 0.5
    prior = np.where(count > 0, (np.nansum(truth, 0) + SHRUNK * overall) / (count + SHRUNK), np.nan)
    prior = np.clip(prior, 1e-4, 1 - 1e-4)
    centre, scale = views.mean(0), np.maximum(views.std(0), 1e-6)
    rows = _gathered((views - centre) / scale, rivals)
    weights, without = np.zeros((*rivals.shape, VIEWS)), np.tile(np.nan_to_num(prior, nan=0.5), (len(views), 1))
    for m in np.flatnonzero(count):
        used = rivals[m] >= 0
        given = rows[:, m, used].reshape(len(rows), -1)
        x, y = given[known[:, m]], truth[known[:, m], m] - prior[m]
        inverse = np.linalg.inv(x.T @ x + RIDGE * np.eye(x.shape[1]))
        solved = inverse @ (x.T @ y)
        leverage = np.minimum(np.einsum("ni,ij,nj->n", x, inverse, x), 0.99)
        weights[m, used] = solved.reshape(-1, VIEWS)
        without[:, m] = prior[m] + given @ solved
        without[known[:, m], m] = prior[m] + y - (y - x @ solved) / (1 - leverage)
    return Pooling(prior, centre, scale, rivals, weights), without
