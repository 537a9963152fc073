"""Why a classifier decided as it did on one picture: the record, as JSON, as a figure, as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch
from PIL import Image

from saywhy.answers import packing
from saywhy.answers.claims import CLASS_NAMES, MEASURED, SENTENCE, WHOLE, chance, facts, heading, said, unsaid
from saywhy.answers.claims import region as region_name
from saywhy.answers.counterfactual import (
    counterfactual_document,
    in_concepts,
    read_counterfactual,
    why_this_one,
)
from saywhy.answers.drawing import (
    BOXES,
    as_png,
    literal,
    new_figure,
    open_picture,
    overlay,
    percent_box,
    seen_part,
    speaks_against,
)
from saywhy.answers.growing_page import Entry, GrowingPage, Place, in_the_page, small
from saywhy.answers.page_templates import jpeg, links, macro, page_templates
from saywhy.answers.places import places
from saywhy.answers.plain_names import plain_name
from saywhy.answers.summary import checked, summary_parts, why_no_region
from saywhy.answers.verdicts import ELSEWHERE, SURROUNDINGS, fall, marks, tally
from saywhy.errors import one_line
from saywhy.pictures.in_batches import Failure
from saywhy.plumbing.records import typed
from saywhy.types import (
    NOT_TESTABLE,
    Box,
    Check,
    Claim,
    Contrast,
    Counterfactual,
    Draft,
    Finding,
    Geometry,
    Heatmap,
    Label,
    MapCheck,
    PhraseMap,
    Picture,
    Prediction,
    Region,
    Sentence,
    Word,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@final
@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """Why a classifier decided as it did on one picture, with the evidence and every setting to repeat it.

    predictions: the best classes, best first.
    target:      the explained class (usually ``predictions[0]``).
    heatmap:     one picture's relevance (1, H, W).
    regions:     most relevant first; findings[i] is what the space finds nearest in regions[i].
    concepts:    the same for the whole picture.
    claims:      every phrase that is shown, whether it is there, and whether that is sure enough to be said.
    silence:     why nothing is said of what is there; then findings have no labels. "" where words may be said.
    summary:     one sentence, built from all of the above.
    sentence:    one written by a language model against the space; None where no writer was asked for.
    contrast:    why this class and not the runner-up; None in a space that does not know the classes.
    phrases:     where phrases that were asked for are, as the space sees it.
    surroundings: whether the decision rests on all that is around the object; None where that was not tested.
    counterfactual: the least change that was found to make another class of it; None where nobody asked.
    more:        explanations of the same picture for the other targets that were asked for.
    """

    picture: Picture
    geometry: Geometry
    predictions: tuple[Prediction, ...]
    target: Prediction
    heatmap: Heatmap
    regions: tuple[Region, ...]
    findings: tuple[Finding, ...]
    concepts: Finding
    claims: tuple[Claim, ...]
    silence: str
    summary: str
    settings: Mapping[str, Any]
    sentence: Sentence | None = None
    contrast: Contrast | None = None
    phrases: tuple[PhraseMap, ...] = ()
    surroundings: Check | None = None
    counterfactual: Counterfactual | None = None
    more: tuple[Explanation, ...] = ()

    @property
    def checks(self) -> tuple[Check, ...]:
        """The tests of what is claimed of the decision: of regions, and of words said as facts.

        Without plain facts, which are claimed only where they are borne out.
        """
        words = (c.used for c in self.claims if c.said and c.about != SENTENCE and c.space != MEASURED)
        made = (*(r.used for r in self.regions), *words)
        return tuple(check for check in made if check is not None)

    @property
    def each(self) -> tuple[Explanation, ...]:
        """This explanation, and those of the other targets."""
        return (self, *self.more)

    def figure(self) -> Figure:
        """A matplotlib figure: picture, heatmap, regions and their labels; of the first target."""
        return draw_explanation(self)

    def to_json(self) -> str:
        """One JSON document with everything in it; ``Explanation.from_json`` gives the same explanation back."""
        return explanation_to_json(self)

    @staticmethod
    def from_json(text: str) -> Explanation:
        """The explanation that ``to_json`` wrote. Raises SaywhyError where the text is not one."""
        return explanation_from_json(text)

    def save(self, path: str | Path) -> Path:
        """Write a self-contained report: HTML, JSON or PNG, by the ending of ``path``.

        Raises SaywhyError for any other ending, or where it cannot be written.
        """
        page, png = partial(explanation_to_html, self), lambda: as_png(self.figure())
        return packing.save_as(path, "an explanation", {".html": page, ".json": self.to_json, ".png": png})

    def __repr__(self) -> str:
        regions = f"{len(self.regions)} region{'' if len(self.regions) == 1 else 's'}"
        targets = ", ".join(f"{e.target.name} ({e.target.probability:.2f})" for e in self.each)
        said = f"{self.picture.name}: {targets}, {regions}"
        return one_line(f"<Explanation of {said}>")

    def _repr_html_(self) -> str:
        return explanation_to_html(self, page=False)


FORMAT = "saywhy.explanation/2"


def explanation_to_json(explanation: Explanation) -> str:
    """One JSON document: words and numbers as they are, arrays packed (float32 and bits, zlib, base64)."""
    return packing.to_json(_document(explanation))


def _document(e: Explanation) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "summary": e.summary,
        "claims": [vars(claim) | {"used": _used(claim.used)} for claim in e.claims],
        "borne_out": vars(tally(e.checks)),
        "silence": e.silence,
        "predictions": [vars(p) for p in e.predictions],
        "target": vars(e.target),
        "regions": [
            {"box": r.box, "share": r.share, "used": _used(r.used)} | packing.mask_document(r.mask)
            for r in e.regions
        ],
        "surroundings": _used(e.surroundings),
        "counterfactual": counterfactual_document(e.counterfactual),
        "findings": [_finding(f) for f in e.findings],
        "concepts": _finding(e.concepts),
        "heatmap": _heatmap(e.heatmap),
        "geometry": packing.geometry_document(e.geometry),
        "picture": packing.picture_document(e.picture),
        "settings": dict(e.settings),
        "sentence": None if e.sentence is None else asdict(e.sentence),
        "contrast": None if e.contrast is None else asdict(e.contrast),
        "phrases": [
            vars(p) | {"heatmap": _heatmap(p.heatmap), "geometry": packing.geometry_document(p.geometry)}
            for p in e.phrases
        ],
    } | ({"more": [_document(other) for other in e.more]} if e.more else {})  # fmt: skip


def explanation_from_json(text: str) -> Explanation:
    """The explanation that ``explanation_to_json`` wrote. Raises SaywhyError where the text is not one."""
    document = packing.from_json(text, FORMAT, "an explanation")
    with packing.whole("explanation"):
        read = typed(_read(document))
        for one in read.each:
            _check_parts(one)
    return read


def _read(d: dict[str, Any]) -> Explanation:
    return Explanation(
        picture=packing.read_picture(d["picture"]),
        geometry=packing.read_geometry(d["geometry"]),
        predictions=tuple(packing.read_prediction(x) for x in d["predictions"]),
        target=packing.read_prediction(d["target"]),
        heatmap=_read_heatmap(d["heatmap"]),
        regions=tuple(_region(x) for x in d["regions"]),
        findings=tuple(_read_finding(x) for x in d["findings"]),
        concepts=_read_finding(d["concepts"]),
        claims=tuple(_claim(x) for x in d["claims"]),
        silence=d["silence"],
        summary=d["summary"],
        settings=d["settings"],
        sentence=_read_sentence(d.get("sentence")),
        contrast=_read_contrast(d.get("contrast")),
        phrases=tuple(_read_phrase(x) for x in d.get("phrases", ())),
        surroundings=_check(d.get("surroundings")),
        counterfactual=read_counterfactual(d.get("counterfactual")),
        more=tuple(_read(x) for x in d.get("more", ())),
    )


def _check_parts(e: Explanation) -> None:
    """Raises ValueError where the parts of an explanation do not fit each other."""
    if e.heatmap.values.shape != (1, e.geometry.frame[1], e.geometry.frame[0]) or len(e.heatmap.targets) != 1:
        raise ValueError("the heatmap is not that of the frame")
    if len(e.findings) != len(e.regions) or e.geometry.size != (e.picture.width, e.picture.height):
        raise ValueError("other findings than regions, or another picture")
    for left, top, right, bottom in (region.box for region in e.regions):
        if not (0 <= left < right <= e.picture.width and 0 <= top < bottom <= e.picture.height):
            raise ValueError("a region outside the picture")
    for phrase in e.phrases:
        if phrase.heatmap.values.shape != (1, phrase.geometry.frame[1], phrase.geometry.frame[0]):
            raise ValueError("a phrase's heatmap is not that of its frame")


def _heatmap(heatmap: Heatmap) -> dict[str, Any]:
    return {
        **packing.pack_floats(heatmap.values),
        "targets": heatmap.targets,
        "logits": heatmap.logits,
        "method": heatmap.method,
        "composite": heatmap.composite,
        "checks": [vars(check) for check in heatmap.checks],
        "channels": None if heatmap.channels is None else heatmap.channels.tolist(),
    }


def _read_heatmap(d: dict[str, Any]) -> Heatmap:
    logits = tuple(packing.number(logit) for logit in d["logits"])
    checks = tuple(_map_check(check) for check in d.get("checks", ()))
    channels = None if d.get("channels") is None else torch.tensor(d["channels"], dtype=torch.float32)
    return Heatmap(packing.unpack_floats(d), tuple(d["targets"]), logits, d["method"], d["composite"], checks, channels)


def _map_check(d: dict[str, Any]) -> MapCheck:
    sums = ("relevance", "constants", "held", "softmax", "scale")
    return MapCheck(**d | {key: packing.number(d[key]) for key in sums})


def _finding(finding: Finding) -> dict[str, Any]:
    return vars(finding) | {"labels": [vars(label) for label in finding.labels]}


def _read_finding(d: dict[str, Any]) -> Finding:
    return Finding(d["region"], _labels(d["labels"]), d["space"])


def _claim(d: dict[str, Any]) -> Claim:
    there = None if d["there"] is None else packing.number(d["there"])
    return Claim(**d | {"score": packing.number(d["score"]), "there": there, "used": _check(d.get("used"))})


def _used(check: Check | None) -> dict[str, Any] | None:
    return None if check is None else vars(check)


def _check(d: dict[str, Any] | None) -> Check | None:
    if d is None:
        return None
    numbers = {key: packing.number(d[key]) for key in ("effect", "margin")}
    pairs = {"probability": tuple(d["probability"]), "rank": tuple(d["rank"])}
    return Check(**d | numbers | pairs | {"interval": d["interval"] and tuple(d["interval"])})


def _labels(found: list[dict[str, Any]]) -> tuple[Label, ...]:
    return tuple(
        Label(x["text"], x["group"], packing.number(x["score"]), x["rank"], packing.number(x["unusual"])) for x in found
    )


def _read_sentence(d: dict[str, Any] | None) -> Sentence | None:
    if d is None:
        return None
    numbers = {key: packing.number(d[key]) for key in ("score", "unusual", "judged", "perplexity")}
    words = tuple(Word(**word) for word in d["words"])
    drafts = tuple(Draft(x["text"], packing.number(x["score"]), packing.number(x["judged"])) for x in d["drafts"])
    return Sentence(**d | numbers | {"words": words, "drafts": drafts, "facts": tuple(d["facts"])})


def _read_contrast(d: dict[str, Any] | None) -> Contrast | None:
    if d is None:
        return None
    return Contrast(packing.read_prediction(d["other"]), _labels(d["speaks_for"]), _labels(d["speaks_against"]))


def _read_phrase(d: dict[str, Any]) -> PhraseMap:
    numbers = {key: packing.number(d[key]) for key in ("score", "unusual")}
    where = {"heatmap": _read_heatmap(d["heatmap"]), "geometry": packing.read_geometry(d["geometry"])}
    return PhraseMap(**d | numbers | where)


def _region(d: dict[str, Any]) -> Region:
    left, top, right, bottom = d["box"]
    return Region((left, top, right, bottom), packing.read_mask(d), d["share"], _check(d.get("used")))


def display_box(explanation: Explanation, region: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box of a region on a copy of the picture of ``size``, at least one pixel wide and high."""
    box = _zoomed(explanation.regions[region].box, explanation.picture, size)
    left, top = min(box[0], size[0] - 1), min(box[1], size[1] - 1)
    return left, top, max(box[2], left + 1), max(box[3], top + 1)


