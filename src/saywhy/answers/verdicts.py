"""How tests of claims are said: what became of the score, which claims are seen and used, how many are borne out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from saywhy.types import BORNE_OUT, NOT_BORNE_OUT, NOT_TESTABLE, Check, Claim

ELSEWHERE = "equal areas elsewhere"
SURROUNDINGS = ("in other surroundings", "in its own, mirrored and shifted")
"""What is changed where surroundings are tested, and what is done beside."""


@final
@dataclass(frozen=True)
class Tally:
    """Of the claims about a decision: how many were made, are borne out, and cannot be tested."""

    made: int
    borne_out: int
    not_testable: int

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.made + other.made, self.borne_out + other.borne_out, self.not_testable + other.not_testable)

    def __str__(self) -> str:
        """ "4 claims put to the test: 2 borne out, 1 not borne out, 1 not testable"; "" where none was."""
        if not self.made:
            return ""
        failed = self.made - self.borne_out - self.not_testable
        found = f"{self.borne_out} borne out, {failed} not borne out, {self.not_testable} not testable"
        return f"{self.made} claim{'' if self.made == 1 else 's'} put to the test: {found}"


def tally(checks: Sequence[Check]) -> Tally:
    """Of all claims of one explanation or of many."""
    verdicts = [check.verdict for check in checks]
    return Tally(len(verdicts), verdicts.count(BORNE_OUT), verdicts.count(NOT_TESTABLE))


def fall(check: Check, what: str = "without it", beside: str = ELSEWHERE) -> str:
    """What became of the score, and of that under the controls, in words; why, where it is not borne out or testable.

    "without it the score falls from 0.93 to 0.41; equal areas elsewhere: 0.90"

    Where two digits of the probability do not show what the rule saw, its own number is said first: by how much of its
    margin the logit falls, and under the controls.

    what: the change. beside: the controls.
    """
    if check.verdict == NOT_TESTABLE:
        return f"not testable: {check.reason}"
    before, after, controls = _digits(check)
    lacks = f" ({check.reason})" if check.verdict == NOT_BORNE_OUT and check.reason else ""
    score = f"the score {_moves(check)} from {before} to {after}" if before != after else f"the score stays at {before}"
    if not rounded_away(check):
        elsewhere = "" if controls is None else f"; {beside}: {controls}"
        return f"{what} {score}{elsewhere}{lacks}"
    elsewhere = "" if controls is None else f"; {beside}: {_by(control_share(check))}, the score {controls}"
    return f"{what} its logit {_by(check.share)} of its margin, {score}{elsewhere}{lacks}"


def fall_in_short(check: Check) -> list[str]:
    """The same numbers for a narrow column, a line each: with and without it, and under the controls."""
    before, after, controls = _digits(check)
    share, beside = "", ""
    if rounded_away(check) and check.verdict != NOT_TESTABLE:
        share, beside = f"logit {_by(check.share)}, ", f"{_by(control_share(check))}, "
    return [f"{share}{before} to {after}", *([] if controls is None else [f"elsewhere {beside}{controls}"])]


def rounded_away(check: Check) -> bool:
    """Whether the probability, as it is said, is the same without what is claimed as with it, or as under the controls.

    A class can be so sure that its logit falls far before two digits of its probability do.
    """
    before, after, controls = _digits(check)
    return after in (before, controls)


def control_share(check: Check) -> float | None:
    """The share of the margin that the logit falls by under the controls; None where there are none."""
    return None if check.control is None or not check.margin > 0 else check.control / check.margin


def marks(claim: Claim) -> str:
    """Whether what is claimed is seen and used: "seen and used", "seen, not used", "used, not sure to be there"..."""
    if claim.used is None or claim.used.verdict == NOT_TESTABLE:
        return f"{'seen' if claim.said else 'not sure to be there'}, use not tested"
    if claim.used.verdict == BORNE_OUT:
        return "seen and used" if claim.said else "used, not sure to be there"
    return "seen, not used" if claim.said else "neither sure to be there nor used"


def _digits(check: Check) -> tuple[str, str, str | None]:
    before, after, controls = check.probability
    return f"{before:.2f}", f"{after:.2f}", None if controls is None else f"{controls:.2f}"


def _by(share: float | None) -> str:
    return "not known" if share is None else f"{'falls' if share >= 0 else 'rises'} by {abs(share):.0%}"


def _moves(check: Check) -> str:
    before, after, _ = check.probability
    return "falls" if after < before else "rises"
