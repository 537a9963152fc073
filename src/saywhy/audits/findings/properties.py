"""Property decides: other pictures made as bright, as blurred, as framed as those of a class are called that class.

First is looked what sets the pictures of a class apart, whatever they show: a property (``pictures.altering``), or a
flat piece of one colour and shape that stands in most of them. That alone is no finding. Then pictures of other classes
are given it, those of the class are freed of it, and the classifier is asked again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple, final

import numpy as np

from saywhy.audits.altered import INSTEAD, LIKE, OTHER_WAY, RECOLOURED, SET_BACK, Change, Opened, tried
from saywhy.audits.finding import REGIONS, AuditFinding, Tested
from saywhy.audits.store import View
from saywhy.audits.subject import Subject
from saywhy.intervals import proportion
from saywhy.pictures.altering import FRAME, PROPERTIES, is_piece, piece_names

FAMILY = "properties"
LOOKED_AT = 100  # pictures of each class whose properties are compared
PIECES_IN = 4000  # pictures in which flat pieces are sought, of all classes together
FEWEST = 5  # pictures of a class, for anything to be said of it
APART = 0.8  # rank AUC of a property, class against rest, or its complement: from here on it is tried
ODDS = 0.01  # that pictures of one kind are so far apart by chance, at most (Mann-Whitney, Fisher)
HAVE_IT = 0.4  # of the pictures of a class: a piece that so many have is tried
MOSTLY = 0.6  # of a class's pieces: a place in which so many stand is told
RATHER = 2.0  # times as often as in the rest
OF_A_CLASS = 4  # properties, and pieces, of a class that are tried
MOST = 200  # in all
OTHERS = 2  # pictures of other classes, times ``AuditOptions.sample``
FIRST, ENOUGH = 12, 2  # of so many pictures so many have to be called the class, else no more are changed
FLOOR = 0.10  # of pictures: what is called the class for less than a cause
_NO_OTHER_WAY = ("JPEG quality",)


@final
class Candidate(NamedTuple):
    """What sets a class apart. name: of ``altering``. donors: pictures of the class that show it. order: largest first.

    place: where a piece stands in most of them; "" where it stands here and there.
    """

    target: int
    name: str
    donors: Sequence[int]
    order: float
    place: str = ""

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
    looked = looked_at(view)
    pictures = Opened(subject)
    every = properties_apart(looked) + pieces_apart(looked, pictures, subject.options.sample)
    for candidate in sorted(every, key=lambda one: -one.order)[:MOST]:
        if candidate.part not in done:
            yield candidate.part, _tried(subject, looked, candidate, pictures)


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
                of_class.append(Candidate(target, name, looked.numbers[donors].tolist(), 2 * best))
        found += sorted(of_class, key=lambda one: -one.order)[:OF_A_CLASS]
    return found


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
        apart = []
        for name, at in of_class.items():
            its, rest = seen[target], total - seen[target]
            here, there = len(at), every[name] - len(at)
            if its < FEWEST or not rest or here < HAVE_IT * its or here / its < RATHER * there / rest:
                continue
            if fisher_exact([[here, its - here], [there, rest - there]], alternative="greater").pvalue <= ODDS:
                common, times = Counter(place for _, place in at).most_common(1)[0]
                place = common if times >= MOSTLY * here else ""
                apart.append(Candidate(target, name, [one for one, _ in at], here / its - there / rest, place))
        found += sorted(apart, key=lambda one: -one.order)[:OF_A_CLASS]
    return found


def _tried(subject: Subject, looked: Looked, candidate: Candidate, pictures: Opened) -> list[dict[str, Any]]:
    """Others given it, first a few; where these are called the class, more, and the controls."""
    target, name = candidate.target, candidate.name
    rng = np.random.default_rng([subject.options.seed, target, len(name), ord(name[0])])
    others = spread(looked, target, OTHERS * subject.options.sample, rng)
    donors = rng.permutation(np.array(candidate.donors))
    base = {"family": FAMILY, "part": candidate.part, "about": subject.classifier.labels[target],
            "place": candidate.place, "control": False}  # fmt: skip
    before = dict(zip(looked.numbers.tolist(), looked.predicted.tolist(), strict=True))

    def asked(way: str, numbers: Sequence[int], lent: np.ndarray, control: bool = False) -> list[dict[str, Any]]:
        changes = (
            (base | {"control": control, "before": before[number]}, Change(number, int(lent[n % len(lent)]), name, way))
            for n, number in enumerate(numbers)
        )
        return list(tried(subject, changes, pictures, target))

    rows = asked(LIKE, others[:FIRST], donors)
    if sum(row["hit"] for row in rows) < ENOUGH:
        return rows
    rows += asked(LIKE, others[FIRST:], np.roll(donors, -FIRST))
    strangers = np.roll(np.array(others), 1)
    if name in _NO_OTHER_WAY:
        rows += asked(INSTEAD, others, strangers, control=True)
    else:
        rows += asked(OTHER_WAY, others, donors, control=True)
    if name == FRAME or is_piece(name):
        rows += asked(RECOLOURED, others, donors)
    own = [number for number in donors.tolist() if before[number] == target][: subject.options.sample]
    return rows + asked(SET_BACK, own, strangers)


def spread(looked: Looked, target: int, count: int, rng: np.random.Generator) -> list[int]:
    """At most ``count`` pictures of other classes that are not called ``target``, as many of each as there are."""
    fits = np.flatnonzero((looked.classes != target) & (looked.predicted != target))
    drawn = rng.permutation(fits)
    turn: Counter[int] = Counter()
    keys = []
    for row in drawn.tolist():
        turn[looked.classes[row]] += 1
        keys.append(turn[looked.classes[row]])
    return looked.numbers[drawn[np.argsort(keys, kind="stable")]][:count].tolist()


# -- what was found ---------------------------------------------------------------------------------------------------


def find(view: View) -> Tested:
    """From the trials."""
    from scipy.stats import binomtest

    parts = view.sql(
        f"SELECT part, any_value(about) AS about, any_value(target) AS target, any_value(place) AS place "
        f"FROM trials WHERE family = '{FAMILY}' GROUP BY part ORDER BY part"
    ).to_pylist()
    findings, ps = [], []
    for part in parts:
        rows = view.sql("SELECT number, other, variant, control, hit FROM trials WHERE part = ? AND family = ?",
                        [part["part"], FAMILY]).to_pylist()  # fmt: skip
        ways: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            name, _, way = row["variant"].partition(", ")
            ways.setdefault(way, []).append(row)
        given, control = ways[LIKE], ways.get(OTHER_WAY) or ways.get(INSTEAD) or []
        hits = sum(row["hit"] for row in given)
        null = proportion(sum(row["hit"] for row in control), len(control))
        rate = max(FLOOR, null.value if control else FLOOR)
        p = float(binomtest(hits, len(given), rate, alternative="greater").pvalue) if rate < 1 else 1.0
        ps.append(p)
        if p <= 0.05 and control:
            findings.append(_finding(view, part, name, ways, null.value, p))
    note = f"{len(parts)} properties and pieces that set a class apart were given to pictures of other classes"
    note = note if parts else "no property and no piece sets a class apart"
    return Tested(findings, np.array(ps), note, changed=True)


def _finding(
    view: View, part: dict[str, Any], name: str, ways: dict[str, list[dict[str, Any]]], null: float, p: float
) -> AuditFinding:
    given, about, place = ways[LIKE], part["about"], part["place"] or ""
    effect = proportion(sum(row["hit"] for row in given), len(given))
    level, usual = levels(view, name, part["target"])
    words = words_for(name, level, usual)
    what = f"{words[0]} pictures" if name in PROPERTIES and name != FRAME else f"a {words[0]}"
    sentence = (
        f"{about}: {what} decide{'' if what.endswith('s') else 's'} it. "
        f"Of {len(given)} pictures of other classes {given_it(name, words, about)}, {shares(effect)} are called {about}"
    )
    if name == FRAME or name not in PROPERTIES:
        control = "with other content of the same shape in its place"
    else:
        control = "moved as far the other way" if OTHER_WAY in ways else "given that of other classes"
    sentence += f"; {null:.0%} {control}."
    back = ways.get(SET_BACK, [])
    details: dict[str, Any] = {"property": name, "part": part["part"], "level": level, "usual": usual}
    if back:
        left = sum(row["hit"] for row in back)
        details["set back"] = [left, len(back)]
        sentence += f" Of {len(back)} of its own pictures {freed_of(name)}, {left} are still called so."
    if RECOLOURED in ways:
        details["another colour"] = [sum(row["hit"] for row in ways[RECOLOURED]), len(ways[RECOLOURED])]
    shown = Counter(row["other"] for row in given if row["hit"])
    return AuditFinding(
        "property decides", (about,), sentence, True, effect, "of pictures of other classes, given it", words, place,
        null, p, None, tuple(number for number, _ in shown.most_common()),
        tuple(row["number"] for row in given if not row["hit"]), REGIONS if name not in PROPERTIES else "",
        details=details,
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
    if name not in PROPERTIES:
        return (name,)
    if name == FRAME:
        return (FRAME,)
    if name == "colour cast":
        return (f"{cast_word(level[0] - usual[0], level[1] - usual[1])}", name)
    one = PROPERTIES[name]
    return (one.more if level[0] > usual[0] else one.less, name)


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


def given_it(name: str, words: Sequence[str], about: str) -> str:
    if name == FRAME:
        return f"put in the frame of pictures of {about}"
    if name not in PROPERTIES:
        return "into which that of one of its pictures is pasted, where it stands there"
    return f"given the {name} of one of its pictures"


def freed_of(name: str) -> str:
    if name == FRAME:
        return "cut out of it"
    if name not in PROPERTIES:
        return "in which it is filled with what is around it"
    return "given that of a picture of another class" + (" (which does not undo a blur)" if name == "blur" else "")


def shares(effect: Any) -> str:
    return f"{effect.value:.0%} ({effect.low:.0%} to {effect.high:.0%})"