def _zoomed(box: Box, picture: Picture, size: tuple[int, int]) -> Box:
    """A box of a picture on a copy of another size."""
    zoom = size[0] / picture.width, size[1] / picture.height
    left, top, right, bottom = (round(edge * zoom[i % 2]) for i, edge in enumerate(box))
    return left, top, right, bottom


def draw_explanation(explanation: Explanation) -> Figure:
    """A matplotlib figure: the picture with its boxes, the heatmap, each region with its labels, each phrase's map."""
    from textwrap import fill

    from matplotlib.patches import Rectangle

    picture = open_picture(explanation.picture)
    count = max(len(explanation.regions), 1)
    other = explanation.counterfactual
    turned = None if other is None or other.picture is None else other
    small = count + len(explanation.phrases) + (turned is not None)
    figure = new_figure(figsize=(4.2 + 4.2 + 2.4 * small, 4.6), layout="constrained")
    axes = figure.subplots(1, 2 + small, width_ratios=[4.2, 4.2, *[2.4] * small])
    axes[0].imshow(picture)
    axes[1].imshow(overlay(picture, explanation.heatmap.values[0].numpy(), explanation.geometry))
    axes[0].set_title(literal(f"{explanation.target.name} ({explanation.target.probability:.2f})"))
    values = explanation.heatmap.values[0].numpy()
    axes[1].set_title(f"red: for it{', blue: against' * speaks_against(values)}" if values.any() else "no map")
    if not all(check.holds for check in explanation.heatmap.checks):
        below = literal(fill(checked(explanation.heatmap), 60))
        axes[1].text(0.5, -0.02, below, transform=axes[1].transAxes, ha="center", va="top", fontsize=7, color="dimgray")
    for axis in axes:
        axis.set_axis_off()
    if turned is not None and turned.picture is not None:
        axes[-1].imshow(open_picture(turned.picture))
        axes[-1].set_title(literal(fill(f"now {turned.after.name} ({turned.after.probability:.2f})", 26)), fontsize=9)
        below = f"{turned.area:.0%} of the picture {turned.change}"
        axes[-1].text(
            0.5, -0.04, literal(fill(below, 34)), transform=axes[-1].transAxes, ha="center", va="top", fontsize=7
        )
    for axis, phrase in zip(axes[2 + count :], explanation.phrases, strict=False):
        axis.imshow(overlay(picture, phrase.heatmap.values[0].numpy(), phrase.geometry))
        axis.set_title(literal(one_line(phrase.text)), fontsize=9)
        out = f"{phrase.unusual:+.1f} sd{'' if phrase.fits else ', does not stand out'}"
        axis.text(0.5, -0.04, out, transform=axis.transAxes, ha="center", va="top", fontsize=9)
    if (saw := seen_part(explanation.geometry)) is not None:
        left, top, right, bottom = _zoomed(saw, explanation.picture, picture.size)
        for axis in axes[:2]:
            for colour, dashes in (("black", "-"), ("white", (0, (4, 4)))):
                edge = Rectangle(
                    (left, top), right - left, bottom - top, fill=False, edgecolor=colour, linestyle=dashes
                )
                axis.add_patch(edge)
        axes[0].text(
            0.5, -0.02, "dashed: what the network saw", transform=axes[0].transAxes, ha="center", va="top", fontsize=7,
            color="dimgray",
        )  # fmt: skip
    for n in range(len(explanation.regions)):
        left, top, right, bottom = box = display_box(explanation, n, picture.size)
        colour = BOXES[n % len(BOXES)]
        for axis in axes[:2]:
            axis.add_patch(
                Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=2)
            )
        axis = axes[2 + n]
        axis.imshow(picture.crop(box))
        used = explanation.regions[n].used
        tested = "" if used is None else f"\n{used.verdict}"
        axis.set_title(f"{n + 1}: {explanation.regions[n].share:.0%} of relevance{tested}", color=colour, fontsize=9)
        words = [one_line(claim.text) for claim in said(explanation.claims, region_name(n))]
        axis.text(
            0.5,
            -0.04,
            literal(fill(", ".join(words), 26)),
            transform=axis.transAxes,
            ha="center",
            va="top",
            fontsize=9,
        )
    figure.suptitle(literal(fill(explanation.summary.replace("*", ""), 130)), fontsize=10)
    return figure


