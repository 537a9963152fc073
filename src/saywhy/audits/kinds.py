"""The kinds of findings, in the order in which a report has them: a row each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, NamedTuple, Protocol, final

from saywhy.audits.finding import Tested
from saywhy.audits.store import View
from saywhy.audits.subject import Subject


@final
class Kind(NamedTuple):
    """module: in ``audits.findings``. title: of its part of the report. trials: whether it changes pictures."""

    module: str
    title: str
    trials: bool = False


KINDS: dict[str, Kind] = {
    "outside decides": Kind("outside", "Surroundings that decide", trials=True),
    "one cue": Kind("one_cue", "One cue that decides", trials=True),
    "fixed place": Kind("fixed_place", "A place that decides", trials=True),
    "property decides": Kind("properties", "Properties and pasted pieces that decide", trials=True),
    "metadata decides": Kind("metadata", "Metadata that decide", trials=True),
    "recognised by": Kind("recognised", "What classes are recognised by"),
    "confused classes": Kind("confused", "Classes that are taken for each other"),
    "wrong predictions": Kind("wrong", "Where predictions are wrong"),
    "groups differ": Kind("groups", "Where groups of pictures differ"),
    "slice": Kind("slices", "Groups of pictures that are more often wrong"),
    "worst group": Kind("worst_group", "The group with the lowest accuracy"),
    "cluster": Kind("clusters", "Classes that are explained in several ways"),
    "label errors": Kind("label_errors", "Labels that may be wrong"),
    "inside": Kind("inside", "What the model holds inside"),
    "goes with metadata": Kind("metadata_with", "What goes with metadata"),
}
"""Name -> kind, in order: what decides first, then what goes with something."""

Trials = Iterator[tuple[str, Sequence[dict[str, Any]]]]
"""Parts of a family's trials, by name, in an order that is always the same; see ``tables.TRIALS``."""


class Finds(Protocol):
    """A module of ``audits.findings``: ``find`` and, where pictures are changed, ``trials``."""

    @property
    def find(self) -> Callable[[View], Tested]:
        """From the rows that are there."""

    @property
    def trials(self) -> Callable[[Subject, View, set[str]], Trials]:
        """The parts of its trials, less those that are done: the set."""


def module_of(kind: Kind) -> Any:
    """The module of a kind, imported when it is needed."""
    return import_module(f"saywhy.audits.findings.{kind.module}")
