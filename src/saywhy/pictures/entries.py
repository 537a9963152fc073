"""Labelled pictures by number: one entry, and collections of them in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, final, runtime_checkable

from PIL.Image import Image

from saywhy.errors import SaywhyError
from saywhy.pictures.reading import read_picture
from saywhy.pictures.sources import evenly
from saywhy.plumbing.extras import need
from saywhy.plumbing.names import in_utf8, shown

if TYPE_CHECKING:
    import pyarrow

BLOCK = 50_000  # rows that are Python objects at once


@final
@dataclass(frozen=True, eq=False)
class Entry:
    """One picture of a collection, not opened yet.

    name:     what it is called, unique in the collection: a path, "shard-0001.tar/0042".
    labels:   its true classes, by the collection's names; () where they are not known.
    metadata: column -> value, of all else that is known of it.
    open:     gives the upright RGB picture; raises SaywhyError where it cannot be read.
    """

    name: str
    labels: tuple[str, ...]
    open: Callable[[], Image] = field(repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class Collection(Protocol):
    """Pictures by number. An entry is the same whenever it is asked for, in every process."""

    @property
    def name(self) -> str:
        """What the user called it."""

    @property
    def digest(self) -> str:
        """Changes with the names, labels and metadata of the pictures, and with their order."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Entry: ...


@final
@dataclass(frozen=True, eq=False)
class Listed:
    """A collection whose entries are all in memory, about 560 bytes each."""

    name: str
    entries: Sequence[Entry]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, number: int) -> Entry:
        return self.entries[number]

    @property
    def digest(self) -> str:
        digest = hashlib.sha256()
        for entry in self.entries:
            digest.update(repr((entry.name, entry.labels, sorted(entry.metadata.items()))).encode())
        return digest.hexdigest()[:16]


@final
@dataclass(frozen=True)
class Row:
    """One picture of a collection ``InColumns``. place: numbers by which ``opener`` finds it; the rest as of Entry."""

    name: str
    labels: Sequence[str]
    metadata: Mapping[str, str] = field(default_factory=dict)
    place: tuple[int, ...] = ()


Opener = Callable[[str, tuple[int, ...]], Image]
"""Gives the upright RGB picture of a name and a place. It is pickled with its collection."""


@final
@dataclass(frozen=True)
class Files:
    """Opens pictures that are files, wherever a process works. folder: where relative names begin."""

    folder: str = field(default_factory=os.getcwd)

    def __call__(self, name: str, place: tuple[int, ...] = ()) -> Image:
        return read_picture(os.path.join(self.folder, name))


@final
@dataclass(frozen=True, eq=False)
class InColumns:
    """A collection in the columns of one table: 60 bytes a picture, and about 17 for each of its metadata.

    table: columns name, labels, metadata, and the numbers of ``Row.place``. Make one with ``in_columns``.
    """

    name: str
    table: pyarrow.Table
    opener: Opener

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, number: int) -> Entry:
        name, labels, metadata, *place = (column[number].as_py() for column in self.table.columns)
        called = os.fsdecode(name)
        return Entry(called, tuple(labels), partial(self.opener, called, tuple(place)), dict(metadata))

    @property
    def digest(self) -> str:
        digest = hashlib.sha256()
        for batch in self.table.to_batches(BLOCK):
            for column in batch.columns:
                digest.update(repr(column.to_pylist()).encode())
        return digest.hexdigest()[:16]


def in_columns(
    called: str, rows: Iterable[Row], opener: Opener, limit: int | None = None, seed: int = 0, *, places: int = 0
) -> InColumns:
    """A collection of rows, which are taken one by one and not kept.

    limit: at most so many, an equal number of each class as far as there are; the same ones for the same ``seed``.
    places: how many numbers each row's place has.

    Raises SaywhyError where there are no rows, or two have the same name.
    """
    need("a data set in a table", "pyarrow")
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pa.list_(pa.string()), pa.map_(pa.string(), pa.string())
    names = ["name", "labels", "metadata", *(f"place {n}" for n in range(places))]
    schema = pa.schema(list(zip(names, [pa.binary(), *texts, *[pa.int64()] * places], strict=True)))
    table = pa.Table.from_batches((_batch(block, schema) for block in _blocks(rows)), schema).combine_chunks()
    if not table.num_rows:
        raise SaywhyError(f"{shown(called)}: has no pictures")
    if pc.count_distinct(table["name"]).as_py() < table.num_rows:
        counted = pc.value_counts(table["name"])
        first = counted.filter(pc.greater(counted.field("counts"), 1))[0]["values"].as_py()
        raise SaywhyError(
            f"{shown(called)}: names the picture {shown(os.fsdecode(first))} more than once; give each one "
            "row, with all its labels in one cell (a|b)"
        )
    if limit is not None:
        classes = [labels[0] if labels else "" for labels in table["labels"].to_pylist()]
        table = table.take(evenly(classes, limit, seed)).combine_chunks()
    return InColumns(called, table, opener)


def labels_of(pictures: Collection) -> dict[str, int]:
    """The labels of a collection -> how many pictures have each."""
    counts = dict[str, int]()
    if isinstance(pictures, InColumns):
        import pyarrow.compute as pc

        for found in pc.value_counts(pc.list_flatten(pictures.table["labels"])).to_pylist():
            counts[found["values"]] = found["counts"]
        return counts
    for number in range(len(pictures)):
        for label in pictures[number].labels:
            counts[label] = counts.get(label, 0) + 1
    return counts


def names_and_labels(pictures: Collection) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Of each picture, in order; of large collections quicker than to ask for each entry."""
    if isinstance(pictures, InColumns):
        for batch in pictures.table.select(["name", "labels"]).to_batches(BLOCK):
            for name, labels in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield os.fsdecode(name), tuple(labels)
        return
    for number in range(len(pictures)):
        entry = pictures[number]
        yield entry.name, entry.labels


def _blocks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    taken = iter(rows)
    while block := list(islice(taken, BLOCK)):
        yield block


def _batch(rows: Sequence[Row], schema: pyarrow.Schema) -> pyarrow.RecordBatch:
    import pyarrow as pa

    columns: list[list[Any]] = [
        [os.fsencode(row.name) for row in rows],  # a file's name need not be UTF-8
        [list(dict.fromkeys(map(in_utf8, row.labels))) for row in rows],
        [[(in_utf8(key), in_utf8(value)) for key, value in row.metadata.items()] for row in rows],
        *([row.place[n] for row in rows] for n in range(len(schema) - 3)),
    ]
    return pa.record_batch(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )
