"""How well captions fit pictures: the record, as JSON, as CSV, as a figure, as a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from functools import partial
from pathlib import Path
from textwrap import fill, shorten
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from torch import Tensor

from saywhy.answers import packing
from saywhy.answers.captions_card import answers_card
from saywhy.answers.captions_findings import answers_findings, caption_claims, cautions, told
from saywhy.answers.captions_measures import SUBSETS, concept_table, without_intervals_of_one
from saywhy.answers.drawing import as_png, literal, new_figure
from saywhy.answers.page_templates import links, page_templates
from saywhy.errors import SaywhyError
from saywhy.pictures.in_batches import Failure
from saywhy.plumbing.records import typed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@final
@dataclass(frozen=True, eq=False, repr=False)
class Answers:
    """What was asked of N pictures, and what came out.

    groups:    captions that compete with each other; M captions in all.
    before:    (N, M) cosines in a space.
    after:     (N, M) cosines in the space with a classifier's activations in it; None where there was no surgery.
    pictures:  N names.
    classes:   the true class of each picture; None where it is not known, of a picture or of all.
    predicted: the class that the classifier gives each picture; None where none was asked.
    scale:     what cosines are multiplied by before a softmax.
    spaces:    the names of the one or two spaces.
    judged:    whether classes and predictions have the same names, so that right and wrong can be told.
    model:     the classifier's name. model_record: how pictures are prepared for it, and where its weights come from.
    surgery, matching: how it was put into the space, as plain values.
    failures:  the pictures that could not be read.
    noise:     of each group, how far contrasts that say nothing spread over the pictures (``ask.chance_contrast``):
               what CLIP's own must exceed for a share of it to be told. None where it is not known.
    unusual:   (N, M) how many standard deviations each caption lies above what is usual; from UNUSUAL on it stands out.
               None with surgery, and where what is usual is not known.
    """

    groups: tuple[tuple[str, ...], ...]
    before: Tensor
    after: Tensor | None
    pictures: tuple[str, ...]
    classes: tuple[str | None, ...] | None
    predicted: tuple[str, ...] | None
    scale: float
    spaces: tuple[str, ...]
    judged: bool = True
    model: str | None = None
    surgery: Mapping[str, Any] | None = None
    matching: Mapping[str, Any] | None = None
    failures: tuple[Failure, ...] = ()
    noise: tuple[float, ...] | None = None
    model_record: Mapping[str, str] = field(default_factory=dict)
    unusual: Tensor | None = None

    @property
    def unmatched(self) -> bool:
        """Whether surgery replaced nothing, as no channel has a match: then nothing here is the classifier's."""
        layers = (self.matching or {}).get("layers", ())
        return bool(layers) and not any(layer["matched"] for layer in layers)

    @property
    def captions(self) -> tuple[str, ...]:
        return tuple(caption for group in self.groups for caption in group)

    def columns(self, group: int) -> slice:
        """Where the captions of a group are among the M."""
        start = sum(len(captions) for captions in self.groups[:group])
        return slice(start, start + len(self.groups[group]))

    def shares(self, scores: Tensor) -> Tensor:
        """(N, M): the softmax of (N, M) cosines over each group's captions."""
        return torch.cat([(self.scale * scores[:, self.columns(g)]).softmax(1) for g in range(len(self.groups))], dim=1)

    def subsets(self) -> dict[str, np.ndarray]:
        """Name -> rows: all pictures, each class, those predicted rightly and wrongly; none of them empty."""
        subsets = {"all": np.ones(len(self.before), bool)}
        if self.classes is not None:
            classes = np.array(self.classes, object)
            names = dict.fromkeys(name for name in self.classes if name is not None)
            subsets |= {f"class {name}" if name in SUBSETS else name: classes == name for name in names}
            if self.predicted is not None and self.judged:
                right = classes == np.array(self.predicted, object)
                known = np.array([name is not None for name in self.classes])
                subsets |= {"right": right & known, "wrong": ~right & known}
        return {name: rows for name, rows in subsets.items() if rows.any()}

    def document(self) -> dict[str, Any]:
        """Everything that was found over all pictures, as plain values for JSON; ``answers_csv`` has each picture."""
        return answers_document(self)

    def figure(self) -> Figure:
        """A matplotlib figure: each caption before and after surgery, and how much of each group is left."""
        return draw_answers(self)

    def to_json(self) -> str:
        """``document`` with the scores of every picture; ``Answers.from_json`` gives the same answers back."""
        return answers_to_json(self)

    @staticmethod
    def from_json(text: str) -> Answers:
        """The answers that ``to_json`` wrote. Raises SaywhyError where the text holds none."""
        return answers_from_json(text)

    def save(self, path: str | Path) -> Path:
        """Write a self-contained report: HTML, JSON, PNG, or CSV with a row a picture, by the ending of ``path``.

        Raises SaywhyError for any other ending, or where it cannot be written.
        """
        page, png = partial(answers_to_html, self), lambda: as_png(self.figure(), DPI)
        csv_text = partial(answers_csv, self)
        formats: dict[str, Callable[[], str | bytes]] = {
            ".html": page,
            ".json": self.to_json,
            ".png": png,
            ".csv": csv_text,
        }
        return packing.save_as(path, "what was asked", formats)

    def __repr__(self) -> str:
        asked = f"{len(self.captions)} captions of {len(self.pictures)} pictures"
        return f"<Answers: {asked}, {'before and after surgery' if self.after is not None else self.spaces[0]}>"

    def _repr_html_(self) -> str:
        return answers_to_html(self, page=False)


