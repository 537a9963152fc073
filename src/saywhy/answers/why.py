"""What a picture is and because of which rationales: the record, as JSON, as a figure, as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, final

from torch import Tensor

from saywhy.answers import packing
from saywhy.answers.claims import chance
from saywhy.answers.drawing import (
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
from saywhy.answers.plain_names import plain_name
from saywhy.errors import one_line
from saywhy.pictures.in_batches import Failure
from saywhy.plumbing.records import typed
from saywhy.types import BORNE_OUT, NOT_TESTABLE, Check, Claim, Geometry, Picture, RationaleUse
from saywhy.words.rationale_words import with_article

if TYPE_CHECKING:
    from matplotlib.figure import Figure


FORMAT = "saywhy.why/1"
SAID = 2  # rationales in the sentence


@final
@dataclass(frozen=True, eq=False)
class Reason:
    """A rationale that the category was chosen for.

    rank:        of the pair of both, 1 for the best. score: see ``Scoring``.
    probability: P(r | I). given: P(c | r, I). Their product is that of the pair.
    listed:      whether it is one of the category's own.
    unusual:     how many standard deviations it stands above what is usual. visible: whether that is enough to say that
                 it is there. Both None where it is not known.
    used:        whether the answer rests on it; None where that was not tested.
    heat:        (2, H, W) float32 in the preprocessed frame, where the picture shows it: the text of the pair, and that
                 of the rationale alone. LRP's is signed, gScoreCAM's is not. None where no method was asked for.
    """

    rationale: str
    rank: int
    score: float
    probability: float
    given: float
    listed: bool
    unusual: float | None
    visible: bool | None
    heat: Tensor | None
    used: RationaleUse | None = None


@final
@dataclass(frozen=True)
class Alternative:
    """A pair among the best whose category was not chosen. joint: P(r | I) P(c | r, I)."""

    category: str
    rationale: str
    rank: int
    score: float
    joint: float


@final
@dataclass(frozen=True, eq=False, repr=False)
class Why:
    """What a picture is, and why; everything that was considered, and the settings to repeat it.

    probability:  P(c | I) of the category.
    reasons:      best first.
    visible:      whether any of the category's own rationales stands out; None where that cannot be told.
    sentence:     for people; see ``say``.
    claims:       of each rationale of the reasons, whether it may be said and what that rests on; first what may be.
    rival:        what the other way of deciding says: the vote of the best pairs, or the likeliest category. None where
                  both agree.
    alternatives: best first.
    space:        whose opinion it is.
    silence:      why nothing is said of the picture; then there are no reasons, claims and alternatives. Else "".
    """

    picture: Picture
    geometry: Geometry
    category: str
    probability: float
    reasons: tuple[Reason, ...]
    visible: bool | None
    sentence: str
    claims: tuple[Claim, ...]
    rival: str | None
    alternatives: tuple[Alternative, ...]
    space: str
    settings: dict[str, Any]
    silence: str = ""

    def figure(self) -> Figure:
        """A matplotlib figure: the picture, and where each rationale is."""
        return draw_why(self)

    def to_json(self) -> str:
        """One JSON document with everything in it; ``Why.from_json`` gives the same answer back."""
        return why_to_json(self)

    @staticmethod
    def from_json(text: str) -> Why:
        """The answer that ``to_json`` wrote. Raises SaywhyError where the text is not one."""
        return why_from_json(text)

    def save(self, path: str | Path) -> Path:
        """Write a self-contained report: HTML, JSON or PNG, by the ending of ``path``.

        Raises SaywhyError for any other ending, or where it cannot be written.
        """
        page, png = partial(why_to_html, self), lambda: as_png(self.figure())
        return packing.save_as(path, "an answer", {".html": page, ".json": self.to_json, ".png": png})

    def __repr__(self) -> str:
        reasons = ", ".join(reason.rationale for reason in self.reasons)
        return one_line(f"<Why {self.picture.name} is {self.category} ({self.probability:.2f}): {reasons}>")

    def _repr_html_(self) -> str:
        return why_to_html(self, page=False)


def say(
    category: str, reasons: Sequence[Reason], visible: bool | None, listed: bool = True, dissenting: str = ""
) -> str:
    """The answer in one sentence, which states no rationale that is not known to stand out.

    visible: whether any of the category's own rationales stands out. listed: whether it has any. Others' are never
    stated: one in five of them is there (docs/rationales.md). dissenting: see ``dissent``.
    """
    return f"{_said(category, reasons, visible, listed)}{dissenting and f'; {dissenting}'}."


def _said(category: str, reasons: Sequence[Reason], visible: bool | None, listed: bool) -> str:
    looks = f"This looks like {with_article(category)}"
    if not listed:
        return f"{looks}, but no rationale is listed for it"
    if visible is False:
        return f"{looks}, but none of its listed rationales is visible"
    seen = [reason.rationale for reason in reasons if reason.visible and reason.listed][:SAID]
    if not seen and any(reason.visible is None for reason in reasons):
        untold = [reason for reason in reasons if reason.visible is None]
        best = next((reason for reason in untold if reason.listed), untold[0])
        return f"{looks}; whether there is {best.rationale} cannot be told"
    if not seen:
        why_not = "is not one of its own" if reasons[0].visible else "does not stand out"
        return f"{looks}; the best reason found, {reasons[0].rationale}, {why_not}"
    return f"This is {with_article(category)} because there is {' and '.join(seen)}"


def untold(why: Why) -> str:
    """Why it cannot be told whether its rationales are visible; "" where it can."""
    if not any(reason.visible is None for reason in why.reasons) or any(c.there is not None for c in why.claims):
        return ""
    because = why.settings.get("visible because", "no pictures say how far true and absent rationales stand out")
    return f"whether a rationale is visible cannot be told: {because}"


def reasons_tested(why: Why) -> str:
    """ "1 of 3 reasons is borne out: large bill", with those that cannot be tested; "" where none was tested."""
    uses = [(reason.rationale, reason.used) for reason in why.reasons if reason.used is not None]
    if not uses:
        return ""
    held = [name for name, use in uses if use.verdict == BORNE_OUT]
    untestable = sum(use.verdict == NOT_TESTABLE for _, use in uses)
    noun, verb = "reason" if len(uses) == 1 else "reasons", "is" if len(held) == 1 else "are"
    said = f"{len(held)} of {len(uses)} {noun} {verb} borne out{': ' if held else ''}{', '.join(held)}"
    return f"{said}; {untestable} cannot be tested" if untestable else said


def use_in_words(use: RationaleUse) -> str:
    """What became of the category's probability in both tests, in plain words."""
    text, picture = use.text, use.picture
    by_text = text.reason or f"other rationales in the text: {text.probability[0]:.2f} to {text.probability[1]:.2f}"
    before, after, elsewhere = picture.probability
    by_picture = f"its place covered: {before:.2f} to {after:.2f}"
    if elsewhere is None:
        by_picture = picture.reason
    else:
        by_picture += f", equal areas elsewhere {elsewhere:.2f}"
    return f"{by_text}; {by_picture}"


