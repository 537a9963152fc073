"""Labelled pictures to audit: any picture by its number, with its labels and whatever else is known of it.

A collection is listed once and opened one picture at a time, in any order, so that memory stays flat.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, final, runtime_checkable

from PIL.Image import Image

from saywhy.pictures.sources import LabelledImage, read_sources


@final
@dataclass(frozen=True, eq=False)
class Entry:
    """One picture of a collection, not opened yet.

    name:     what it is called, unique in the collection: a path, "shard-0001.tar/0042.jpg".
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
    """A collection whose entries are all in memory, a few hundred bytes each."""

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


def collection(sources: Sequence[str], limit: int | None = None, seed: int = 0) -> Collection:
    """What sources stand for: files, folders by class, worlds; see ``read_sources``.

    Raises SaywhyError where they stand for no pictures.
    """
    found = read_sources(sources, limit, seed)
    return Listed(", ".join(sources), [_entry(picture) for picture in found])


def _entry(picture: LabelledImage) -> Entry:
    return Entry(picture.name, () if picture.label is None else (str(picture.label),), picture.open)
