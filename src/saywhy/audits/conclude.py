"""From rows to findings: the trials that they need, what they show, corrected for all that was tested."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, final

from saywhy.audits.changed import show_changed
from saywhy.audits.checked import check_pictures, of_findings, sample, verified
from saywhy.audits.finding import AuditFinding, Tested, corrected
from saywhy.audits.kinds import KINDS, module_of
from saywhy.audits.names import keep_names
from saywhy.audits.options import AuditOptions
from saywhy.audits.shown import show_examples
from saywhy.audits.store import TRIALS, Store
from saywhy.audits.subject import Subject
from saywhy.errors import SaywhyError
from saywhy.pictures.in_batches import Advance
from saywhy.plumbing.files import write_whole
from saywhy.plumbing.names import unknown
from saywhy.plumbing.texts import read_json
from saywhy.questions.verify import NONE

FINDINGS = "findings.json"
TRIES = AuditOptions.tries
CLOSER = ("metadata decides", "property decides")
"""Kinds that say more closely than others what decides, the closest first."""
Bar = Callable[[str, int | None], AbstractContextManager[Advance]]
"""What is done, and how much of it there is, None where nobody knows -> what is told how much more is done."""


@contextmanager
def no_bar(what: str, count: int | None) -> Iterator[Advance]:
    """Shows nothing."""
    yield lambda more: None


def conclude(store: Store, subject: Subject | None, kinds: Sequence[str] = (), bar: Bar = no_bar) -> list[AuditFinding]:
    """All that is found, the most telling first, and kept as JSON beside the rows.

    subject: None: nothing is changed and nothing tested, and findings rest on the rows and trials that are there.
    kinds:   of KINDS; (): all.

    Raises SaywhyError where nothing could be read, and for kinds that there are not.
    """
    view = store.view()
    if not view.sql("SELECT count(*) AS n FROM pictures")["n"][0].as_py():
        raise SaywhyError(f"{store.folder}: none of its pictures could be read; see its table of errors")
    if subject is not None:
        keep_names(store, subject)
    for name in kinds:
        if name not in KINDS:
            raise unknown("kind of finding", name, KINDS)
    asked = {name: KINDS[name] for name in (kinds or KINDS)}
    for name, kind in asked.items():
        if subject is not None and kind.trials:
            done = store.parts(f"{TRIALS}/{kind.module}")
            with bar(f"trying: {name}", None) as advance:
                for part, rows in module_of(kind).trials(subject, view, done):
                    store.commit(f"{TRIALS}/{kind.module}", part, {"trials": rows})
                    advance(1)
    tries = subject.options.tries if subject is not None and subject.options.checks != NONE else 0
    if subject is not None and tries:
        numbers = sample(view, tries, subject.options.seed)
        with bar("testing a sample", len(numbers)) as advance:
            check_pictures(store, subject, numbers, "sample", advance)
    view = store.view()
    tested: dict[str, Tested] = {}
    with bar("finding", len(asked)) as advance:
        for name, kind in asked.items():
            tested[name] = module_of(kind).find(view)
            advance(1)
    found = ranked(corrected(list(tested.values())))
    if subject is not None and (numbers := of_findings(found, view, tries)):
        name = hashlib.sha256(repr(numbers).encode()).hexdigest()[:12]
        with bar("testing the findings", len(numbers)) as advance:
            check_pictures(store, subject, numbers, name, advance)
        view = store.view()
    if subject is not None:
        show_examples(store, subject, view, found, bar)
        show_changed(store, subject, view, found, bar)
    found = verified(found, view, TRIES if subject is None else tries)
    keep(store, found, {name: {"tests": len(one.p), "note": one.note} for name, one in tested.items()})
    return found


def ranked(findings: Sequence[AuditFinding]) -> list[AuditFinding]:
    """Those that survive the correction: first what decides, one finding a class and then the others, largest first;
    then what goes with something, by kind. How large what decides is, is counted above its controls.

    Of what decides one class the closest comes first: a frame turns as many pictures as the surroundings that it is in,
    and says more. One of CLOSER goes before the others where its interval reaches up to that of the largest effect.
    """
    order = {name: n for n, name in enumerate(KINDS)}
    kept = [finding for finding in findings if finding.significant]
    by_class: dict[str, list[AuditFinding]] = {}
    for finding in kept:
        if finding.decides:
            by_class.setdefault(finding.about[0], []).append(finding)
    first: list[AuditFinding] = []
    for some in by_class.values():
        largest = max(some, key=_above)
        close = [one for one in some if one.kind in CLOSER and one.effect.high >= largest.effect.low]
        first.append(min(close or [largest], key=lambda one: (_closeness(one), -_above(one))))
    told = {id(one) for one in first}

    def key(finding: AuditFinding) -> tuple[Any, ...]:
        size = -_above(finding) if finding.decides else -abs(finding.effect.value)
        if finding.decides:
            return (0, size) if id(finding) in told else (1, order.get(finding.kind, len(order)), size)
        return 2, order.get(finding.kind, len(order)), size

    return sorted(kept, key=key)


def _above(finding: AuditFinding) -> float:
    """Its effect, less that of its controls where there are any."""
    return finding.effect.value - (0.0 if math.isnan(finding.null) else finding.null)


def _closeness(finding: AuditFinding) -> int:
    return CLOSER.index(finding.kind) if finding.kind in CLOSER else len(CLOSER)


def keep(store: Store, findings: Sequence[AuditFinding], tests: dict[str, Any]) -> None:
    """Write the findings beside the rows."""
    from saywhy.audits.tables import FORMAT

    document = {"format": FORMAT, "tests": tests, "findings": [one.document() for one in findings]}
    write_whole(store.folder / FINDINGS, json.dumps(document, indent=1))


@final
class NoFindings(SaywhyError):
    """The audit was stopped before anything was found."""


def kept_findings(store: Store) -> tuple[list[AuditFinding], dict[str, Any]]:
    """The findings of an audit, and how many tests each kind made. Raises NoFindings where it has none yet,
    and SaywhyError where they cannot be read.
    """
    path = store.folder / FINDINGS
    if not path.is_file():
        raise NoFindings(f"{store.folder}: its findings are not there yet; the same saywhy audit command goes on")
    document = read_json(path)
    try:
        return [AuditFinding.read(one) for one in document["findings"]], dict(document["tests"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise SaywhyError(
            f"{path}: are no findings of this version; the same saywhy audit command makes them"
        ) from None