def explanation_to_html(explanation: Explanation, page: bool = True) -> str:
    """A whole page, or (page=False) a fragment with its own style, for a notebook cell."""
    template = page_templates().get_template("report.html" if page else "notebook.html")
    cards = [_card(one, number, in_the_page)[::-1] for number, one in enumerate(explanation.each, start=1)]
    title = f"Why {explanation.target.name}?"
    return template.render(title=title, contents=[entry for entry, _ in cards], cards=cards)


def new_report(path: Path, pictures: int, *, title: str = "Why?") -> GrowingPage[Explanation]:
    """A page about as many pictures, to which their explanations are added one by one."""
    return GrowingPage(path, "report.html", title, _card, pictures)


def save_report(
    explanations: Sequence[Explanation], path: Path, *, failures: Sequence[Failure] = (), title: str = "Why?",
    files: Sequence[Sequence[str]] = (),
) -> Path:  # fmt: skip
    """One page about many pictures.

    failures: the pictures that could not be explained. files: of each explanation, names of files beside the page.
    """
    page = new_report(path, len(explanations), title=title)
    checks: list[Check] = []
    for n, explanation in enumerate(explanations):
        for one in explanation.each:
            page.add(one, files[n] if files else ())
            checks += one.checks
    return page.save(failures, str(tally(checks)))