def dissent(rival: str | None, decide: str) -> str:
    """Where the two ways to decide differ, what the one that was not asked says, in one clause; "" for no rival."""
    if rival is None:
        return ""
    if decide == "vote":
        return f"it is voted for, {with_article(rival)} is likelier"
    return f"the best pairs vote for {with_article(rival)}"


def silent(why: Why, reason: str) -> Why:
    """The same answer without what cannot be said. reason: why, as a sentence without its full stop; "": it can."""
    if not reason:
        return why
    sentence = f"What this is, and why, is not said: {reason}."
    return replace(
        why, reasons=(), claims=(), rival=None, alternatives=(), visible=None, sentence=sentence, silence=reason
    )


def why_to_json(why: Why) -> str:
    """One JSON document: words and numbers as they are, heatmaps packed (float32, zlib, base64)."""
    return packing.to_json(
        {
            "format": FORMAT,
            "sentence": why.sentence,
            "silence": why.silence,
            "category": why.category,
            "probability": why.probability,
            "visible": why.visible,
            "claims": [asdict(claim) for claim in why.claims],
            "rival": why.rival,
            "reasons": [
                vars(reason)
                | {
                    "heat": None if reason.heat is None else packing.pack_floats(reason.heat),
                    "used": None if reason.used is None else asdict(reason.used),
                }
                for reason in why.reasons
            ],
            "alternatives": [asdict(other) for other in why.alternatives],
            "space": why.space,
            "picture": packing.picture_document(why.picture),
            "geometry": packing.geometry_document(why.geometry),
            "settings": why.settings,
        }
    )


