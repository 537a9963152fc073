"""Property decides: other pictures made as bright, as blurred, as framed as those of a class are called that class.

First is looked what sets the pictures of a class apart, whatever they show: a property (``pictures.altering``), or a
flat piece of one colour and shape that stands in most of them. That alone is no finding. Then pictures of other classes
are given it, those of the class are freed of it, and the classifier is asked again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, zip_longest
from typing import Any, NamedTuple, final

import numpy as np

from saywhy.audits.altered import (
    INSTEAD,
    LIKE,
    OTHER_WAY,
    RECOLOURED,
    SET_BACK,
    Change,
    Counted,
    Opened,
    Part,
    parts_of,
    tried,
    ways_of,
)
from saywhy.audits.finding import REGIONS, AuditFinding, Tested
from saywhy.audits.store import View
from saywhy.audits.subject import Subject
from saywhy.audits.swaps import in_percent
from saywhy.pictures.altering import FRAME, PROPERTIES, Property, is_piece, piece_names

FAMILY = "properties"
LOOKED_AT = 100  # pictures of each class whose properties are compared
PIECES_IN = 4000  # pictures in which flat pieces are sought, of all classes together
FEWEST = 5  # pictures of a class, for anything to be said of it
APART = 0.8  # rank AUC of a property, class against rest, or its complement: from here on it is tried
ODDS = 0.01  # that pictures of one kind are so far apart by chance, at most (Mann-Whitney, Fisher)
HAVE_IT = 0.4  # of the pictures of a class: a piece that so many have is tried
MOSTLY = 0.6  # of a class's pieces: a place in which so many stand is told
RATHER = 2.0  # times as often as in the rest
OF_A_CLASS = 6  # properties, and pieces, of a class that are tried
MOST = 200  # in all
FIRST, ENOUGH = 12, 2  # of so many pictures so many have to be called the class, else no more are changed
NEEDED = 0.50  # of a class's own pictures: so many are no longer called so without its light, colours, sharpness
_NO_OTHER_WAY = ("JPEG quality",)
_LOSSES = ("blurred", "coarse")  # what no change takes from a picture again


@final
class Candidate(NamedTuple):
    """What sets a class apart. name: of ``altering``. donors: pictures of the class that show it. order: largest first.

    place: where a piece stands in most of them; "" where it stands here and there. amounts: how far the class lies from
    all others, of a property that is moved by as much; ().
    """

    target: int
    name: str
    donors: Sequence[int]
    order: float
    place: str = ""
    amounts: tuple[float, ...] = ()

    @property
    def part(self) -> str:
        return f"{self.target}-{self.name.replace(' ', '-')}"


@final
class Looked(NamedTuple):
    """Of the pictures that are compared: number, class (the true one where it is known), prediction, (N, V) values."""

    numbers: np.ndarray
    classes: np.ndarray
    predicted: np.ndarray
    values: np.ndarray


MEASURES = tuple(dict.fromkeys(chain.from_iterable(one.measures for one in PROPERTIES.values())))


def looked_at(view: View, count: int = LOOKED_AT) -> Looked:
    """At most ``count`` pictures of each class, always the same ones; a value that was not measured is NaN."""
    columns = ", ".join(
        f"list_extract(map_extract(properties, '{name}'), 1)::DOUBLE AS \"{name}\"" for name in MEASURES
    )
    found = view.sql(
        f"SELECT number, coalesce(true_class, predicted) AS class, predicted, {columns} FROM pictures "
        f"WHERE predicted IS NOT NULL QUALIFY row_number() OVER (PARTITION BY class ORDER BY {SHUFFLED}) <= {count} "
        "ORDER BY class, number"
    )
    values = [found[name].to_numpy().astype(float) for name in MEASURES]
    return Looked(
        found["number"].to_numpy(), found["class"].to_numpy(), found["predicted"].to_numpy(), np.stack(values, 1)
    )


SHUFFLED = "(number * 2654435761) % 4294967296"
"""An order of pictures that has nothing to do with their order, in every version of DuckDB."""


def trials(subject: Subject, view: View, done: set[str]) -> Iterator[tuple[str, Sequence[dict[str, Any]]]]:
    """A part for each thing that sets a class apart."""
    looked, near = looked_at(view), nearest(view)
    pictures = Opened(subject)
    every = properties_apart(looked) + pieces_apart(looked, pictures, subject.options.sample)
    for candidate in sorted(every, key=lambda one: -one.order)[:MOST]:
        if candidate.part not in done:
            yield candidate.part, _tried(subject, looked, near.get(candidate.target), candidate, pictures)


def nearest(view: View) -> dict[int, int]:
    """Class -> the other one in whose pictures it is most probable."""
    drawn = f"QUALIFY row_number() OVER (PARTITION BY predicted ORDER BY {SHUFFLED}) <= {LOOKED_AT}"
    found = view.sql(
        "SELECT class, arg_max(predicted, share) AS near FROM (SELECT class, predicted, sum(probability) AS share "
        "FROM (SELECT predicted, unnest(classes) AS class, unnest(probabilities) AS probability FROM "
        f"(SELECT * FROM pictures {drawn})) "
        "WHERE class <> predicted GROUP BY class, predicted) GROUP BY class"
    )
    return dict(zip(found["class"].to_pylist(), found["near"].to_pylist(), strict=True))


def properties_apart(looked: Looked) -> list[Candidate]:
    """The properties by which pictures of a class lie apart from all others, OF_A_CLASS of each class at most."""
    from scipy.stats import mannwhitneyu

    found = []
    for target in np.unique(looked.classes).tolist():
        its = looked.classes == target
        if its.sum() < FEWEST or its.all():
            continue
        of_class = []
        for name, one in PROPERTIES.items():
            best, donors = 0.0, its
            for measure in one.measures:
                values = looked.values[:, MEASURES.index(measure)]
                there = np.isfinite(values)
                if there.mean() < 0.5 or (its & there).sum() < FEWEST or not (~its & there).any():
                    continue
                test = mannwhitneyu(values[its & there], values[~its & there], method="asymptotic")
                area = test.statistic / ((its & there).sum() * (~its & there).sum())
                off = abs(area - 0.5)
                if test.pvalue <= ODDS and off > best:
                    usual = np.median(values[~its & there])
                    best, donors = off, its & there & ((values > usual) if area > 0.5 else (values < usual))
            if best >= APART - 0.5 and donors.any():
                amounts = apart(looked, one, its) if one.moves else ()
                of_class.append(Candidate(target, name, looked.numbers[donors].tolist(), 2 * best, "", amounts))
        found += sorted(of_class, key=lambda one: -one.order)[:OF_A_CLASS]
    return found


def apart(looked: Looked, one: Property, its: np.ndarray) -> tuple[float, ...]:
    """How far the medians of a property's measures lie apart, those of ``its`` (N,) pictures above all others."""
    values = looked.values[:, [MEASURES.index(measure) for measure in one.measures]]
    return tuple(float(amount) for amount in np.nanmedian(values[its], 0) - np.nanmedian(values[~its], 0))


