"""A chunk of a collection's pictures: the unit of work, the same in every process."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, final

from PIL.Image import Image

from saywhy.audits.rows import Rows, placed, rows_of
from saywhy.audits.subject import Subject
from saywhy.pictures.ahead import Ahead, ahead
from saywhy.pictures.collections import Entry
from saywhy.pictures.in_batches import Advance, Failure, in_batches

if TYPE_CHECKING:
    import pyarrow

ROOM = 8000  # bytes of a row of ``tables.SHOWN`` on disk, at most, all that stands around it counted in
FOR_ALL = 0.75  # of the room for pictures to show: for a sample of all; the rest is for examples of what is found
AHEAD = 2  # batches of pictures that are opened before their turn


@final
@dataclass(frozen=True, eq=False)
class Chunk:
    """The rows of one chunk of pictures, by table."""

    number: int
    tables: Mapping[str, Sequence[Mapping[str, Any]] | pyarrow.Table]


def chunk_name(number: int) -> str:
    return f"{number:08d}"


def numbers_of(subject: Subject, chunk: int) -> range:
    """Of the pictures of a chunk."""
    size = subject.options.chunk
    return range(chunk * size, min((chunk + 1) * size, len(subject.pictures)))


def describe_chunk(subject: Subject, number: int, shown: Container[int] | None = None) -> Chunk:
    """The rows of one chunk: the work that every engine does. shown: of ``shown_of``, to whom it is known already."""
    return next(describe_chunks(subject, [number], shown=shown))


def shown_of(subject: Subject) -> frozenset[int]:
    """Numbers of the pictures of which a thumbnail and a map are kept, whatever is found."""
    return subject.evenly(room(subject, FOR_ALL))


def describe_chunks(
    subject: Subject,
    chunks: Sequence[int],
    advance: Advance = lambda count: None,
    shown: Container[int] | None = None,
) -> Iterator[Chunk]:
    """The rows of one chunk after another; pictures of the next are opened while one is worked on."""
    shown = shown_of(subject) if shown is None else shown
    with opening(subject, (number for chunk in chunks for number in numbers_of(subject, chunk))) as pictures:
        for chunk in chunks:
            own = islice(pictures, len(numbers_of(subject, chunk)))
            yield Chunk(chunk, describe_each(subject, own, shown, advance))


@final
@dataclass(frozen=True, eq=False)
class Numbered:
    """A picture of a collection with its number there."""

    number: int
    entry: Entry

    @property
    def name(self) -> str:
        return self.entry.name

    def open(self) -> Image:
        return self.entry.open()


@contextmanager
def opening(subject: Subject, numbers: Iterable[int]) -> Iterator[Iterator[Ahead[Numbered]]]:
    """Pictures by their numbers, some opened before their turn."""
    asked_for = (Numbered(number, subject.pictures[number]) for number in numbers)
    with ahead(asked_for, AHEAD * subject.options.batch_size) as pictures:
        yield pictures


def describe_each(
    subject: Subject, asked_for: Iterable[Ahead[Numbered]], shown: Container[int], advance: Advance = lambda count: None
) -> dict[str, list[dict[str, Any]]]:
    """The rows of pictures, by table. shown: those of which a thumbnail and a map are kept."""
    pictures, regions, failures, kept = list[Any](), list[Any](), list[Any](), list[Any]()

    def work(batch: Sequence[tuple[str, Image]]) -> list[Rows]:
        return rows_of(subject, batch)

    for asked, result in in_batches(asked_for, work, batch_size=subject.options.batch_size, advance=advance):
        number, entry = asked.picture.number, asked.picture.entry
        if isinstance(result, Failure):
            truth = subject.name_of(entry.labels[0]) if len(entry.labels) == 1 else None
            failures.append({"number": number, "file": entry.name, "truth": truth, "reason": result.reason})
            continue
        row, of_regions = placed(result, subject, number, entry)
        if subject.turns[number] < subject.options.objects:
            row |= result.seek()
        pictures.append(row)
        regions += of_regions
        if number in shown:
            kept.append({"number": number, **result.show()})
    tables = {"pictures": pictures, "regions": regions, "errors": failures, "shown": kept}
    return {name: sorted(rows, key=lambda row: row["number"]) for name, rows in tables.items()}


def room(subject: Subject, part: float = 1.0) -> int:
    """How many pictures a part of the budget for them has room for."""
    return int(part * 1e6 * subject.options.pictures_mb / ROOM)
