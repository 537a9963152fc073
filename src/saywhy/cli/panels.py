"""What the command line prints, drawn with Rich."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from saywhy.cli.console import as_text
from saywhy.errors import one_line

if TYPE_CHECKING:
    from PIL.Image import Image

    from saywhy.answers.captions import Answers
    from saywhy.answers.explanation import Explanation
    from saywhy.answers.why import Why
    from saywhy.spaces.surgery.matching import Matching
    from saywhy.types import Check, Contrast, Finding, Label, Prediction, Sentence


def show(explanation: Explanation, console: Console, *, top: int = 3, pictures: bool = False) -> None:
    """One explanation: the sentence, the classes, and a row for each region; a panel for each target."""
    for e in explanation.each:
        _show_one(e, console, top, pictures)


def _show_one(e: Explanation, console: Console, top: int, pictures: bool) -> None:
    from saywhy.answers.claims import WHOLE, facts
    from saywhy.answers.claims import region as region_name
    from saywhy.answers.counterfactual import in_concepts, why_this_one
    from saywhy.answers.places import places
    from saywhy.answers.summary import checked
    from saywhy.answers.verdicts import SURROUNDINGS, fall

    table = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
    table.add_column("region")
    table.add_column("relevance")
    table.add_column(as_text(f"what is there, says {e.concepts.space}"))
    where = places([region.box for region in e.regions], (e.picture.width, e.picture.height))
    for n, (region, finding) in enumerate(zip(e.regions, e.findings, strict=True)):
        looked = Text("\n").join([_bar(region.share), *_tested(region.used)])
        table.add_row(f"{n + 1} {where[n]}", looked, _words(e, region_name(n), finding))
    table.add_row("whole picture", "", _words(e, WHOLE, e.concepts))
    classes = Text("   ").join(
        as_text(f"{p.name} {p.probability:.2f}", style="bold" if p.index == e.target.index else "dim")
        for p in e.predictions[:3]
    )
    parts: list[object] = [classes, Text(), as_text(e.summary.replace("*", "")), Text(), table]
    if (check := checked(e.heatmap)) and check not in e.summary:
        parts += [Text(), as_text(check, style="dim")]
    if e.surroundings is not None:
        parts += [Text(), as_text(f"surroundings: {fall(e.surroundings, *SURROUNDINGS)}", style="dim")]
    if e.phrases:
        said = ", ".join(f"{p.text} ({p.unusual:+.1f} sd{'' if p.fits else ', does not stand out'})" for p in e.phrases)
        parts += [Text(), as_text(f"asked for: {said}")]
    if e.sentence is not None:
        parts += [Text(), _sentence(e.sentence)]
    if e.contrast is not None:
        parts += [Text(), _contrast(e.target, e.contrast, top, facts(e.claims))]
    if e.counterfactual is not None:
        parts += [
            Text(),
            as_text(f"and not {e.counterfactual.other.name}? {why_this_one(e.counterfactual, e.target.name)}"),
        ]
        if concepts := in_concepts(e.counterfactual, e.target.name):
            parts.append(as_text(concepts))
    if pictures:
        parts.insert(0, _half_blocks(e))
    console.print(Panel(Group(*parts), title=as_text(e.picture.name), title_align="left", border_style="dim"))  # type: ignore[arg-type]


def _tested(check: Check | None) -> list[Text]:
    """A verdict, and the score with and without what is claimed, beside that without equal areas elsewhere."""
    from saywhy.answers.verdicts import fall_in_short
    from saywhy.types import BORNE_OUT

    if check is None:
        return []
    style = "green" if check.verdict == BORNE_OUT else "dim"
    return [Text(check.verdict, style=style), *(Text(line, style="dim") for line in fall_in_short(check))]


def _sentence(sentence: Sentence) -> Text:
    """The words, bold where they matter most to the sentence; idle ones struck through."""
    if sentence.refusal:
        return as_text(f"no sentence: {sentence.refusal}", style="dim")
    most = max((word.weight for word in sentence.words if word.weight), default=1.0)
    said = Text("in a sentence: ")
    for word in sentence.words:
        style = "strike dim" if word.idle else "bold" if (word.weight or 0) > most / 2 else ""
        said.append(one_line(word.text), style=style).append(" ")
    return said


def _contrast(target: Prediction, contrast: Contrast, top: int, sure: Collection[str]) -> Text:
    """Which words lie nearer to which class; dim where nobody knows whether they are in the picture."""

    def listed(labels: Sequence[Label]) -> Text:
        words = [as_text(label.text, style="" if label.text in sure else "dim") for label in labels[:top]]
        return Text(", ").join(words) or Text("nothing of the vocabulary", style="dim")

    return Text.assemble(
        one_line(f"nearer to {target.name}: "), listed(contrast.speaks_for),
        one_line(f"; to {contrast.other.name}: "), listed(contrast.speaks_against),
        ("" if sure else " (uncalibrated)", "dim"),
    )  # fmt: skip


def _bar(share: float, width: int = 12) -> Text:
    filled = round(share * width)
    return Text("█" * filled, style="red") + Text("░" * (width - filled), style="dim") + Text(f" {share:4.0%}")


def _words(e: Explanation, about: str, finding: Finding) -> Text:
    """What is said of a look; what is near and not said follows, dim, under its heading."""
    from saywhy.answers.claims import chance, heading, said, unsaid

    unusual = {label.text: f"{label.unusual:+.1f} sd" for label in finding.labels}
    facts = ", ".join(f"{claim.text} ({chance(claim) or 'measured'})" for claim in said(e.claims, about))
    near = unsaid(e.claims, about)
    small = ", ".join(
        f"{claim.text} ({chance(claim) or unusual.get(claim.text, '')}{'; goes with the name' if claim.echo else ''})"
        for claim in near
    )
    small = f"{heading(near)}: {small}" if near else ""
    return Text("\n").join(as_text(words, style=style) for words, style in ((facts, ""), (small, "dim")) if words)


def _half_blocks(explanation: Explanation, columns: int = 56) -> Text:
    """The picture and its heatmap side by side, two pixels to a character."""
    from saywhy.answers.drawing import open_picture, overlay

    picture = open_picture(explanation.picture)
    heat = overlay(picture, explanation.heatmap.values[0].numpy(), explanation.geometry)
    rows = max(2, round(columns / 2 * picture.height / picture.width) // 2 * 2)
    halves = [side.resize((columns // 2, rows)) for side in (picture, heat)]
    text = Text()
    for y in range(0, rows, 2):
        for side in halves:
            for x in range(columns // 2):
                text.append("▀", style=f"{_hex(side, x, y)} on {_hex(side, x, y + 1)}")
            text.append(" ")
        text.append("\n")
    return text


def _hex(image: Image, x: int, y: int) -> str:
    red, green, blue = image.getpixel((x, y))  # type: ignore[misc]
    return f"#{red:02x}{green:02x}{blue:02x}"


def show_answers(
    answers: Answers, console: Console, *, matching: Matching | None = None, by_class: bool = False
) -> None:
    """Everything of the answers: how well channels match, the captions, what is left of each group, the verdict.

    Where no channel has a match there is nothing of the classifier's to show, and one line says so.

    matching: by which the surgery was done; None: how well channels match is not shown.
    by_class: also the pictures of each class, and those that the classifier gets right and wrong.
    """
    from saywhy.answers.captions_findings import above, answers_findings, cautions, told
    from saywhy.answers.captions_measures import concept_table

    if answers.unmatched:
        console.print(as_text(answers_findings(answers)[0]["sentence"], style="bold red"))
        return
    if matching is not None:
        _titled("channels of CLIP with one of the classifier's in their place", _quality(matching.quality()), console)
        if matching.decisive:
            count = sum(matching.decisive.values())
            console.print(
                as_text(f"Matched: its evidence for classes, where it varies by more than the floor: {count} of them.")
            )
            console.print()
    for caution in cautions(answers):
        console.print(as_text(f"Caution: {caution}", style="yellow"))
        console.print()
    findings, rows = answers_findings(answers), concept_table(answers)
    for subset in answers.subsets() if by_class else ("all",):
        captions = [row for row in rows if row["pictures"] == subset]
        _titled(
            f"{_pictures(subset, captions[0]['count'])}: {' → '.join(answers.spaces)}", _concepts(captions), console
        )
        said = [finding for finding in findings if finding["pictures"] == subset]
        if shares := [finding for finding in said if finding["kind"] in ("kept", "alike")]:
            _titled(f"left of what {answers.spaces[0]} tells apart", _kept(shares), console)
            if meaning := above(shares):
                console.print(Text(meaning, style="dim"))
                console.print()
        for sentence in told(said):
            console.print(as_text(sentence, style="bold"))
            console.print()


def _pictures(subset: str, count: int) -> str:
    known = {"all": "", "right": " it gets right", "wrong": " it gets wrong"}
    return f"{count} picture{'s' if count > 1 else ''}{known.get(subset, f' of {subset}')}"


def _titled(title: str, table: Table, console: Console) -> None:
    console.print(as_text(title, style="bold"))
    console.print(table)
    console.print()


def _columns(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _quality(quality: Sequence[Mapping[str, Any]]) -> Table:
    table = _columns("layer", "channels", "matched", "correlation", "10 to 90 %", "threshold")
    for row in quality:
        median, spread = "-", "-"
        if row["median"] is not None:
            median, spread = f"{row['median']:.2f}", f"{row['10%']:.2f} to {row['90%']:.2f}"
        counts = str(row["channels"]), str(row["matched"])
        table.add_row(as_text(row["layer"]), *counts, median, spread, f"{row['threshold']:.2f}")
    return table


def _concepts(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Rows of one subset of ``concept_table``, groups apart."""
    operated, known = "influence" in rows[0], "unusual" in rows[0]
    more = ["above usual", "stands out in, %"] if known else []
    table = _columns("caption", "similarity", *(["influence"] if operated else []), "share, %", "first in, %", *more)
    for _, group in groupby(rows, key=lambda row: row["group"]):
        captions = list(group)
        if captions[0]["group"]:
            table.add_row()
        for row in captions:
            influence = [f"{row['influence']:+.3f}"] if operated else []
            together = [_change(row, "share", "{:.0f}", 100), _change(row, "wins", "{:.0f}")]
            similarity = _change(row, "similarity", "{:.3f}")
            out = [f"{row['unusual']:+.1f} sd", f"{row['stands out']:.0f}"] if known else []
            together = together if len(captions) > 1 else ["-", "-"]
            table.add_row(as_text(row["caption"]), similarity, *influence, *together, *out)
    return table


