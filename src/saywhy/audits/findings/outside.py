"""Outside decides: objects of other classes, put on the surroundings of a class, are called that class.

Whatever tells classes apart by their names does so for good and bad reasons alike; this only a shortcut does. Beside it
the same objects are put on other surroundings of their own class, so that what any disturbance does is seen; and what
objects are called on surroundings of a third class is counted, so that a class which gets whatever the classifier does
not know is not accused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from saywhy.audits.finding import SURROUNDINGS, AuditFinding, Tested
from saywhy.audits.rows import unpacked
from saywhy.audits.store import View
from saywhy.audits.subject import Subject
from saywhy.audits.swaps import (
    LEVEL,
    Cast,
    Opened,
    Shown,
    as_picture,
    by_chance,
    cast_of,
    elsewhere,
    in_percent,
    odds,
    opened,
    pairs,
    tried,
)
from saywhy.checks.surroundings import from_border, softened
from saywhy.intervals import proportion

FAMILY = "swap"
WORDS = 3  # that are kept of surroundings, and of few words not most
CONTRAST = 15.0  # delta E between a flat piece and what is around it, at least
OUTSIDE = 0.8  # of a piece that lies outside the object
MEASURED, SAID = 0.25, 0.6  # of a class's surroundings: a thing that is measured, a word, is found in so many
RATHER = {MEASURED: 0.2, SAID: 0.5}  # so many more than in others: what is measured is rarely wrong, a word often
NEARLY = 0.75  # of how many more what names them best is found in: less telling names are left out
ONE_PLACE = 0.6  # of the pieces of one kind: then they are at one place
APART = 0.5  # of what is more relevant than elsewhere: then that is where it is
MOSTLY = 0.5  # of its own objects that keep their class on other surroundings: fewer, and the object does not decide
AROUND = "around the object"


def trials(subject: Subject, view: View, done: set[str]) -> Iterator[tuple[str, Sequence[dict[str, Any]]]]:
    """A part for each class that has enough pictures."""
    cast, pictures = cast_of(view), Opened(subject)
    seen = _Surroundings(subject)
    for target in cast.members:
        part = f"{target:06d}"
        if part in done:
            continue

        def planned(target: int = target, part: str = part) -> Iterator[tuple[dict[str, Any], Tensor]]:
            for row, whose, lends in pairs(subject, cast, FAMILY, part, target, pictures):
                facts, words = seen(row["other"], lends)
                variant = f"surroundings of {'its own' if row['control'] else 'that'} class"
                yield row | {"facts": facts, "words": words, "variant": variant}, swapped(whose, lends)

        yield part, tried(subject, view, planned())


def changed_picture(subject: Subject, row: Mapping[str, Any]) -> Image.Image:
    """The picture of a row of trials again, as the classifier saw it. Raises SaywhyError where it cannot be read."""
    whose, lends = opened(subject, row)
    return as_picture(subject.classifier, swapped(whose, lends))


def swapped(whose: Shown, lends: Shown) -> Tensor:
    """(C, h, w): the object of one picture on the surroundings of another, whose object is covered from around it."""
    kept = softened(whose.object).to(whose.pixels)
    return kept * whose.pixels + (1 - kept) * emptied(lends)


def emptied(shown: Shown) -> Tensor:
    """(C, h, w) without its object: what is around it, mirrored inwards."""
    hole = softened(shown.object).numpy() > 0.02
    return from_border(shown.pixels, shown.object if hole.all() else hole)


class _Surroundings:
    """What can be said of the surroundings of a picture: (what is measured there, what the space finds there)."""

    def __init__(self, subject: Subject) -> None:
        from saywhy.questions.labels import encode_vocabulary

        self._subject, self._known = subject, dict[int, tuple[list[str], list[str]]]()
        self._speaks = subject.seen.alone is None  # names alone teach nothing of surroundings
        self._texts = encode_vocabulary(subject.vocabulary, subject.space) if self._speaks else None

    def __call__(self, number: int, shown: Shown) -> tuple[list[str], list[str]]:
        if number not in self._known:
            self._known[number] = facts_outside(self._subject, shown), self._words(shown)
        return self._known[number]

    def _words(self, shown: Shown) -> list[str]:
        from saywhy.questions.labels import encode_looks
        from saywhy.seen.evidence import gather

        subject = self._subject
        if self._texts is None:
            return []
        looks = encode_looks([[as_picture(subject.classifier, emptied(shown))]], subject.space)
        unusual = gather(looks, self._texts, subject.vocabulary, subject.space)[0].unusual[0]
        best = unusual.topk(min(WORDS, 1 + len(unusual) // 10)).indices
        return [subject.vocabulary.phrases[n] for n in best.tolist()]


def facts_outside(subject: Subject, shown: Shown) -> list[str]:
    """The plain things around the object: "white letter-like mark, lower left", "black frame"."""
    from saywhy.answers.places import position
    from saywhy.pictures.plain import frame, measured, pieces

    geometry = subject.classifier.frame_on(shown.image)
    pixels = measured(shown.image.crop(geometry.to_original((0, 0, *geometry.frame))))
    size = (pixels.shape[1], pixels.shape[0])
    object_ = np.asarray(Image.fromarray(shown.object).resize(size, Image.Resampling.NEAREST))
    around = frame(pixels)
    found = [] if around is None else [f"{around.colour} frame"]
    for piece in pieces(pixels):
        if piece.shape and piece.contrast >= CONTRAST and (piece.mask & ~object_).sum() >= OUTSIDE * piece.mask.sum():
            found.append(f"{piece.colour} {piece.shape}, {position(piece.box, size)}")
    return list(dict.fromkeys(found))


def find(view: View) -> Tested:
    """The classes whose surroundings decide."""
    rows = view.sql(
        f"SELECT target, about, number, other, control, before, after, hit, facts, words FROM trials "
        f"WHERE family = '{FAMILY}' ORDER BY target, control, number, other"
    ).to_pylist()
    cast = cast_of(view)
    class_of = {number: target for target, numbers in cast.members.items() for number in numbers}
    ps, findings = [], []
    for target in sorted({row["target"] for row in rows}):
        mine = [row for row in rows if row["target"] == target]
        given, beside = [row for row in mine if not row["control"]], [row for row in mine if row["control"]]
        further = elsewhere(rows, target)
        p = odds(given, beside, further)
        ps.append(p)
        if p > LEVEL:
            continue
        names, place = named(rows, class_of, target)
        own = [row["after"] == target for row in rows if row["before"] == target and not row["control"]]
        findings.append(_finding(given, beside, further, own, p, names, place or place_of(view, cast, target)))
    return Tested(findings, np.array(ps), cast.left_out, changed=True)


def _finding(
    given: Sequence[Mapping[str, Any]], beside: Sequence[Mapping[str, Any]], further: Sequence[Mapping[str, Any]],
    own: Sequence[bool], p: float, names: Sequence[str], place: str,
) -> AuditFinding:  # fmt: skip
    """further: see ``swaps.elsewhere``. own: of the class's own objects on other surroundings, whether it is said."""
    about = given[0]["about"]
    hits, chance, anyway = (sum(row["hit"] for row in some) for some in (given, beside, further))
    effect, kept = proportion(hits, len(given)), proportion(sum(own), len(own))
    alone = bool(own) and kept.high < MOSTLY
    shared = ", ".join([*names, *([] if place == AROUND else [place])])
    sentence = (
        f"{about}: its surroundings {'decide, not the object' if alone else 'are part of the decision'}"
        f"{f' (what they share: {shared})' if shared else ''}. Put on them, {hits} of {len(given)} objects of other "
        f"classes are called {about} ({in_percent(effect)}); on other surroundings of their own class {chance} of "
        f"{len(beside)}"
    )
    if further:
        sentence += f", on those of a third class {anyway} of {len(further)}"
    if own:
        sentence += (
            f". Of {len(own)} objects of {about} on surroundings of other classes, {sum(own)} are still called so"
        )
    sentence += "."
    lenders = Counter({row["other"]: 0 for row in given})
    lenders.update(row["other"] for row in given if row["hit"])
    return AuditFinding(
        "outside decides", (about,), sentence, True, effect, "of other objects are called so on its surroundings",
        tuple(names), place, by_chance(beside, further), p,
        examples=tuple(n for n, times in lenders.most_common() if times),
        counters=tuple(n for n, times in lenders.items() if not times), rests_on=SURROUNDINGS,
        details={"objects": len(given), "hits": hits, "controls": len(beside), "control hits": chance,
                 "third class": [anyway, len(further)], "own objects": [sum(own), len(own)]},
    )  # fmt: skip


