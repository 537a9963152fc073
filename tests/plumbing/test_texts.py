"""Every text is read, or refused in one line that names the file and the place; soon, and in bounded memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saywhy.errors import SaywhyError
from saywhy.plumbing import texts
from saywhy.plumbing.texts import (
    finite_number,
    parse_json,
    parse_toml,
    read_json,
    read_lines,
    read_rows,
    read_table,
    read_text,
    read_toml,
    whole_number,
)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def written(content: bytes | str, name: str = "file") -> Path:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / name

    return written


def refusal(read: Callable[[Any], object], source: Any) -> str:
    with pytest.raises(SaywhyError) as caught:
        read(source)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_lines_end_in_three_ways_and_no_other(write: Any) -> None:
    """Of splitlines' ten ends a class name may hold some: a name would be two, and all after it another class's."""
    assert read_lines(write("a\nb\r\nc\rd")) == ["a", "b", "c", "d"]
    assert read_lines(write("\ufeffa\u2028b\x0bc\x85d\n\n e \n")) == ["a\u2028b\x0bc\x85d", "", " e "]
    assert read_lines(write("")) == []
    assert read_text(write(b"\xef\xbb\xbf")) == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("caf\xe9".encode("latin-1"), "line 1: not text in UTF-8 (byte 0xe9)"),
        (b"a\nb\n\xc3", "line 3: not text in UTF-8"),
        ("cat\n".encode("utf-16"), "it begins as UTF-16"),
        (b"a\nb\0c", "line 2: a null character"),
        ("\ud800".encode(errors="surrogatepass"), "not text in UTF-8"),
        (b"a" * (texts.LONGEST_LINE + 1), "line 1: 131,073 characters"),
    ],
)
def test_what_is_no_text(write: Any, content: bytes, said: str) -> None:
    path = write(content)
    message = refusal(read_lines, path)
    assert message.startswith(f"{path}: ")
    assert said in message


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("nothing")
    for name, said in {
        "": "is a folder", "pipe": "a pipe or a device", "/dev/zero": "a pipe or a device", "none": "no such file",
        "x" * 5000: "cannot be read", "a\0b": "cannot be read", "loop": "cannot be read", "link": "a link to a file",
        "a\n\x1b[31m": r"a\n\x1b[31m: no such file",
    }.items():  # fmt: skip
        assert said in refusal(read_text, tmp_path / name)


def test_a_file_is_as_large_as_it_says_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse.json").open("wb") as file:
        file.truncate(1 << 40)
    assert "over the 256 MiB" in refusal(read_json, tmp_path / "sparse.json")


@pytest.mark.parametrize("text", ["[" + "[]," * 1000 + "[]]", "[" + '{"a":1},' * 1000 + "1]", "[" + "1," * 5000 + "1]"])
def test_what_would_take_much_memory_is_not_read(monkeypatch: pytest.MonkeyPatch, write: Any, text: str) -> None:
    assert read_json(write(text))
    monkeypatch.setattr(texts, "MOST_MEMORY", 100_000)
    assert "split it" in refusal(read_json, write(text))
    assert "split it" in refusal(read_rows, write(",\n" * 1000))
    assert "split it" in refusal(read_lines, write("a\n" * 2000))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1, column 1"),
        ('{\n "a": }', "line 2, column 7"),
        ("[" * 100_000, "over 64 levels"),
        ("[" * 65 + "]" * 65, "over 64 levels"),
        ('{"a":' * 100_000, "over 64 levels"),
        ("9" * 5000, "5,000 digits"),
        ("-" + "9" * 101, "digits"),
        ("1e999", "1e999 is too large"),
        ("[NaN]", "NaN"),
        ("-Infinity", "-Infinity"),
        ('{"a": 1, "b": 2, "a": 1}', "the name 'a' twice"),
        ('["\\ud800"]', r"line 1, column 3: \ud800 is half a character"),
        ('["x",\n"\\\\\\udfff"]', r"line 2, column 4: \udfff is half a character"),
        ('["\\u0000"]', r"\u0000 is a null character"),
        ('"a" x', "line 1, column 5"),
    ],
)
def test_what_is_no_json(write: Any, text: str, said: str) -> None:
    path = write(text)
    message = refusal(read_json, path)
    assert message.startswith(f"{path}: ")
    assert said in message


def test_json_is_read_as_json_reads_it(write: Any) -> None:
    whole = {"a": [1, -2.5, 1e3, None, True, "\U0001f600", "\\ud800", "é"], "b": {}, "": [[]]}
    for ascii_only in (True, False):
        assert read_json(write(json.dumps(whole, ensure_ascii=ascii_only))) == whole
    assert read_json(write("[" * 64 + "]" * 64))
    assert read_json(write('{"a": 1, "a": {}}'), pairs=True) == (("a", 1), ("a", ()))
    assert parse_json('"\\udce9"', "names", loose=True) == "\udce9"
    assert parse_json('{"a": 1, "a": Infinity}', "x", loose=True) == {"a": float("inf")}
    assert "names: " in refusal(lambda text: parse_json(text, "names", loose=True), '"\\u0000"')


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1\nb = ?", "line 2, column 5"),
        ("a = " + "[" * 5000, "over 64 levels"),
        ("a = " + "[" * 65 + "]" * 65, "over 64 levels"),
        ("a = " + "9" * 5000, "not a TOML file"),
        ("a = 0x" + "f" * 16, "over 64 bits"),
        ("a = [{b = 99999999999999999999}]", "over 64 bits"),
        ("a = 1\na = 2", "not a TOML file"),
        ("a = 1\n" * 20_000, "16,384 characters"),
        ("a = 2020-99-99", "not a TOML file"),
    ],
)
def test_what_is_no_toml(write: Any, text: str, said: str) -> None:
    assert said in refusal(read_toml, write(text))
    assert said in refusal(lambda text: parse_toml(text, "--set a"), text)


def test_toml_is_read(write: Any) -> None:
    assert read_toml(write("a = [1, 2.5]\r\n[b]\nc = true\n")) == {"a": [1, 2.5], "b": {"c": True}}


def test_rows_know_their_lines(write: Any) -> None:
    assert read_rows(write('a, "b,c"\n\n"d\ne",f\n')) == [(1, ["a", "b,c"]), (4, ["d\ne", "f"])]
    assert read_table(write("File,N\nx, 1\ny\nz,2,,\n")) == [
        (2, {"file": "x", "n": "1"}), (3, {"file": "y", "n": ""}), (4, {"file": "z", "n": "2"}),
    ]  # fmt: skip
    assert read_table(write("")) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n" + "x" * 131_073, "line 2: not a table"),
        ('a,b\nx,"y', "line 2: not a table"),
        ('a,b\n"x"y,z', "line 2: not a table"),
        ("a\nx", "it lacks b"),
        ("", "it lacks a, b"),
        ("a,b,a\n1,2,3", "names the column 'a' twice"),
        ("a,b\nx.jpg,a dog, running", "line 2: 3 cells"),
    ],
)
def test_what_is_no_table(write: Any, text: str, said: str) -> None:
    assert said in refusal(lambda path: read_table(path, ("a", "b")), write(text))


def test_numbers_of_texts() -> None:
    assert (whole_number("-12", "x"), finite_number("1e-3", "x")) == (-12, 1e-3)
    for word in ("", "1.5", "9" * 5000, "½", "1_0", "nan"):
        assert refusal(lambda word: whole_number(word, "here"), word).startswith("here: ")
    for word in ("", "nan", "inf", "1e999", "-infinity", "x", "\x1b"):
        assert refusal(lambda word: finite_number(word, "here"), word).startswith("here: ")
