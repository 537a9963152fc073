"""A number with its interval: one percentile bootstrap over pictures for whatever is measured; Wilson's for shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import final

import numpy as np

from saywhy.errors import SaywhyError

DRAWS = 2000  # of the bootstrap
LEVEL = 0.95
BLOCK = 8_000_000  # weights of pictures at once


@final
@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"

    def __format__(self, form: str) -> str:
        """``f"{found:+.3f}"`` is "+0.500 [-0.250, +1.000]": each number in that form."""
        return f"{self.value:{form}} [{self.low:{form}}, {self.high:{form}}]" if form else str(self)


def resampled(
    pictures: int, measure: Callable[[np.ndarray], np.ndarray], draws: int = DRAWS, seed: int = 0
) -> np.ndarray:
    """(draws, ...): ``measure`` of weightings (D, N), how often each of N pictures is drawn, a block of them at a time.

    The weightings depend on ``pictures`` and ``seed`` alone, so that two measures are drawn on the same pictures, and
    their difference is a paired one.
    """
    generator = np.random.default_rng(seed)
    even, block = np.full(pictures, 1 / pictures), max(1, BLOCK // pictures)
    return np.concatenate(
        [
            measure(generator.multinomial(pictures, even, min(block, draws - start)).astype(float))
            for start in range(0, draws, block)
        ]
    )


def bootstrap(values: np.ndarray, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """(draws, V) means of V measures (V, S, N) over S runs of a method and N pictures, both drawn with replacement.

    All runs saw the same pictures; so in each draw the same pictures stand for all of them. The draws depend on the
    numbers N and S alone: draws of two methods may be subtracted, and the difference is a paired one (on the same
    runs too, where they have as many).

    A single run says nothing of how much runs differ: its intervals are those of the pictures. Of few runs, five say,
    the share of the runs in an interval comes out somewhat small, as with any bootstrap.
    """
    measures, runs, pictures = values.shape
    flat = np.ascontiguousarray(values.reshape(-1, pictures).T)
    by_run = resampled(pictures, lambda weights: weights @ flat / pictures, draws, seed).reshape(draws, measures, runs)
    of_runs = np.random.default_rng([seed, runs]).multinomial(runs, np.full(runs, 1 / runs), draws) / runs
    return np.einsum("bvs,bs->bv", by_run, of_runs)


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


def proportion(hits: int, count: int, level: float = LEVEL) -> Interval:
    """A share with Wilson's interval (1927), which has a width where all or none are hits; NaN of nothing."""
    if not count:
        return Interval(float("nan"), float("nan"), float("nan"))
    share, z = hits / count, deviations(level)
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5 / (1 + z**2 / count)
    return Interval(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def proportions_differ(hits: int, count: int, others: int, other_count: int, level: float = LEVEL) -> Interval:
    """Of a share less another one, of other pictures: Newcombe's interval (1998, method 10); NaN of nothing."""
    return differ(proportion(hits, count, level), proportion(others, other_count, level))


def differ(a: Interval, b: Interval) -> Interval:
    """Of a less b, from their intervals, which must be independent (Zou and Donner, 2008)."""
    value = a.value - b.value
    below = ((a.value - a.low) ** 2 + (b.high - b.value) ** 2) ** 0.5
    above = ((a.high - a.value) ** 2 + (b.value - b.low) ** 2) ** 0.5
    return Interval(value, value - below, value + above)


def share_changed(gained: int, lost: int, count: int, level: float = LEVEL) -> Interval:
    """Of the change of a share among the same ``count`` pictures, of which some were gained and some lost.

    The interval is that of Bonett and Price (2012), which has a width where none is; NaN of nothing.
    """
    if not count:
        return Interval(float("nan"), float("nan"), float("nan"))
    up, down = (gained + 1) / (count + 2), (lost + 1) / (count + 2)
    half = deviations(level) * ((up + down - (up - down) ** 2) / (count + 2)) ** 0.5
    value = (gained - lost) / count
    return Interval(value, max(-1.0, min(value, up - down - half)), min(1.0, max(value, up - down + half)))


def mean_interval(mean: float, deviation: float, count: int, level: float = LEVEL) -> Interval:
    """Of a mean of ``count`` values with this sample deviation, by Student's t; infinitely wide of one, NaN of none."""
    from scipy.stats import t

    if not count:
        return Interval(float("nan"), float("nan"), float("nan"))
    if count == 1:
        return Interval(mean, float("-inf"), float("inf"))
    half = float(t.ppf((1 + level) / 2, count - 1)) * deviation / count**0.5
    return Interval(mean, mean - half, mean + half)


def deviations(level: float = LEVEL) -> float:
    """How many standard deviations to each side of its mean hold this share of a normal distribution."""
    return NormalDist().inv_cdf((1 + level) / 2)


def rank_difference(value: float, count: int, others: int) -> Interval:
    """Cliff's delta, 2 AUC - 1, of ``count`` pictures against ``others``, with Newcombe's interval (2006, method 5).

    value: how many more of all pairs have the greater number in the first group than in the second, -1 to 1. The
    interval has a width where that is 1.
    """
    area, weight = (value + 1) / 2, (count + others) / 2 - 1
    grid = np.linspace(0, 1, 20_001)
    spread = grid * (1 - grid) / (count * others) * (1 + weight * (1 - grid) / (2 - grid) + weight * grid / (1 + grid))
    within = grid[np.abs(grid - area) <= deviations() * np.sqrt(spread) + 5e-5]
    return Interval(value, min(value, 2 * float(within[0]) - 1), max(value, 2 * float(within[-1]) - 1))
