"""One reader for each kind of text (lines, tables, JSON, TOML), bounded and strict; what is wrong is one line.

What is refused everywhere: what is no file, too large, no UTF-8, or holds null characters; what a format leaves open is
refused too where it would be a silent wrong answer (names that are there twice, NaN in JSON, rows of other lengths).
"""

from __future__ import annotations

import csv
import json
import os
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

from saywhy.errors import SaywhyError
from saywhy.plumbing.files import open_file
from saywhy.plumbing.names import shown

MOST_BYTES = 256 << 20
"""Of a text file; COCO's captions with all their tokens, as Karpathy has them, are 144 MB."""
MOST_TOML = 16 << 10
"""Characters of a TOML document: Python's reader takes time that is quadratic in some of them."""
MOST_MEMORY = 5 << 28
"""Bytes that a text may take with what is read from it, as its separators tell before it is read."""
LONGEST_LINE = 1 << 17
"""Characters of a line, as Python's csv allows them of a cell."""
DEEPEST = 64
"""Lists and objects inside each other."""
MOST_DIGITS = 100
"""Of a whole number in JSON. TOML's have 64 bits."""

_LINE, _ROW, _CELL, _OBJECT, _LIST = 80, 250, 80, 250, 80  # bytes that Python has for each, as measured
_WIDER = 1.4  # times as many where texts are not ASCII
_PAIR, _HALF = r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..", r"\\u(?P<half>[dD][89a-fA-F]..)"
_ESCAPES = re.compile(rf"{_PAIR}|{_HALF}|\\u(?P<null>0000)|\\.", re.DOTALL)


def read_text(path: str | Path) -> str:
    """A file of UTF-8 text, its mark of byte order taken off, its lines ended by "\\n".

    Raises SaywhyError, as all readers here do, for what is not there, is no file, is over MOST_BYTES, is not UTF-8, or
    holds null characters.
    """
    name = shown(path)
    try:
        with open_file(Path(path)) as file:
            if os.fstat(file.fileno()).st_size > MOST_BYTES or len(data := file.read(MOST_BYTES + 1)) > MOST_BYTES:
                raise SaywhyError(f"{name}: over the {MOST_BYTES >> 20} MiB that are read of a text file; split it")
    except OSError as error:
        raise SaywhyError(f"{name}: cannot be read ({error.strerror or error})") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = "it begins as UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else f"byte {data[error.start]:#04x}"
        raise SaywhyError(f"{name}: line {line}: not text in UTF-8 ({found}); save it as UTF-8") from None
    if (null := text.find("\0")) >= 0:
        raise SaywhyError(f"{name}: line {text.count(chr(10), 0, null) + 1}: a null character; is this a text file?")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: str | Path) -> list[str]:
    """The lines of a text file, without their ends. Raises SaywhyError for a line over LONGEST_LINE characters."""
    text = read_text(path)
    _check_memory(text, shown(path), {"\n": _LINE})
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if len(line) > LONGEST_LINE:
            raise SaywhyError(f"{shown(path)}: line {number}: {len(line):,} characters, over the {LONGEST_LINE:,} read")
    return lines if lines[-1] else lines[:-1]


