"""Metadata decides: pictures given what pictures of another camera, clinic or year look like are called another class.

A column of metadata that goes with the label is no finding: a classifier cannot see it. It can see what comes with it.
So each picture is given something of a picture of the same class with another value: its light, its cast, a mark in
its corner; beside it the same thing of a picture of the same class with its own value.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, final

import numpy as np

from saywhy.audits.altered import INSTEAD, LIKE, SET_BACK, Change, Opened, tried
from saywhy.audits.columns import Column, columns
from saywhy.audits.finding import AuditFinding, Tested
from saywhy.audits.findings.properties import (
    ENOUGH,
    FEWEST,
    FIRST,
    FLOOR,
    MEASURES,
    ODDS,
    OF_A_CLASS,
    OTHERS,
    SHUFFLED,
    Looked,
    pieces_apart,
    shares,
)
from saywhy.audits.store import View
from saywhy.audits.subject import Subject
from saywhy.intervals import proportion
from saywhy.pictures.altering import FRAME, PROPERTIES, STATISTICS

FAMILY = "metadata"
LOOKED_AT = 40  # pictures of each class and value
APART = 0.75  # rank AUC of a property, value against the others within classes, or its complement
MORE_OFTEN = 0.1  # how much more often a class is said of pictures with a value than of the others, at least
OF_A_VALUE = 2  # classes that a value is tried for


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


def trials(subject: Subject, view: View, done: set[str]) -> Iterator[tuple[str, Sequence[dict[str, Any]]]]:
    """A part for each value, class and thing that comes with the value."""
    pictures = Opened(subject)
    for candidate in candidates(view):
        for name, place in carriers(candidate, pictures, subject.options.sample):
            part = _part(candidate, name)
            if part not in done:
                yield part, _tried(subject, candidate, name, place, part, pictures)


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


def carriers(candidate: Candidate, pictures: Opened, sample: int) -> list[tuple[str, str]]:
    """What comes with a value, the class being equal: (name of ``altering``, place), the colours as a whole first."""
    from scipy.stats import mannwhitneyu

    looked, has = candidate.looked, candidate.has
    found = []
    for name, one in PROPERTIES.items():
        best = 0.0
        for measure in one.measures:
            values = looked.values[:, MEASURES.index(measure)].copy()
            for truth in np.unique(looked.classes):
                of_class = looked.classes == truth
                usual = values[of_class & ~has & np.isfinite(values)]
                values[of_class] -= np.median(usual) if len(usual) else np.nan
            with_, without = values[has & np.isfinite(values)], values[~has & np.isfinite(values)]
            if min(len(with_), len(without)) < FEWEST:
                continue
            test = mannwhitneyu(with_, without, method="asymptotic")
            off = abs(test.statistic / (len(with_) * len(without)) - 0.5)
            best = max(best, off if test.pvalue <= ODDS else 0.0)
        if best >= APART - 0.5:
            found.append((best, name, ""))
    marks = pieces_apart(looked._replace(classes=has.astype(int)), pictures, sample)
    named = [(name, place) for _, name, place in sorted(found, key=lambda one: -one[0])[:OF_A_CLASS]]
    return [(STATISTICS, ""), *named, *((mark.name, mark.place) for mark in marks if mark.target == 1)]


def _tried(
    subject: Subject, candidate: Candidate, name: str, place: str, part: str, pictures: Opened
) -> list[dict[str, Any]]:
    looked, has, target = candidate.looked, candidate.has, candidate.target
    rng = np.random.default_rng([subject.options.seed, target, len(part)])
    base = {"family": FAMILY, "part": part, "about": candidate.about, "place": place, "control": False}

    def asked(rows: np.ndarray, way: str, lending: np.ndarray, control: bool = False) -> list[dict[str, Any]]:
        """rows: of ``looked``, that are changed. lending: (N,) which may lend, to pictures of their class."""
        changes = []
        for row in rows.tolist():
            lent = np.flatnonzero(lending & (looked.classes == looked.classes[row]) & (np.arange(len(has)) != row))
            if len(lent):
                other = int(looked.numbers[rng.choice(lent)])
                about = base | {"control": control, "before": int(looked.predicted[row])}
                changes.append((about, Change(int(looked.numbers[row]), other, name, way)))
        return list(tried(subject, changes, pictures, target))

    with_donors = np.isin(looked.classes, looked.classes[has])
    fits = np.flatnonzero(~has & with_donors & (looked.predicted != target) & (looked.classes != target))
    others = rng.permutation(fits)[: OTHERS * subject.options.sample]
    rows = asked(others[:FIRST], LIKE, has)
    if sum(row["hit"] for row in rows) < ENOUGH:
        return rows
    rows += asked(others[FIRST:], LIKE, has) + asked(others, INSTEAD, ~has, control=True)
    own = rng.permutation(np.flatnonzero(has & (looked.classes == target) & (looked.predicted == target)))
    return rows + asked(own[: subject.options.sample], SET_BACK, ~has)


def _part(candidate: Candidate, name: str) -> str:
    told = f"{candidate.about} {candidate.target} {name}"
    return f"{re.sub('[^A-Za-z0-9]+', '-', told)[:60].strip('-')}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"


# -- what was found ---------------------------------------------------------------------------------------------------


def find(view: View) -> Tested:
    """From the trials."""
    from scipy.stats import binomtest

    parts = view.sql(
        f"SELECT part, about, target, any_value(place) AS place FROM trials WHERE family = '{FAMILY}' "
        "GROUP BY part, about, target ORDER BY part"
    ).to_pylist()
    best: dict[tuple[str, int], tuple[float, AuditFinding]] = {}
    ps = []
    for part in parts:
        ways: dict[str, list[dict[str, Any]]] = {}
        name = ""
        for row in view.sql("SELECT number, other, variant, control, hit FROM trials WHERE part = ? AND family = ?",
                            [part["part"], FAMILY]).to_pylist():  # fmt: skip
            name, _, way = row["variant"].partition(", ")
            ways.setdefault(way, []).append(row)
        given, control = ways.get(LIKE, []), ways.get(INSTEAD, [])
        if not given:
            continue
        null = proportion(sum(row["hit"] for row in control), len(control))
        rate = max(FLOOR, null.value if control else FLOOR)
        hits = sum(row["hit"] for row in given)
        p = float(binomtest(hits, len(given), rate, alternative="greater").pvalue) if rate < 1 else 1.0
        ps.append(p)
        key = (part["about"], part["target"])
        rank = (hits / len(given) - null.value) if control else 0.0
        if p <= 0.05 and control and (key not in best or rank > best[key][0]):
            best[key] = rank, _finding(view, part, name, ways, null.value, p)
    notes = columns(view)[1]
    if not ps:
        notes.append("no value of a column goes with what is predicted" if columns(view)[0] else "no metadata")
    return Tested([finding for _, finding in best.values()], np.array(ps), "; ".join(notes), changed=True)


def _finding(
    view: View, part: dict[str, Any], name: str, ways: dict[str, list[dict[str, Any]]], null: float, p: float
) -> AuditFinding:
    label, about, place = view.manifest["model"]["labels"][part["target"]], part["about"], part["place"] or ""
    given = ways[LIKE]
    effect = proportion(sum(row["hit"] for row in given), len(given))
    carried = {STATISTICS: "its colours", FRAME: "a frame"}.get(
        name, f"its {name}" if name in PROPERTIES else f"a {name}"
    )
    sentence = (
        f"{label}: {about} decides it, by way of {carried}. "
        f"Of {len(given)} pictures of other classes without it, given "
        f"{_that(name)} of a picture of their own class with {about}, {shares(effect)} are called {label}; {null:.0%} "
        "given that of one without."
    )
    details: dict[str, Any] = {"carrier": name, "part": part["part"]}
    if back := ways.get(SET_BACK, []):
        left = sum(row["hit"] for row in back)
        details["set back"] = [left, len(back)]
        sentence += (
            f" Of {len(back)} of its pictures with {about}, given that of one without, {left} are still called so."
        )
    shown = dict.fromkeys(row["other"] for row in given if row["hit"])
    return AuditFinding(
        "metadata decides", (label, about), sentence, True, effect, "of pictures given what comes with it",
        (about, name), place, null, p, None, tuple(shown), tuple(row["number"] for row in given if not row["hit"]),
        details=details,
    )  # fmt: skip


def _that(name: str) -> str:
    if name == STATISTICS:
        return "the colours"
    return f"the {name}"