def _card(explanation: Explanation, number: int, place: Place, files: Sequence[str] = ()) -> tuple[str, Entry]:
    picture = open_picture(explanation.picture)
    shown = _shown(explanation, picture, place) | {"links": links(files)}
    model = plain_name(str(explanation.settings["model"]))
    entry = Entry(explanation.target.name, place(small(picture), "thumbnail"), model)
    return macro("explanation_card.html", "card")(shown, number), entry


def _shown(explanation: Explanation, picture: Image.Image, place: Place) -> dict[str, Any]:
    """What the template shows of one explanation: plain values, and where its pictures are."""
    e = explanation
    where = places([region.box for region in e.regions], (e.picture.width, e.picture.height))
    regions = [
        {
            "crop": place(jpeg(_enlarged(picture.crop(display_box(e, n, picture.size)))), f"region-{n + 1}"),
            "share": region.share,
            "where": where[n],
            "colour": BOXES[n % len(BOXES)],
            "box": percent_box(region.box, e.picture.width, e.picture.height),
            "words": _words(e, region_name(n), e.findings[n]),
            "used": _said_of(region.used),
        }
        for n, region in enumerate(e.regions)
    ]
    verdict, told = verdict_and_rest(e)
    return {
        "name": e.picture.name,
        "size": (e.picture.width, e.picture.height),
        "picture": place(e.picture.jpeg, "picture"),
        "overlay": place(jpeg(overlay(picture, e.heatmap.values[0].numpy(), e.geometry)), "map"),
        "verdict": verdict,
        "told": told,
        "saw": _saw(e.geometry, e.picture),
        "against": speaks_against(e.heatmap.values[0].numpy()),
        "tally": str(tally(e.checks)),
        "surroundings": _said_of(e.surroundings, *SURROUNDINGS),
        "target": e.target,
        "predictions": e.predictions,
        "regions": regions,
        "no_region": why_no_region(e.heatmap),
        "check": checked(e.heatmap) if e.heatmap.values.any() else "",
        "whole": _words(e, WHOLE, e.concepts),
        "space": e.concepts.space,
        "silence": e.silence,
        "facts": facts(e.claims),
        "mapped": bool(e.heatmap.values.any()),
        "settings": e.settings,
        "names": e.settings.get(CLASS_NAMES),
        "sentence": e.sentence,
        "weighed": _weighed(e.sentence),
        "contrast": e.contrast,
        "counterfactual": _counterfactual(e, place),
        "channels": [] if e.heatmap.channels is None else e.heatmap.channels[0].tolist(),
        "phrases": [
            {
                "said": p,
                "saw": _saw(p.geometry, e.picture),
                "against": speaks_against(p.heatmap.values[0].numpy()),
                "overlay": place(jpeg(overlay(picture, p.heatmap.values[0].numpy(), p.geometry)), f"phrase-{n + 1}"),
            }
            for n, p in enumerate(e.phrases)
        ],
    }


