"""The worst group: of the classes, and of the classes at each value of a metadata column, the one least often right.

The worst of many groups looks worse than it is. So it is chosen on half of the pictures, and its accuracy is that on
the other half. Where that half does not bear it out, its interval reaching up to the mean of all, nothing is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, final

import numpy as np

from saywhy.audits.facts import METADATA, TRUTH, Fact, clauses, first_half
from saywhy.audits.finding import AuditFinding, Tested
from saywhy.audits.store import View
from saywhy.intervals import Interval, proportion, proportions_differ

FEWEST = 10  # pictures of a group in each half
VALUES = 100  # of a metadata column, at most; a column of more names pictures, not groups
COLUMNS = 20
DRAWN = 5  # pictures' worth by which a group's accuracy is drawn to the mean, where the worst is chosen
SHOWN = 12


@final
class _Group(NamedTuple):
    """Right ones and pictures on the half that it is chosen on, and on the other."""

    facts: tuple[Fact, ...]
    chosen: tuple[int, int]
    tested: tuple[int, int]


def find(view: View) -> Tested:
    """At most one finding: the worst group's accuracy beside that of all; its details have the worst by each column.

    None where the pictures that did not choose the group do not say that it is below the mean; the note says so.
    """
    known = view.sql("SELECT number, truth, correct FROM pictures WHERE correct IS NOT NULL AND truth IS NOT NULL")
    numbers, correct = known["number"].to_numpy(), known["correct"].to_numpy().astype(bool)
    seed = int(view.manifest.get("options", {}).get("seed", 0))
    first = first_half(numbers, seed)
    if not len(numbers) or not first.any() or first.all():
        return Tested(note="the worst group could not be looked for: too few pictures have one true class")
    classes = known["truth"].combine_chunks().dictionary_encode()
    names, truth = classes.dictionary.to_pylist(), classes.indices.to_numpy(zero_copy_only=False)
    mean = correct[first].mean()
    worst: dict[str, _Group] = {}
    for column, values, which in _columns(view, numbers):
        size = len(values)
        there = which >= 0
        group = truth * size + which
        counts = [
            np.bincount(group[where], weights, len(names) * size)
            for half in (first, ~first)
            for where, weights in ((half & there, correct[half & there]), (half & there, np.ones((half & there).sum())))
        ]
        right, of, tested_right, tested_of = counts
        rate = np.where((of >= FEWEST) & (tested_of >= FEWEST), (right + DRAWN * mean) / (of + DRAWN), np.inf)
        lowest = int(rate.argmin())
        if np.isfinite(rate[lowest]):
            facts = [Fact(TRUTH, names[lowest // size], f"of “{names[lowest // size]}”")]
            if column:
                value = values[lowest % size]
                facts.append(Fact(METADATA, f"{column}: {value}", f"with {column} “{value}”"))
            worst[column] = _Group(
                tuple(facts), (int(right[lowest]), int(of[lowest])), (int(tested_right[lowest]), int(tested_of[lowest]))
            )
    if not worst:
        return Tested(note=f"the worst group could not be looked for: no class has {2 * FEWEST} pictures")
    chosen = min(worst.values(), key=lambda one: (one.chosen[0] + DRAWN * mean) / (one.chosen[1] + DRAWN))
    all_right, all_of = int(correct[~first].sum()), int((~first).sum())
    effect = _from_mean(chosen, all_right, all_of)
    if effect.high >= 0:
        return Tested(
            note=f"pictures {clauses(chosen.facts)} are least often right on the half that chose them, and not "
            f"clearly less often than all on the other: {chosen.tested[0]} of {chosen.tested[1]}, of all {all_right} "
            f"of {all_of}"
        )
    return Tested([_finding(view, chosen, worst, all_right, all_of)])


def _columns(view: View, numbers: np.ndarray) -> Iterator[tuple[str, list[str], np.ndarray]]:
    """Columns of metadata, the first "" for the class alone: values, and (N,) which a picture has, -1 for none."""
    yield "", [""], np.zeros(len(numbers), np.int64)
    found = view.sql(
        "SELECT entry.key AS name FROM (SELECT unnest(map_entries(metadata)) AS entry FROM pictures) "
        f"GROUP BY name HAVING count(DISTINCT entry.value) BETWEEN 2 AND {VALUES} ORDER BY name LIMIT {COLUMNS}"
    )
    order = np.argsort(numbers)
    for name in found["name"].to_pylist():
        rows = view.sql(
            "SELECT number, list_extract(map_extract(metadata, $1), 1) AS value FROM pictures "
            "WHERE correct IS NOT NULL AND truth IS NOT NULL", [name],
        )  # fmt: skip
        coded = rows["value"].combine_chunks().dictionary_encode()
        which = np.full(len(numbers), -1, np.int64)
        places = order[np.searchsorted(numbers, rows["number"].to_numpy(), sorter=order)]
        which[places] = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        yield name, [str(value) for value in coded.dictionary.to_pylist()], which


def _finding(view: View, chosen: _Group, worst: dict[str, _Group], all_right: int, all_of: int) -> AuditFinding:
    right, of = chosen.tested
    here, mean = proportion(right, of), all_right / all_of
    effect = _from_mean(chosen, all_right, all_of)
    sentence = (
        f"The lowest accuracy goes with pictures {clauses(chosen.facts)}: of the {of} that did not choose "
        f"them {here.value:.0%} are right ({here.low:.0%} to {here.high:.0%}), and {mean:.0%} of all."
    )
    return AuditFinding(
        "worst group",
        tuple(fact.value for fact in chosen.facts),
        sentence,
        decides=False,
        effect=effect,
        unit="of accuracy, beside the mean",
        words=tuple(fact.value for fact in chosen.facts),
        examples=_pictures(view, chosen, right=False),
        counters=_pictures(view, chosen, right=True),
        details={
            "accuracy": {"value": here.value, "low": here.low, "high": here.high},
            "mean": mean,
            "pictures": of,
            "groups": [
                {
                    "by": column or "class", "facts": [fact.value for fact in one.facts], "chosen_on": list(one.chosen),
                    "tested_on": list(one.tested), "gap": _from_mean(one, all_right, all_of).value,
                }
                for column, one in worst.items()
            ],
        },
    )  # fmt: skip


def _from_mean(one: _Group, all_right: int, all_of: int) -> Interval:
    """A group's accuracy less that of all pictures, it among them: the share that the others are of its gap to them."""
    right, of = one.tested
    share, gap = 1 - of / all_of, proportions_differ(right, of, all_right - right, all_of - of)
    if not share:
        return Interval(0.0, 0.0, 0.0)
    return Interval(share * gap.value, share * gap.low, share * gap.high)


def _pictures(view: View, group: _Group, *, right: bool) -> tuple[int, ...]:
    """Of a group, those that are right or wrong, the clearest first."""
    column, _, value = group.facts[-1].value.partition(": ") if len(group.facts) > 1 else ("", "", "")
    where = "truth = $1" + (" AND list_extract(map_extract(metadata, $2), 1) = $3" if column else "")
    order = "true_probability DESC" if right else "true_probability"
    which = "correct" if right else "NOT correct"
    query = f"SELECT number FROM pictures WHERE {where} AND {which} ORDER BY {order}, number"
    parameters = [group.facts[0].value, *([column, value] if column else [])]
    return tuple(view.sql(f"{query} LIMIT {SHOWN}", parameters)["number"].to_pylist())
