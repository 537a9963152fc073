"""What the answers to captions say, in sentences, and no more than their intervals allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from itertools import groupby
from typing import Any

from saywhy.answers.captions_measures import (
    SUBSETS,
    CaptionScores,
    concept_table,
    contrast,
    kept,
    quoted,
    verdict,
    without_intervals_of_one,
)
from saywhy.errors import SaywhyError
from saywhy.intervals import Interval
from saywhy.spaces.similarity import UNUSUAL
from saywhy.types import Claim

SHUFFLES = 19  # of pictures, with which one pair of unrelated networks in twenty has a match
COMPARED = "a comparison of captions over pictures, not whether each is there"


@lru_cache(maxsize=2)  # as concept_table
def answers_findings(answers: CaptionScores) -> list[dict[str, Any]]:
    """What the answers say: sentences with their numbers, as plain values, for each subset of the pictures.

    After surgery a finding of kind "kept" for each group of two captions or more, or "alike" where CLIP itself does not
    tell them apart or there is one picture; and, with exactly two such groups, one of kind "verdict". Where no channel
    has a match, one of kind "unmatched" and nothing else. Without surgery "nearest" for each group.
    """
    if answers.after is None:
        return _nearest(answers)
    if answers.unmatched:
        about = {"pictures": "all", "count": len(answers.pictures), "kind": "unmatched"}
        return [{**about, "sentence": f"Nothing can be said of {answers.model}: {_why_unmatched(answers)}."}]
    findings = []
    groups = [n for n, captions in enumerate(answers.groups) if len(captions) > 1]
    for subset, chosen in answers.subsets().items():
        left: dict[int, Interval] = {}
        said = []
        for group in groups:
            told_apart = {"contrast": contrast(answers, group, subset)}
            if answers.noise is not None:
                told_apart["by chance"] = answers.noise[group]
            try:
                left[group] = kept(answers, group, subset)
                said.append(_kept_finding(answers, subset, group, left[group]) | told_apart)
            except SaywhyError as error:
                alike = {"kind": "alike", "sentence": _sentence(error), "group": answers.groups[group]}
                said.append(alike | told_apart)
        if len(left) == len(groups) == 2:
            said.append(_verdict_finding(answers, subset, left))
        findings += [{"pictures": subset, "count": int(chosen.sum()), **finding} for finding in said]
    return findings


def told(findings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The sentences of one subset's findings that say all: a verdict says what is kept, too."""
    decided = any(finding["kind"] == "verdict" for finding in findings)
    return [finding["sentence"] for finding in findings if not (decided and finding["kind"] == "kept")]


def above(findings: Sequence[Mapping[str, Any]]) -> str:
    """What a share above 100 % means, for one subset's findings; "" where none is above it for sure."""
    shares = [finding["kept"] for finding in findings if finding["kind"] == "kept"]
    more = [share for share in shares if share["low"] > 1]
    if not more:
        return ""
    others = [share for share in shares if share["low"] <= 1]
    only = len(more) == 1 and others and all(share["high"] < ALMOST_NOTHING for share in others)
    rest = ", and with hardly anything else that was asked" if only else ""
    return (
        f"Above 100: a replaced channel keeps its full spread, and more of it goes with this than in CLIP itself{rest}."
    )


ALMOST_NOTHING = 0.1  # of a contrast


def cautions(answers: CaptionScores) -> list[str]:
    """What was measured against the settings of the surgery, where they are not the defaults; see docs/surgery.md."""
    surgery, matching = answers.surgery or {}, answers.matching or {}
    layers: Sequence[Mapping[str, Any]] = matching.get("layers", ())
    if answers.after is None or answers.unmatched or not layers:
        return []
    said = []
    chance, shuffles = matching.get("chance", 0.0), matching.get("shuffles", SHUFFLES)
    channels = sum(layer["channels"] for layer in layers)
    passed_on = not matching.get("decisive")
    if passed_on:
        said.append(
            "Channels of layers (--layers) are what a classifier passes on, not what it decides by: networks with "
            "random weights were called colour-biased that way."
        )
    if surgery.get("unmatched") == "keep":
        said.append(
            "With --unmatched keep a channel without a match is CLIP's own, and CLIP's opinion is in the answer."
        )
    if chance == 1:
        said.append("With --chance 1 any correlation is a match.")
    elif chance > 0:
        said.append(f"With --chance {chance:g} some {round(chance * channels)} of {channels} channels match by chance.")
    elif shuffles < SHUFFLES:
        several = f"{shuffles} shuffles" if shuffles > 1 else "one shuffle"
        said.append(f"With {several} of the pictures one in {shuffles + 1} unrelated networks has a match.")
    if passed_on and surgery.get("unmatched") == "keep" and chance == 1:
        said.append(
            "So it was published. On the same coloured digits it calls a classifier that is 98 % right whatever the "
            "colour colour-biased, as it calls one that goes by colour alone."
        )
    if surgery.get("strength", 1.0) < 1:
        said.append(f"With --strength {surgery['strength']:g} the rest of each channel is CLIP's own.")
    return said


def caption_claims(answers: CaptionScores) -> list[dict[str, Any]]:
    """Each caption as a claim, of all pictures: where it is nearest says nothing of whether it is there."""
    if answers.unmatched:
        return []
    space, scores = answers.spaces[-1], answers.before if answers.after is None else answers.after
    means = scores.mean(0).tolist()
    return [
        asdict(Claim(caption, "contrast", space, mean, there=None, basis=COMPARED, said=False))
        for caption, mean in zip(answers.captions, means, strict=True)
    ]


