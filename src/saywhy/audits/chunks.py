"""A chunk of a collection's pictures: the unit of work, the same in every process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from PIL.Image import Image

from saywhy.audits.rows import Rows, placed, rows_of
from saywhy.audits.subject import Subject
from saywhy.pictures.collections import Entry
from saywhy.pictures.in_batches import Advance, Failure, in_batches

KILOBYTES = 6.0  # of a thumbnail and a map together, about


@final
@dataclass(frozen=True, eq=False)
class Chunk:
    """The rows of one chunk of pictures, by table, and the pictures that are kept of it: file name -> JPEG."""

    number: int
    tables: Mapping[str, Sequence[Mapping[str, Any]]]
    files: Mapping[str, bytes]


def chunk_name(number: int) -> str:
    return f"{number:08d}"


def describe_chunk(subject: Subject, number: int, advance: Advance = lambda count: None) -> Chunk:
    """The rows of one chunk: the work that every engine does."""
    size = subject.options.chunk
    numbers = range(number * size, min((number + 1) * size, len(subject.pictures)))
    pictures, regions, failures, files = list[Any](), list[Any](), list[Any](), dict[str, bytes]()
    shown = kept(subject)

    def work(batch: Sequence[tuple[str, Image]]) -> list[Rows]:
        return rows_of(subject, batch)

    asked_for = [_Numbered(n, subject.pictures[n]) for n in numbers]
    for asked, result in in_batches(asked_for, work, batch_size=subject.options.batch_size, advance=advance):
        if isinstance(result, Failure):
            truth = asked.entry.labels[0] if asked.entry.labels else None
            failures.append({"number": asked.number, "file": asked.name, "truth": truth, "reason": result.reason})
            continue
        row, of_regions = placed(result, subject, asked.number, asked.entry)
        pictures.append(row)
        regions += of_regions
        if shown(asked.number):
            thumbnail, heat = result.show()
            files |= {f"{asked.number}.jpg": thumbnail, f"{asked.number}-map.jpg": heat}
    tables = {"pictures": pictures, "regions": regions, "errors": failures}
    return Chunk(number, {name: sorted(rows, key=lambda row: row["number"]) for name, rows in tables.items()}, files)


def kept(subject: Subject) -> Callable[[int], bool]:
    """Which pictures have a thumbnail and a map kept: all where they fit the budget, else every n-th by chance."""
    fit = 1000 * subject.options.pictures_mb / KILOBYTES / max(1, len(subject.pictures))
    if fit >= 1:
        return lambda number: True
    return lambda number: bool(np.random.default_rng([subject.options.seed, number]).random() < fit)


@final
@dataclass(frozen=True, eq=False)
class _Numbered:
    number: int
    entry: Entry

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def open(self) -> Callable[[], Image]:
        return self.entry.open
