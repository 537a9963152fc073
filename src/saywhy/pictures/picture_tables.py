"""A table of pictures, as CSV, TSV or Parquet: a row a picture, with its file, its labels and what else is known."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saywhy.errors import SaywhyError
from saywhy.pictures.entries import BLOCK, Files, InColumns, Row, in_columns
from saywhy.plumbing.extras import need
from saywhy.plumbing.files import open_file
from saywhy.plumbing.names import first_line, shown, unknown

if TYPE_CHECKING:
    import pyarrow

TABLES = (".csv", ".tsv", ".parquet", ".pq")
"""What the names of tables end in."""
FILES = ("file", "path", "image", "file_name", "filename", "filepath", "file_path", "image_path")
LABELS = ("label", "class", "labels", "classes", "class_index")
"""What the columns of files and of labels are called, in any case."""
LOOKED_FOR = 100  # files of a table that are looked for before it is believed
BETWEEN = re.compile("[|;]")  # several labels in one cell


def picture_table(
    path: Path,
    limit: int | None = None,
    seed: int = 0,
    *,
    file_column: str | None = None,
    label_column: str | None = None,
) -> InColumns:
    """The pictures that a table names. Relative paths are relative to the table.

    Columns: one of FILES; one of LABELS, or none; every other one is metadata, less those that hold lists or bytes.
    Several labels stand in one cell as "a|b" or "a;b", or are a list; an empty cell says that nobody knows.
    file_column, label_column: what they are called, where it is something else, or several are there.
    limit, seed: as of ``collection``.

    Raises SaywhyError where the table cannot be read, a column is missing, cells without a file are there, a picture is
    named twice, or none of the first LOOKED_FOR files is there.
    """
    table = _read(path)
    file = _column(path, table, file_column, FILES, "of files")
    if file is None:
        raise SaywhyError(
            f"{shown(path)}: no column names the pictures ({', '.join(FILES[:3])}); it has "
            f"{', '.join(map(shown, table.column_names)) or 'none'}; say which with --file-column"
        )
    label = _column(path, table, label_column, LABELS, "of labels")
    found = in_columns(str(path), _rows(path, table, file, label), Files(), limit, seed)
    tried = [found[n].name for n in range(min(len(found), LOOKED_FOR))]
    if not any(map(os.path.exists, tried)):
        few = "its only file is not there" if len(tried) == 1 else f"none of its first {len(tried)} files is there"
        raise SaywhyError(f"{shown(path)}: {few}, {shown(tried[0])} first; paths are relative to the table")
    return found


def _read(path: Path) -> pyarrow.Table:
    """All columns; those of CSV as texts, stripped. Raises SaywhyError where it is no table."""
    need("a data set in a table", "pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as parquet
    from pyarrow import csv

    open_file(path, "a table").close()  # says what is wrong with it in its own words
    kind = "a Parquet table" if path.suffix.lower() in (".parquet", ".pq") else "a table of comma-separated values"
    try:
        if kind == "a Parquet table":
            table = parquet.ParquetFile(path).read()
        else:
            parse = csv.ParseOptions(delimiter="\t" if path.suffix.lower() == ".tsv" else ",", newlines_in_values=True)
            names = csv.open_csv(path, parse_options=parse).schema.names
            as_text = csv.ConvertOptions(column_types={name: pa.string() for name in names})
            table = csv.read_csv(path, parse_options=parse, convert_options=as_text)
    except (pa.ArrowException, OSError, ValueError, UnicodeError) as error:
        raise SaywhyError(f"{shown(path)}: not {kind} that can be read ({first_line(error)})") from None
    twice = {name for name in table.column_names if table.column_names.count(name) > 1}
    if twice:
        raise SaywhyError(f"{shown(path)}: names the column {shown(sorted(twice)[0])!r} twice")
    return table.rename_columns([name.strip() for name in table.column_names])


def _column(path: Path, table: pyarrow.Table, named: str | None, usual: Sequence[str], what: str) -> str | None:
    """The name of the column; None where there is none. Raises SaywhyError where it is not clear which."""
    if named is not None:
        if named not in table.column_names:
            raise unknown("column", named, table.column_names, lead=f"{shown(path)}: there is no")
        return named
    found = [name for name in table.column_names if name.lower() in usual]
    if len(found) > 1:
        option = "--file-column" if usual is FILES else "--label-column"
        raise SaywhyError(f"{shown(path)}: has several columns {what}, {', '.join(found)}; say which with {option}")
    return found[0] if found else None


def _rows(path: Path, table: pyarrow.Table, file: str, label: str | None) -> Iterator[Row]:
    import pyarrow.types as types

    kind = table.schema.field(file).type
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_struct(kind) or types.is_binary(kind) or types.is_large_binary(kind):
        raise SaywhyError(
            f"{shown(path)}: the column {shown(file)} holds pictures themselves, not files; save it with "
            'datasets.load_dataset("parquet", data_files=...).save_to_disk(DIR), and give that folder'
        )
    if not types.is_string(kind) and not types.is_large_string(kind):
        raise SaywhyError(f"{shown(path)}: the column {shown(file)} holds {kind}, not names of files")
    others = [
        field.name for field in table.schema
        if field.name not in (file, label) and field.name and not types.is_nested(field.type)
        and not types.is_binary(field.type) and not types.is_large_binary(field.type)
    ]  # fmt: skip
    number = 0
    for batch in table.select([file, *([label] if label else []), *others]).to_batches(BLOCK):
        for row in batch.to_pylist():
            number += 1
            name = (row[file] or "").strip()
            if not name:
                raise SaywhyError(f"{shown(path)}: row {number} names no file")
            known = {column: said for column in others if (said := as_text(row[column])) != ""}
            yield Row(os.path.join(path.parent, name), () if label is None else labels_in(row[label]), known)


def labels_in(cell: Any) -> tuple[str, ...]:
    """The labels in a cell: "a|b", "a;b", a list, one number or text; () where it is empty."""
    if isinstance(cell, list | tuple):
        return tuple(label for one in cell if (label := as_text(one)))
    return _apart(as_text(cell))


@lru_cache(maxsize=4096)
def _apart(text: str) -> tuple[str, ...]:
    return tuple(label for part in BETWEEN.split(text) if (label := part.strip()))


def as_text(value: Any) -> str:
    """A cell's value as a text: "" for none or not a number; 3.0 is "3", as pandas makes it of 3 beside empty cells."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
