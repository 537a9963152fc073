"""How well captions fit pictures, in numbers: similarities, shares, and how much of each contrast surgery leaves.

Source: Caption-driven XAI (Koller et al. 2025), its "quantitative concept analysis". The paper counts which caption
wins; that mixes what the pictures show with what the classifier uses, and rests on captions of unequal base similarity.
Here differences of similarities are averaged with intervals, and a contrast between captions is followed through the
surgery: how much of what CLIP tells apart can still be told apart when it sees what the classifier sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.intervals import Interval, interval_of, resampled
from saywhy.spaces.similarity import UNUSUAL

DRAWS = 1000  # of the bootstrap
FLAT = 1e-12  # squares of cosines: below it, nothing is told apart
SUBSETS = ("all", "right", "wrong")  # a class of such a name is called "class right"


class CaptionScores(Protocol):
    """M captions in groups, and their cosines with N pictures before and after surgery; see ``captions.Answers``."""

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]: ...

    @property
    def before(self) -> Tensor: ...

    @property
    def after(self) -> Tensor | None: ...

    @property
    def unmatched(self) -> bool: ...

    @property
    def pictures(self) -> tuple[str, ...]: ...

    @property
    def model(self) -> str | None: ...

    @property
    def model_record(self) -> Mapping[str, str]: ...

    @property
    def surgery(self) -> Mapping[str, Any] | None: ...

    @property
    def matching(self) -> Mapping[str, Any] | None: ...

    @property
    def noise(self) -> tuple[float, ...] | None: ...

    @property
    def unusual(self) -> Tensor | None: ...

    @property
    def spaces(self) -> tuple[str, ...]: ...

    @property
    def captions(self) -> tuple[str, ...]: ...

    def columns(self, group: int) -> slice: ...

    def shares(self, scores: Tensor) -> Tensor: ...

    def subsets(self) -> dict[str, np.ndarray]: ...

    def __hash__(self) -> int: ...


@lru_cache(maxsize=2)  # terminal, document and figure show the same; a bootstrap over many pictures takes seconds
def concept_table(answers: CaptionScores) -> list[dict[str, Any]]:
    """The quantitative concept analysis: a row for each subset of pictures and each caption.

    Similarity and share of its group before, and after; ``influence`` is the mean difference of the similarities, as an
    Interval; ``wins`` are percent of pictures in which the caption is first in its group. Where it is known,
    ``unusual`` is the mean of how many standard deviations it lies above what is usual, and ``stands out`` in what
    percent of pictures it does, by UNUSUAL or more. Of one picture an interval has no width, and says nothing.
    """
    scores = {"before": answers.before} if answers.after is None else {"before": answers.before, "after": answers.after}
    shares = {when: answers.shares(cosines) for when, cosines in scores.items()}
    measured = {f"similarity {when}": cosines for when, cosines in scores.items()}
    measured |= {f"share {when}": values for when, values in shares.items()}
    if answers.after is not None:
        measured["influence"] = answers.after - answers.before
    of_group = [group for group, captions in enumerate(answers.groups) for _ in captions]
    rows = []
    for subset, chosen in answers.subsets().items():
        about = {"pictures": subset, "count": int(chosen.sum())}
        measures = zip(
            of_group, answers.captions, _means(measured, chosen), _wins(answers, scores, chosen), strict=True
        )
        rows += [
            {**about, "group": group, "caption": caption, **means, **wins} for group, caption, means, wins in measures
        ]
        if answers.unusual is not None:
            out = answers.unusual[chosen].double()
            percent = 100 * (out >= UNUSUAL).double().mean(0)
            for row, mean, share in zip(rows[-len(answers.captions) :], out.mean(0), percent, strict=True):
                row |= {"unusual": float(mean), "stands out": float(share)}
    return rows


def without_intervals_of_one(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of ``concept_table`` as plain values: of one picture there is no interval, and its ends are None."""
    ends = {"low": None, "high": None} if row["count"] == 1 else {}
    return {key: asdict(value) | ends if isinstance(value, Interval) else value for key, value in row.items()}


def _means(measured: dict[str, Tensor], chosen: np.ndarray) -> Iterator[dict[str, Interval]]:
    """For each caption the means of (N, M) values over some of the pictures, with intervals."""
    values = torch.cat([measure[chosen] for measure in measured.values()], dim=1).double().numpy()
    drawn = resampled(len(values), lambda weights: weights @ values / weights.sum(1, keepdims=True), DRAWS)
    captions = values.shape[1] // len(measured)
    for n in range(captions):
        columns = range(n, values.shape[1], captions)
        yield {name: interval_of(values[:, k].mean(), drawn[:, k]) for name, k in zip(measured, columns, strict=True)}


