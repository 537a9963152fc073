"""Metadata decides: pictures given what pictures of another camera, clinic or year look like are called another class.

A column of metadata that goes with the label is no finding: a classifier cannot see it. It can see what comes with it.
So each picture is given something of a picture of the same class with another value: its light, its cast, a mark in
its corner; beside it the same thing of a picture of the same class with its own value.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, final

import numpy as np

from saywhy.audits.altered import (
    INSTEAD,
    LIKE,
    OTHER_WAY,
    SET_BACK,
    Change,
    Counted,
    Opened,
    Part,
    parts_of,
    tried,
    ways_of,
)
from saywhy.audits.columns import Column, columns
from saywhy.audits.finding import SURROUNDINGS, AuditFinding, Tested
from saywhy.audits.findings.properties import (
    ENOUGH,
    FEWEST,
    FIRST,
    MEASURES,
    ODDS,
    SHUFFLED,
    Looked,
    apart,
    nearest,
    pieces_apart,
    spread,
)
from saywhy.audits.store import View
from saywhy.audits.subject import Subject
from saywhy.audits.swaps import in_percent
from saywhy.pictures.altering import FRAME, PROPERTIES, is_piece

FAMILY = "metadata"
LOOKED_AT = 40  # pictures of each class and value
APART = 0.75  # rank AUC of a property, value against the others within classes, or its complement
MORE_OFTEN = 0.1  # how much more often a class is said of pictures with a value than of the others, at least
OF_A_VALUE = 2  # classes that a value is tried for
CARRIERS = 6  # properties that are tried of each


@final
class Candidate(NamedTuple):
    """A value that goes with the prediction of a class. looked: pictures; has: (N,) which of them have the value."""

    column: Column
    value: str
    target: int
    looked: Looked
    has: np.ndarray

    @property
    def about(self) -> str:
        return self.column.called(self.value)


@final
class Carrier(NamedTuple):
    """What comes with a value, the class being equal. name, amounts, place: as of ``properties.Candidate``."""

    name: str
    amounts: tuple[float, ...] = ()
    place: str = ""


def trials(subject: Subject, view: View, done: set[str]) -> Iterator[tuple[str, Sequence[dict[str, Any]]]]:
    """A part for each value, class and thing that comes with the value."""
    pictures, near = Opened(subject), nearest(view)
    for candidate in candidates(view):
        for carrier in carriers(candidate, pictures, subject.options.sample):
            part = _part(candidate, carrier.name)
            if part not in done:
                yield part, _tried(subject, candidate, near.get(candidate.target), carrier, part, pictures)


def candidates(view: View) -> list[Candidate]:
    """The values with which the prediction of a class goes, for the classes with which it goes most."""
    from scipy.stats import fisher_exact

    found = []
    for column in columns(view)[0]:
        looked, values = _looked(view, column)
        for value in np.unique(values).tolist():
            has = values == value
            if has.sum() < FEWEST or (~has).sum() < FEWEST:
                continue
            of_value = []
            for target in np.unique(looked.predicted[has]).tolist():
                said = looked.predicted == target
                table = [[(said & has).sum(), (~said & has).sum()], [(said & ~has).sum(), (~said & ~has).sum()]]
                more = said[has].mean() - said[~has].mean()
                if more >= MORE_OFTEN and fisher_exact(table, alternative="greater").pvalue <= ODDS:
                    of_value.append((float(more), Candidate(column, value, target, looked, has)))
            found += [one for _, one in sorted(of_value, key=lambda pair: -pair[0])[:OF_A_VALUE]]
    return found


def _looked(view: View, column: Column) -> tuple[Looked, np.ndarray]:
    """At most LOOKED_AT pictures of each value and class, and (N,) their values."""
    measures = ", ".join(
        f"list_extract(map_extract(properties, '{name}'), 1)::DOUBLE AS \"{name}\"" for name in MEASURES
    )
    found = view.sql(
        f"SELECT number, true_class AS class, predicted, {column.expression} AS value, {measures} FROM pictures "
        f"WHERE predicted IS NOT NULL AND true_class IS NOT NULL AND value IS NOT NULL "
        f"QUALIFY row_number() OVER (PARTITION BY value, class ORDER BY {SHUFFLED}) <= {LOOKED_AT} ORDER BY number"
    )
    measured = np.stack([found[name].to_numpy().astype(float) for name in MEASURES], 1)
    looked = Looked(found["number"].to_numpy(), found["class"].to_numpy(), found["predicted"].to_numpy(), measured)
    return looked, np.array(found["value"].to_pylist(), object)


def carriers(candidate: Candidate, pictures: Opened, sample: int) -> list[Carrier]:
    """What may come with a value, the class being equal; the surroundings always may."""
    from scipy.stats import mannwhitneyu

    looked, has = candidate.looked, candidate.has
    values = _within_classes(looked, has)
    within = looked._replace(values=values)
    found = []
    for name, one in PROPERTIES.items():
        best = 0.0
        for measure in one.measures:
            column = values[:, MEASURES.index(measure)]
            with_, without = column[has & np.isfinite(column)], column[~has & np.isfinite(column)]
            if min(len(with_), len(without)) < FEWEST:
                continue
            test = mannwhitneyu(with_, without, method="asymptotic")
            off = abs(test.statistic / (len(with_) * len(without)) - 0.5)
            best = max(best, off if test.pvalue <= ODDS else 0.0)
        if best >= APART - 0.5:
            found.append((best, Carrier(name, apart(within, one, has) if one.moves else ())))
    marks = pieces_apart(looked._replace(classes=has.astype(int)), pictures, sample)
    named = [carrier for _, carrier in sorted(found, key=lambda pair: -pair[0])[:CARRIERS]]
    return [*named, Carrier(SURROUNDINGS), *(Carrier(mark.name, (), mark.place) for mark in marks if mark.target == 1)]


def _within_classes(looked: Looked, has: np.ndarray) -> np.ndarray:
    """(N, V) values less what is usual of their class without the value; NaN where too few tell that."""
    values = looked.values.copy()
    for truth in np.unique(looked.classes):
        of_class = looked.classes == truth
        usual = values[of_class & ~has]
        values[of_class] -= np.median(usual, 0) if len(usual) >= FEWEST else np.nan
    return values


def _tried(
    subject: Subject, candidate: Candidate, near: int | None, carrier: Carrier, part: str, pictures: Opened
) -> list[dict[str, Any]]:
    looked, has, target = candidate.looked, candidate.has, candidate.target
    rng = np.random.default_rng([subject.options.seed, target, *part.encode()])
    base = {"family": FAMILY, "part": part, "about": candidate.about, "place": carrier.place, "control": False}
    row_of = {number: row for row, number in enumerate(looked.numbers.tolist())}

    def asked(numbers: Sequence[int], way: str, lending: np.ndarray, control: bool = False) -> list[dict[str, Any]]:
        """lending: (N,) which may lend, to pictures of their class."""
        changes = []
        back = -1.0 if way in (OTHER_WAY, SET_BACK) else 1.0
        by = tuple(back * amount for amount in carrier.amounts)
        for number in numbers:
            row, other = row_of[number], None
            if not by:
                same = lending & (looked.classes == looked.classes[row]) & (looked.numbers != number)
                if not same.any():
                    continue
                other = int(looked.numbers[rng.choice(np.flatnonzero(same))])
            about = base | {"control": control, "before": int(looked.predicted[row])}
            changes.append((about, Change(number, other, carrier.name, way, by)))
        return list(tried(subject, changes, pictures, target))

    lent_to = np.ones(len(has), bool) if carrier.amounts else np.isin(looked.classes, looked.classes[has])
    fits = ~has & lent_to
    without = Looked(*(column[fits] for column in looked))
    others = spread(without, target, near, subject.options.sample, rng)
    rows = asked(others[:FIRST], LIKE, has)
    if sum(row["hit"] for row in rows) < ENOUGH:
        return rows
    rows += asked(others[FIRST:], LIKE, has)
    rows += asked(others, OTHER_WAY if carrier.amounts else INSTEAD, ~has, control=True)
    own = rng.permutation(looked.numbers[has & (looked.classes == target) & (looked.predicted == target)])
    return rows + asked(own[: subject.options.sample].tolist(), SET_BACK, ~has)


def _part(candidate: Candidate, name: str) -> str:
    told = f"{candidate.about} {candidate.target} {name}"
    return f"{re.sub('[^A-Za-z0-9]+', '-', told)[:60].strip('-')}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"


# -- what was found ---------------------------------------------------------------------------------------------------


def find(view: View) -> Tested:
    """From the trials."""
    _, parts = parts_of(view, FAMILY)
    told: dict[tuple[str, int], list[AuditFinding]] = defaultdict(list)
    for part in parts:
        if part.best is not None:
            told[part.about, part.target].append(_finding(view, part, part.best))
    found, notes = columns(view)
    if not parts:
        notes.append("no value of a column comes with anything that was changed" if found else "there are no metadata")
    ps = np.array([test.p for part in parts for test in part.tests])
    return Tested([_closest(some) for some in told.values()], ps, "; ".join(notes), changed=True)


def _closest(some: Sequence[AuditFinding]) -> AuditFinding:
    """By way of what a value turns most; the surroundings only where nothing in them turns about as many."""
    largest = max(some, key=lambda one: one.effect.value - one.null)
    others = [one for one in some if one.details["carrier"] != SURROUNDINGS and one.effect.high >= largest.effect.low]
    return max(others or [largest], key=lambda one: one.effect.value - one.null)


def _having(view: View, about: str, target: int) -> tuple[float, float]:
    """The share of pictures of a class that have a value, and of all others."""
    for column in columns(view)[0]:
        rows = view.sql(
            f"SELECT true_class = ? AS its, {column.expression} AS value, count(*) AS n FROM pictures "
            "WHERE true_class IS NOT NULL AND value IS NOT NULL GROUP BY ALL", [target],
        ).to_pylist()  # fmt: skip
        if any(column.called(row["value"]) == about for row in rows):
            counts = [[row["n"] for row in rows if row["its"] == its] for its in (True, False)]
            having = [
                sum(row["n"] for row in rows if row["its"] == its and column.called(row["value"]) == about)
                for its in (True, False)
            ]
            return having[0] / max(1, sum(counts[0])), having[1] / max(1, sum(counts[1]))
    return float("nan"), float("nan")


def _finding(view: View, part: Part, test: Counted) -> AuditFinding:
    labels, ways, name = view.manifest["model"]["labels"], ways_of(part.rows), Change.of(part.rows[0]).name
    label, about, place = labels[part.target], part.about, part.place
    whose = "other classes" if test.among is None else labels[test.among]
    by_way = f"a {name}" if is_piece(name) or name == FRAME else f"the {name}"
    if OTHER_WAY in ways:
        given = f"whose {name} is moved by as much as pictures with {about} differ from others of their class"
        beside, back = "when moved as far the other way", "moved back by as much"
    else:
        given = f"given the {name} of a picture of their own class with {about}"
        beside, back = "when given that of one without", "given that of one without"
    at = f", {place}" if place else ""
    sentence = (
        f"{label}: {about} decides, by way of {by_way}{at}. Of {len(test.given)} pictures of {whose} without {about} "
        f"{given}, {test.hits} are called {label} ({in_percent(test.effect)}); {100 * test.null:.0f} % {beside}."
    )
    details: dict[str, Any] = {"carrier": name, "part": part.name}
    if test.among is not None:
        details["among"] = whose
    if own := ways.get(SET_BACK):
        left = sum(row["hit"] for row in own)
        details["set back"] = [left, len(own)]
        sentence += f" Of {len(own)} of its pictures with {about}, {back}, {left} are still called so."
    its, rest = _having(view, about, part.target)
    details["having"] = [its, rest]
    sentence += f" {100 * its:.0f} % of its pictures have {about}, {100 * rest:.0f} % of the others."
    shown = dict.fromkeys(row["other"] for row in test.given if row["hit"] and row["other"] is not None)
    examples = tuple(shown) or tuple(row["number"] for row in own or ())
    return AuditFinding(
        "metadata decides", (label, about), sentence, True, test.effect, f"of pictures of {whose}, given it",
        (about, name), place, test.null, test.p, None, examples,
        tuple(row["number"] for row in test.given if not row["hit"]), details=details,
    )  # fmt: skip
