"""From which probability each label of a multi-label classifier is said: one half, or what calibration found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from saywhy.errors import SaywhyError
from saywhy.plumbing.names import unknown
from saywhy.plumbing.texts import read_json

Thresholds = float | str | Path | Sequence[float] | Mapping[str, float]
"""One for all; one each in class order; by name, others at USUAL; or a JSON file of these."""
USUAL = 0.5


def read_thresholds(source: Thresholds, labels: Sequence[str]) -> tuple[float, ...]:
    """A threshold for each label. Raises SaywhyError for values outside of 0..1, unknown names, a wrong number."""
    where, given = "threshold", source
    if isinstance(given, str | Path):
        try:
            given = float(str(given))
        except ValueError:
            where = str(given)
            given = read_json(where)
    if isinstance(given, Mapping):
        strange = next((name for name in given if name not in labels), None)
        if strange is not None:
            raise unknown("label", strange, labels, lead=f"{where}: there is no", see="its labels")
        values: list[Any] = [given.get(label, USUAL) for label in labels]
    elif isinstance(given, Sequence):
        values = list(given)
        if len(values) != len(labels):
            raise SaywhyError(f"{where}: {len(values)} thresholds for {len(labels)} labels; give one each, or by name")
    else:
        values = [given] * len(labels)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise SaywhyError(f"{where}: a threshold is a probability from 0 to 1, not {value!r}")
    return tuple(map(float, values))
