"""The names of a classifier's classes: from a file, from the user, or from the library that brought the weights."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path

from saywhy.errors import SaywhyError


def read_class_names(source: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Names in class order, from a sequence or a file.

    .txt: one name a line. .json: a list, or an object {"0": name, ...}. .csv: a name a row, or index and name; a header
    row is recognised by its words (index, class, name, label). Raises SaywhyError where the file is none of these.
    """
    if not isinstance(source, str | Path):
        return tuple(str(name) for name in source)
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise SaywhyError(f"{path}: no such label file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SaywhyError(f"{path}: cannot be read as a label file ({error})") from None
    read = {".json": _from_json, ".csv": _from_csv}.get(path.suffix.lower(), _from_lines)
    names = read(text, path)
    if not names:
        raise SaywhyError(f"{path}: contains no class names")
    return tuple(names)


def check_count(names: Sequence[str], classes: int, where: str) -> None:
    """Raises SaywhyError unless there is exactly one name per class."""
    if len(names) != classes:
        raise SaywhyError(
            f"{where}: {len(names)} class names for a classifier of {classes} classes; give one per class"
        )


def common_name(label: str) -> str:
    """The English name of "Latin name (English name)": sentence encoders know little Latin. Others as they are."""
    match = re.fullmatch(r"[A-Z][a-z]+(?: [a-z-]+)+ \(([^()]+)\)", label)
    return match[1] if match else label


def plain(name: str) -> str:
    """A class name without what folders add to it: "001.Black_footed_Albatross" becomes "black footed albatross"."""
    return re.sub(r"[\W_]+", " ", re.sub(r"^\d+\.", "", name).lower()).strip()


def folder_names(classes: Sequence[str]) -> dict[str, int]:
    """Every name that a class's folder may have, made ``plain`` -> the class's index.

    A class's name takes precedence over a common name, and that over an index: "8" is the class "8" where there is one.
    """
    known = {str(n): n for n in range(len(classes))}
    known |= {plain(common_name(name)): index for index, name in enumerate(classes)}
    return known | {plain(name): index for index, name in enumerate(classes)}


def _from_lines(text: str, path: Path) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _from_json(text: str, path: Path) -> list[str]:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise SaywhyError(f"{path}: not valid JSON ({error})") from None
    if isinstance(data, dict):
        return _in_order({key: _one_name(value) for key, value in data.items()}, path)
    if isinstance(data, list):
        return [_one_name(value) for value in data]
    raise SaywhyError(f"{path}: expected a list of names, or an object from index to name")


def _one_name(value: object) -> str:
    """A name; of the [wnid, name] pairs of ImageNet's class index, the name."""
    return str(value[-1]) if isinstance(value, list) and value else str(value)


def _from_csv(text: str, path: Path) -> list[str]:
    rows = [row for row in csv.reader(text.splitlines()) if any(cell.strip() for cell in row)]
    if rows and all(cell.strip().lower() in _HEADER for cell in rows[0]):
        rows = rows[1:]
    if rows and all(len(row) == 2 and row[0].strip().isdigit() for row in rows):
        return _in_order({row[0].strip(): row[1].strip() for row in rows}, path)
    return [row[-1].strip() for row in rows]


_HEADER = {"index", "idx", "id", "class", "class_index", "class_id", "name", "class_name", "label"}


def _in_order(names: dict[str, str], path: Path) -> list[str]:
    try:
        by_index = {int(key): name for key, name in names.items()}
    except ValueError:
        raise SaywhyError(f"{path}: the keys of the names must be class indices") from None
    start = min(by_index, default=0)
    if start not in (0, 1) or sorted(by_index) != list(range(start, start + len(by_index))):
        raise SaywhyError(f"{path}: class indices must run from 0 (or 1) without gaps")
    return [by_index[index] for index in sorted(by_index)]
