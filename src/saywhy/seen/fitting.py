"""Fitting a calibration: out of fold for everything that is reported, and for the threshold."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from saywhy.errors import SaywhyError
from saywhy.plumbing.names import unknown
from saywhy.seen.calibration import Calibration, bins, digest_of, figures_of, probe
from saywhy.seen.evidence import Evidence
from saywhy.seen.models import KINDS, fit_model, probabilities
from saywhy.seen.pooling import learned, rivals_of, views_of
from saywhy.types import Space

FOLDS = 5
FEWEST = 20
"""Pictures from which a calibration is fitted."""
LIKELIER = 0.5
"""A threshold is at least this: what is likelier absent than there is not said, however rarely that is wrong."""
SURE = 1.28  # standard errors by which the precision must lie above the target: one side, 90 %


@final
@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How a calibration is fitted.

    target: the precision that what is said must have. kind: one of models.KINDS. shifts: with shifted crops.
    """

    target: float = 0.95
    kind: str = "trees"
    shifts: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("model kind", self.kind, KINDS)
        if not 0 < self.target < 1:
            raise SaywhyError(f"the target precision must lie between 0 and 1; it is {self.target}")


DEFAULT_FIT = FitOptions()


def fit_calibration(
    evidence: Sequence[Evidence],
    truth: np.ndarray,
    space: Space,
    *,
    data: str,
    looks: str,
    groups: Sequence[Hashable] | None = None,
    options: FitOptions = DEFAULT_FIT,
    advance: Callable[[], None] = lambda: None,
) -> Calibration:
    """Learned from N pictures, of one vocabulary of M phrases.

    truth:  (N, M) 1 where a phrase is there, 0 where it is not, NaN where nobody knows.
    groups: of each picture; pictures of one group are never on both sides of a fold (classes, say); None: each its own.
    data, looks: see ``Calibration``. advance: called after each of FOLDS + 1 fits.

    Raises SaywhyError for fewer than FEWEST pictures or two groups, other shapes, and a truth without both sides.
    """
    if len(evidence) < FEWEST:
        raise SaywhyError(f"{len(evidence)} pictures are too few to calibrate on; give {FEWEST} or more")
    vocabulary = evidence[0].vocabulary
    truth = np.asarray(truth, np.float64)
    if truth.shape != (len(evidence), len(vocabulary)):
        raise SaywhyError(f"a truth of shape {truth.shape} for {len(evidence)} pictures and {len(vocabulary)} phrases")
    rivals = rivals_of(vocabulary)
    views, at = views_of(evidence, rivals, options.shifts)
    known = ~np.isnan(truth) & (np.nansum(truth, 0) > 0)
    if not known.any() or truth[known].min() == 1:
        raise SaywhyError("no phrase is true of one picture and false of another: nothing can be calibrated")
    found = np.full(truth.shape, np.nan)
    for part in _folds(len(evidence), groups):
        rest = ~part
        pooling, without = learned(views[rest], truth[rest], rivals)
        learnable = known[rest] & ~np.isnan(pooling.prior)
        model = fit_model(
            options.kind, pooling.features(views[rest], at[rest], without)[learnable], truth[rest][learnable]
        )
        asked = pooling.features(views[part], at[part])
        there = probabilities(model, asked.reshape(-1, asked.shape[2])).reshape(part.sum(), -1)
        found[part] = np.where(np.isnan(pooling.prior), np.nan, there)
        advance()
    pooling, without = learned(views, truth, rivals)
    model = fit_model(options.kind, pooling.features(views, at, without)[known], truth[known])
    advance()
    known &= ~np.isnan(found)
    threshold = threshold_for(found, np.where(known, truth, np.nan), options.target, rivals=rivals)
    said = gated(found, threshold, rivals) & known
    count = int(said.sum())
    return Calibration(
        data=data, looks=looks, space=space.name, probe=probe(space), vocabulary=vocabulary.name,
        phrases=vocabulary.phrases, words=digest_of(vocabulary), pooling=pooling, model=model, threshold=threshold,
        target=options.target, precision=float(truth[said].mean()) if count else float("nan"),
        claims=count / len(evidence), shifts=options.shifts, reliability=bins(found[known], truth[known]),
        figures=figures_of(found, np.where(known, truth, np.nan), said),
    )  # fmt: skip


def gated(probability: np.ndarray, threshold: float, rivals: np.ndarray) -> np.ndarray:
    """(N, M) bool: what is said of (N, M) probabilities: from the threshold on, of each attribute the likeliest."""
    others = np.where(rivals[:, 1:] < 0, -1.0, probability[:, rivals[:, 1:]]).max(2, initial=-1.0)
    return (probability >= threshold) & (probability >= others)


def threshold_for(probability: np.ndarray, truth: np.ndarray, target: float, *, rivals: np.ndarray) -> float:
    """The lowest probability from which what is said is true at least as often as the target, with a margin.

    The margin is SURE standard errors, of pictures and not of phrases, as those of one picture are right or wrong
    together. Never below LIKELIER; infinite where there is none.
    """
    best = gated(probability, 0.0, rivals) & ~np.isnan(truth)
    row, column = np.nonzero(best)
    p, y = probability[row, column], truth[row, column]
    order = np.argsort(-p, kind="stable")
    chosen = float("inf")
    for edge in np.unique(np.floor(p[p >= LIKELIER] * 1000) / 1000)[::-1]:
        inside = order[: int(np.searchsorted(-p[order], -edge, side="right"))]
        count = np.bincount(row[inside], minlength=len(probability))
        right = np.bincount(row[inside], y[inside], minlength=len(probability))
        if not count.sum():
            continue
        precision = right.sum() / count.sum()
        error = np.sqrt(((right - precision * count) ** 2).sum()) / count.sum()
        if precision - SURE * max(error, 1 / count.sum()) >= target:
            chosen = float(edge)
    return chosen


def _folds(pictures: int, groups: Sequence[Hashable] | None) -> list[np.ndarray]:
    """(N,) bool each: disjoint parts of about equal size, groups together."""
    names = list(range(pictures)) if groups is None else list(groups)
    kinds = list(dict.fromkeys(names))
    if len(kinds) < 2:
        raise SaywhyError("the pictures are all of one group; a calibration needs two or more to be checked on another")
    dealt = np.random.default_rng(0).permutation(len(kinds)) % FOLDS
    part = dict(zip(kinds, dealt.tolist(), strict=True))
    of = np.array([part[name] for name in names])
    return [of == fold for fold in range(FOLDS) if (of == fold).any()]