def _wins(answers: CaptionScores, scores: dict[str, Tensor], chosen: np.ndarray) -> Iterator[dict[str, float]]:
    """For each caption the percentage of some of the pictures in which it is first in its group."""
    for group in range(len(answers.groups)):
        first = {when: cosines[chosen][:, answers.columns(group)].argmax(1) for when, cosines in scores.items()}
        for n in range(len(answers.groups[group])):
            yield {f"wins {when}": 100 * float((winners == n).double().mean()) for when, winners in first.items()}


def kept(answers: CaptionScores, group: int, subset: str = "all") -> Interval:
    """How much of what the captions of a group tell apart is left after surgery: 0 nothing, 1 all, above 1 more.

    The slope of the centred similarities after surgery on those before: each picture's mean over the captions, and each
    caption's mean over the pictures, are taken off, so that neither a shift of all captions nor their unequal base
    similarities count.

    Raises SaywhyError without surgery, for one picture or a group of one caption, and where CLIP itself does not tell
    the captions apart: of nothing there is no share. See ``contrast``.
    """
    return _with_interval(answers, subset, lambda parts, weights: _slope(parts[0], weights), [group])


def contrast(answers: CaptionScores, group: int, subset: str = "all") -> float:
    """How far CLIP itself tells the captions of a group apart in these pictures, before surgery.

    The deviation over the pictures of their centred similarities (as for ``kept``), all captions taken together. Where
    it does not exceed ``noise``, what any words or directions would give, the contrast is not in the pictures.
    """
    return _deviation(_contrasts(answers.before[answers.subsets()[subset]][:, answers.columns(group)]))


def _deviation(contrasts: np.ndarray) -> float:
    return float(np.square(contrasts - contrasts.mean(0)).sum(1).mean()) ** 0.5


def verdict(answers: CaptionScores, group: int, other: int, subset: str = "all") -> Interval:
    """``kept`` of one group less ``kept`` of another: above 0 where the classifier looks more for the first.

    Both are shares of what CLIP itself sees in the same pictures, so that a concept is not favoured for being easy to
    see. It is 0 where nothing is replaced, and where what is replaced carries nothing.
    """
    return _with_interval(
        answers, subset, lambda parts, weights: _slope(parts[0], weights) - _slope(parts[1], weights), [group, other]
    )


_Pair = tuple[np.ndarray, np.ndarray]  # (N, m) contrasts before and after


def _with_interval(
    answers: CaptionScores, subset: str, measure: Callable[[list[_Pair], np.ndarray], np.ndarray], groups: Sequence[int]
) -> Interval:
    if answers.after is None:
        raise SaywhyError("what is kept can be measured only after surgery")
    chosen = answers.subsets()[subset]
    if chosen.sum() < 2:
        raise SaywhyError("what is left is told from how pictures differ; there is one")
    parts: list[_Pair] = []
    for group in groups:
        columns = answers.columns(group)
        if columns.stop - columns.start < 2:
            raise SaywhyError(
                f"{answers.groups[group][0]!r} stands alone; what is kept is measured between the captions of a group"
            )
        pair = _contrasts(answers.before[chosen][:, columns]), _contrasts(answers.after[chosen][:, columns])
        if _deviation(pair[0]) <= max(FLAT**0.5, 0.0 if answers.noise is None else answers.noise[group]):
            raise SaywhyError(
                f"{answers.spaces[0]} itself does not tell {quoted(answers, group)} apart in these pictures"
            )
        parts.append(pair)
    count = len(parts[0][0])
    drawn = resampled(count, lambda weights: measure(parts, weights), DRAWS)
    return interval_of(measure(parts, np.ones((1, count)))[0], drawn)


def _contrasts(scores: Tensor) -> np.ndarray:
    """(N, m) without each picture's mean over the captions."""
    values = scores.double().numpy()
    return values - values.mean(1, keepdims=True)


def _slope(pair: _Pair, weights: np.ndarray) -> np.ndarray:
    """(D,) slopes of after on before (N, m), for D weightings (D, N) of the pictures."""
    before, after = pair
    total = weights.sum(1, keepdims=True)
    centres = (weights @ before / total, weights @ after / total)
    product = weights @ (before * after).sum(1) - total[:, 0] * (centres[0] * centres[1]).sum(1)
    square = weights @ (before**2).sum(1) - total[:, 0] * (centres[0] ** 2).sum(1)
    return product / np.maximum(square, FLAT)


def quoted(answers: CaptionScores, group: int) -> str:
    return f'"{" | ".join(answers.groups[group])}"'