def why_from_json(text: str) -> Why:
    """The answer that ``why_to_json`` wrote. Raises SaywhyError where the text is not one."""
    d = packing.from_json(text, FORMAT, "an answer of why")
    with packing.whole("answer"):
        read = Why(
            picture=packing.read_picture(d["picture"]),
            geometry=packing.read_geometry(d["geometry"]),
            category=d["category"],
            probability=packing.number(d["probability"]),
            reasons=tuple(_reason(reason) for reason in d["reasons"]),
            visible=d["visible"],
            sentence=d["sentence"],
            claims=tuple(Claim(**claim) for claim in d.get("claims", ())),
            rival=d.get("rival"),
            alternatives=tuple(Alternative(**other) for other in d["alternatives"]),
            space=d["space"],
            settings=d["settings"],
            silence=d.get("silence", ""),
        )
        _check_parts(typed(read))
    return read


def _reason(d: dict[str, Any]) -> Reason:
    heat = None if d["heat"] is None else packing.unpack_floats(d["heat"])
    used = d.get("used")
    if used is not None:
        used = RationaleUse(**used | {test: _check(used[test]) for test in ("text", "picture")})
    return Reason(**d | {"heat": heat, "used": used})


def _check(d: dict[str, Any]) -> Check:
    numbers = {key: packing.number(d[key]) for key in ("effect", "margin")}
    pairs = {"probability": tuple(d["probability"]), "rank": tuple(d["rank"])}
    return Check(**d | numbers | pairs | {"interval": d["interval"] and tuple(d["interval"])})


def _check_parts(why: Why) -> None:
    """Raises ValueError where the parts of an answer do not fit each other."""
    maps = [reason.heat for reason in why.reasons if reason.heat is not None]
    if any(heat.shape != (len(MAPS), *why.geometry.frame[::-1]) for heat in maps):
        raise ValueError("the heatmaps are not those of the frame")
    if why.geometry.size != (why.picture.width, why.picture.height) or not isinstance(why.settings.get("method"), str):
        raise ValueError("another picture, or no method")


def why_to_html(why: Why, page: bool = True) -> str:
    """A whole page, or (page=False) a fragment with its own style, for a notebook cell."""
    template = page_templates().get_template("why.html" if page else "why_notebook.html")
    html, entry = _card(why, 1, in_the_page)
    return template.render(title=f"Why {why.category}?", contents=[entry], cards=[(entry, html)])


MAPS = ("with the category", "by itself")
FEWEST_COLUMNS = 3  # the sentence needs some width


