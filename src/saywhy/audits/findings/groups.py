"""Do two groups of pictures differ, train and test say: in how often they are right, and in what they show?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from saywhy.audits.contrasts import Contrast, contrast, examples, listed, of_pairs, rests_on
from saywhy.audits.finding import AuditFinding, Tested
from saywhy.audits.store import View
from saywhy.audits.traits import SAMPLE, Traits, traits_of
from saywhy.intervals import proportions_differ

KIND = "groups differ"
MOST_VALUES = 10  # of a column that makes groups
MOST_COLUMNS = 20
LEAST_PICTURES = 20  # of a group, and outside it
SHOWN = 4


def find(view: View) -> Tested:
    """A finding a value of each metadata column of few values, where accuracy or traits differ.

    Of a column of two values there is one comparison; of more, each value is compared with all the others.
    """
    traits = traits_of(view)
    tested, findings, notes, greatest = [np.zeros(0)], [], [], []
    columns = list(_columns(view))
    for column, values in columns:
        rows = view.sql(
            f"SELECT number, list_extract(map_extract(metadata, ?), 1) AS value FROM pictures WHERE "
            f"{view.sampled(SAMPLE)} ORDER BY number", [column],
        )  # fmt: skip
        code = {value: n for n, value in enumerate(values)}
        groups = np.array([code.get(value, -1) for value in rows["value"].to_pylist()])
        found = contrast(traits, groups, len(values))
        greatest.append(found.greatest)
        told = range(1 if len(values) == 2 else len(values))
        for group in told:
            one, p = _of(view, traits, found, groups, group, column, values)
            tested.append(np.concatenate([p, found.p[group][np.isfinite(found.p[group])]]))
            findings += one
    if not columns:
        return Tested(note=f"no metadata column has 2 to {MOST_VALUES} values of {LEAST_PICTURES} pictures each")
    notes.append(f"columns that make groups: {', '.join(column for column, _ in columns)} {traits.sampled}".rstrip())
    notes.append(f"where groups are dealt at random, the greatest difference is {max(greatest):.2f}")
    return Tested(findings, np.concatenate(tested), "; ".join(notes))


def _columns(view: View) -> Iterator[tuple[str, list[str]]]:
    """Columns that make groups, with their values, "split" first."""
    counted = view.sql(
        "SELECT entry.key AS name, entry.value AS value, count(*) AS n FROM (SELECT unnest(map_entries(metadata)) AS "
        "entry FROM pictures) GROUP BY ALL"
    ).to_pylist()
    by_column: dict[str, dict[str, int]] = {}
    for row in counted:
        by_column.setdefault(row["name"], {})[row["value"]] = row["n"]
    for name in sorted(by_column, key=lambda name: (name != "split", name))[:MOST_COLUMNS]:
        values = sorted(value for value, n in by_column[name].items() if n >= LEAST_PICTURES and value is not None)
        if len(values) >= 2 and len(by_column[name]) <= MOST_VALUES:
            yield name, values


def _of(
    view: View, traits: Traits, found: Contrast, groups: np.ndarray, group: int, column: str, values: list[str]
) -> tuple[list[AuditFinding], np.ndarray]:
    """The finding of one group, and the p of its accuracy."""
    from scipy.stats import fisher_exact

    inside, known = groups == group, np.isfinite(traits.correct) & (groups >= 0)
    right = [int(traits.correct[known & side].sum()) for side in (inside, ~inside)]
    count = [int((known & side).sum()) for side in (inside, ~inside)]
    others = values[1 - group] if len(values) == 2 else "all others"
    gap = proportions_differ(right[0], count[0], right[1], count[1])
    p = (
        float(fisher_exact([[right[0], count[0] - right[0]], [right[1], count[1] - right[1]]]).pvalue)
        if all(count)
        else None
    )
    telling = found.best(group, SHOWN)
    differs = p is not None and p <= 0.05
    if not telling and not differs:
        return [], np.array([] if p is None else [p])
    who = f"{column} “{values[group]}” against {others}"
    accuracy = "" if p is None else (
        f"{100 * right[0] / count[0]:.1f} % right against {100 * right[1] / count[1]:.1f} % "
        f"({count[0]} and {count[1]} pictures; {100 * gap.value:+.1f} points, {100 * gap.low:+.1f} to "
        f"{100 * gap.high:+.1f})"
    )  # fmt: skip
    traits_say = f"the first goes with {listed([found.says(group, n) for n in telling])}" if telling else ""
    head = None if differs or not telling else telling[0]
    shows: tuple[int, ...] = tuple(int(n) for n in traits.pictures[inside & (traits.correct == 0)][:12])
    counters: tuple[int, ...] = tuple(int(n) for n in traits.pictures[inside & (traits.correct == 1)][:12])
    if head is not None:
        shows, counters = examples(traits, inside, head, bool(found.delta[group, head] > 0))
    kind = "" if head is None else found.traits[head].kind
    finding = AuditFinding(
        KIND, (f"{column}={values[group]}", f"{column}={others}"),
        f"{who}: {'; '.join(filter(None, (accuracy, traits_say)))}.", False,
        gap if head is None else found.interval(group, head),
        "accuracy less that of the others" if head is None else of_pairs("of the group", "other"),
        words=found.words(telling),
        place=found.place(group, telling),
        null=float(found.null[group]) if head is not None else _accuracy_null(traits.correct[known], inside[known]),
        p=p if head is None else float(found.p[group, head]), examples=shows, counters=counters,
        rests_on=rests_on(kind),
        details={"accuracy": [right[n] / count[n] if count[n] else None for n in (0, 1)], "pictures": count,
                 "gap": [gap.value, gap.low, gap.high], "p of the gap": p,
                 "traits": [found.row(group, n) for n in found.best(group, 3 * SHOWN)]},
    )  # fmt: skip
    return [finding], np.array([] if p is None else [p])


def _accuracy_null(correct: np.ndarray, inside: np.ndarray, dealt: int = 200) -> float:
    """95 % quantile of the absolute gap of accuracy where groups are dealt at random."""
    hits = np.random.default_rng(0).hypergeometric(
        int(correct.sum()), int((1 - correct).sum()), int(inside.sum()), dealt
    )
    rest = (correct.sum() - hits) / max(1, int((~inside).sum()))
    return float(np.quantile(np.abs(hits / max(1, int(inside.sum())) - rest), 0.95))
