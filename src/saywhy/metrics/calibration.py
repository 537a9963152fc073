"""Are probabilities what they say? ECE, Brier score, NLL and reliability of softmaxes, and a temperature for each term.

For categories, for rationales and for pairs alike. Pairs are millions, so logits may come in blocks of columns; what is
kept of them are five numbers a picture.

Sources: Guo et al., On Calibration of Modern Neural Networks (ICML 2017), for temperatures and ECE; Nguyen and O'Connor
(EMNLP 2015) for bins of equal mass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import final

import numpy as np

from saywhy.errors import SaywhyError

Blocks = Callable[[], Iterable[np.ndarray]]
"""Gives the logits of N pictures, (N, m) at a time from the first column to the last; the same on every call."""

BINS = 15
COOLEST, HOTTEST = 1e-2, 1e2  # temperatures that are tried


@final
@dataclass(frozen=True, eq=False)
class Forecasts:
    """What calibration needs of N softmaxes; (N,) each.

    confidence: the highest probability. correct: bool, whether that is a true one.
    log_true:   mean of the log-probabilities of the true ones.
    true:       mean of the probabilities of the true ones.
    squares:    sum of all squared probabilities.
    golds:      how many are true.
    """

    confidence: np.ndarray
    correct: np.ndarray
    log_true: np.ndarray
    true: np.ndarray
    squares: np.ndarray
    golds: np.ndarray

    @property
    def nll(self) -> float:
        """Mean cross-entropy in nats, with the truth spread evenly over what is true."""
        return float(-self.log_true.mean())

    @property
    def brier(self) -> float:
        """Mean squared distance from the truth, spread likewise; 0..2 (Brier 1950, over all columns)."""
        return float((self.squares - 2 * self.true + 1 / self.golds).mean())

    def summary(self) -> dict[str, float]:
        """Accuracy, mean confidence, ECE (bins of equal mass), Brier and NLL; the first three in percent."""
        return {
            "accuracy": 100 * float(self.correct.mean()),
            "confidence": 100 * float(self.confidence.mean()),
            "ECE": 100 * reliability(self).ece,
            "Brier": self.brier,
            "NLL": self.nll,
        }


@final
@dataclass(frozen=True, eq=False)
class Reliability:
    """Confidence and accuracy of the pictures in B bins, from the least sure to the surest; empty bins are left out.

    confidence, accuracy: (B,) means. count: (B,) pictures.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean distance of accuracy from confidence, 0..1."""
        return float(np.average(np.abs(self.accuracy - self.confidence), weights=self.count))


def forecasts(logits: np.ndarray | Blocks, labels: np.ndarray, temperature: float = 1.0) -> Forecasts:
    """Of softmax(logits / temperature).

    logits: (N, M), or a function that gives them in blocks.
    labels: (N,) the true column, or (N, G) several, filled up with -1.

    Raises SaywhyError for labels that are not columns, logits that are not finite, or no picture.
    """
    labels = np.asarray(labels)
    labels = labels[:, None] if labels.ndim == 1 else labels
    if not len(labels) or not (labels >= 0).any(1).all():
        raise SaywhyError("calibration needs pictures, each with at least one true label")
    best = np.full(len(labels), -np.inf)
    predicted, columns = np.zeros(len(labels), int), 0
    total, squares = best.copy(), best.copy()  # log-sums of exp(logit) and of its square
    wanted = np.full(labels.shape, np.nan)
    for block in logits() if callable(logits) else [logits]:
        block = _checked(block, len(labels)) / temperature
        highest = block.max(1)
        predicted = np.where(highest > best, columns + block.argmax(1), predicted)
        best = np.maximum(best, highest)
        total = np.logaddexp(total, _log_sum(block, highest))
        squares = np.logaddexp(squares, _log_sum(2 * block, 2 * highest))
        row, column = np.nonzero((labels >= columns) & (labels < columns + block.shape[1]))
        wanted[row, column] = block[row, labels[row, column] - columns]
        columns += block.shape[1]
    if labels.max() >= columns:
        raise SaywhyError(f"the true column {labels.max()} is not among the {columns} columns of logits")
    log_true = wanted - total[:, None]
    return Forecasts(
        confidence=np.exp(best - total),
        correct=(labels == predicted[:, None]).any(1),
        log_true=np.nanmean(log_true, 1),
        true=np.nanmean(np.exp(log_true), 1),
        squares=np.exp(squares - 2 * total),
        golds=(labels >= 0).sum(1),
    )


def reliability(of: Forecasts, bins: int = BINS, equal: str = "mass") -> Reliability:
    """A table to plot. equal: "mass": as many pictures in each bin; "width": as much of 0..1.

    Raises SaywhyError for another ``equal``, or no bin.
    """
    if equal not in ("mass", "width") or bins < 1:
        raise SaywhyError(f"{bins} bins of equal {equal!r}: equal must be 'mass' or 'width', and bins at least 1")
    order = of.confidence.argsort(kind="stable")
    confidence, correct = of.confidence[order], of.correct[order]
    if equal == "mass":
        edges = np.linspace(0, len(order), bins + 1).round().astype(int)
    else:
        edges = np.searchsorted(confidence, np.linspace(0, 1, bins + 1), side="left")
        edges[-1] = len(order)  # a confidence of 1 is in the last bin
    count = np.diff(edges)
    filled = count > 0
    sums = [np.diff(np.concatenate([[0], values.cumsum()])[edges])[filled] for values in (confidence, correct)]
    return Reliability(sums[0] / count[filled], sums[1] / count[filled], count[filled])


def fit_temperature(logits: np.ndarray | Blocks, labels: np.ndarray) -> float:
    """The temperature of lowest NLL, 0.01..100, of logits of pictures that were not trained on; as ``forecasts``.

    NLL is convex in 1 / temperature, so that there is one. Where every picture is right, the cooler the better: it is
    one below which nothing improves. Blocks are read about 20 times.
    """
    from scipy.optimize import minimize_scalar

    best = minimize_scalar(
        lambda log: forecasts(logits, labels, float(np.exp(log))).nll,
        bounds=(np.log(COOLEST), np.log(HOTTEST)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(best.x))


def _checked(block: np.ndarray, pictures: int) -> np.ndarray:
    block = np.asarray(block, np.float64)
    if block.ndim != 2 or len(block) != pictures or not block.shape[1]:
        raise SaywhyError(f"logits of shape {block.shape} for {pictures} pictures; give (pictures, columns)")
    if not np.isfinite(block).all():
        raise SaywhyError("some logits are not finite; the model cannot be calibrated")
    return block


def _log_sum(block: np.ndarray, highest: np.ndarray) -> np.ndarray:
    """(N,) log of the sum of exp over columns."""
    return highest + np.log(np.exp(block - highest[:, None]).sum(1))