def verdict_and_rest(e: Explanation) -> tuple[str, dict[str, str]]:
    """The verdict of the summary, and the rest by what it is about; of another summary, all of it as the verdict."""
    parts = {
        about: text
        for about, text in summary_parts(e.picture, e.regions, e.claims, e.heatmap, e.silence, e.surroundings).items()
        if text
    }
    rest = " ".join(parts.values())
    if not e.summary.endswith(rest):
        return e.summary, {}
    return e.summary.removesuffix(rest).strip(), parts


def _saw(geometry: Geometry, picture: Picture) -> str:
    """Where the network's frame lies on a picture, as a style; "" where it saw all of it."""
    box = seen_part(geometry)
    return "" if box is None else percent_box(box, picture.width, picture.height)


def _counterfactual(e: Explanation, place: Place) -> dict[str, Any] | None:
    """The changed picture, and what is said of it."""
    found = e.counterfactual
    if found is None:
        return None
    return {
        "found": found,
        "said": why_this_one(found, e.target.name),
        "concepts": in_concepts(found, e.target.name),
        "picture": None if found.picture is None else place(found.picture.jpeg, "counterfactual"),
        "boxes": [percent_box(region.box, e.picture.width, e.picture.height) for region in found.regions],
    }


def _weighed(sentence: Sentence | None) -> list[dict[str, Any]]:
    """Each word with its strength relative to the strongest, 0..1; None for words without content of their own."""
    words = sentence.words if sentence else ()
    most = max((word.weight or 0.0 for word in words), default=0.0)
    return [
        {
            "text": w.text,
            "idle": w.idle,
            "weight": w.weight,
            "strength": w.weight and max(0.0, w.weight) / (most or 1.0),
        }
        for w in words
    ]