def named(rows: Sequence[Mapping[str, Any]], class_of: Mapping[int, int], target: int) -> tuple[list[str], str]:
    """What a class's surroundings share and others do not, most telling first; and where, if that has one place.

    class_of: number -> class of the picture that lends its surroundings.
    """
    lent = {row["other"]: row for row in rows}
    its = [row for number, row in lent.items() if class_of.get(number) == target]
    rest = [row for number, row in lent.items() if class_of.get(number) != target]
    facts, words = (_more(its, rest, least, of) for least, of in ((MEASURED, _measured), (SAID, _said)))
    names = [*facts, *words][:3]
    if not names:
        return [], ""
    places = Counter(
        place for row in its for fact in row["facts"] for what, _, place in [fact.partition(", ")] if what == names[0]
    )
    place, times = places.most_common(1)[0] if places else ("", 0)
    return names, place if place and times >= ONE_PLACE * places.total() else ""


def _more(
    its: Sequence[Mapping[str, Any]], rest: Sequence[Mapping[str, Any]], least: float,
    of: Callable[[Mapping[str, Any]], set[str]],
) -> list[str]:  # fmt: skip
    """Names that are found in a share of ``its`` rows, and in clearly fewer of the rest; the most telling first."""
    here, there = (Counter(name for row in some for name in of(row)) for some in (its, rest))
    more = {
        name: count / len(its) - there[name] / max(1, len(rest))
        for name, count in here.items() if count >= least * len(its)
    }  # fmt: skip
    enough = max(RATHER[least], NEARLY * max(more.values(), default=0.0))
    return sorted((name for name in more if more[name] >= enough), key=lambda name: (-more[name], name))


