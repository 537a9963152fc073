"""What the answers to captions say, in sentences, and no more than their intervals allow."""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from itertools import groupby
from typing import Any

from saywhy.answers.captions_measures import SUBSETS, CaptionScores, concept_table, kept, quoted, verdict
from saywhy.errors import SaywhyError
from saywhy.intervals import Interval


@lru_cache(maxsize=2)  # as concept_table
def answers_findings(answers: CaptionScores) -> list[dict[str, Any]]:
    """What the answers say: sentences with their numbers, as plain values, for each subset of the pictures.

    After surgery a finding of kind "kept" for each group of two captions or more, or "alike" where CLIP itself sees no
    difference or there is one picture; and, with exactly two such groups, one of kind "verdict". Without surgery
    "nearest" for each group.
    """
    if answers.after is None:
        return _nearest(answers)
    findings = []
    groups = [n for n, captions in enumerate(answers.groups) if len(captions) > 1]
    for subset, chosen in answers.subsets().items():
        left: dict[int, Interval] = {}
        said = []
        for group in groups:
            try:
                left[group] = kept(answers, group, subset)
                said.append(_kept_finding(answers, subset, group, left[group]))
            except SaywhyError as error:
                said.append({"kind": "alike", "sentence": _sentence(error), "group": answers.groups[group]})
        if len(left) == len(groups) == 2:
            said.append(_verdict_finding(answers, subset, left))
        findings += [{"pictures": subset, "count": int(chosen.sum()), **finding} for finding in said]
    return findings


def _kept_finding(answers: CaptionScores, subset: str, group: int, estimate: Interval) -> dict[str, Any]:
    sentence = f"{_of(subset)} {quoted(answers, group)}, {_percent(estimate)} is left after surgery."
    return {"kind": "kept", "sentence": sentence, "group": answers.groups[group], "kept": asdict(estimate)}


def _verdict_finding(answers: CaptionScores, subset: str, left: dict[int, Interval]) -> dict[str, Any]:
    first, second = left
    difference = verdict(answers, first, second, subset)
    sentence = (
        f"{_of(subset)} what {answers.spaces[0]} tells apart here, {_percent(left[first])} of "
        f"{quoted(answers, first)} and {_percent(left[second])} of {quoted(answers, second)} is left when it sees "
        f"through the classifier: {_judgement(left[first], left[second], difference)}."
    )
    groups = {f"{name} group": answers.groups[n] for name, n in (("first", first), ("second", second))}
    return {"kind": "verdict", "sentence": sentence, **groups, "verdict": asdict(difference)}


def _judgement(first: Interval, second: Interval, difference: Interval) -> str:
    """What may be said of two groups, and no more: an interval that holds zero says nothing."""
    more, less, name = (first, second, "first") if difference.value > 0 else (second, first, "second")
    if max(more.low, less.low) <= 0:
        return "it cannot be told that the classifier passes on either"
    if difference.low <= 0 <= difference.high:
        return "it cannot be told which of them the classifier passes on more"
    if less.low <= 0:
        return f"the classifier passes on the {name}, and nothing of the other that can be told"
    return f"the classifier passes on more of the {name}"


def _nearest(answers: CaptionScores) -> list[dict[str, Any]]:
    findings = []
    for (subset, group), some in groupby(concept_table(answers), key=lambda row: (row["pictures"], row["group"])):
        rows = list(some)
        best = max(rows, key=lambda row: row["share before"].value)
        if len(rows) > 1:
            sentence = (
                f'{_of(subset)} {quoted(answers, group)}, "{best["caption"]}" is nearest in '
                f"{best['wins before']:.0f} % of pictures; its share is {_percent(best['share before'])}."
            )
            shares = {row["caption"]: asdict(row["share before"]) for row in rows}
            about = {"pictures": subset, "count": best["count"], "kind": "nearest", "sentence": sentence}
            findings.append({**about, "group": answers.groups[group], "shares": shares})
    return findings


def _of(subset: str) -> str:
    """How a sentence begins."""
    if subset == "all":
        return "Of"
    return f"Where the classifier is {subset}, of" if subset in SUBSETS else f"In pictures of {subset}, of"


def _sentence(error: SaywhyError) -> str:
    reason = str(error)
    return f"{reason[0].upper()}{reason[1:]}."


def _percent(estimate: Interval) -> str:
    value, low, high = (round(100 * x) for x in (estimate.value, estimate.low, estimate.high))  # whole: no "-0"
    return f"{value} % [{low}, {high}]"
