"""Goes with metadata: a column that goes with the label; a value with which pictures of one class are called another.

Nothing is changed: pictures with another value differ in much else. What decides is for ``findings.metadata``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from saywhy.audits.columns import Column, columns
from saywhy.audits.finding import AuditFinding, Tested
from saywhy.audits.store import View
from saywhy.intervals import Interval, interval_of, proportion

FEWEST = 5  # pictures with a value, and of those called a class
STRONG = 0.2  # Cramér's V from which on a column is spoken of
MORE_OFTEN = 0.03  # of pictures of the same class: from here on it is spoken of
EXACT = 3000  # pictures up to which odds are exact, beyond them of a normal distribution
DRAWS = 300
MOST_CELLS = 200_000  # of a table that is drawn again


def find(view: View) -> Tested:
    """Of each column with the label, and of each of its values with each prediction, the class being equal."""
    findings, ps = list[AuditFinding](), list[float]()
    found, notes = columns(view)
    for column in found:
        rows = view.columns(
            f"SELECT {column.expression} AS value, true_class, predicted, count(*) AS n, min(number) AS example "
            "FROM pictures WHERE true_class IS NOT NULL AND value IS NOT NULL GROUP BY ALL ORDER BY ALL"
        )
        if len(rows["n"]):
            _with_label(view, column, rows, findings, ps)
            _with_prediction(view, column, rows, findings, ps)
    return Tested(findings, np.array(ps), "; ".join(notes))


def _with_label(
    view: View, column: Column, rows: dict[str, Any], findings: list[AuditFinding], ps: list[float]
) -> None:
    from scipy.stats import chi2_contingency

    values, value = np.unique(rows["value"].astype(str), return_inverse=True)
    truths, truth = np.unique(rows["true_class"], return_inverse=True)
    table = np.zeros((len(values), len(truths)), np.int64)
    np.add.at(table, (value, truth), rows["n"])
    if min(table.shape) < 2:
        return
    p = float(chi2_contingency(table, correction=False).pvalue)
    ps.append(p)
    strength = cramers_v(table)
    if p > 0.05 or strength < STRONG:
        return
    total = int(table.sum())
    if table.size <= MOST_CELLS:
        drawn = np.random.default_rng(0).multinomial(total, table.ravel() / total, DRAWS)
        effect = interval_of(strength, np.array([cramers_v(one.reshape(table.shape)) for one in drawn]))
    else:
        effect = Interval(strength, strength, strength)
    shares = table / np.maximum(table.sum(0), 1)
    over = (shares - table.sum(1, keepdims=True) / total) * (table.sum(0) >= FEWEST)
    v, t = np.unravel_index(int(over.argmax()), over.shape)
    label, said = view.manifest["model"]["labels"][int(truths[t])], column.called(str(values[v]))
    of_class = proportion(int(table[v, t]), int(table[:, t].sum()))
    rest = proportion(int(table[v].sum() - table[v, t]), int(total - table[:, t].sum()))
    findings.append(
        AuditFinding(
            "goes with metadata", (column.name, label),
            f"{column.name} goes with the class (Cramér's V {effect}): {of_class.value:.0%} of {label} have {said}, "
            f"{rest.value:.0%} of the other classes.",
            False, effect, "Cramér's V", (column.name, said), p=p,
            examples=tuple(rows["example"][(value == v) & (truth == t)].tolist()),
            counters=tuple(rows["example"][(value != v) & (truth == t)].tolist()),
        )
    )  # fmt: skip


def _with_prediction(
    view: View, column: Column, rows: dict[str, Any], findings: list[AuditFinding], ps: list[float]
) -> None:
    labels = view.manifest["model"]["labels"]
    values, value = np.unique(rows["value"].astype(str), return_inverse=True)
    truths, truth = np.unique(rows["true_class"], return_inverse=True)
    of_truth = np.bincount(truth, rows["n"], len(truths))
    for v in range(len(values)):
        its = np.bincount(truth[value == v], rows["n"][value == v], len(truths))
        if its.sum() < FEWEST or (of_truth - its).sum() < FEWEST:
            continue
        for said in np.unique(rows["predicted"][value == v]).tolist():
            called = rows["predicted"] == said
            with_ = np.bincount(truth[called & (value == v)], rows["n"][called & (value == v)], len(truths))
            every = np.bincount(truth[called], rows["n"][called], len(truths))
            wrong = truths != said
            if every[wrong].sum() < FEWEST:
                continue
            strata = [one[wrong] for one in (of_truth, its, every, with_)]
            p, effect = odds_by_chance(*strata), more_often(*strata)
            ps.append(p)
            if p <= 0.05 and effect.value >= MORE_OFTEN:
                about = column.called(str(values[v]))
                shown = called & (value == v) & (rows["true_class"] != said)
                spared = ~called & (value == v) & (rows["true_class"] != said)
                findings.append(
                    AuditFinding(
                        "goes with metadata", (labels[said], about),
                        "Of pictures of the same class, "
                        f"those with {about} are wrongly called {labels[said]} more often: "
                        f"by {effect.value:.1%} of them ({effect.low:.1%} to {effect.high:.1%}).",
                        False, effect, "more of pictures of the same class", (about,), p=p,
                        examples=tuple(rows["example"][shown].tolist()),
                        counters=tuple(rows["example"][spared].tolist()),
                    )
                )  # fmt: skip


def cramers_v(table: np.ndarray) -> float:
    """Of a table of counts, corrected for its size (Bergsma, 2013), 0..1."""
    table = table[table.sum(1) > 0][:, table.sum(0) > 0].astype(float)
    total, (rows, columns_) = table.sum(), table.shape
    if min(rows, columns_) < 2 or total < 2:
        return 0.0
    expected = table.sum(1, keepdims=True) * table.sum(0) / total
    phi2 = ((table - expected) ** 2 / expected).sum() / total
    phi2 = max(0.0, phi2 - (rows - 1) * (columns_ - 1) / (total - 1))
    fewer = min(rows - (rows - 1) ** 2 / (total - 1), columns_ - (columns_ - 1) ** 2 / (total - 1)) - 1
    return float(min(1.0, (phi2 / max(fewer, 1e-9)) ** 0.5))


def odds_by_chance(totals: np.ndarray, its: np.ndarray, called: np.ndarray, both: np.ndarray) -> float:
    """One-sided p of a common odds ratio over strata (Mantel and Haenszel), exact for small numbers.

    Of each stratum: (S,) pictures; with the value; called the class; with both.
    """
    from scipy.stats import hypergeom, norm

    if totals.sum() > EXACT:
        expected = its * called / np.maximum(totals, 1)
        spread = expected * (totals - its) * (totals - called) / np.maximum(totals * (totals - 1), 1)
        return float(norm.sf((both.sum() - expected.sum() - 0.5) / max(float(spread.sum()), 1e-12) ** 0.5))
    chances = np.ones(1)
    for total, have, say in zip(totals.astype(int), its.astype(int), called.astype(int), strict=True):
        chances = np.convolve(chances, hypergeom(total, have, say).pmf(np.arange(say + 1)))
    return float(min(1.0, chances[int(both.sum()) :].sum()))


def more_often(totals: np.ndarray, its: np.ndarray, called: np.ndarray, both: np.ndarray) -> Interval:
    """The pooled difference of shares (Mantel and Haenszel) with Sato's interval (1989); see ``odds_by_chance``."""
    rest = totals - its
    weight = its * rest / np.maximum(totals, 1)
    other = called - both
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(totals > 0, (both * rest - other * its) / np.maximum(totals, 1), 0)
        p = (its**2 * other - rest**2 * both + its * rest * (rest - its) / 2) / np.maximum(totals, 1) ** 2
        q = (both * (rest - other) + other * (its - both)) / (2 * np.maximum(totals, 1))
    value = parts.sum() / max(weight.sum(), 1e-12)
    half = 1.959964 * (max(value * p.sum() + q.sum(), 0) ** 0.5) / max(weight.sum(), 1e-12)
    return Interval(float(value), float(max(-1.0, value - half)), float(min(1.0, value + half)))
