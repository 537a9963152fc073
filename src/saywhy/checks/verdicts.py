"""When a claim about the decision is borne out: the same two conditions for every test, and several corrected together.

The explained logit falls by a part of its margin that matters, and by more than equal changes elsewhere make it fall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from saywhy.checks.outcomes import Outcomes
from saywhy.types import BORNE_OUT, NOT_BORNE_OUT, NOT_TESTABLE, Check

LEAST = 0.08  # of the margin: the least fall that matters (chosen with LEVEL on half of the scenes; docs/checks.md)
LEVEL = 0.1  # of all claims of a picture that are called borne out, at most so many do no more than an equal change
WITHIN = 0.95  # of the controls: how wide the interval of the excess over them is
SMALL = f"its logit falls by less than {LEAST:.0%} of its margin"
COMMON = "equal changes elsewhere make its logit fall about as far"
"""Why a claim is not borne out."""


def check_of(
    change: str, before: Outcomes, after: Outcomes, controls: Outcomes | None = None, *, passes: int, reason: str = ""
) -> Check:
    """What one change did; its verdict is for itself alone, see ``settled``.

    before, after: of one picture each; controls: of the same with K equal changes elsewhere, None where there are none.
    passes:        forward passes spent on it.
    """
    logit, margin = float(before.logits[0]), float(before.margins[0])
    fall = logit - float(after.logits[0])
    probability = (float(before.probabilities[0]), float(after.probabilities[0]), None)
    found = Check(
        change, NOT_BORNE_OUT, fall, margin, probability, (int(before.ranks[0]), int(after.ranks[0])), passes=passes,
        reason=reason,
    )  # fmt: skip
    if controls is not None and len(controls):
        falls = logit - controls.logits.numpy()
        low, high = fall - np.quantile(falls, [(1 + WITHIN) / 2, (1 - WITHIN) / 2])
        found = replace(
            found, control=float(falls.mean()), interval=(float(low), float(high)), p=rank_p(fall, falls),
            probability=(*probability[:2], float(controls.probabilities.mean())),
        )  # fmt: skip
    return settled([found])[0]


def rank_p(fall: float, controls: np.ndarray) -> float:
    """How probable a fall is among those of K equal changes elsewhere, one-sided: (1 + as great) / (1 + K).

    At least 1 / (1 + K). Of a place that was drawn as the controls were, it is uniform.
    """
    return float((1 + (controls >= fall).sum()) / (1 + len(controls)))


def settled(checks: Sequence[Check]) -> list[Check]:
    """The same checks with their verdicts, those with a p corrected together (Benjamini and Hochberg, 1995).

    Borne out: the fall is at least LEAST of the margin, and q at most LEVEL. Without a margin nothing can fall.
    """
    from scipy.stats import false_discovery_control

    tested = [n for n, check in enumerate(checks) if check.p is not None]
    # A fall that is too small to matter and was not compared any further stands among the others with p = 1.
    given = [1.0 if (p := check.p) is None else p for check in checks]
    family = [n for n, check in enumerate(checks) if check.verdict != NOT_TESTABLE]
    corrected = dict(zip(family, false_discovery_control([given[n] for n in family]) if family else [], strict=True))
    found = []
    for n, check in enumerate(checks):
        if check.verdict == NOT_TESTABLE:
            found.append(check)
        elif not check.margin > 0:
            reason = "the class is no more than the average of all classes to begin with"
            found.append(replace(check, verdict=NOT_TESTABLE, reason=reason))
        else:
            q = float(corrected[n]) if n in tested else None
            stands = q is not None and q <= LEVEL + 1e-9 and check.effect >= LEAST * check.margin
            found.append(reasoned(replace(check, q=q, verdict=BORNE_OUT if stands else NOT_BORNE_OUT)))
    return found


def reasoned(check: Check) -> Check:
    """The check with what its verdict lacks, where it is not borne out and nothing else is said of it."""
    if check.reason not in ("", SMALL, COMMON):
        return check
    lacks = SMALL if check.effect < LEAST * check.margin else COMMON
    return replace(check, reason=lacks if check.verdict == NOT_BORNE_OUT else "")


def untestable(change: str, reason: str, before: Outcomes) -> Check:
    """A claim that cannot be tested on one picture, and why."""
    nan, rank = float("nan"), int(before.ranks[0])
    probability = float(before.probabilities[0])
    return Check(
        change, NOT_TESTABLE, nan, float(before.margins[0]), (probability, probability, None), (rank, rank),
        reason=reason,
    )  # fmt: skip
