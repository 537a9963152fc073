"""Models that give log-odds for rows of numbers, as plain arrays: nothing in a file of theirs can run code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, final

import numpy as np

from saywhy.errors import SaywhyError

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = ("trees", "logistic")
_T = TypeVar("_T", "Trees", "Logistic")


class Model(Protocol):
    """Rows of numbers -> log-odds."""

    def log_odds(self, rows: np.ndarray) -> np.ndarray:
        """(R,) of (R, F)."""


@final
@dataclass(frozen=True, eq=False)
class Trees:
    """T boosted trees of S nodes at most; the first is the root, and a leaf leads to itself.

    feature: (T, S) int16. edge: (T, S) float64, a row goes left where its number is at most that.
    left, right: (T, S) int16. value: (T, S) float64, what a leaf adds. base: (1,) what all begin with.
    """

    feature: np.ndarray
    edge: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    base: np.ndarray

    def log_odds(self, rows: np.ndarray) -> np.ndarray:
        """(R,) of (R, F)."""
        trees = np.arange(len(self.feature))[None]
        every = np.arange(len(rows))[:, None]
        node = np.zeros((len(rows), len(self.feature)), np.int64)
        while True:
            lower = rows[every, self.feature[trees, node]] <= self.edge[trees, node]
            following = np.where(lower, self.left[trees, node], self.right[trees, node])
            if (following == node).all():
                return self.value[trees, node].sum(1) + self.base[0]
            node = following


@final
@dataclass(frozen=True, eq=False)
class Logistic:
    """A logistic regression. weights: (F,). base: (1,)."""

    weights: np.ndarray
    base: np.ndarray

    def log_odds(self, rows: np.ndarray) -> np.ndarray:
        """(R,) of (R, F)."""
        return rows @ self.weights + self.base[0]


def probabilities(model: Model, rows: np.ndarray) -> np.ndarray:
    """(R,) of (R, F)."""
    return 1 / (1 + np.exp(-model.log_odds(rows)))


def fit_trees(rows: np.ndarray, truth: np.ndarray) -> Trees:
    """Boosted trees (scikit-learn's, by histograms) for (R, F) rows and (R,) 0 or 1, with arrays in their place.

    Raises SaywhyError where the arrays do not give what scikit-learn gives.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    made: Any = HistGradientBoostingClassifier(
        max_depth=DEPTH, max_iter=ROUNDS, learning_rate=RATE, min_samples_leaf=LEAF, early_stopping=False
    ).fit(rows, truth)
    grown = [round_[0].nodes for round_ in made._predictors]
    most = max(map(len, grown))
    itself = np.arange(most)

    def table(of: Callable[[Any], np.ndarray], kind: Any, beyond: np.ndarray | int = 0) -> np.ndarray:
        filled = np.zeros((len(grown), most), kind) + np.asarray(beyond, kind)
        for row, nodes in zip(filled, grown, strict=True):
            row[: len(nodes)] = of(nodes)
        return filled

    def child(side: str) -> Callable[[Any], np.ndarray]:
        return lambda nodes: np.where(nodes["is_leaf"], np.arange(len(nodes)), nodes[side])

    trees = Trees(
        feature=table(lambda nodes: np.where(nodes["is_leaf"], 0, nodes["feature_idx"]), np.int16),
        edge=table(lambda nodes: np.where(nodes["is_leaf"], 0, nodes["num_threshold"]), np.float64),
        left=table(child("left"), np.int16, itself),
        right=table(child("right"), np.int16, itself),
        value=table(lambda nodes: np.where(nodes["is_leaf"], nodes["value"], 0), np.float64),
        base=np.atleast_1d(np.asarray(made._baseline_prediction, np.float64).ravel()),
    )
    some = rows[:: max(1, len(rows) // 1000)]
    if not np.allclose(probabilities(trees, some), made.predict_proba(some)[:, 1], rtol=0, atol=1e-6):
        raise SaywhyError(
            "the trees of this scikit-learn are not kept as they were; calibrate with --model-kind logistic"
        )
    return trees


def fit_logistic(rows: np.ndarray, truth: np.ndarray) -> Logistic:
    """As ``fit_trees``, a regularised logistic regression on standardised rows."""
    from sklearn.linear_model import LogisticRegression

    centre, scale = rows.mean(0), np.maximum(rows.std(0), 1e-9)
    made = LogisticRegression(max_iter=1000).fit((rows - centre) / scale, truth)
    weights = made.coef_[0] / scale
    return Logistic(weights, np.atleast_1d(made.intercept_[0] - centre @ weights))


DEPTH, ROUNDS, RATE, LEAF = 4, 150, 0.06, 60


def fit_model(kind: str, rows: np.ndarray, truth: np.ndarray) -> Trees | Logistic:
    """One of KINDS, for (R, F) rows and (R,) 0 or 1. Raises SaywhyError where all are 1, or all are 0."""
    if len(np.unique(truth)) < 2:
        raise SaywhyError("in a part of the pictures all phrases are true, or none is: give more pictures, or mix them")
    return fit_trees(rows, truth) if kind == "trees" else fit_logistic(rows, truth)


def arrays_of(model: Trees | Logistic) -> dict[str, np.ndarray]:
    """Name -> array, for a file."""
    return {field.name: getattr(model, field.name) for field in fields(model)}


def model_from(kind: str, arrays: Mapping[str, np.ndarray], features: int) -> Trees | Logistic:
    """What ``arrays_of`` gave. Raises ValueError where the arrays cannot be such a model."""
    if kind == "logistic":
        logistic = Logistic(arrays["weights"], arrays["base"])
        if logistic.weights.shape != (features,) or logistic.base.shape != (1,):
            raise ValueError("its arrays are no logistic regression")
        return logistic
    trees = Trees(**{field.name: arrays[field.name] for field in fields(Trees)})
    count = trees.feature.shape
    tables = [trees.feature, trees.edge, trees.left, trees.right, trees.value]
    here = np.arange(count[-1])
    inside = all(((side >= here) & (side < count[-1])).all() for side in (trees.left, trees.right))  # never backwards
    if len(count) != 2 or any(t.shape != count for t in tables) or not inside or trees.base.shape != (1,):
        raise ValueError("its arrays are no trees")
    if trees.feature.min() < 0 or trees.feature.max() >= features:
        raise ValueError("its trees ask for numbers that are not there")
    return trees
