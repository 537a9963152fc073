"""The page about an audit: one file, no script, no request to anywhere, 10 MB at most.

It reads what the audit left: rows, findings, thumbnails. No classifier is asked.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from saywhy.answers.bars import bar_ends, on_bar
from saywhy.answers.plain_names import plain_name
from saywhy.audits.changed import turned
from saywhy.audits.compare import Comparison
from saywhy.audits.compare import compare as compared
from saywhy.audits.conclude import FINDINGS
from saywhy.audits.finding import AuditFinding
from saywhy.audits.kinds import KINDS, badge_of, kind_of, names_are
from saywhy.audits.overview import Of, Overview
from saywhy.audits.subject import ALIKE
from saywhy.audits.told import Told, in_words, number, percent, probable, told
from saywhy.intervals import Interval
from saywhy.plumbing.files import write_whole
from saywhy.plumbing.names import shown, spelled_like
from saywhy.words.class_names import plain

PAGE = "report.html"
MOST_BYTES = 10_000_000
PICTURES_BYTES = 6_000_000  # of thumbnails and maps in the page, as base64; half of them at most beside findings
HALF = 0.5
CHANGED = 30  # rows of each table of what changed
HEADLINES, LEADING = 8, 5  # sentences at the top; so many of them at most of what decides
DECIDING, DESCRIBING, ROWS = 24, 4, 40  # findings of a kind with pictures, where they decide and not; rows below
NAMED = 5  # classes in the first sentence
PLOTTED = 12  # classes of a plot
MOST_CLASSES = 1000  # with a part of their own
LONGEST = 600  # characters of a sentence
OF_CLASSES = ("recognised by",)
"""Kinds of which a class has its own finding: they are listed, and shown beside the class."""


def write_page(folder: str | Path, out: Path | None = None, compare: str | Path | None = None) -> Path:
    """Write the page about an audit, and what changed since another one. Gives its path: report.html in the folder.

    Raises SaywhyError where one of the two is no finished audit, or the page cannot be written.
    """
    from saywhy.answers.page_templates import links, page_templates

    now = told(folder)
    page = out or now.store.folder / PAGE
    beside = [name for name in (FINDINGS,) if (page.parent / name).is_file()]
    comparison = None if compare is None else compared(told(compare), now)
    template, budget = page_templates().get_template("audit.html"), PICTURES_BYTES
    while True:
        now.thumbnails.start(budget)
        values = {"comparison": None if comparison is None else _comparison(comparison, now)} | _values(now)
        content = template.render(values | {"links": links(beside)}).encode()
        if len(content) <= MOST_BYTES or not budget:
            return write_whole(page, content)
        budget = max(0, budget - int(1.1 * (len(content) - MOST_BYTES)))


def short(now: Told) -> str:
    """The findings that come first, as HTML for a notebook."""
    from saywhy.answers.page_templates import page_templates

    values = {"title": title(now), "setup": setup(now), "lines": headlines(now, {})}
    return page_templates().get_template("audit_notebook.html").render(values)


def title(now: Told) -> str:
    return f"What {shown(plain_name(now.store.manifest['model']['name']), 120)} has learned"


def setup(now: Told) -> list[str]:
    """Who was audited on what, and how good it is: two lines."""
    manifest, everything, found = now.store.manifest, now.overview.all, now.overview
    right = "Its true classes are not known."
    if everything.labelled:
        right = f"It is right in {percent(everything.accuracy)} of {everything.labelled:,} with a known class"
        right += f", expected calibration error {found.error:.3f}."
    left = f"; {found.unread:,} could not be read" if found.unread else ""
    tests = sum(int(one["tests"]) for one in now.tests.values())
    model, data = (shown(plain_name(manifest[of]["name"]), 200) for of in ("model", "data"))
    return [
        f"{model} on {data}: {_of_classes(now)}{left}. {right}",
        f"{_words(now)} {tests:,} tests, {_counted(len(now.findings), 'finding')}.",
    ]


def _of_classes(now: Told) -> str:
    """How many pictures of how many classes; and of how many the model does not have the class."""
    classes, pictures = now.overview.classes, now.overview.all.pictures
    known, labelled = sum(1 for one in classes.values() if one.labelled), now.overview.all.labelled
    if not labelled:
        return f"{_counted(pictures, 'picture')}, taken for {_counted(len(classes), 'class')}"
    if labelled == pictures:
        return f"{_counted(pictures, 'picture')} of {_counted(known, 'class')}"
    labels = now.store.manifest["model"]["labels"]
    strangers = [name for name, one in classes.items() if not one.labelled and name not in labels]
    hints = [
        f"“{shown(name, 40)}”: did you mean {shown(near[0], 40)}?"
        for name in strangers
        if (near := spelled_like(name, labels, ALIKE, plain))
    ][:NAMED]
    meant = f" ({' '.join(hints)})" if hints else ""
    return (
        f"{_counted(pictures, 'picture')}, {labelled:,} of {_counted(known, 'class')}, {pictures - labelled:,} without "
        f"a class that the model has{meant}"
    )


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 'es' if what.endswith('s') else 's'}"


def _words(now: Told) -> str:
    """Whose words they are, or why there are none."""
    manifest = now.store.manifest
    few = now.view.sql(
        "SELECT any_value(silence) AS why, coalesce(bool_or(len(words) > 0 OR len(concepts) > 0), true) AS speaks "
        "FROM pictures"
    ).to_pylist()[0]
    if not few["speaks"] and few["why"]:
        return f"Words: none, since {shown(few['why'], 240)}."
    return (
        f"Words: {shown(plain_name(manifest['space']), 120)}, vocabulary {shown(manifest['vocabulary']['name'], 120)} "
        f"({len(manifest['vocabulary']['phrases']):,} phrases)."
    )


def verdict(now: Told) -> str:
    """Whether shortcuts were found, and in which classes: one plain sentence."""
    about = [name for finding in now.findings if finding.decides for name in dict.fromkeys(finding.about)]
    classes = [name for name in dict.fromkeys(about) if name in now.overview.classes]
    if not any(finding.decides for finding in now.findings):
        return _no_shortcut(now).partition(":")[0].rstrip(".") + "."
    if not classes:
        return "Something other than what pictures are of decides: see the findings."
    named = [shown(name, 80) for name in classes[:NAMED]]
    more = [f"{len(classes) - NAMED:,} more"] if len(classes) > NAMED else []
    *others, last = [*named, *more]
    listed = f"{', '.join(others)} and {last}" if others else last
    return f"Shortcuts were found in {len(classes):,} of {len(now.overview.classes):,} classes: {listed}."


def headlines(now: Told, anchors: Mapping[int, str]) -> list[dict[str, Any]]:
    """The sentences of the top: what decides first, then the first of each kind that goes with something.

    anchors: of findings on the page, by their place among all.
    """
    deciding = [n for n, finding in enumerate(now.findings) if finding.decides and _same(now, n) is None]
    chosen = deciding[:LEADING]
    for kind in dict.fromkeys(one.kind for one in now.findings if not one.decides):
        chosen += [n for n, one in enumerate(now.findings) if one.kind == kind and _tells(one)][:1]
    lines = [
        {
            "decides": now.findings[n].decides, "badge": badge_of(now.findings[n]), "also": _also(now, n),
            "sentence": shown(now.findings[n].sentence, LONGEST),
            "sure": _sure(now.findings[n]), "cost": cost(now.findings[n], now.overview), "anchor": anchors.get(n),
        }
        for n in chosen[:HEADLINES]
    ]  # fmt: skip
    if len(deciding) > LEADING:
        more = len(deciding) - LEADING
        many = "finding of what decides is" if more == 1 else "findings of what decides are"
        lines.insert(LEADING, _line(f"{more} more {many} told in the report.", "findings"))
    if not deciding:
        lines.insert(0, _line(_no_shortcut(now), "methods"))
    return lines[:HEADLINES]


def _same(now: Told, n: int) -> int | None:
    """The first finding before this one in which the same decides a class: it shares a word with it, or its place."""
    one = now.findings[n]
    if not one.decides:
        return None
    for place, other in enumerate(now.findings[:n]):
        alike = set(one.words) & set(other.words) or (one.place and one.place == other.place)
        if other.decides and other.about[:1] == one.about[:1] and alike:
            return place
    return None


def _also(now: Told, n: int) -> str:
    """As what else it is found that decides a class; "" for nothing."""
    titles = [kind_of(now.findings[m].kind).title for m in range(n + 1, len(now.findings)) if _same(now, m) == n]
    return f"The same is found as: {'; '.join(one[:1].lower() + one[1:] for one in titles)}." if titles else ""


def _tells(finding: AuditFinding) -> bool:
    """Whether something goes with something at all: its interval leaves out 0."""
    return not finding.decides and not finding.effect.low < 0 < finding.effect.high


def cost(finding: AuditFinding, found: Overview) -> str:
    """What it may cost in accuracy: how good the first class that it is of is, beside all others. "" for no class."""
    if "cost" in finding.details:
        return shown(finding.details["cost"], LONGEST)
    one = next((found.classes[name] for name in finding.about if name in found.classes), None)
    if one is None or not one.labelled or not finding.decides:
        return ""
    rest_count, rest_right = found.all.labelled - one.labelled, found.all.right - one.right
    said = f"{shown(one.name, 80)} is right in {percent(one.accuracy)} of its {one.labelled:,} pictures here"
    if rest_count > 0:
        said += f" (the others: {rest_right / rest_count:.0%})"
    if one.said:
        said += f", and {one.mistaken:,} of the {one.said:,} pictures taken for it are not of it"
    return f"{said}. Where pictures lack what decides, expect less."


def _line(sentence: str, anchor: str) -> dict[str, Any]:
    return {"decides": None, "badge": "", "also": "", "sentence": sentence, "sure": "", "cost": "", "anchor": anchor}


def _no_shortcut(now: Told) -> str:
    tried = [name for name, one in now.tests.items() if name in KINDS and KINDS[name].trials and one["tests"]]
    if not tried:
        return "Whether a shortcut decides was not tested: no picture was changed."
    tests = sum(int(now.tests[name]["tests"]) for name in tried)
    return (
        f"No shortcut was found: none of {tests:,} tests in which pictures were changed ({', '.join(tried)}) survives "
        "the correction. Weak ones, and those of classes with few pictures, may be missed."
    )


def _sure(finding: AuditFinding) -> str:
    parts = [f"{in_words(finding.effect)} {finding.unit}"]
    if not math.isnan(finding.null):
        parts.append(f"{number(finding.null)} {'under the controls' if finding.decides else 'by chance'}")
    if finding.q is not None:
        parts.append(f"q {probable(finding.q)}")
    if finding.verified:
        parts.append(f"borne out in {finding.verified[0]} of {finding.verified[1]} examples that were tested")
    return shown("; ".join(parts), LONGEST)


def _values(now: Told) -> dict[str, Any]:
    order = _order_of_classes(now)
    now.thumbnails.load(_pictured(now, order))
    parts, of_findings = _parts(now)
    manifest = now.store.manifest
    counts = Counter(finding.kind for finding in now.findings)
    options = manifest.get("options", {})
    method = str(options.get("method", "lrp")) + (f" ({options['composite']})" if options.get("composite") else "")
    return {
        "title": title(now), "verdict": verdict(now), "setup": setup(now), "lines": headlines(now, of_findings),
        "pictured": bool(now.thumbnails.numbers), "parts": parts,
        "plots": _plots(now.overview), "calibration": _calibration(now.overview),
        "classes": _classes(now, order, of_findings), "classes_note": _classes_note(now, order),
        "errors": now.overview.errors,
        "unread": now.overview.unread and f"{now.overview.unread:,} could not be read, and count nowhere above.",
        "method": method, "space": manifest["space"], "vocabulary": manifest["vocabulary"]["name"],
        "tests": [
            {"kind": name, "tests": f"{one['tests']:,}", "findings": f"{counts[name]:,}", "note": one.get("note", "")}
            for name, one in now.tests.items()
        ],
        "repeat": dict(_settings(manifest)),
    }  # fmt: skip


def _pictured(now: Told, order: Sequence[str]) -> list[int]:
    """Numbers of all pictures that may be shown, so that they are read at once."""
    found = [number for finding in now.findings for number in (*finding.examples[:8], *finding.counters[:8])]
    for name in order[:MOST_CLASSES]:
        found += [*now.overview.right.get(name, ()), *now.overview.wrong.get(name, ())]
    return found


def _settings(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    model = manifest["model"]
    named = [
        ("model", f"{model['name']}, fingerprint {model['fingerprint']}, {model['task']}"),
        *((key, str(model[key])) for key in ("transform", "checkpoint", "assumed", "code", "weights") if key in model),
        ("data", f"{manifest['data']['name']}, digest {manifest['data']['digest']}"),
        ("space", manifest["space"]), ("vocabulary", manifest["vocabulary"]["name"]),
        ("calibration", manifest.get("calibration") or "none"),
    ]  # fmt: skip
    named += [(key, "none" if value is None else str(value)) for key, value in manifest.get("options", {}).items()]
    return [*named, ("versions", ", ".join(f"{key} {value}" for key, value in manifest["versions"].items()))]


def _parts(now: Told) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """The findings by kind, and their anchors by their place among all."""
    by_kind = defaultdict[str, list[int]](list)
    for n, finding in enumerate(now.findings):
        by_kind[finding.kind].append(n)
    anchors, parts = dict[int, str](), list[dict[str, Any]]()
    for kind, places in by_kind.items():
        decides = now.findings[places[0]].decides
        full = 0 if kind in OF_CLASSES and len(places) > DESCRIBING else DECIDING if decides else DESCRIBING
        listed = places[: full + ROWS]
        anchors |= {n: f"finding-{n + 1}" for n in listed}
        cards = [_finding(now, n, full=True) for n in listed[:full]]
        rest = [_finding(now, n, full=False) for n in listed[full:]]
        parts.append({"title": kind_of(kind).title, "cards": cards, "rest": rest, "left": len(places) - len(listed)})
    return parts, anchors


def _finding(now: Told, n: int, full: bool) -> dict[str, Any]:
    finding = now.findings[n]
    verified = finding.verified
    return {
        "anchor": f"finding-{n + 1}", "decides": finding.decides, "badge": badge_of(finding),
        "names": names_are(finding, now.phrases), "shows": kind_of(finding.kind).examples,
        "others": kind_of(finding.kind).counters, "sentence": shown(finding.sentence, LONGEST),
        "effect": scaled(finding.effect, finding.null), "unit": shown(finding.unit, 120),
        "p": probable(finding.p), "q": probable(finding.q),
        "verified": f"{verified[0]} of {verified[1]}" if verified and verified[1] else "",
        "words": shown(", ".join(finding.words[:6]), 200), "place": shown(finding.place, 120),
        "cost": cost(finding, now.overview) if full else "",
        "changed": _changed(now, finding) if full else [],
        "examples": _tiles(now, finding.examples[:8], HALF) if full else [],
        "counters": _tiles(now, finding.counters[:8], HALF) if full else [],
    }  # fmt: skip


def _changed(now: Told, finding: AuditFinding) -> list[dict[str, Any]]:
    """Pictures that were changed for a finding, beside what they were."""
    tiles = []
    for row in turned(now.view, finding):
        kept = now.view.sql(
            "SELECT * FROM changed WHERE family = ? AND part = ? AND about = ? AND number = ? AND variant = ?",
            [row["family"], row["part"], row["about"], row["number"], row["variant"]],
        ).to_pylist()
        beside = now.thumbnails.rows([row["number"]])
        if kept and beside and now.thumbnails.spend(kept[0]["before"], kept[0]["after"], HALF):
            tiles.append(
                {"before": _inside(kept[0]["before"]), "after": _inside(kept[0]["after"]),
                 "file": shown(beside[0]["file"], 200), "was": shown(beside[0]["prediction"], 80),
                 "said": shown(kept[0]["said"], 80), "probability": f"{kept[0]['probability']:.2f}"}
            )  # fmt: skip
    return tiles


def scaled(effect: Interval, null: float = float("nan")) -> dict[str, Any]:
    """Where an interval lies on a bar, in percent of its width: 0 to 1, -1 to 1, or as far as it must reach."""
    ends = bar_ends((effect.value, effect.low, effect.high, null))
    return on_bar(effect, ends, in_words(effect), null=null, null_text=number(null))


def _tiles(now: Told, numbers: Iterable[int], share: float = 1.0) -> list[dict[str, Any]]:
    """Pictures with their maps, of those that have a thumbnail, while this share of the bytes for all is not used."""
    tiles = []
    for one in dict.fromkeys(numbers):
        taken = now.thumbnails.take(one, share)
        if taken is None:
            continue
        row, picture, heat = taken
        wrong = row["correct"] is False
        caption = f"{row['prediction']} {row['probability']:.2f}"
        if wrong:
            caption += f", is {', '.join(row['truths'])}"
        tiles.append(
            {"picture": _inside(picture), "map": heat and _inside(heat), "file": shown(row["file"], 200),
             "caption": shown(caption, 160), "mark": "wrong" if wrong else ""}
        )  # fmt: skip
    return tiles


def _inside(content: bytes) -> str:
    from saywhy.answers.page_templates import in_html

    return in_html(content)


def _plots(found: Overview) -> list[dict[str, Any]]:
    classes = list(found.classes.values())
    labelled = sorted((one for one in classes if one.labelled), key=lambda one: one.accuracy.value)
    away = sorted((one for one in classes if one.objects > 1), key=lambda one: one.on_object.value)
    border = sorted((one for one in classes if one.pictures > 1), key=lambda one: -one.border.value)

    def plot(heading: str, order: str, ones: Sequence[Of], values: Sequence[Interval]) -> dict[str, Any]:
        rows = [{"name": one.name, "effect": scaled(value)} for one, value in zip(ones, values, strict=True)]
        note = f"The {PLOTTED} {order} of {len(ones):,} classes." if len(ones) > PLOTTED else ""
        return {"title": heading, "rows": rows[:PLOTTED], "note": note}

    plots = [
        plot("Accuracy by class", "lowest", labelled, [one.accuracy for one in labelled]),
        plot("Share of relevance off the object", "highest", away, [off_object(one) for one in away]),
        plot("Share of relevance on the border", "highest", border, [one.border for one in border]),
    ]
    return [one for one in plots if one["rows"]]


def off_object(one: Of) -> Interval:
    """The mean share of relevance that lies off the object, of the pictures that have one."""
    return Interval(1 - one.on_object.value, 1 - one.on_object.high, 1 - one.on_object.low)


def _calibration(found: Overview) -> dict[str, Any]:
    def y(share: float) -> float:
        return round(168 - 160 * share, 1)

    most = max((one.count for one in found.bins), default=1)
    points = [
        {"x": round(34 + 216 * one.probability, 1), "y": y(one.right.value), "low": y(one.right.low),
         "high": y(one.right.high), "r": round(2.5 + 3.5 * math.sqrt(one.count / most), 1),
         "title": f"{one.count:,} pictures of probability {one.probability:.2f}: {in_words(one.right)} right"}
        for one in found.bins
    ]  # fmt: skip
    return {
        "points": points,
        "note": f"On the line probabilities are as they should be; below it the classifier is too sure. Expected "
        f"calibration error {found.error:.3f}; large points are many pictures.",
    }


def _order_of_classes(now: Told) -> list[str]:
    """Those that something decides about first, then the least accurate."""
    classes = now.overview.classes
    deciding = [name for finding in now.findings if finding.decides for name in finding.about if name in classes]

    def key(name: str) -> tuple[Any, ...]:
        one = classes[name]
        return (one.accuracy.value if one.labelled else 2.0, name)

    return list(dict.fromkeys([*deciding, *sorted(classes, key=key)]))


def _classes_note(now: Told, order: Sequence[str]) -> str:
    said = "Those that a shortcut decides first, then by accuracy; a bar is the accuracy with its interval. Open one."
    left = len(order) - MOST_CLASSES
    return said + (f" {left:,} of {len(order):,} classes are left out here: saywhy query has all." if left > 0 else "")


def _classes(now: Told, order: Sequence[str], anchors: Mapping[int, str]) -> list[dict[str, Any]]:
    about = defaultdict[str, list[int]](list)
    for n, finding in enumerate(now.findings):
        for name in dict.fromkeys(finding.about):
            about[name].append(n)
    shown_classes = order[:MOST_CLASSES]
    left = now.thumbnails.left
    each = max(1, min(6, left // max(1, len(shown_classes)) // (2 * now.thumbnails.usual)))
    return [_class(now, name, f"class-{n}", about[name], each, anchors) for n, name in enumerate(shown_classes)]


def _class(
    now: Told, name: str, anchor: str, about: Sequence[int], each: int, anchors: Mapping[int, str]
) -> dict[str, Any]:
    found, one = now.overview, now.overview.classes[name]
    facts = [("probability of what is predicted, mean", f"{one.probability:.2f}")]
    if one.labelled:
        facts = [("right", f"{one.right:,} of {one.labelled:,}"), *facts]
    if one.said:
        facts.append(("taken for it, and of it", f"{one.said - one.mistaken:,} of {one.said:,}"))
    if one.objects:
        facts.append(("relevance on the object", in_words(one.on_object)))
        facts.append(("object's share of the frame", f"{one.object_area:.2f}"))
    facts.append(("relevance on the border", in_words(one.border)))
    top = max((cell for cell in one.cells if math.isfinite(cell)), default=0.0)
    cells: list[dict[str, Any]] = [
        {"strength": round(100 * cell / top), "share": f"{cell:.0%}"} for cell in one.cells if top and cell == cell
    ]
    tiles = {"right": found.right.get(name, ())[:each], "wrong": found.wrong.get(name, ())[:each]}
    return {
        "anchor": anchor, "name": shown(name, 160), "pictures": f"{one.pictures:,}",
        "accuracy": scaled(one.accuracy), "labelled": one.labelled, "facts": facts,
        "confused": [(shown(other, 120), count) for other, count in found.confused.get(name, ())],
        "taken": [(shown(other, 120), count) for other, count in found.taken.get(name, ())],
        "words": [(shown(word, 80), here, others) for word, here, others in found.words.get(name, ())],
        "cells": cells, "cells_text": ", ".join(cell["share"] for cell in cells),
        "decided": any(now.findings[n].decides for n in about),
        "findings": [
            {"anchor": anchors.get(n), "sentence": shown(now.findings[n].sentence, 300),
             "badge": badge_of(now.findings[n])}
            for n in about[:6]
        ],
        **{key: _tiles(now, numbers) for key, numbers in tiles.items()},
    }  # fmt: skip


def _comparison(found: Comparison, now: Told) -> dict[str, Any]:
    def listed(heading: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {"title": heading, "rows": rows[:CHANGED], "left": max(0, len(rows) - CHANGED)}

    def told_of(one: AuditFinding, difference: str) -> dict[str, Any]:
        return {
            "decides": one.decides,
            "badge": badge_of(one),
            "sentence": shown(one.sentence, LONGEST),
            "difference": difference,
        }

    changed = [one for one in found.both if one.changed]
    parts = [
        listed("New findings", [told_of(one, in_words(one.effect)) for one in found.new_findings]),
        listed("Findings that are gone", [told_of(one, in_words(one.effect)) for one in found.gone]),
        listed("Findings whose effect changed", [told_of(one.new, signed(one.difference)) for one in changed]),
    ]
    moved = sum(one.significant for one in found.classes)
    rows = [
        {
            "name": shown(one.name, 120) or "all pictures",
            "before": f"{one.before.value:.3f}",
            "now": f"{one.now.value:.3f}",
            "change": signed(one.accuracy),
            "q": probable(one.q) if one.name else "",
            "mark": ("up" if one.accuracy.value > 0 else "down") if one.significant else "",
            "on_object": signed(one.on_object),
            "border": signed(one.border),
        }
        for one in [found.all, *found.classes[:CHANGED]]
    ]
    return {
        "old": shown(found.old.name, 120),
        "sentences": [found.how, compared_in_a_sentence(found)],
        "findings": [part for part in parts if part["rows"]],
        "classes": rows,
        "classes_title": f"Classes, of which the accuracy of {moved:,} of {len(found.classes):,} changed (q up to .05)",
        "newly_wrong": _tiles(now, found.newly_wrong[:8]),
        "newly_right": _tiles(now, found.newly_right[:8]),
    }


def compared_in_a_sentence(found: Comparison) -> str:
    """How accuracy and findings changed."""
    one = found.all
    new, gone, both = len(found.new_findings), len(found.gone), len(found.both)
    said = f"Of the findings {new:,} {_is(new)} new, {gone:,} {_is(gone)} gone, {both:,} {_is(both)} in both."
    if math.isnan(one.accuracy.value):
        return said
    return (
        f"Accuracy {one.before.value:.1%} before, {one.now.value:.1%} now: {100 * one.accuracy.value:+.1f} points "
        f"({100 * one.accuracy.low:+.1f} to {100 * one.accuracy.high:+.1f}). {said}"
    )


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def signed(change: Interval) -> str:
    """A difference with its interval."""
    if math.isnan(change.value):
        return "unknown"
    low, high = (f"{end:+.2f}" if math.isfinite(end) else "any" for end in (change.low, change.high))
    return f"{change.value:+.2f} ({low} to {high})"
