"""What an audit finds: one record for all kinds of findings, and the correction for all that was tested."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, final

import numpy as np

from saywhy.intervals import Interval

LEVEL = 0.05
"""The share of false findings among those of one group, interventions or descriptions, that is put up with."""
ENDS = ("value", "low", "high")
SURROUNDINGS: Final = "surroundings"
REGIONS: Final = "regions"
WORDS: Final = "words"
"""What of an explanation bears a finding out; see ``AuditFinding.rests_on``."""


@final
@dataclass(frozen=True, eq=False)
class AuditFinding:
    """One thing that was found over a data set.

    kind:      of ``kinds.KINDS``: "outside decides", "slice".
    about:     the classes, groups or values that it is of, the affected one first.
    sentence:  what was found, as a person may read it, with its number; no markup.
    decides:   whether pictures were changed and the classifier asked again. If not, it goes with something, and may
               have nothing to do with the decision.
    effect:    with its 95 % interval. unit: what it is, in words: "of pictures turned into the class".
    words:     what names it, best first. place: where it is: "lower left", "" for nowhere in particular.
    null:      the same effect where labels were shuffled, or under the controls of an intervention; NaN: not measured.
    p:         of the effect under that null; None where it has none. q: p, corrected; see ``corrected``.
    examples:  numbers of pictures that show it, best first. counters: of those beside them, that do not or least.
    rests_on:  what of an explanation of its examples would bear it out; "" for nothing.
    verified:  (in how many of its examples that was borne out, of how many that were tested); None: not tested.
    details:   more numbers, as JSON.
    """

    kind: str
    about: tuple[str, ...]
    sentence: str
    decides: bool
    effect: Interval
    unit: str
    words: tuple[str, ...] = ()
    place: str = ""
    null: float = float("nan")
    p: float | None = None
    q: float | None = None
    examples: tuple[int, ...] = ()
    counters: tuple[int, ...] = ()
    rests_on: str = ""
    verified: tuple[int, int] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def significant(self) -> bool:
        """Whether it survives the correction; findings without a p-value are none of chance's, and are."""
        return self.q is None or self.q <= LEVEL

    def document(self) -> dict[str, Any]:
        """As JSON, in which what is not a number, or infinite, is none."""
        return dict(as_json(asdict(self)))

    @staticmethod
    def read(document: Mapping[str, Any]) -> AuditFinding:
        """Of a ``document``."""
        values = dict(document)
        effect = values["effect"]
        values["effect"] = Interval(*(float("nan") if effect[one] is None else effect[one] for one in ENDS))
        values["null"] = float("nan") if values["null"] is None else values["null"]
        for name in ("about", "words", "examples", "counters"):
            values[name] = tuple(values[name])
        values["verified"] = None if values["verified"] is None else tuple(values["verified"])
        return AuditFinding(**values)


@final
@dataclass(frozen=True, eq=False)
class Tested:
    """What one kind of finding gave.

    findings: those worth a sentence, if they survive the correction.
    p:        (T,) of every test that was made, those of the findings among them.
    note:     what a reader should know: what could not be tested, and why; what a null gave. "" for nothing.
    changed:  whether pictures were changed in the tests, so that they are corrected among interventions.
    """

    findings: Sequence[AuditFinding] = ()
    p: np.ndarray = field(default_factory=lambda: np.zeros(0))
    note: str = ""
    changed: bool = False


def corrected(tested: Sequence[Tested]) -> list[AuditFinding]:
    """All findings with their q, by Benjamini and Hochberg (1995), over all tests of their group.

    Interventions are corrected together, and descriptions together: these are many and most hold, which would make the
    correction of the others too lenient.
    """
    groups: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for one in tested:
        groups[one.changed or any(finding.decides for finding in one.findings)].append(np.asarray(one.p, float))
    every = {group: _adjusted(np.sort(np.concatenate([np.zeros(0), *parts]))) for group, parts in groups.items()}
    return [replace(f, q=None if f.p is None else _q(f.p, *every[f.decides])) for one in tested for f in one.findings]


def _adjusted(tests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted p-values, and of each the least level at which it is rejected among them."""
    each = tests * len(tests) / np.arange(1, len(tests) + 1)
    return tests, np.minimum.accumulate(each[::-1])[::-1]


def _q(p: float, tests: np.ndarray, levels: np.ndarray) -> float:
    """The level of a test with this p, which is one of them."""
    first = int(np.searchsorted(tests, p, side="left"))
    return float(min(1.0, levels[first])) if first < len(levels) else 1.0


def as_json(value: Any) -> Any:
    """As JSON has it: numbers of NumPy are plain ones; what is not a number, or infinite, is none; tuples are lists."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): as_json(one) for key, one in value.items()}
    return [as_json(one) for one in value] if isinstance(value, list | tuple) else value
