"""A number with its interval: one bootstrap for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from saywhy.errors import SaywhyError

DRAWS = 2000  # of the bootstrap
LEVEL = 0.95
BLOCK = 8_000_000  # numbers of the bootstrap at once


@final
@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval (percentile bootstrap)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def bootstrap(values: np.ndarray, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """(draws, V) means of V measures (V, S, N) over S runs of a method and N pictures, both drawn with replacement.

    All runs saw the same pictures; so in each draw the same pictures stand for all of them. The draws depend on the
    numbers N and S alone. Two methods that are drawn one after the other are therefore drawn on the same pictures (and
    on the same runs, where they have as many), and their draws may be subtracted: the difference is a paired one.

    A single run says nothing of how much runs differ: its intervals are those of the pictures. Of few runs, five say,
    the share of the runs in an interval comes out somewhat small, as with any bootstrap.
    """
    measures, runs, pictures = values.shape
    flat = np.ascontiguousarray(values.reshape(-1, pictures).T)
    of_pictures, of_runs = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1, runs])
    drawn = np.empty((draws, measures))
    block = max(1, BLOCK // pictures)
    for start in range(0, draws, block):
        stop = min(start + block, draws)
        weights = np.stack([_drawn(of_pictures, pictures) for _ in range(start, stop)])
        by_run = (weights @ flat).reshape(stop - start, measures, runs)
        drawn[start:stop] = np.einsum("bvs,bs->bv", by_run, [_drawn(of_runs, runs) for _ in range(start, stop)])
    return drawn


def interval(values: np.ndarray, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Of the mean of (N,) values of pictures, or of (S, N) for S runs; see ``bootstrap``."""
    values = np.atleast_2d(values)
    return interval_of(values.mean(), bootstrap(values[None], draws, seed)[:, 0])


def difference(a: np.ndarray, b: np.ndarray, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Of the mean of ``a`` less that of ``b``, (N,) or (S, N) of the same N pictures, paired; see ``bootstrap``.

    Raises SaywhyError for different numbers of pictures.
    """
    a, b = np.atleast_2d(a), np.atleast_2d(b)
    if a.shape[1] != b.shape[1]:
        raise SaywhyError(f"{a.shape[1]} and {b.shape[1]} pictures cannot be paired; compare on the same ones")
    drawn = bootstrap(a[None], draws, seed) - bootstrap(b[None], draws, seed)
    return interval_of(a.mean() - b.mean(), drawn[:, 0])


def interval_of(value: float, drawn: np.ndarray) -> Interval:
    """A value with the interval of its (draws,) bootstrap draws."""
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(value), float(low), float(high))


def _drawn(generator: np.random.Generator, count: int) -> np.ndarray:
    """(count,) the weights of one draw, which sum to 1."""
    return np.bincount(generator.integers(0, count, count), minlength=count) / count
