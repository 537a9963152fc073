"""Groups of pictures that look alike and are wrong alike: the mixture of Domino (Eyuboglu et al. 2022).

A group is a Gaussian over what a picture looks like, with shares of true and of predicted classes of its own; truth and
prediction weigh as much as ten pictures' worth, as there. Where a new picture belongs is told without its prediction:
else a group would be wrong by being chosen so.
"""

from __future__ import annotations

import numpy as np

WEIGHT = 10.0  # of truth and of prediction
DIMENSIONS = 32  # of the look, after PCA
GROUPS = 25
EACH = 20  # pictures of a group, on average, at least
ROUNDS = 40
_FLOOR = 1e-3  # of variances and shares


def error_groups(
    vectors: np.ndarray, truth: np.ndarray, predicted: np.ndarray, first: np.ndarray, seed: int = 0
) -> np.ndarray:
    """(G, N) which pictures belong to each group, that with most errors beyond the usual first.

    first: (N,) those that groups are found on. vectors: (N, d). truth, predicted: (N,) class indices, from 0.
    A picture belongs to the likeliest group, by its look and its truth. G is 0 where there are too few pictures, or
    none is wrong.
    """
    from sklearn.decomposition import PCA

    groups, dimensions = min(GROUPS, int(first.sum()) // EACH), min(DIMENSIONS, int(first.sum()) // 4, vectors.shape[1])
    wrong = truth != predicted
    if groups < 2 or dimensions < 2 or not wrong[first].any():
        return np.zeros((0, len(vectors)), bool)
    looks = PCA(dimensions, whiten=True, random_state=seed).fit(vectors[first]).transform(vectors)
    classes = int(max(truth.max(), predicted.max())) + 1
    y, said = truth[first], predicted[first]
    belongs = _start(looks[first], wrong[first], groups, seed)
    for _ in range(ROUNDS):
        share = belongs.sum(0) + _FLOOR
        means = belongs.T @ looks[first] / share[:, None]
        spread = (belongs.T @ looks[first] ** 2 / share[:, None] - means**2).clip(min=0.05)
        of_truth, of_said = _shares(belongs, y, classes), _shares(belongs, said, classes)
        odds = (
            _odds(looks[first], share, means, spread) + WEIGHT * (np.log(of_truth[:, y]) + np.log(of_said[:, said])).T
        )
        belongs = np.exp(odds - odds.max(1, keepdims=True))
        belongs /= belongs.sum(1, keepdims=True)
    of_new = _odds(looks, share, means, spread) + WEIGHT * np.log(of_truth[:, truth]).T
    chosen = np.eye(groups, dtype=bool)[of_new.argmax(1)].T
    sizes, bad, usual = chosen[:, first].sum(1), chosen[:, first] @ wrong[first].astype(int), wrong[first].mean()
    surprise = (bad - usual * sizes) / np.sqrt(np.maximum(sizes, 1) * usual)
    return chosen[np.argsort(-surprise, kind="stable")]


def _start(looks: np.ndarray, wrong: np.ndarray, groups: int, seed: int) -> np.ndarray:
    """(N, G) of 0 and 1: wrong and right pictures in groups of their own, half of the groups each where there are."""
    from sklearn.cluster import KMeans

    belongs, of_wrong = np.zeros((len(looks), groups)), max(1, min(groups // 2, int(wrong.sum()) // 5))
    for rows, offset, count in ((wrong, 0, of_wrong), (~wrong, of_wrong, groups - of_wrong)):
        where = np.flatnonzero(rows)
        if len(where):
            count = min(count, len(where))
            label = KMeans(count, n_init=1, random_state=seed).fit_predict(looks[where]) if count > 1 else 0
            belongs[where, offset + label] = 1
    return belongs


def _shares(belongs: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """(G, C): how often each class is the label in each group."""
    found = np.zeros((belongs.shape[1], classes))
    np.add.at(found.T, labels, belongs)
    found += _FLOOR
    return found / found.sum(1, keepdims=True)


def _odds(looks: np.ndarray, share: np.ndarray, means: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """(N, G) log-likelihood of each look in each group, with how large the group is."""
    distance = looks**2 @ (1 / spread).T - 2 * looks @ (means / spread).T + (means**2 / spread).sum(1)
    return np.log(share / share.sum()) - 0.5 * (distance + np.log(spread).sum(1))
