"""Is the rationale used? What happens to an answer when its rationale is changed, in the text or in the picture.

A doubly right answer (ECOR, section III) names a category and a rationale; that both are right does not say that one
rests on the other. Two tests, which no paper of this line reports: another rationale is put in its place in the text,
and what it is about is taken out of the picture. Both give the share of right categories whose rationale is used,
beside what chance gives. They are for any space, tuned or not, and any way of choosing rationales: a blind one (drawn
from the category's own list, say) is measured by handing in its rationales. A third is in ``bottleneck``.

All probabilities are those of the method's own joint P(r | I) P(c | r, I), with a P(c | r, I) that sums to 1 over the
categories (ECOR's eq. 5 does not); see ``log_rationale`` and ``log_conditional``. Logarithms are natural.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from torch import Tensor

from saywhy.checks.picture_change import PictureChange
from saywhy.checks.text_swap import TextSwap
from saywhy.errors import SaywhyError
from saywhy.intervals import Interval, bootstrap, interval_of

# -- beside RR --------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class Tested:
    """Of one test.

    count:  answers with the right category that were tested, over all runs.
    share:  percent of them whose rationale is used.
    chance: percent that chance gives, at most.
    falls:  means over them, by name, in nats, or places for "rank".
    """

    count: int
    share: Interval
    chance: float
    falls: Mapping[str, Interval]


@final
@dataclass(frozen=True)
class Use:
    """Of the answers of a method whose category is right (``right`` in number), whose rationale is used.

    text:    another rationale in the text; falls "category" (of log P(c | r, I)) and "rank".
    picture: what it is about taken out of the picture; falls "rationale" (of log P(r | I)) and "category", and
             "rationale elsewhere", "category elsewhere" without as large an area elsewhere.
    both:    used by the text and by the picture, of those that were put to both tests. No falls.
    None where a test was not made.
    """

    right: int
    text: Tested | None
    picture: Tested | None
    both: Tested | None


def rationale_use(
    right: np.ndarray,
    text: Sequence[TextSwap] = (),
    picture: Sequence[PictureChange] = (),
    draws: int = 2000,
    seed: int = 0,
) -> Use:
    """The share of right categories whose rationale is causally used, with intervals over pictures and runs.

    right:         (N,) bool, or (S, N) for S runs of a method on the same pictures: the category is right.
    text, picture: one for each run, or none at all.
    draws, seed:   of the bootstrap; see ``intervals.bootstrap``.

    What was not tested (no rationale named, none absent, no trial) is left out, and ``count`` says so. Shares and
    intervals are NaN where nothing is left. Raises SaywhyError for tests that do not fit the runs and the pictures.
    """
    right = np.atleast_2d(right).astype(bool)
    for tests in (text, picture):
        if tests and [len(test.used) for test in tests] != [right.shape[1]] * len(right):
            raise SaywhyError(
                f"tests of {[len(test.used) for test in tests]} pictures for {len(right)} runs on {right.shape[1]}; "
                "give one test for each run, of the same pictures"
            )
    swapped = {
        "used": _stacked(swap.used for swap in text),
        "chance": _stacked(swap.chance for swap in text),
        "category": _stacked(swap.drops.nanmean(1) for swap in text),
        "rank": _stacked(swap.losses.nanmean(1) for swap in text),
    }
    changed = {
        "used": _stacked(change.used for change in picture),
        "chance": _stacked(change.chance for change in picture),
        "rationale": _stacked(change.falls[:, 0] for change in picture),
        "category": _stacked(change.falls[:, 1] for change in picture),
        "rationale elsewhere": _stacked(change.elsewhere[..., 0].mean(1) for change in picture),
        "category elsewhere": _stacked(change.elsewhere[..., 1].mean(1) for change in picture),
    }
    both = {name: np.minimum(swapped[name], changed[name]) for name in ("used", "chance")} if text and picture else {}
    return Use(
        right=int(right.sum()),
        text=_tested(swapped, right, draws, seed) if text else None,
        picture=_tested(changed, right, draws, seed) if picture else None,
        both=_tested(both, right, draws, seed) if both else None,
    )


def _stacked(values: Iterable[Tensor]) -> np.ndarray:
    rows = [row.double().numpy() for row in values]
    return np.stack(rows) if rows else np.empty((0, 0))


def _tested(measures: Mapping[str, np.ndarray], right: np.ndarray, draws: int, seed: int) -> Tested:
    """Of (S, N) measures, NaN where untested: ratios, since how many are right differs between bootstrap draws."""
    kept = right & ~np.isnan(measures["used"])
    if not kept.any():
        nothing = Interval(*[float("nan")] * 3)
        return Tested(0, nothing, float("nan"), {name: nothing for name in measures if name not in ("used", "chance")})
    scaled = {name: values * (100 if name in ("used", "chance") else 1) for name, values in measures.items()}
    stacked = np.stack([kept, *(np.where(kept, values, 0) for values in scaled.values())]).astype(float)
    drawn = bootstrap(stacked, draws, seed)
    drawn = drawn[drawn[:, 0] > 0]
    ratios = dict(zip(scaled, (drawn[:, 1:] / drawn[:, :1]).T, strict=True))
    intervals = {name: interval_of(values[kept].mean(), ratios[name]) for name, values in scaled.items()}
    share, chance = intervals.pop("used"), intervals.pop("chance")
    return Tested(int(kept.sum()), share, chance.value, intervals)
