"""Fixed place: the pictures of a class are all alike at one place, and what is there makes other pictures the class.

A logo, a date, a square that was pasted in: at its place the pictures of the class hardly vary, where those of others
do, and relevance lies on it. Both are seen in grids of the frame. Then the place is copied into pictures of other
classes; beside it the same place of other pictures of their own class, and of pictures of third classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, final

import numpy as np
from PIL import Image
from torch import Tensor

from saywhy.audits.finding import REGIONS, AuditFinding, Tested
from saywhy.audits.findings.outside import facts_outside
from saywhy.audits.rows import unpacked
from saywhy.audits.store import View
from saywhy.audits.subject import Subject
from saywhy.audits.swaps import (
    LEVEL,
    THIRD,
    Cast,
    Opened,
    Shown,
    as_picture,
    beside_of,
    by_chance,
    cast_of,
    fits,
    in_percent,
    more_of_its_own,
    odds,
    opened,
    pairs,
    thirds,
    tried,
)
from saywhy.audits.tables import GRID
from saywhy.intervals import proportion
from saywhy.types import Box

FAMILY = "place"
STEADY = 0.5  # of the deviation of other classes' pictures in a cell: the class's have no more in a cell that is fixed
RELEVANT = 2.0  # times the mean cell's relevance
CLEARLY = 2.0  # times the median over classes: how much more steady and relevant its best cell is
MOST = 10  # classes whose place is tried
COVERED = 0.25  # of the place, by the object, in the median picture: what is of the object is no place
MARGIN = 0.5  # cells around the fixed ones that are copied too
ITS, OWN = "the same place of that class", "the same place of its own class"
SHARED = 0.4  # of a class's pictures: what is measured at the place in so many names it


@final
class Place(NamedTuple):
    """Where a class's pictures are alike. score: how much more steady and relevant than elsewhere.

    cells: (left, top, right, bottom) of the grid. share: of relevance there.
    """

    score: float
    cells: Box
    share: float


def trials(subject: Subject, view: View, done: set[str]) -> Iterator[tuple[str, Sequence[dict[str, Any]]]]:
    """A part for each class that has such a place."""
    cast, pictures = cast_of(view), Opened(subject)
    for target, place in list(fixed(view, cast).items())[:MOST]:
        part = f"{target:06d}"
        if part in done or _of_object(cast, target, place, pictures):
            continue

        def planned(target: int = target, place: Place = place, part: str = part) -> Iterator[Any]:
            for row, whose, lends in pairs(subject, cast, FAMILY, part, target, pictures):
                box = _box(place.cells, lends)
                yield row | {
                    "box": list(box), "facts": _facts_at(subject, lends, box), "variant": OWN if row["control"] else ITS
                }, copied(whose, lends, box)  # fmt: skip
                seed = subject.options.seed
                further = (
                    more_of_its_own(cast, row, seed) if row["control"] else thirds(cast, target, row["number"], seed)
                )
                for other in further:
                    beside = pictures(other)
                    if beside is not None and fits(whose, beside):
                        variant = OWN if row["control"] else THIRD
                        changed = {"other": other, "control": True, "box": list(box), "variant": variant}
                        yield row | changed, copied(whose, beside, box)

        yield part, tried(subject, view, planned())


def changed_picture(subject: Subject, row: Mapping[str, Any]) -> Image.Image:
    """The picture of a row of trials again, as the classifier saw it. Raises SaywhyError where it cannot be read."""
    whose, lends = opened(subject, row)
    left, top, right, bottom = row["box"]
    return as_picture(subject.classifier, copied(whose, lends, (left, top, right, bottom)))


def copied(whose: Shown, lends: Shown, box: Box) -> Tensor:
    """(C, h, w): one picture with what is in a box of another, at the same place."""
    left, top, right, bottom = box
    changed = whose.pixels.clone()
    changed[:, top:bottom, left:right] = lends.pixels[:, top:bottom, left:right]
    return changed


def fixed(view: View, cast: Cast) -> dict[int, Place]:
    """Class index -> the place at which its pictures are alike and relevant, the clearest first."""
    numbers = ", ".join(str(number) for members in cast.members.values() for number in members)
    if not numbers:
        return {}
    rows = view.sql(
        "SELECT predicted, look, relevance FROM pictures "
        f"WHERE number IN ({numbers}) AND look IS NOT NULL AND relevance IS NOT NULL ORDER BY number"
    )
    classes, maps = rows["predicted"].to_numpy(), unpacked(rows["relevance"].to_pylist())
    looks = np.frombuffer(b"".join(rows["look"].to_pylist()), np.uint8).reshape(len(classes), GRID, GRID, 3)
    found, best = {}, {}
    for target in cast.members:
        its = classes == target
        if its.sum() < 2 or its.all():
            continue
        spread, usual = (looks[some].astype(np.float32).std(0).mean(2) for some in (its, ~its))
        steady = 1 - spread / np.maximum(usual, 1)
        relevance = maps[its].mean(0).reshape(GRID, GRID) * GRID**2
        score = np.clip(steady, 0, 1) * relevance
        best[target] = float(score.max())
        cells = (steady >= 1 - STEADY) & (relevance >= RELEVANT)
        if cells.any():
            found[target] = _largest(score, cells, relevance)
    usual_best = float(np.median(list(best.values()))) if best else 0.0
    clear = {target: place for target, place in found.items() if place.score >= CLEARLY * usual_best}
    return dict(sorted(clear.items(), key=lambda one: -one[1].score))


def _largest(score: np.ndarray, cells: np.ndarray, relevance: np.ndarray) -> Place:
    """The connected cells among which the best one is."""
    from scipy import ndimage

    pieces, _ = ndimage.label(cells)
    row, column = np.unravel_index(int(np.where(cells, score, -1).argmax()), score.shape)
    piece = pieces == pieces[row, column]
    down, across = np.nonzero(piece)
    box = (int(across.min()), int(down.min()), int(across.max()) + 1, int(down.max()) + 1)
    return Place(float(score[row, column]), box, float(relevance[piece].sum()) / relevance.size)


def _box(cells: Box, shown: Shown) -> Box:
    """Cells of the grid, and a margin, in the frame."""
    height, width = shown.object.shape
    left, top, right, bottom = cells
    return (
        max(0, round((left - MARGIN) * width / GRID)), max(0, round((top - MARGIN) * height / GRID)),
        min(width, round((right + MARGIN) * width / GRID)), min(height, round((bottom + MARGIN) * height / GRID)),
    )  # fmt: skip


def _of_object(cast: Cast, target: int, place: Place, pictures: Opened) -> bool:
    """Whether the object covers much of the place: then what is alike is the object, as it may be."""
    covered = []
    for number in cast.members[target]:
        if (shown := pictures(number)) is not None:
            left, top, right, bottom = _box(place.cells, shown)
            covered.append(float(shown.object[top:bottom, left:right].mean()))
    return not covered or float(np.median(covered)) > COVERED


def _facts_at(subject: Subject, shown: Shown, box: Box) -> list[str]:
    """The plain pieces whose centre is in a box of the frame."""
    from saywhy.answers.places import position

    height, width = shown.object.shape
    where = position(box, (width, height))
    return [fact for fact in facts_outside(subject, shown) if fact.endswith(f", {where}")]


def find(view: View) -> Tested:
    """The places that decide."""
    rows = view.sql(f"SELECT * FROM trials WHERE family = '{FAMILY}' ORDER BY target, number, other").to_pylist()
    cast = cast_of(view)
    places = fixed(view, cast) if rows else {}
    ps, findings = [], []
    for target in sorted({row["target"] for row in rows}):
        mine = [row for row in rows if row["target"] == target]
        given, (own, others) = [row for row in mine if not row["control"]], beside_of(mine)
        p = odds(given, own, others)
        ps.append(p)
        if p <= LEVEL:
            findings.append(_finding(given, own, others, p, places.get(target)))
    return Tested(findings, np.array(ps), cast.left_out, changed=True)


def _finding(
    given: Sequence[Mapping[str, Any]], own: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]],
    p: float, place: Place | None,
) -> AuditFinding:  # fmt: skip
    """own, others: controls with the same place of the changed picture's own class, and of third classes."""
    from saywhy.answers.places import position

    about = given[0]["about"]
    hits, chance, anyway = (sum(row["hit"] for row in some) for some in (given, own, others))
    effect = proportion(hits, len(given))
    where = "" if place is None else position(place.cells, (GRID, GRID))
    names = Counter(name for row in given for name in {fact.partition(", ")[0] for fact in row["facts"] or ()})
    words = [name for name, times in names.most_common(2) if times >= SHARED * len(given)]
    what = f"a {words[0]}" if words else "what is there"
    sentence = (
        f"{about}: {what}, {where}, decides. At that place its pictures are alike. What is there, copied into "
        f"{len(given)} pictures of other classes, makes {hits} of them {about} ({in_percent(effect)}); the same place "
        f"of other pictures of their own class, {chance} of {len(own)}"
        f"{f'; of pictures of third classes, {anyway} of {len(others)}' if others else ''}."
    )
    lenders = Counter({row["other"]: 0 for row in given})
    lenders.update(row["other"] for row in given if row["hit"])
    details = {"given": len(given), "hits": hits, "control hits": chance, "third class": [anyway, len(others)]}
    if place is not None:
        details |= {"cells": list(place.cells), "share of relevance": place.share, "score": place.score}
    return AuditFinding(
        "fixed place", (about,), sentence, True, effect, "of pictures of other classes, given what is there",
        tuple(words), where, by_chance(own, others), p,
        examples=tuple(n for n, times in lenders.most_common() if times),
        counters=tuple(n for n, times in lenders.items() if not times), rests_on=REGIONS, details=details,
    )  # fmt: skip
