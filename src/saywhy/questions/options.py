"""Options of each question: frozen records that the command line, a benchmark, a worker or a web page can build.

They hold plain values (``dataclasses.asdict`` gives JSON), compare and hash by them, and define each default once. What
a name stands for (a model, a space, a vocabulary) is resolved by ``names_and_defaults``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import final

from saywhy.errors import SaywhyError
from saywhy.plumbing.names import unknown
from saywhy.spaces.pairs.scoring import ECOR, Scoring
from saywhy.spaces.surgery.options import DEFAULT_MATCH, DEFAULT_SURGERY, MatchOptions, Surgery

BATCH = 16  # pictures at once
ASK_BATCH = 64  # the same where only captions are asked of them
EVERY = "all"  # a target: every label that the classifier says
DECISIONS = ("probability", "vote")
"""How ``why`` chooses the category: that of the highest P(c | I), or by the vote of the best pairs, as published."""
CHECKS = ("none", "fast", "full")
"""How much is spent on tests of what is claimed: nothing; at most 64 forward passes a picture; more controls."""
RUNNER_UP = "runner-up"  # the other class of ``why_not``: the second best
NO_MAPS = "none"  # a method that makes no heatmaps


@final
@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """How pictures are explained.

    target:    the class to explain, by index or name, or several; EVERY: all that the classifier says of a picture;
               None: the one that it says, of several labels the most probable.
    phrases:   texts that are looked for in the picture, each with a map of where the space sees it.
    method:    one of ``attribution.METHODS``. composite: its rules, for "lrp"; None: chosen by the network.
    regions:   how many at most. top: labels of each, and of the whole picture.
    checks:    of CHECKS: how much is spent on putting what is claimed of the decision to the test.
    why_not:   another class, by index or name: what would have to be otherwise for it to be said? RUNNER_UP: the second
               best; None: that for checks="full", else it is not asked.

    Raises SaywhyError for an unknown method, composite or way to check, and numbers below one.
    """

    target: int | str | tuple[int | str, ...] | None = None
    phrases: tuple[str, ...] = ()
    method: str = "lrp"
    composite: str | None = None
    regions: int = 4
    top: int = 3
    checks: str = "fast"
    why_not: int | str | None = None

    def __post_init__(self) -> None:
        from saywhy.attribution import check_method

        check_method(self.method, self.composite)
        check_checks(self.checks)
        if not all(phrase.strip() for phrase in self.phrases):
            raise SaywhyError("a phrase to look for is empty")
        if self.regions < 1 or self.top < 1:
            raise SaywhyError(f"regions and top must be at least 1; they are {self.regions} and {self.top}")

    @property
    def other(self) -> int | str | None:
        """The other class that is asked about; None: none is."""
        return RUNNER_UP if self.why_not is None and self.checks == CHECKS[-1] else self.why_not


@final
@dataclass(frozen=True, kw_only=True)
class WhyOptions:
    """How to ask for which rationales a picture's category is chosen.

    scoring:      of pairs of category and rationale: terms, conditional, weight and temperatures.
    k:            how many of the best pairs are reasons or alternatives, and vote; all where there are fewer.
    decide:       of DECISIONS. The likeliest category is right more often than the vote (docs/rationales.md).
    method:       of the heatmaps, one of ``text_heat.METHODS`` or "none". LRP: in the aviary its maps lie on the
                  right part more often than gScoreCAM's, which is what ECOR showed, and it takes one pass, not 300.
    visible_from: standard deviations above what is usual from which a rationale is said to be visible; None: as
                  measured when the space was tuned; where nothing was, it cannot be told.
    checks:       of CHECKS: how much is spent on putting the reasons to the test, by other texts and other pictures.

    Raises SaywhyError for an unknown method, k below one, or a threshold that is not a number.
    """

    scoring: Scoring = ECOR
    k: int = 5
    decide: str = "probability"
    method: str = "lrp"
    visible_from: float | None = None
    checks: str = "fast"

    def __post_init__(self) -> None:
        from saywhy.spaces.text_heat import METHODS

        if self.method not in (*METHODS, NO_MAPS):
            raise unknown("method", self.method, (*METHODS, NO_MAPS))
        check_checks(self.checks)
        if self.decide not in DECISIONS:
            raise unknown("way to decide", self.decide, DECISIONS)
        if self.k < 1:
            raise SaywhyError(f"k must be at least 1; it is {self.k}")
        if self.visible_from is not None and not isfinite(self.visible_from):
            raise SaywhyError(f"--visible-from must be a number of standard deviations; it is {self.visible_from}")


@final
@dataclass(frozen=True, kw_only=True)
class AskOptions:
    """How a classifier is put into CLIP before captions are asked of it.

    matching: which channels are matched, and how. surgery: how matched channels take the place of CLIP's.
    share:    replace this share (0..1) of the channels, the best matched; None: all that are matched.
    """

    matching: MatchOptions = DEFAULT_MATCH
    surgery: Surgery = DEFAULT_SURGERY
    share: float | None = None


def check_checks(checks: str) -> None:
    """Raises SaywhyError for a name that is not of CHECKS."""
    if checks not in CHECKS:
        raise unknown("way to check", checks, CHECKS)