def read_rows(path: str | Path) -> list[tuple[int, list[str]]]:
    """(line, cells) of each row of comma-separated values that is not empty; cells are stripped.

    line: the last one of the row, from 1. Raises SaywhyError for quotes that are not closed and for cells too long.
    """
    text = read_text(path)
    _check_memory(text, shown(path), {"\n": _ROW, ",": _CELL})
    reader = csv.reader(_each_line(text), strict=True, skipinitialspace=True)
    try:
        return [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise SaywhyError(
            f"{shown(path)}: line {reader.line_num}: not a table of comma-separated values ({error})"
        ) from None


def read_table(path: str | Path, needed: Sequence[str] = ()) -> list[tuple[int, dict[str, str]]]:
    """(line, column -> cell) of each row below the first, which names the columns; these are in lower case.

    needed: columns that must be there. Cells that a row lacks are "". Raises SaywhyError where columns are missing or
    named twice, and for a row that has more cells than there are columns.
    """
    (_, header), *rows = read_rows(path) or [(1, [])]
    columns = [cell.lower() for cell in header]
    if missing := [name for name in needed if name not in columns]:
        raise SaywhyError(
            f"{shown(path)}: the first row must name the columns {', '.join(needed)}; it lacks {', '.join(missing)}"
        )
    if twice := _twice(name for name in columns if name):
        raise SaywhyError(f"{shown(path)}: the first row names the column {shown(twice)!r} twice")
    for line, row in rows:
        if any(row[len(columns) :]):
            raise SaywhyError(
                f"{shown(path)}: line {line}: {len(row)} cells, and the first row names {len(columns)} columns; put "
                "texts that hold commas into quotes"
            )
    return [(line, dict.fromkeys(columns, "") | dict(zip(columns, row, strict=False))) for line, row in rows]


def read_json(path: str | Path, *, pairs: bool = False, loose: bool = False) -> Any:
    """The document of a JSON file, as ``parse_json`` reads it."""
    return parse_json(read_text(path), shown(path), pairs=pairs, loose=loose)


def parse_json(text: str, where: str, *, pairs: bool = False, loose: bool = False) -> Any:
    """A JSON document.

    where:  its file, or what it is: messages begin with it.
    pairs:  objects become tuples of (name, value); names may then be there twice.
    loose:  what Python's json lets through goes through: names that are there twice, of which the last counts, NaN and
            infinity, and half characters (lone surrogates), which names of files that are not UTF-8 have.

    Raises SaywhyError for what is not JSON (NaN and infinity are not), numbers without end, objects with a name twice,
    null characters, and for documents deeper than DEEPEST.
    """
    _check_memory(text, where, {"{": _OBJECT, "[": _LIST, ",": _CELL})
    _check_escapes(text, where, loose)
    try:
        document = json.loads(
            text,
            object_pairs_hook=tuple if pairs else dict if loose else _object,
            parse_int=_whole,
            parse_float=float if loose else _finite,
            parse_constant=float if loose else _no_constant,
        )
    except json.JSONDecodeError as error:
        raise SaywhyError(f"{where}: not JSON (line {error.lineno}, column {error.colno}: {error.msg})") from None
    except RecursionError:
        raise SaywhyError(_too_deep(where, "JSON")) from None
    except ValueError as error:  # of the functions below
        raise SaywhyError(f"{where}: not JSON that can be used ({error})") from None
    _check_depth(document, where, "JSON", 2 * DEEPEST if pairs else DEEPEST)
    return document


def read_toml(path: str | Path) -> dict[str, Any]:
    """The document of a TOML file, as ``parse_toml`` reads it."""
    return parse_toml(read_text(path), shown(path))


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """A TOML document. Raises SaywhyError where it is none, over MOST_TOML or DEEPEST, or has numbers over 64 bits."""
    if len(text) > MOST_TOML:
        raise SaywhyError(f"{where}: over the {MOST_TOML:,} characters that are read of a TOML file")
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise SaywhyError(_too_deep(where, "TOML")) from None
    except ValueError as error:  # a TOMLDecodeError, or Python's of a number without end
        raise SaywhyError(f"{where}: is not a TOML file ({shown(str(error), 200)})") from None
    _check_depth(document, where, "TOML")
    if not all(-(1 << 63) <= number < 1 << 63 for number in _numbers(document)):
        raise SaywhyError(f"{where}: is not a TOML file (a whole number of over 64 bits)")
    return document


def _each_line(text: str) -> Iterator[str]:
    """One by one, where a list or a StringIO would hold the text again."""
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


def whole_number(word: str, where: str) -> int:
    """The whole number that a word of a text spells. Raises SaywhyError, which begins with ``where``, for another."""
    if not re.fullmatch("[+-]?[0-9]{1,18}", word):
        raise SaywhyError(f"{where}: {shown(word, 40)!r} is not a number, or not a whole one")
    return int(word)


def finite_number(word: str, where: str) -> float:
    """The number that a word of a text spells. Raises SaywhyError for another word, for NaN and infinity."""
    try:
        return _finite(word)
    except ValueError:
        raise SaywhyError(f"{where}: {shown(word, 40)!r} is not a number that can be used") from None


def _check_memory(text: str, where: str, marks: Mapping[str, int]) -> None:
    """marks: separator -> bytes that what it separates will take."""
    held = sum(size * text.count(mark) for mark, size in marks.items()) * (1 if text.isascii() else _WIDER)
    if sys.getsizeof(text) + held > MOST_MEMORY:
        raise SaywhyError(f"{where}: would take over {MOST_MEMORY >> 20} MiB of memory when it is read; split it")


def _check_escapes(text: str, where: str, loose: bool) -> None:
    """Raises SaywhyError for a backslash that stands for a null character or, unless ``loose``, for half of one."""
    if not re.search(r"\\u(0000|[dD][89a-fA-F])", text):
        return
    for escape in _ESCAPES.finditer(text):
        if escape["null"] or (escape["half"] and not loose):
            line, column = text.count("\n", 0, escape.start()) + 1, escape.start() - text.rfind("\n", 0, escape.start())
            what = "a null character" if escape["null"] else "half a character (a lone surrogate)"
            raise SaywhyError(f"{where}: line {line}, column {column}: {escape[0]} is {what}")


def _check_depth(document: Any, where: str, kind: str, deepest: int = DEEPEST) -> None:
    """Raises SaywhyError for lists and objects that are too deep in each other."""
    held = _containers([document])
    for _ in range(deepest):
        held = _containers(value for one in held for value in (one.values() if isinstance(one, dict) else one))
    if held:
        raise SaywhyError(_too_deep(where, kind))


def _containers(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if isinstance(value, dict | list | tuple)]


def _too_deep(where: str, kind: str) -> str:
    return f"{where}: not {kind} that can be used (over {DEEPEST} levels deep)"


def _numbers(value: Any) -> Iterator[int]:
    """The whole numbers anywhere in a document."""
    if isinstance(value, int):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _numbers(inner)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError(f"an object has the name {shown(_twice(name for name, _ in pairs))!r} twice")
    return made


def _twice(names: Iterable[str]) -> str | None:
    """The first name that is there more than once."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a whole number of {len(digits):,} digits")
    return int(digits)


def _finite(digits: str) -> float:
    if not isfinite(number := float(digits)):
        raise ValueError(f"{shown(digits, 40)} is too large a number")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")
