"""From the evidence of a picture to a row of numbers a phrase, from which a probability is learned.

A score alone does not say whether a phrase is there: some phrases score high everywhere, and phrases that exclude each
other share their score ("red wing" is near wherever "orange wing" is true). So a phrase is held against what it scores
on pictures in general and against the other values of its attribute, and a ridge regression on the scores of these
values says how they are confused. Scores of other attributes are left out of it on purpose: from them a kind of bird
could be recognised, and its colours be recited, seen or not. How well all scores together fit what was learned enters
as three numbers a picture, the same for each of its phrases: they tell a picture of the kind that was learned from,
where confusions are known, from another.
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
    "fit of the picture", "regression of the picture", "margin of the picture",
)  # fmt: skip
"""What each column says of a phrase: scores, how they lie among what is usual for it, and how far above the best of the
other values of its attribute (above zero, where it has none)."""
RIDGE = 10.0  # penalty of the regression on an attribute's scores, in pictures
RIDGE_ALL = 100.0  # of that on all scores
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
    every:   (VIEWS * M, M) float16, the weights of one on the scores of all phrases.
    """

    prior: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    rivals: np.ndarray
    weights: np.ndarray
    every: np.ndarray

    def is_of(self, phrases: int) -> bool:
        """Whether the arrays fit each other and that many phrases."""
        return (
            self.prior.shape == (phrases,)
            and self.centre.shape == self.scale.shape == (VIEWS, phrases)
            and self.rivals.ndim == 2
            and len(self.rivals) == phrases > self.rivals.max()
            and self.weights.shape == (*self.rivals.shape, VIEWS)
            and self.every.shape == (VIEWS * phrases, phrases)
        )

    def features(
        self, views: np.ndarray, at: np.ndarray, without: tuple[np.ndarray, np.ndarray] | None = None
    ) -> np.ndarray:
        """(N, M, F) float64 of N pictures.

        views: (N, VIEWS, M). at: (N, M, K), as ``views_of`` gives them. without: the two regressions, (N, M), where
        they were computed without the picture itself, as ``learned`` gives them; else they are computed.
        """
        standard = (views - self.centre) / self.scale
        regression, everything = without or self._regressions(standard)
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
            regression - self._best_rival(regression), *self._of_picture(everything, prior),
        )  # fmt: skip
        return np.stack(columns, 2)

    def _regressions(self, standard: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, M) how much the scores of a phrase and its alternatives, and how much all scores, speak for it.

        standard: (N, VIEWS, M) standardised scores.
        """
        prior = np.nan_to_num(self.prior, nan=0.5)
        own = np.einsum("nmkv,mkv->nm", _gathered(standard, self.rivals), self.weights)
        return own + prior, standard.reshape(len(standard), -1) @ self.every.astype(np.float64) + prior

    def _of_picture(self, everything: np.ndarray, prior: np.ndarray) -> list[np.ndarray]:
        """Three times (N, M), the same in each row: how well all scores of a picture fit what was learned.

        How far they move the phrases from their base rates, the mean of the likeliest values, and of their margins.
        """
        rival = self._best_rival(everything)
        first = everything > rival
        count = np.maximum(first.sum(1), 1)
        moved = ((everything - prior) ** 2 / (prior * (1 - prior))).mean(1)
        means = [np.where(first, values, 0).sum(1) / count for values in (everything, everything - rival)]
        return [np.broadcast_to(values[:, None], everything.shape) for values in (moved, *means)]

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


def learned(views: np.ndarray, truth: np.ndarray, rivals: np.ndarray) -> tuple[Pooling, tuple[np.ndarray, np.ndarray]]:
    """What N pictures teach, and (N, M) the two regressions of each picture as if it had not been among them.

    truth: (N, M) 1, 0, or NaN where it is not known. A phrase that is true of no picture is not known.

    The second follow in closed form from the residuals of ridge regression (leave one out).
    """
    known = ~np.isnan(truth)
    count = known.sum(0)
    overall = truth[known].mean() if known.any() else 0.5
    prior = (np.nansum(truth, 0) + SHRUNK * overall) / (count + SHRUNK)
    prior = np.where(np.nansum(truth, 0) > 0, np.clip(prior, 1e-4, 1 - 1e-4), np.nan)
    centre, scale = views.mean(0), np.maximum(views.std(0), 1e-6)
    standard = (views - centre) / scale
    target = np.where(known, truth - prior, 0.0)
    target[:, np.isnan(prior)] = 0
    base = np.nan_to_num(prior, nan=0.5)
    rows = _gathered(standard, rivals)
    weights, own = np.zeros((*rivals.shape, VIEWS)), np.tile(base, (len(views), 1))
    for m in np.flatnonzero(~np.isnan(prior)):
        used, sure = rivals[m] >= 0, known[:, m]
        given = rows[:, m, used].reshape(len(rows), -1)
        solved, without = _ridge(given[sure], target[sure, m : m + 1], RIDGE)
        weights[m, used] = solved.reshape(-1, VIEWS)
        own[:, m] += given @ solved[:, 0]
        own[sure, m] = base[m] + without[:, 0]
    every, everything = _ridge(standard.reshape(len(views), -1), target, RIDGE_ALL)
    return Pooling(prior, centre, scale, rivals, weights, every.astype(np.float16)), (own, everything + base)


def _ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """(D, M) weights of (N, D) rows for (N, M), and (N, M) what each row gets by the weights without it."""
    if x.shape[0] >= x.shape[1]:
        inner = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T)
    else:  # the same, with a smaller matrix to solve
        inner = x.T @ np.linalg.inv(x @ x.T + penalty * np.eye(len(x)))
    weights = inner @ y
    leverage = np.minimum(np.einsum("nd,dn->n", x, inner), 0.99)[:, None]
    return weights, y - (y - x @ weights) / (1 - leverage)
