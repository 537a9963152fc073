"""Thumbnails and maps of the pictures that findings name, of which the run could not know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import islice, zip_longest

from saywhy.audits.chunks import describe_each, opening, room
from saywhy.audits.finding import AuditFinding
from saywhy.audits.store import SHOWN, Store, View
from saywhy.audits.subject import Subject
from saywhy.pictures.in_batches import Advance

AT_ONCE = 128  # pictures that are written together


def show_examples(
    store: Store, subject: Subject, view: View, findings: Sequence[AuditFinding],
    bar: Callable[[str, int | None], AbstractContextManager[Advance]],
) -> None:  # fmt: skip
    """Keep a thumbnail and a map of examples and counter-examples, as far as there is room; the first ones first.

    What cannot be opened any more is left out.
    """
    there = set(view.columns("SELECT number FROM shown")["number"].tolist())
    wanted = [number for number in examples(findings) if number not in there][: max(0, room(subject) - len(there))]
    if not wanted:
        return
    ordinal = len(store.parts(SHOWN))
    with bar("keeping pictures of examples", len(wanted)) as advance, opening(subject, wanted) as pictures:
        for n, _ in enumerate(range(0, len(wanted), AT_ONCE)):
            tables = describe_each(subject, islice(pictures, AT_ONCE), frozenset(wanted), advance)
            store.commit(SHOWN, f"{ordinal + n:08d}", {"shown": tables["shown"]})


def examples(findings: Sequence[AuditFinding]) -> list[int]:
    """Numbers of pictures, each once: first the first one of each finding, then the second ones."""
    pairs = [
        [number for pair in zip_longest(one.examples, one.counters) for number in pair if number is not None]
        for one in findings
    ]
    return list(dict.fromkeys(number for turn in zip_longest(*pairs) for number in turn if number is not None))
