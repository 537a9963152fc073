"""Data sets of Hugging Face's ``datasets``, as ``save_to_disk`` writes them. The library is an optional extra."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, final

from PIL.Image import Image

from saywhy.errors import SaywhyError
from saywhy.pictures.entries import BLOCK, InColumns, Row, in_columns
from saywhy.pictures.picture_tables import LABELS, as_text, labels_in
from saywhy.pictures.reading import read_picture
from saywhy.plumbing.extras import need
from saywhy.plumbing.names import first_line, shown

_SPLITS, _STATE = "dataset_dict.json", "state.json"


def is_disk_dataset(folder: Path) -> bool:
    """Whether a folder is what ``save_to_disk`` wrote: a data set, or several splits of one."""
    return (folder / _SPLITS).is_file() or ((folder / _STATE).is_file() and (folder / "dataset_info.json").is_file())


def disk_dataset(folder: Path | str, limit: int | None = None, seed: int = 0) -> InColumns:
    """The pictures of a data set on disk, of all its splits; with several, the metadata has a "split".

    It has one column of pictures, or one that is called "image". Labels are the column of ClassLabel (or a list of
    them), else the one that is called as in LABELS; every other column of numbers and texts is metadata.
    limit, seed: as of ``collection``.

    Raises SaywhyError without the library, without such a column, and where the folder cannot be read.
    """
    root = os.path.abspath(folder)
    return in_columns(str(folder), _rows(str(folder), _loaded(root)), _InDataset(root), limit, seed, places=2)


@final
@dataclass(frozen=True)
class _InDataset:
    """Opens pictures by the number of their split and of their row."""

    folder: str

    def __call__(self, name: str, place: tuple[int, ...]) -> Image:
        split, row = place
        _, data = _loaded(self.folder)[split]
        cell = data[row][_image_column(self.folder, data)]
        if cell is None:
            raise SaywhyError(f"{shown(name)}: there is no picture in this row")
        return read_picture(cell["path"]) if cell["bytes"] is None else read_picture(cell["bytes"], name=name)


@lru_cache(maxsize=4)
def _loaded(folder: str) -> list[tuple[str, Any]]:
    """(name, data set) of each split, in order; "" of a data set without splits. Pictures stay as bytes."""
    datasets = need(f"{shown(folder)}: a data set of Hugging Face", "datasets")
    try:
        found = datasets.load_from_disk(folder)
    except Exception as error:  # the library has many, and Arrow's beside them
        raise SaywhyError(f"{shown(folder)}: the data set cannot be loaded ({first_line(error)})") from None
    splits = list(found.items()) if isinstance(found, datasets.DatasetDict) else [("", found)]
    return [(name, _undecoded(folder, data)) for name, data in splits]


def _undecoded(folder: str, data: Any) -> Any:
    import datasets

    return data.cast_column(_image_column(folder, data), datasets.Image(decode=False))


def _image_column(folder: str, data: Any) -> str:
    import datasets

    columns = [name for name, feature in data.features.items() if isinstance(feature, datasets.Image)]
    if len(columns) > 1 and "image" in columns:
        return "image"
    if len(columns) != 1:
        held = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in data.features.items())
        raise SaywhyError(
            f"{shown(folder)}: {len(columns)} columns of pictures, where one, or one called image, is needed; it has "
            f"{shown(held)}"
        )
    return columns[0]


def _rows(folder: str, splits: list[tuple[str, Any]]) -> Iterator[Row]:
    import datasets

    for number, (split, data) in enumerate(splits):
        label, names = _label_column(folder, data)
        others = [
            name for name, feature in data.features.items()
            if name != label and isinstance(feature, datasets.Value | datasets.ClassLabel)
            and "binary" not in str(getattr(feature, "dtype", ""))
        ]  # fmt: skip
        wanted = [*([label] if label else []), *others]
        known = {name: data.features[name] for name in others}
        row = 0
        for start in range(0, len(data), BLOCK):
            block = range(start, min(start + BLOCK, len(data)))
            taken = data.select_columns(wanted).with_format("arrow")[start : block.stop].to_pylist() if wanted else []
            for cells in taken or ({} for _ in block):
                labels = () if label is None else _names(cells[label], names)
                metadata = {name: said for name in others if (said := _said(cells[name], known[name]))}
                where = f"{folder}/{split}/{row}" if split else f"{folder}/{row}"
                yield Row(where, labels, metadata | ({"split": split} if split else {}), (number, row))
                row += 1


def _label_column(folder: str, data: Any) -> tuple[str | None, list[str] | None]:
    """The column of labels, and what its numbers stand for, where it has numbers."""
    import datasets

    named = {name: feature for name, feature in data.features.items() if name.lower() in LABELS}
    typed = {name: names for name, feature in data.features.items() if (names := _class_names(feature)) is not None}
    chosen = [name for name in typed if name in named] or list(typed)
    if len(chosen) > 1:
        raise SaywhyError(
            f"{shown(folder)}: several columns of labels, {', '.join(chosen)}; rename the right one label"
        )
    if chosen:
        return chosen[0], typed[chosen[0]]
    plain = [name for name, feature in named.items() if not isinstance(feature, dict | datasets.Image)]
    return (plain[0] if plain else None), None


def _class_names(feature: Any) -> list[str] | None:
    import datasets

    inner = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", feature)
    return list(inner.names) if isinstance(inner, datasets.ClassLabel) else None


def _names(cell: Any, names: list[str] | None) -> tuple[str, ...]:
    """Labels of a cell; a number below 0 stands for one that is not known."""
    if names is None:
        return labels_in(cell)
    given = cell if isinstance(cell, list) else [cell]
    return tuple(names[one] for one in given if one is not None and 0 <= one < len(names))


def _said(value: Any, feature: Any) -> str:
    import datasets

    if isinstance(feature, datasets.ClassLabel) and isinstance(value, int):
        return feature.names[value] if 0 <= value < len(feature.names) else ""
    return as_text(value)
