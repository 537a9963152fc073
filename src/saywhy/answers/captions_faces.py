"""Answers to captions as a document for JSON, as CSV, and drawn."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from textwrap import fill, shorten
from typing import TYPE_CHECKING, Any

from saywhy.answers.captions import Answers, concept_table
from saywhy.answers.captions_findings import answers_findings
from saywhy.answers.drawing import literal
from saywhy.classifiers.classifier import Classifier
from saywhy.spaces.operated import OperatedSpace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


FORMAT = "saywhy.answers/1"


def answers_document(
    answers: Answers,
    operated: OperatedSpace | None = None,
    classifier: Classifier | None = None,
    failures: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Everything that was found over all pictures, as plain values for JSON; ``answers_csv`` has each picture."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "pictures": len(answers.pictures),
        "groups": answers.groups,
        "spaces": answers.spaces,
        "scale": answers.scale,
        "model": None if classifier is None else classifier.name,
        "findings": answers_findings(answers),
        "concepts": concept_table(answers),
        "failures": dict(failures or {}),
    }
    if operated is not None:
        matching = operated.matching
        document["surgery"] = asdict(operated.surgery)
        document["matching"] = {
            "how": matching.how, "images": matching.images, "decisive": matching.decisive, "layers": matching.quality(),
        }  # fmt: skip
    return {key: _plain(value) for key, value in document.items()}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def answers_csv(answers: Answers) -> str:
    """A row for each picture: its name, class and predicted class, and each caption's similarity before and after."""
    names = {"name": answers.pictures, "class": answers.classes, "predicted": answers.predicted}
    columns: dict[str, Sequence[Any]] = {name: values for name, values in names.items() if values is not None}
    for when, scores in (("before", answers.before), ("after", answers.after)):
        if scores is not None:
            columns |= {
                f"{when}: {caption}": [f"{score:.6f}" for score in scores[:, n].tolist()]
                for n, caption in enumerate(answers.captions)
            }
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


BEFORE, AFTER = "#8a8f98", "#c2410c"
GROUPS = ("#2563a8", "#2f8f5b", "#8b5fbf", "#b7791f", "#0e7c86", "#a83250")
LEGEND = {"before": "CLIP", "after": "CLIP through the classifier"}
GAP = 0.7  # rows between groups
ASIDE = 0.13  # of a row: what was before lies so far above, what is after below


def draw_answers(answers: Answers) -> Figure:
    """A matplotlib figure: each caption's mean similarity before and after; bars of what is left of each group."""
    from matplotlib.figure import Figure

    rows = [row for row in concept_table(answers) if row["pictures"] == "all"]
    findings = [one for one in answers_findings(answers) if one["pictures"] == "all"]
    kept = [one for one in findings if one["kind"] == "kept"]
    height = 1.9 + 0.42 * len(rows) + 0.3 * len(answers.groups)
    figure = Figure(figsize=(11.5 if kept else 7.5, height), layout="constrained")
    axes = figure.subplots(1, 2, width_ratios=[3, 2]) if kept else [figure.subplots()]
    places = [n + GAP * row["group"] for n, row in enumerate(rows)]
    _draw_captions(axes[0], answers, rows, places)
    if kept:
        groups = [answers.groups.index(one["group"]) for one in kept]
        middles = [_mean([y for y, row in zip(places, rows, strict=True) if row["group"] == group]) for group in groups]
        _draw_kept(axes[1], kept, middles, [_colour(group) for group in groups])
        axes[1].set_ylim(axes[0].get_ylim())
    said = [one["sentence"] for one in findings if one["kind"] in ("verdict", "nearest")]
    figure.suptitle(
        literal("\n".join(fill(shorten(sentence, 600), 125 if kept else 85) for sentence in said)), fontsize=9.5
    )
    return figure


def _draw_captions(axis: Axes, answers: Answers, rows: Sequence[dict[str, Any]], places: Sequence[float]) -> None:
    """Dumbbells: grey is CLIP's own, colour CLIP with the classifier's activations in it."""
    moments = (
        {"before": (BEFORE, 0.0)} if answers.after is None else {"before": (BEFORE, -ASIDE), "after": (AFTER, ASIDE)}
    )
    if answers.after is not None:
        for y, row in zip(places, rows, strict=True):
            ends = [row[f"similarity {when}"].value for when in moments]
            axis.plot(ends, [y - ASIDE, y + ASIDE], color="#d4d7dc", linewidth=3, zorder=1, solid_capstyle="round")
    for when, (colour, aside) in moments.items():
        found = [row[f"similarity {when}"] for row in rows]
        axis.errorbar(
            [one.value for one in found], [y + aside for y in places], xerr=_errors(found), fmt="o", color=colour,
            markersize=6, elinewidth=1.4, capsize=2.5, label=LEGEND[when],
        )  # fmt: skip
    axis.set_yticks(places, [literal(fill(shorten(row["caption"], 100), 34)) for row in rows])
    for label, row in zip(axis.get_yticklabels(), rows, strict=True):
        label.set_color(_colour(row["group"]))
    axis.set_ylim(places[-1] + 0.7, -0.7)
    axis.set_xlabel("mean cosine similarity, 95 % interval")
    whose = "" if answers.after is not None else f", {answers.spaces[0]}"
    axis.set_title(literal(f"{len(answers.pictures)} pictures{whose}"), fontsize=10, loc="left")
    axis.grid(axis="x", color="#eceef1")
    axis.set_axisbelow(True)
    if answers.after is not None:
        axis.legend(frameon=False, fontsize=8.5, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2)
    _bare(axis)


def _draw_kept(axis: Axes, findings: Sequence[dict[str, Any]], places: Sequence[float], colours: Sequence[str]) -> None:
    """A bar for each group, with 0 (nothing is left) and 100 % (as CLIP itself sees it) marked."""
    for finding, colour, y in zip(findings, colours, places, strict=True):
        value, low, high = (100 * finding["kept"][key] for key in ("value", "low", "high"))
        axis.barh(y, value, height=0.55, color=colour, alpha=0.85)
        axis.plot([low, high], [y, y], color="black", linewidth=1.4)
        axis.annotate(
            f"{round(value)} %", (max(high, 0), y), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9
        )
        words = fill(" | ".join(finding["group"]), 44)
        axis.annotate(
            literal(words), (0, y), xytext=(2, 17), textcoords="offset points", va="bottom", fontsize=8.5,
            color=colour,
        )  # fmt: skip
    axis.axvline(0, color="black", linewidth=0.8)
    axis.axvline(100, color="black", linewidth=0.8, linestyle=(0, (4, 3)))
    values = [100 * one["kept"][key] for one in findings for key in ("low", "high")]
    axis.set_xlim(min(-5.0, 1.15 * min(values)), 1.18 * max(100.0, *values))
    axis.set_yticks([])
    axis.set_xlabel("left of what CLIP tells apart, %")
    axis.set_title("what the classifier passes on", fontsize=10, loc="left")
    _bare(axis)
    axis.spines["left"].set_visible(False)


def _errors(estimates: Sequence[Any]) -> list[list[float]]:
    """Distances below and above the values, as matplotlib wants them; an interval may miss its value by rounding."""
    return [
        [max(one.value - one.low, 0) for one in estimates],
        [max(one.high - one.value, 0) for one in estimates],
    ]


def _bare(axis: Axes) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _colour(group: int) -> str:
    return GROUPS[group % len(GROUPS)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