def _words(e: Explanation, about: str, finding: Finding) -> dict[str, Any]:
    """What a card says of a look: facts, and what is near, under its heading."""
    unusual = {label.text: f"{label.unusual:+.1f} sd" for label in finding.labels}
    near = unsaid(e.claims, about)
    return {
        "said": [(claim, chance(claim), marks(claim), _said_of(claim.used)) for claim in said(e.claims, about)],
        "heading": heading(near),
        "near": [(claim, chance(claim) or unusual.get(claim.text, "")) for claim in near],
    }


def _said_of(check: Check | None, what: str = "without it", beside: str = ELSEWHERE) -> dict[str, str] | None:
    """What a card says of a test: its verdict, the name of its style, what became of the score, and the numbers."""
    if check is None:
        return None
    numbers = [f"{check.change}: the logit falls by {check.effect:.2f} of a margin of {check.margin:.2f}"]
    if check.control is not None:
        numbers.append(f"{beside}: {check.control:.2f} on average")
    if check.p is not None and check.q is not None:
        numbers.append(f"p = {check.p:.3f}, corrected {check.q:.3f}")
    if check.keeps is not None:
        numbers.append(f"of this alone is left {check.keeps:.0%} of the margin")
    return {
        "verdict": check.verdict,
        "style": check.verdict.replace(" ", "-"),
        "fall": check.reason if check.verdict == NOT_TESTABLE else fall(check, what, beside),
        "numbers": "; ".join(numbers),
    }


def _enlarged(crop: Image.Image, side: int = 220) -> Image.Image:
    zoom = side / max(crop.size)
    return crop.resize((max(1, round(crop.width * zoom)), max(1, round(crop.height * zoom))), Image.Resampling.BICUBIC)