def _measured(row: Mapping[str, Any]) -> set[str]:
    return {fact.partition(", ")[0] for fact in row["facts"] or ()}


def _said(row: Mapping[str, Any]) -> set[str]:
    return set(row["words"] or ())


def place_of(view: View, cast: Cast, target: int) -> str:
    """Where more relevance lies in pictures of a class than in those of others: a corner, the border, or all around."""
    numbers = ", ".join(str(number) for members in cast.members.values() for number in members)
    found = view.sql(f"SELECT predicted, relevance FROM pictures WHERE number IN ({numbers}) AND relevance IS NOT NULL")
    classes, maps = found["predicted"].to_numpy(), unpacked(found["relevance"].to_pylist())
    its = classes == target
    if not its.any() or its.all():
        return AROUND
    grid = round(maps.shape[1] ** 0.5)
    more = (maps[its].mean(0) - maps[~its].mean(0)).clip(min=0).reshape(grid, grid)
    more /= max(float(more.sum()), 1e-12)
    wide, edge = grid // 4, grid // 8
    corners = {
        "upper left corner": more[:wide, :wide], "upper right corner": more[:wide, -wide:],
        "lower left corner": more[-wide:, :wide], "lower right corner": more[-wide:, -wide:],
    }  # fmt: skip
    shares = {name: float(part.sum()) for name, part in corners.items()}
    best = max(shares, key=lambda name: shares[name])
    if shares[best] >= APART:
        return best
    if sum(shares.values()) >= APART:
        return "in the corners"
    if 1 - float(more[edge:-edge, edge:-edge].sum()) >= 1.5 * APART:
        return "along the border"
    return AROUND
