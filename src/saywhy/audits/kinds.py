"""The kinds of findings, in the order in which a report has them: a row each."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from importlib import import_module
from typing import Any, NamedTuple, Protocol, final

from saywhy.audits.finding import AuditFinding, Tested
from saywhy.audits.store import View
from saywhy.audits.subject import Subject

MEASURED, SHARED, OF_METADATA = "as measured in the pictures", "what its pictures share", "named by the metadata"
MOST, LEAST = "Pictures of the class that show it most", "Pictures of the class that show it least"


@final
class Kind(NamedTuple):
    """module: in ``audits.findings``. title: of its part of the report. trials: whether it changes pictures.

    examples, counters: what the pictures are that a finding has as these, as a heading.
    badge: what stands beside a finding that does not decide.
    names: what its words are, where they are never the space's.
    """

    module: str
    title: str
    trials: bool = False
    examples: str = "Pictures that show it"
    counters: str = "Pictures that do not"
    badge: str = "goes with"
    names: str = ""


KINDS: dict[str, Kind] = {
    "outside decides": Kind(
        "outside", "Surroundings that decide", True, "Pictures whose surroundings turn others",
        "Pictures whose surroundings turn no other",
    ),
    "one cue": Kind(
        "one_cue", "One cue that decides", True, "Pictures that lend the cue", "Pictures whose cue turns no other"
    ),
    "fixed place": Kind(
        "fixed_place", "A place that decides", True, "Pictures of which what is there turns others",
        "Pictures of which what is there turns no other",
    ),
    "property decides": Kind(
        "properties", "Properties and pasted pieces that decide", True, "Pictures of the class that have it",
        "Pictures of other classes that it does not turn", names=MEASURED,
    ),
    "metadata decides": Kind(
        "metadata", "Metadata that decide", True, "Pictures of the class that have it",
        "Pictures of other classes that it does not turn", names=OF_METADATA,
    ),
    "recognised by": Kind("recognised", "What classes are recognised by", False, MOST, LEAST),
    "confused classes": Kind(
        "confused", "Classes that are taken for each other", False, "Pictures with most probability of the other class",
        "Pictures with least probability of the other class",
    ),
    "wrong predictions": Kind(
        "wrong", "Where predictions are wrong", False, "Wrong ones that show it most", "Wrong ones that show it least"
    ),
    "groups differ": Kind(
        "groups", "Where groups of pictures differ", False, "Pictures of the first group that show it",
        "Pictures of the first group that do not, or least",
    ),
    "slice": Kind(
        "slices", "Groups of pictures that are more often wrong", False, "Wrong ones of the group",
        "Right ones that are not of the group",
    ),
    "worst group": Kind(
        "worst_group", "The group with the lowest accuracy", False, "Wrong ones of the group",
        "Right ones of the group", names=SHARED,
    ),
    "cluster": Kind(
        "clusters", "Classes that are explained in several ways", False, "Pictures of the first kind",
        "Pictures of the other kinds",
    ),
    "label errors": Kind(
        "label_errors", "Labels that may be wrong", False, "Pictures to look at",
        "Pictures that fit the same labels best", badge="to check",
    ),
    "inside": Kind("inside", "What the model holds inside"),
    "goes with metadata": Kind("metadata_with", "What goes with metadata", names=OF_METADATA),
}  # fmt: skip
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


def kind_of(name: str) -> Kind:
    """A kind by its name; one without a module for a name that there is not, as an older audit may have."""
    return KINDS.get(name) or Kind("", name[:1].upper() + name[1:])


def badge_of(finding: AuditFinding) -> str:
    """ "decides", or what else stands beside a finding."""
    return "decides" if finding.decides else kind_of(finding.kind).badge


def names_are(finding: AuditFinding, phrases: Container[str]) -> str:
    """What the words of a finding are: those of the space, whose vocabulary has these phrases, or others."""
    kind = kind_of(finding.kind)
    if kind.names:
        return kind.names
    known = [word in phrases for word in finding.words]
    if all(known):
        return "in the words of the space"
    if not kind.trials:
        return SHARED
    return f"{MEASURED}, and in the words of the space" if any(known) else MEASURED


def module_of(kind: Kind) -> Any:
    """The module of a kind, imported when it is needed."""
    return import_module(f"saywhy.audits.findings.{kind.module}")