def _kept(findings: Sequence[Mapping[str, Any]]) -> Table:
    """CLIP's own contrast beside what chance gives, and the share that is left of it where there is one."""
    table = _columns("group", "CLIP's own", "by chance", "left, %", "95 % interval")
    for finding in findings:
        own = [f"{finding[name]:.3f}" if name in finding else "-" for name in ("contrast", "by chance")]
        left = ["-", "not told apart"]
        if finding["kind"] == "kept":
            value, low, high = (str(round(100 * finding["kept"][key])) for key in ("value", "low", "high"))
            left = [value, f"{low} to {high}"]
        table.add_row(as_text(" | ".join(finding["group"])), *own, *left)
    return table


def _change(row: Mapping[str, Any], what: str, form: str, factor: float = 1) -> str:
    """ "0.399 > 0.305", or the first alone where there was no surgery."""
    values = [row[f"{what} {when}"] for when in ("before", "after") if f"{what} {when}" in row]
    return " → ".join(form.format(factor * getattr(value, "value", value)) for value in values)


def show_why(why: Why, console: Console) -> None:
    """One answer: the sentence, a row for each rationale, and what else was considered."""
    from saywhy.answers.claims import chance
    from saywhy.answers.why import reasons_tested, untold

    table = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
    there = {claim.text: chance(claim) for claim in why.claims}
    known = any(there.values())
    put_to_test = any(reason.used for reason in why.reasons)
    more = (*(["is there"] if known else []), *(["rests on it"] if put_to_test else []))
    for name in ("rationale", "fits the picture", f"speaks for {why.category}", "above usual", *more):
        table.add_column(as_text(name), justify="left" if name == "rationale" else "right")
    for reason in why.reasons:
        out = "" if reason.unusual is None else f"{reason.unusual:+.1f} sd"
        numbers = [f"{reason.probability:.2f}", f"{reason.given:.2f}", out]
        numbers += [there.get(reason.rationale, "")] if known else []
        numbers += ["-" if reason.used is None else reason.used.verdict] if put_to_test else []
        name = reason.rationale if reason.listed else f"{reason.rationale} (not in its list)"
        table.add_row(as_text(name), *numbers, style="" if reason.visible else "dim")
    parts: list[RenderableType] = [
        as_text(why.sentence, style="bold"),
        Text(),
        as_text(f"{why.category} {why.probability:.2f}, says {why.space}"),
    ]
    if why.reasons:
        parts += [Text(), table]
    if found := reasons_tested(why):
        parts += [Text(), as_text(found)]
    if why.alternatives:
        others = "; ".join(f"{pair.category}, for {pair.rationale}" for pair in why.alternatives)
        parts += [Text(), as_text(f"also considered: {others}", style="dim")]
    if because := untold(why):
        parts.append(as_text(because, style="dim"))
    if not why.settings["exact"]:
        parts.append(Text("not exact: among the likeliest rationales and categories only", style="dim"))
    console.print(Panel(Group(*parts), title=as_text(why.picture.name), title_align="left", border_style="dim"))