FORMAT = "saywhy.answers/1"
DPI = 120
TITLE = "What the captions say"


def answers_document(answers: Answers) -> dict[str, Any]:
    """Everything that was found over all pictures, as plain values for JSON; ``answers_csv`` has each picture."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "pictures": len(answers.pictures),
        "groups": answers.groups,
        "spaces": answers.spaces,
        "scale": answers.scale,
        "model": answers.model,
        "model_record": dict(answers.model_record),
        "findings": answers_findings(answers),
        "cautions": cautions(answers),
        "concepts": [] if answers.unmatched else [without_intervals_of_one(row) for row in concept_table(answers)],
        "claims": caption_claims(answers),
        "noise": answers.noise,
        "failures": {failure.name: failure.reason for failure in answers.failures},
    }
    if answers.surgery is not None:
        document |= {"surgery": answers.surgery, "matching": answers.matching}
    return {key: _plain(value) for key, value in document.items()}


def answers_to_json(answers: Answers) -> str:
    """The document of ``answers_document``, and under "record" the scores of every picture that it was made from."""
    record = {
        "before": packing.pack_floats(answers.before),
        "after": None if answers.after is None else packing.pack_floats(answers.after),
        "unusual": None if answers.unusual is None else packing.pack_floats(answers.unusual),
        "pictures": answers.pictures,
        "classes": answers.classes,
        "predicted": answers.predicted,
        "judged": answers.judged,
    }
    return packing.to_json(answers_document(answers) | {"record": record})


def answers_from_json(text: str) -> Answers:
    """The answers that ``answers_to_json`` wrote. Raises SaywhyError where the text holds none, or no scores."""
    d = packing.from_json(text, FORMAT, "an answer of ask")
    if "record" not in d:
        raise SaywhyError("this JSON has no scores of single pictures; use one that Answers.save or to_json wrote")
    with packing.whole("answer"):
        r = d["record"]
        read = Answers(
            groups=tuple(tuple(group) for group in d["groups"]),
            before=packing.unpack_floats(r["before"]),
            after=None if r["after"] is None else packing.unpack_floats(r["after"]),
            pictures=tuple(r["pictures"]),
            classes=None if r["classes"] is None else tuple(r["classes"]),
            predicted=None if r["predicted"] is None else tuple(r["predicted"]),
            scale=d["scale"],
            spaces=tuple(d["spaces"]),
            judged=r["judged"],
            model=d["model"],
            model_record=d.get("model_record", {}),
            surgery=d.get("surgery"),
            matching=d.get("matching"),
            failures=tuple(Failure(name, reason) for name, reason in d["failures"].items()),
            noise=None if d.get("noise") is None else tuple(d["noise"]),
            unusual=None if r.get("unusual") is None else packing.unpack_floats(r["unusual"]),
        )
        _check_parts(typed(read))
    return read


def _check_parts(answers: Answers) -> None:
    """Raises ValueError where the parts of an answer do not fit each other."""
    scores = [one for one in (answers.before, answers.after) if one is not None]
    tables = [*scores, *([] if answers.unusual is None else [answers.unusual])]
    if any(one.shape != (len(answers.pictures), len(answers.captions)) for one in tables):
        raise ValueError("the scores are of other pictures or captions")
    if any(len(some) != len(answers.pictures) for some in (answers.classes, answers.predicted) if some is not None):
        raise ValueError("the classes are of other pictures")
    if answers.noise is not None and len(answers.noise) != len(answers.groups):
        raise ValueError("the noise is of other groups")
    if len(answers.spaces) != len(scores) or not answers.pictures or not all(answers.groups):
        raise ValueError("something is missing")


def answers_to_html(answers: Answers, page: bool = True, files: Sequence[str] = ()) -> str:
    """A whole page, or (page=False) a fragment with its own style, for a notebook cell.

    files: names of files beside the page that hold the answers, for links.
    """
    card = answers_card(answers, _without_surgery(answers) if answers.unmatched else answers)
    template = page_templates().get_template("answers.html" if page else "answers_notebook.html")
    values = {"title": TITLE, "card": card, "failures": answers.failures, "links": links(files)}
    return template.render(values)


def _without_surgery(answers: Answers) -> Answers:
    """What the space itself sees, where surgery replaced nothing."""
    return replace(answers, after=None, spaces=answers.spaces[:1], surgery=None, matching=None)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def answers_csv(answers: Answers) -> str:
    """A row for each picture: its name, class and predicted class, and each caption's similarity before and after.

    Where it is known, also by how many standard deviations each caption is above what is usual.
    """
    names = {"name": answers.pictures, "class": answers.classes, "predicted": answers.predicted}
    columns: dict[str, Sequence[Any]] = {name: those for name, those in names.items() if those is not None}
    tables = (("before", answers.before, 6), ("after", answers.after, 6), ("sd above usual", answers.unusual, 2))
    for what, values, digits in tables:
        if values is not None:
            columns |= {
                f"{what}: {caption}": [f"{value:.{digits}f}" for value in values[:, n].tolist()]
                for n, caption in enumerate(answers.captions)
            }
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue().encode(errors="backslashreplace").decode()  # names of files need not be UTF-8


BEFORE, AFTER = "#8a8f98", "#c2410c"
GROUPS = ("#2563a8", "#2f8f5b", "#8b5fbf", "#b7791f", "#0e7c86", "#a83250")
LEGEND = {"before": "CLIP", "after": "CLIP through the classifier"}
GAP = 0.7  # rows between groups
ASIDE = 0.13  # of a row: what was before lies so far above, what is after below


def draw_answers(answers: Answers) -> Figure:
    """A matplotlib figure: each caption's mean similarity before and after; bars of what is left of each group."""
    findings = [finding for finding in answers_findings(answers) if finding["pictures"] == "all"]
    answers = _without_surgery(answers) if answers.unmatched else answers
    rows = [row for row in concept_table(answers) if row["pictures"] == "all"]
    kept = [finding for finding in findings if finding["kind"] == "kept"]
    height = 1.9 + 0.42 * len(rows) + 0.3 * len(answers.groups)
    figure = new_figure(figsize=(11.5 if kept else 7.5, height), layout="constrained")
    axes = figure.subplots(1, 2, width_ratios=[3, 2]) if kept else [figure.subplots()]
    places = [n + GAP * row["group"] for n, row in enumerate(rows)]
    _draw_captions(axes[0], answers, rows, places)
    if kept:
        groups = [answers.groups.index(finding["group"]) for finding in kept]
        middles = [_mean([y for y, row in zip(places, rows, strict=True) if row["group"] == group]) for group in groups]
        _draw_kept(axes[1], kept, middles, [_colour(group) for group in groups])
        axes[1].set_ylim(axes[0].get_ylim())
    said = told(findings)
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
        estimates = [row[f"similarity {when}"] for row in rows]
        axis.errorbar(
            [e.value for e in estimates], [y + aside for y in places], xerr=_errors(estimates), fmt="o", color=colour,
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
    values = [100 * finding["kept"][key] for finding in findings for key in ("low", "high")]
    axis.set_xlim(min(-5.0, 1.15 * min(values)), 1.18 * max(100.0, *values))
    axis.set_yticks([])
    axis.set_xlabel("left of what CLIP tells apart, %")
    axis.set_title("what the classifier passes on", fontsize=10, loc="left")
    _bare(axis)
    axis.spines["left"].set_visible(False)


def _errors(estimates: Sequence[Any]) -> list[list[float]]:
    """Distances below and above the values, as matplotlib wants them; an interval may miss its value by rounding."""
    return [
        [max(estimate.value - estimate.low, 0) for estimate in estimates],
        [max(estimate.high - estimate.value, 0) for estimate in estimates],
    ]


def _bare(axis: Axes) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _colour(group: int) -> str:
    return GROUPS[group % len(GROUPS)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