def pieces_apart(looked: Looked, pictures: Opened, sample: int) -> list[Candidate]:
    """The flat pieces that most pictures of a class have, and few others."""
    from scipy.stats import fisher_exact

    from saywhy.answers.places import position

    targets = np.unique(looked.classes).tolist()
    each = min(sample, max(FEWEST, PIECES_IN // max(1, len(targets))))
    having: dict[int, dict[str, list[tuple[int, str]]]] = {}
    seen: Counter[int] = Counter()
    for target in targets:
        having[target] = {}
        for number in looked.numbers[looked.classes == target][:each].tolist():
            if (image := pictures(number)) is None:
                continue
            seen[target] += 1
            for name, piece in piece_names(image).items():
                place = position(piece.box, (piece.mask.shape[1], piece.mask.shape[0]))
                having[target].setdefault(name, []).append((number, place))
    every = Counter(name for of_class in having.values() for name, at in of_class.items() for _ in at)
    total, found = seen.total(), []
    for target, of_class in having.items():
        of_target = []
        for name, at in of_class.items():
            its, rest = seen[target], total - seen[target]
            here, there = len(at), every[name] - len(at)
            if its < FEWEST or not rest or here < HAVE_IT * its or here / its < RATHER * there / rest:
                continue
            if fisher_exact([[here, its - here], [there, rest - there]], alternative="greater").pvalue <= ODDS:
                common, times = Counter(place for _, place in at).most_common(1)[0]
                place = common if times >= MOSTLY * here else ""
                of_target.append(Candidate(target, name, [one for one, _ in at], here / its - there / rest, place))
        found += sorted(of_target, key=lambda one: -one.order)[:OF_A_CLASS]
    return found


def _tried(
    subject: Subject, looked: Looked, near: int | None, candidate: Candidate, pictures: Opened
) -> list[dict[str, Any]]:
    """Others given it, first a few; where these are called the class, more, and the controls."""
    target, name, amounts = candidate.target, candidate.name, candidate.amounts
    rng = np.random.default_rng([subject.options.seed, target, *name.encode()])
    others = spread(looked, target, near, subject.options.sample, rng)
    donors = rng.permutation(np.array(candidate.donors))
    strangers = np.roll(np.array(others), 1)
    base = {"family": FAMILY, "part": candidate.part, "about": subject.classifier.labels[target],
            "place": candidate.place, "control": False}  # fmt: skip
    before = dict(zip(looked.numbers.tolist(), looked.predicted.tolist(), strict=True))

    def asked(way: str, numbers: Sequence[int], lent: np.ndarray, control: bool = False) -> list[dict[str, Any]]:
        back = -1.0 if way in (OTHER_WAY, SET_BACK) else 1.0
        by = tuple(back * amount for amount in amounts)
        changes = (
            (base | {"control": control, "before": before[number]},
             Change(number, None if amounts else int(lent[n % len(lent)]), name, way, by))
            for n, number in enumerate(numbers)
        )  # fmt: skip
        return list(tried(subject, changes, pictures, target))

    rows = asked(LIKE, others[:FIRST], donors)
    if sum(row["hit"] for row in rows) < ENOUGH:
        return rows
    rows += asked(LIKE, others[FIRST:], np.roll(donors, -FIRST))
    way, lent = (INSTEAD, strangers) if name in _NO_OTHER_WAY else (OTHER_WAY, donors)
    rows += asked(way, others, lent, control=True)
    if name == FRAME or is_piece(name):
        rows += asked(RECOLOURED, others, donors)
    own = [number for number in donors.tolist() if before[number] == target][: subject.options.sample]
    return rows + asked(SET_BACK, own, strangers)


def spread(looked: Looked, target: int, near: int | None, count: int, rng: np.random.Generator) -> list[int]:
    """``count`` pictures of other classes that are not called ``target``, as many of each class as there are, and in
    turn with them ``count`` that are called ``near``; all at most.
    """
    fits = rng.permutation(np.flatnonzero((looked.classes != target) & (looked.predicted != target)))
    turns: Counter[int] = Counter()
    order = []
    for row in fits.tolist():
        turns[looked.classes[row]] += 1
        order.append(turns[looked.classes[row]])
    every = fits[np.argsort(order, kind="stable")][:count].tolist()
    rivals = [row for row in fits.tolist() if looked.predicted[row] == near and row not in set(every)][:count]
    both = [row for pair in zip_longest(every, rivals) for row in pair if row is not None]
    return looked.numbers[both].tolist()


# -- what was found ---------------------------------------------------------------------------------------------------


def find(view: View) -> Tested:
    """From the trials."""
    count, parts = parts_of(view, FAMILY)
    found: dict[tuple[int, str], list[AuditFinding]] = defaultdict(list)
    for part in parts:
        if part.best is not None and _matters(view, part):
            name = Change.of(part.rows[0]).name
            kind = "light" if name in PROPERTIES and PROPERTIES[name].moves else name
            found[part.target, kind].append(_finding(view, part, part.best))
    findings = [_strongest(some) for some in found.values()]
    note = f"{count} properties and pieces that set a class apart were given to pictures of other classes"
    note = note if count else "no property and no piece sets a class apart"
    return Tested(findings, np.array([test.p for part in parts for test in part.tests]), note, changed=True)


def _matters(view: View, part: Part) -> bool:
    """Whether the class needs the property, where that can be taken from its own pictures.

    Moved far enough, the colours of an object become those of another class's, and one that is sharpened shows other
    detail. That is no shortcut: the other class's own pictures do without the change.
    """
    name, back = Change.of(part.rows[0]).name, ways_of(part.rows).get(SET_BACK)
    if name not in PROPERTIES or name == FRAME or not back:
        return True
    if words_for(name, *levels(view, name, part.target))[0] in _LOSSES:
        return True
    return sum(not row["hit"] for row in back) >= NEEDED * len(back)


def _strongest(some: Sequence[AuditFinding]) -> AuditFinding:
    """Light and colours go together: of those of a class the one that turns most is told, the others beside it."""
    first, *others = sorted(some, key=lambda one: -one.effect.value)
    also = {one.details["property"]: one.effect.value for one in others}
    return replace(first, details={**first.details, "also": also}) if also else first


def _finding(view: View, part: Part, test: Counted) -> AuditFinding:
    labels, ways = view.manifest["model"]["labels"], ways_of(part.rows)
    about, place, name = part.about, part.place, Change.of(part.rows[0]).name
    level, usual = levels(view, name, part.target)
    words = words_for(name, level, usual)
    if is_piece(name) or name == FRAME:
        what = f"a {words[0]}" + (f", {place}," if place else "") + " decides"
    else:
        what = f"the {name} {'decide' if ' and ' in name else 'decides'} ({', '.join(words[:-1])})"
    whose = "other classes" if test.among is None else labels[test.among]
    sentence = (
        f"{about}: {what}. Of {len(test.given)} pictures of {whose} {_given(name, about)}, "
        f"{test.hits} are called {about} ({in_percent(test.effect)}); {100 * test.null:.0f} % {_beside(name, ways)}."
    )
    details: dict[str, Any] = {"property": name, "part": part.name, "level": level, "usual": usual}
    if test.among is not None:
        details["among"] = whose
    if back := ways.get(SET_BACK):
        left = sum(row["hit"] for row in back)
        details["set back"] = [left, len(back)]
        sentence += f" Of {len(back)} of its own pictures {_freed(name, words[0])}, {left} are still called so."
    if other := ways.get(RECOLOURED):
        details["another colour"] = [sum(row["hit"] for row in other), len(other)]
    shown = Counter(row["other"] for row in test.given if row["hit"] and row["other"] is not None)
    examples = [number for number, _ in shown.most_common()] or [row["number"] for row in ways.get(SET_BACK, [])]
    return AuditFinding(
        "property decides", (about,), sentence, True, test.effect, f"of pictures of {whose}, given it", words, place,
        test.null, test.p, None, tuple(examples), tuple(row["number"] for row in test.given if not row["hit"]),
        REGIONS if is_piece(name) or name == FRAME else "", details=details,
    )  # fmt: skip


def levels(view: View, name: str, target: int) -> tuple[list[float], list[float]]:
    """The medians of a property's measures, of the pictures of a class and of all others; [] of a piece."""
    if name not in PROPERTIES:
        return [], []
    columns = ", ".join(
        f"median(list_extract(map_extract(properties, '{one}'), 1))" for one in PROPERTIES[name].measures
    )
    found = view.sql(
        f"SELECT coalesce(true_class, predicted) = ? AS its, {columns} FROM pictures WHERE predicted IS NOT NULL "
        "GROUP BY its ORDER BY its", [target],
    ).to_pylist()  # fmt: skip
    rest, its = ([float("nan" if v is None else v) for k, v in row.items() if k != "its"] for row in found)
    return its, rest


def words_for(name: str, level: Sequence[float], usual: Sequence[float]) -> tuple[str, ...]:
    """What names it, best first: "blurred", "blur"."""
    if name not in PROPERTIES or name == FRAME:
        return (name,)
    off = [a - b for a, b in zip(level, usual, strict=True)]
    if PROPERTIES[name].measures == ("red", "blue"):
        return (cast_word(*off), "colour cast")
    one = PROPERTIES[name]
    first = one.more if off[0] > 0 else one.less
    return (first, cast_word(*off[1:]), name) if len(off) == 3 else (first, name)


def cast_word(red: float, blue: float) -> str:
    """What a cast is called: red, blue: how far it lies above what is usual; see ``pictures.properties``."""
    import colorsys

    channels = np.array([2.0**red, 1.0, 2.0**blue])
    channels[1] = (1 - 0.299 * channels[0] - 0.114 * channels[2]) / 0.587
    low, high = channels.min(), channels.max()
    hue = colorsys.rgb_to_hsv(*((channels - low) / max(high - low, 1e-9)))[0] * 360
    names = ((15, "reddish"), (45, "orange"), (75, "yellowish"), (160, "greenish"), (200, "blue-green"),
             (265, "bluish"), (330, "purplish"))  # fmt: skip
    return next((name for end, name in names if hue < end), "reddish")


def _given(name: str, about: str) -> str:
    if name == FRAME:
        return f"put in the frame of pictures of {about}"
    if name not in PROPERTIES:
        return f"into which the {name} of a picture of {about} is pasted, at the same place"
    if PROPERTIES[name].moves:
        return f"whose {name} is moved by as much as pictures of {about} differ from all others"
    return f"given the {name} of a picture of {about}"


def _beside(name: str, ways: Mapping[str, Any]) -> str:
    if name == FRAME or name not in PROPERTIES:
        return "with other content of the same shape in its place"
    return "when moved as far the other way" if OTHER_WAY in ways else "when given that of other classes"


def _freed(name: str, lost: str) -> str:
    if name == FRAME:
        return "cut out of it"
    if name not in PROPERTIES:
        return "in which it is painted over with what is around it"
    if PROPERTIES[name].moves:
        return "moved back by as much"
    return "given that of another class" + (", which does not undo a blur" if lost == "blurred" else "")
