"""Data sets to audit, by whatever they are kept in: any picture by its number, with its labels and what else is known.

A data set is listed once and opened one picture at a time, in any order, so that memory stays flat.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from saywhy.errors import SaywhyError
from saywhy.pictures.cub import cub_root, read_cub
from saywhy.pictures.disk_datasets import disk_dataset, is_disk_dataset
from saywhy.pictures.entries import Collection, Entry, Files, InColumns, Listed, Row, in_columns, labels_of
from saywhy.pictures.picture_tables import TABLES, picture_table
from saywhy.pictures.shards import are_shards, shards
from saywhy.pictures.sources import LabelledImage, each_picture, read_sources
from saywhy.plumbing.names import shown

__all__ = ["Collection", "CollectionWarning", "Entry", "InColumns", "Listed", "collection", "labels_of"]


class CollectionWarning(UserWarning):
    """Some of a data set is left out."""


def collection(
    sources: Sequence[str],
    limit: int | None = None,
    seed: int = 0,
    *,
    file_column: str | None = None,
    label_column: str | None = None,
) -> Collection:
    """The pictures of a data set.

    sources: one of: a CSV, TSV or Parquet table of files and labels; a folder in CUB's layout; WebDataset shards (a
             .tar, a folder of them, "shards-{0000..0003}.tar", "shards-*.tar"; several may be named); a Hugging Face
             data set that was saved to disk; a folder by class. Or whatever ``read_sources`` reads, several too.
    limit:   at most so many, an equal number of each class as far as there are; the same ones for the same ``seed``.
    file_column, label_column: of a table, where its columns do not say it by their names.

    Raises SaywhyError, in one line, where there are no pictures, or what describes them is wrong. A picture that cannot
    be read is seen when it is opened. Warns with a CollectionWarning of pictures that are listed and not there.
    """
    called = ", ".join(sources)
    kinds = [_kind(source) for source in sources]
    special = [kind for kind in kinds if kind is not None]
    if (file_column or label_column) and kinds != [_table]:
        raise SaywhyError(f"{shown(called)}: is no single table; --file-column and --label-column are for one")
    if kinds == [_table]:
        return picture_table(Path(sources[0]), limit, seed, file_column=file_column, label_column=label_column)
    if special and set(kinds) == {shards}:
        return shards(sources, limit, seed)
    if special:
        if len(sources) > 1:
            raise SaywhyError(
                f"{shown(called)}: give one data set at a time; several may be folders by class or shards"
            )
        return special[0](sources[0], limit, seed)
    found = read_sources(sources, limit, seed)
    return Listed(called, [_entry(picture) for picture in found])


_Reader = Callable[..., Collection]


def _kind(source: str) -> _Reader | None:
    """What reads a source; None for what ``read_sources`` reads."""
    path = Path(source)
    if source.startswith(("world:", "photos:", "@")) or source == "-":
        return None
    if path.suffix.lower() in TABLES:
        return _table
    if are_shards(source):
        return shards
    if not os.path.isdir(source):
        return None
    if is_disk_dataset(path):
        return disk_dataset
    return _cub if os.path.exists(cub_root(path) / "images.txt") else _folder


def _table(source: str, limit: int | None, seed: int) -> Collection:
    return picture_table(Path(source), limit, seed)


def _folder(source: str, limit: int | None, seed: int) -> Collection:
    rows = (Row(str(file), () if label is None else (str(label),)) for file, label in each_picture(Path(source)))
    return in_columns(source, rows, Files(), limit, seed)


def _cub(source: str, limit: int | None, seed: int) -> Collection:
    data = read_cub(source)
    if data.skipped:
        file, why = data.skipped[0]
        warnings.warn(
            f"{shown(source)}: {len(data.skipped)} pictures are left out, {shown(file)} first: {why}", CollectionWarning
        )

    def rows() -> Iterator[Row]:
        for bird in data.birds:
            yield Row(str(bird.path), (data.classes[bird.label],), {"split": bird.split} if bird.split else {})

    return in_columns(source, rows(), Files(), limit, seed)


def _entry(picture: LabelledImage) -> Entry:
    return Entry(picture.name, () if picture.label is None else (str(picture.label),), picture.open)