def _why_unmatched(answers: CaptionScores) -> str:
    matching = answers.matching or {}
    if matching.get("decisive") and not any(matching["decisive"].values()):
        return "over these pictures none of its evidence for classes varies by more than the floor (--floor)"
    return (
        f"on {matching.get('images')} pictures no channel of {answers.spaces[0]} goes with one of its by more than "
        "chance (or --share leaves none)"
    )


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


def _judgement(
    first: Interval, second: Interval, difference: Interval, names: tuple[str, str] = ("the first", "the second")
) -> str:
    """What may be said of two groups, and no more: an interval that holds zero says nothing. names: of the groups."""
    places = (0, 1) if difference.value > 0 else (1, 0)
    more, less = ((first, second)[n] for n in places)
    most, least = (names[n] for n in places)
    both = ("either", "which of them", "the other") if names == ("the first", "the second") else ()
    either, which, other = both or (f"{most} or {least}", f"which of {most} and {least}", least)
    if max(more.low, less.low) <= 0:
        return f"it cannot be told that the classifier passes on {either}"
    if difference.low <= 0 <= difference.high:
        return f"it cannot be told {which} the classifier passes on more"
    if less.low <= 0:
        return f"the classifier passes on {most}, and nothing of {other} that can be told"
    return f"the classifier passes on more of {most}{'' if both else f' than of {other}'}"


def headline(answers: CaptionScores) -> str:
    """The answer over all pictures in one plain sentence, and no more than the intervals allow."""
    findings = [finding for finding in answers_findings(answers) if finding["pictures"] == "all"]
    shares = [(f["group"], Interval(**f["kept"])) for f in findings if f["kind"] == "kept"]
    verdicts = [Interval(**f["verdict"]) for f in findings if f["kind"] == "verdict"]
    if verdicts:
        (one, first), (other, second) = shares
        said = _judgement(first, second, verdicts[0], (_named(one), _named(other)))
    elif len(shares) > 1:
        (most, best), (_, runner) = sorted(shares, key=lambda pair: -pair[1].value)[:2]
        clear = best.low > max(0.0, runner.high)
        said = f"of what was asked, the classifier passes on {_named(most)} most"
        said = said if clear else "which of the groups the classifier passes on most cannot be told"
    elif findings and all(finding["kind"] == "nearest" for finding in findings):
        ahead = " and ".join(_ahead(finding) for finding in findings)
        said = f"nearest to {'this picture' if len(answers.pictures) == 1 else 'these pictures'} "
        said += f"{'is' if len(findings) == 1 else 'are'} {ahead}"
    else:
        return " ".join(told(findings)) or "Each caption stands alone: there is nothing to compare it with."
    return f"{said[0].upper()}{said[1:]}."


def _named(group: Sequence[str]) -> str:
    return f'"{" | ".join(group)}"'


def _ahead(finding: Mapping[str, Any]) -> str:
    """The caption of a group that is nearest for sure, or those of which it cannot be told; and if none stands out."""
    shares: Mapping[str, Mapping[str, float]] = finding["shares"]
    best = max(shares, key=lambda caption: shares[caption]["value"])
    rivals = [best]
    if finding["count"] > 1:
        rivals = [caption for caption, share in shares.items() if share["high"] >= shares[best]["low"]]
    asides = [*(["it cannot be told which"] if len(rivals) > 1 else []), *_aside(finding, rivals)]
    said = " or ".join(_quote(caption) for caption in rivals)
    return f"{said} ({'; '.join(asides)})" if asides else said


def _aside(finding: Mapping[str, Any], captions: Sequence[str]) -> list[str]:
    """That captions do not stand out, or in fewer than half of the pictures, where it is so; else nothing."""
    most = max((finding["stands out"][caption] for caption in captions), default=0) if "stands out" in finding else 100
    if most >= 50:
        return []
    if not most:
        return [f"{'none stands' if len(captions) > 1 else 'it does not stand'} out from what is usual"]
    return [f"standing out from what is usual in {most:.0f} % of them{' at most' if len(captions) > 1 else ''}"]


def _quote(caption: str) -> str:
    return f'"{caption}"'


def _nearest(answers: CaptionScores) -> list[dict[str, Any]]:
    findings = []
    for (subset, group), some in groupby(concept_table(answers), key=lambda row: (row["pictures"], row["group"])):
        rows = list(some)
        best = max(rows, key=lambda row: row["share before"].value)
        if len(rows) > 1:
            one = best["count"] == 1
            often = "" if one else f" in {best['wins before']:.0f} % of pictures"
            share = _percent(best["share before"])
            sentence = (
                f'{_of(subset)} {quoted(answers, group)}, "{best["caption"]}" is nearest{often}; its share is '
                f"{share.partition(' [')[0] if one else share}."
            )
            shares = {row["caption"]: without_intervals_of_one(row)["share before"] for row in rows}
            about = {"pictures": subset, "count": best["count"], "kind": "nearest"}
            if answers.unusual is not None:
                about["stands out"] = {row["caption"]: row["stands out"] for row in rows}
                sentence += f" {_standing_out(about['stands out'], best)}"
            findings.append({**about, "sentence": sentence, "group": answers.groups[group], "shares": shares})
    return findings


def _standing_out(percent: Mapping[str, float], best: Mapping[str, Any]) -> str:
    """How often the captions of a group stand out, in a sentence."""
    where = "this picture" if best["count"] == 1 else "these pictures"
    if not any(percent.values()):
        return (
            f"None of these stands out from what is usual in {where} (the nearest lies at {best['unusual']:+.1f} sd; "
            f"from {UNUSUAL:.0f} on one does): none can be said to be there."
        )
    if best["count"] == 1:
        out = [_quote(caption) for caption, share in percent.items() if share]
        return f"Standing out from what is usual: {', '.join(out)}."
    return f'"{best["caption"]}" stands out from what is usual in {percent[best["caption"]]:.0f} % of pictures.'


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
