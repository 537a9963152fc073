"""The columns of metadata of an audit as groups of pictures: by value, and by quarter where there are many numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from saywhy.audits.store import View

MOST_VALUES = 50
NUMBERS = 0.99  # of the values of a column of numbers are numbers, at least
QUARTERS = ("lowest quarter", "second quarter", "third quarter", "highest quarter")


@final
@dataclass(frozen=True)
class Column:
    """One column. expression: SQL over ``pictures`` that gives a picture's group, as text, NULL for none."""

    name: str
    expression: str

    def called(self, value: str) -> str:
        """A group in words: "camera = B"."""
        return f"{self.name}: {value}" if value.startswith(QUARTERS) else f"{self.name} = {value}"


def columns(view: View) -> tuple[list[Column], list[str]]:
    """The columns whose pictures fall into groups, in order of name; and what is to be said of the others."""
    names = view.sql("SELECT DISTINCT unnest(map_keys(metadata)) AS name FROM pictures ORDER BY name")
    found, notes = [], []
    for name in names["name"].to_pylist():
        value = _value(name)
        counts = view.sql(
            f"SELECT count(DISTINCT {value}) AS values, count({value}) AS there, "
            f"count(try_cast({value} AS DOUBLE)) AS numbers FROM pictures"
        ).to_pylist()[0]
        if 2 <= counts["values"] <= MOST_VALUES:
            found.append(Column(name, value))
        elif counts["values"] > MOST_VALUES and counts["numbers"] >= NUMBERS * counts["there"]:
            found.append(Column(name, _quarters(view, value)))
            notes.append(f"{name} has {counts['values']} values, all numbers, and is taken in quarters")
        elif counts["values"] > MOST_VALUES:
            notes.append(f"{name} has {counts['values']} values, more than {MOST_VALUES}, and is left out")
    return found, notes


def groups(view: View, column: Column, where: str = "true") -> Sequence[str]:
    """The values of a column, in order."""
    found = view.sql(f"SELECT DISTINCT {column.expression} AS value FROM pictures WHERE {where} ORDER BY value")
    return [value for value in found["value"].to_pylist() if value is not None]


def _value(name: str) -> str:
    escaped = name.replace("'", "''")
    return f"nullif(list_extract(map_extract(metadata, '{escaped}'), 1), '')"


def _quarters(view: View, value: str) -> str:
    number = f"try_cast({value} AS DOUBLE)"
    quarters = view.sql(f"SELECT quantile_cont({number}, [0.25, 0.5, 0.75]) AS q FROM pictures")["q"][0].as_py()
    first, second, third = (float(one) for one in quarters)
    names = (
        f"{QUARTERS[0]} (to {first:.4g})", f"{QUARTERS[1]} (to {second:.4g})", f"{QUARTERS[2]} (to {third:.4g})",
        f"{QUARTERS[3]} (above {third:.4g})",
    )  # fmt: skip
    return (
        f"CASE WHEN {number} IS NULL THEN NULL WHEN {number} <= {first!r} THEN '{names[0]}' "
        f"WHEN {number} <= {second!r} THEN '{names[1]}' WHEN {number} <= {third!r} THEN '{names[2]}' "
        f"ELSE '{names[3]}' END"
    )
