"""What a page shows of captions that were asked: the answer in a sentence, bars with intervals, and the controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from saywhy.answers.bars import bar_ends, on_bar
from saywhy.answers.captions_findings import above, answers_findings, cautions, headline, told
from saywhy.answers.captions_measures import CaptionScores, concept_table
from saywhy.answers.plain_names import plain_name
from saywhy.intervals import Interval

WHOLE = 1.0  # of what CLIP itself tells apart


def answers_card(answers: CaptionScores, shown: CaptionScores) -> dict[str, Any]:
    """What the templates of an answer take, as plain values.

    shown: the answers whose similarities are drawn: without the surgery where it replaced nothing.
    """
    findings, subsets = answers_findings(answers), list(answers.subsets().items())
    of_all = [finding for finding in findings if finding["pictures"] == "all"]
    operated = shown.after is not None
    return {
        "answer": headline(answers),
        "sentences": told(of_all),
        "cautions": cautions(answers),
        "pictures": len(answers.pictures),
        "space": plain_name(answers.spaces[0]),
        "model": None if answers.model is None else plain_name(answers.model),
        "operated": operated,
        "out": shown.unusual is not None,
        "matched": _matched(answers) if operated else "",
        "kept": _kept(of_all),
        "above": above(of_all),
        "groups": _groups(shown),
        "subsets": [
            {
                "name": _called(name),
                "count": int(chosen.sum()),
                "sentences": told([f for f in findings if f["pictures"] == name]),
            }
            for name, chosen in subsets
            if name != "all"
        ],
        "settings": _settings(answers),
    }


def _kept(findings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each group of which a share can be told or not: how much is left, and CLIP's own beside chance."""
    shares = [finding["kept"][end] for finding in findings if finding["kind"] == "kept" for end in ("low", "high")]
    low, high = bar_ends([*shares, WHOLE])
    ends = (max(low, min([0.0, *shares]) * 1.2), high * 1.02)  # a hair below nothing needs no bar from -1
    rows = []
    for finding in findings:
        if finding["kind"] not in ("kept", "alike"):
            continue
        row: dict[str, Any] = {"name": " | ".join(finding["group"]), "bar": None, "said": finding["sentence"]}
        if finding["kind"] == "kept":
            share = Interval(**finding["kept"])
            value, least, most = (round(100 * one) for one in (share.value, share.low, share.high))
            row["bar"] = on_bar(share, ends, f"{value} % ({least} to {most})", full=WHOLE)
        numbers = [f"{finding[name]:.3f}" if name in finding else "" for name in ("contrast", "by chance")]
        rows.append(row | {"own": numbers[0], "chance": numbers[1]})
    return rows


def _groups(answers: CaptionScores) -> list[dict[str, Any]]:
    """Each group's captions with their mean similarities, all on one scale, and the shares of their group."""
    rows = [row for row in concept_table(answers) if row["pictures"] == "all"]
    moments = ("before", "after") if answers.after is not None else ("before",)
    ends = _ends([row[f"similarity {when}"] for row in rows for when in moments])
    groups = []
    for _, some in groupby(rows, key=lambda row: row["group"]):
        captions = list(some)
        alone = len(captions) == 1
        groups.append(
            {
                "name": " | ".join(row["caption"] for row in captions),
                "captions": [
                    {
                        "name": row["caption"],
                        "bars": [_bar(row[f"similarity {when}"], ends) for when in moments],
                        "similarity": _through(row, "similarity", moments, "{:.3f}"),
                        "influence": f"{row['influence']:+.3f}" if "influence" in row else "",
                        "share": "" if alone else _through(row, "share", moments, "{:.0f}", 100),
                        "first": "" if alone else _through(row, "wins", moments, "{:.0f}"),
                        "out": f"{row['unusual']:+.1f} sd, {row['stands out']:.0f} %" if "unusual" in row else "",
                    }
                    for row in captions
                ],
            }
        )
    return groups


def _ends(estimates: Sequence[Interval]) -> tuple[float, float]:
    """Similarities lie near each other: a bar reaches from a little below the least to a little above the largest."""
    low, high = min(one.low for one in estimates), max(one.high for one in estimates)
    aside = 0.06 * (high - low or 1.0)
    return low - aside, high + aside


def _bar(estimate: Interval, ends: tuple[float, float]) -> dict[str, Any]:
    interval = f" ({estimate.low:.3f} to {estimate.high:.3f})" if estimate.low < estimate.high else ""
    return on_bar(estimate, ends, f"{estimate.value:.3f}{interval}")


def _through(row: Mapping[str, Any], what: str, moments: Sequence[str], form: str, factor: float = 1) -> str:
    values = [row[f"{what} {when}"] for when in moments]
    return " → ".join(form.format(factor * getattr(value, "value", value)) for value in values)


def _matched(answers: CaptionScores) -> str:
    """How much of CLIP the classifier stands for, in a sentence; "" where that is not known."""
    layers = (answers.matching or {}).get("layers", ())
    channels, matched = (sum(layer[key] for layer in layers) for key in ("channels", "matched"))
    if not channels:
        return ""
    on = (answers.matching or {}).get("images")
    where = f", matched on {on:,} pictures" if on else ""
    return (
        f"{matched:,} of {channels:,} channels of {plain_name(answers.spaces[0])} have one of the classifier's in "
        f"their place{where}."
    )


def _called(subset: str) -> str:
    return {"right": "pictures that it gets right", "wrong": "pictures that it gets wrong"}.get(subset, subset)


def _settings(answers: CaptionScores) -> dict[str, Any]:
    matching = {key: value for key, value in (answers.matching or {}).items() if not isinstance(value, list | tuple)}
    named = {f"matching: {key}": value for key, value in matching.items()}
    named |= {f"surgery: {key}": value for key, value in (answers.surgery or {}).items()}
    about: dict[str, Any] = {"model": answers.model, **answers.model_record}
    about |= {"space": " → ".join(answers.spaces), "pictures": len(answers.pictures)}
    return about | {"captions": "; ".join(" | ".join(group) for group in answers.groups)} | named