def draw_why(why: Why) -> Figure:
    """A matplotlib figure: the picture, and a column of two heatmaps for each rationale; the sentence above."""
    picture = open_picture(why.picture)
    shown = [reason for reason in why.reasons if reason.heat is not None]
    columns = 1 + len(shown)
    width = 3.0 * max(columns, FEWEST_COLUMNS)
    rows = 2 if shown else 1
    tall = picture.height / picture.width
    figure = new_figure(figsize=(width, 1.1 + rows * (0.25 + 3.0 * min(max(tall, 0.5), 1.6))), layout="constrained")
    axes = figure.subplots(rows, max(columns, FEWEST_COLUMNS), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    axes[0, 0].imshow(picture)
    axes[0, 0].set_title(literal(fill(f"{why.category} ({why.probability:.2f})", 30)), fontsize=10)
    for n, reason in enumerate(shown, start=1):
        assert reason.heat is not None
        for row, what in enumerate(MAPS):
            axes[row, n].imshow(overlay(picture, reason.heat[row].numpy(), why.geometry))
            title = f"{reason_title(reason)}\n{what}" if row == 0 else what
            axes[row, n].set_title(literal(title), fontsize=9)
    if shown:
        against = _against([reason.heat for reason in shown if reason.heat is not None])
        legend = (
            ["red: speaks for it", *["blue: against it"] * against] if _is_signed(why) else ["red: where it is seen"]
        )
        axes[1, 0].text(0.0, 1.0, "\n".join([why.settings["method"], *legend]), va="top", fontsize=9, color="#60666d")
    figure.suptitle(literal(fill(why.sentence, round(13 * width))), fontsize=11)
    return figure


def reason_title(reason: Reason) -> str:
    """ "a long tail", and below it "fits 0.41, +2.3 sd": P(r | I), and how far it stands out where that is known."""
    out = "" if reason.unusual is None else f", {reason.unusual:+.1f} sd"
    used = "" if reason.used is None else f"\n{reason.used.verdict}"
    return f"{fill(reason.rationale, 34)}\nfits {reason.probability:.2f}{out}{used}"


def new_why_report(path: Path, pictures: int, *, title: str = "Why?") -> GrowingPage[Why]:
    """A page about as many pictures, to which their answers are added one by one."""
    return GrowingPage(path, "why.html", title, _card, pictures)


def save_why_report(
    answers: Sequence[Why], path: Path, *, failures: Sequence[Failure] = (), title: str = "Why?"
) -> Path:
    """One page about many pictures. failures: the pictures without an answer.

    Raises SaywhyError where it cannot be written.
    """
    page = new_why_report(path, len(answers), title=title)
    for answer in answers:
        page.add(answer)
    return page.save(failures)


def _card(why: Why, number: int, place: Place, files: Sequence[str] = ()) -> tuple[str, Entry]:
    picture = open_picture(why.picture)
    there = {claim.text: chance(claim) for claim in why.claims}
    box = seen_part(why.geometry)
    reasons = [
        {
            "reason": reason,
            "chance": there.get(reason.rationale, ""),
            "state": _state(reason),
            "verdict": "" if reason.used is None else reason.used.verdict,
            "used": "" if reason.used is None else use_in_words(reason.used),
            "maps": [
                place(jpeg(overlay(picture, values.numpy(), why.geometry)), f"reason-{n + 1}-{what}")
                for values, what in zip(reason.heat, ("pair", "alone"), strict=True)
            ]
            if reason.heat is not None
            else [],
        }
        for n, reason in enumerate(why.reasons)
    ]
    stated = [_is_stated(why, reason) for reason in why.reasons]
    maps = [reason.heat for reason in why.reasons if reason.heat is not None]
    shown = {
        "why": why,
        "told": _told(why),
        "tested": bool(reasons_tested(why)),
        "picture": place(why.picture.jpeg, "picture"),
        "saw": "" if box is None else percent_box(box, why.picture.width, why.picture.height),
        "stated": [item for item, said in zip(reasons, stated, strict=True) if said],
        "weighed": [item for item, said in zip(reasons, stated, strict=True) if not said],
        "mapped": bool(maps),
        "signed": _is_signed(why),
        "against": _against(maps),
        "links": links(files),
    }
    entry = Entry(why.category, place(small(picture), "thumbnail"))
    return macro("why_card.html", "why_card")(shown, number), entry


def _is_stated(why: Why, reason: Reason) -> bool:
    """Whether a reason may stand below "because of", as in the sentence: visible, and one of the category's own."""
    return bool(reason.visible and reason.listed and why.visible is not False)


def _against(heats: Sequence[Tensor]) -> bool:
    """Whether any map shows what speaks against."""
    return any(speaks_against(values.numpy()) for heat in heats for values in heat)


def _is_signed(why: Why) -> bool:
    return bool(why.settings["method"] == "lrp")


def _told(why: Why) -> list[tuple[str, str]]:
    """What a card says below the sentence, with what it is about: how sure, put to the test, whose opinion."""
    parts = [("How sure", f"It gives {why.category} a probability of {why.probability:.2f} among all categories.")]
    if why.silence:
        parts = []
    tested, not_told = reasons_tested(why), untold(why)
    if tested:
        parts.append(("Put to the test", f"{tested[0].upper()}{tested[1:]}."))
    if not_told:
        parts.append(("What is not told", f"{not_told[0].upper()}{not_told[1:]}."))
    return [*parts, ("Whose opinion", plain_name(why.space))]


def _state(reason: Reason) -> str:
    """Whether a rationale is there, in words; "" where nothing was asked of that."""
    of = "" if reason.listed else "; not one of the category's own"
    if reason.visible is None:
        return f"cannot be told whether it is there{of}"
    return f"{'is there' if reason.visible else 'does not stand out'}{of}"
