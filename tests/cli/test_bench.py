"""The tables of benchmarks on a terminal of 80 columns: numbers stay whole, and every part says whose they are."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from saywhy.bench import Report
from saywhy.cli.bench import show_report

WIDE = ["crops from", *(f"correct @{n}" for n in range(8))]
ROWS = [
    {column: f"{n}.4 (12.3 to 45.{k})" for k, column in enumerate(WIDE)} | {"crops from": f"method {n}, its own boxes"}
    for n in range(3)
]


def shown(report: Report, width: int) -> str:
    out = io.StringIO()
    show_report(report, Console(file=out, width=width))
    return out.getvalue()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_number_is_broken_and_each_part_names_its_rows(width: int) -> None:
    text = shown(Report("x", "a title", WIDE, ROWS), width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    for row in ROWS:
        of_row = [line for line in lines if line.startswith(row["crops from"])]
        assert len(of_row) >= (1 if width == 200 else 2)
        assert all(any(row[column] in line for line in of_row) for column in WIDE)


def test_rows_that_share_their_first_name_are_told_apart_in_each_part() -> None:
    columns = ["model", "space", *(f"a measure of it {n}" for n in range(9))]
    rows = [dict.fromkeys(columns, 0.123) | {"model": "aviary", "space": space} for space in ("own", "a CLIP")]
    lines = shown(Report("x", "t", columns, rows), 50).splitlines()
    assert sum(line.startswith("aviary") and "a CLIP" in line for line in lines) > 1


def test_heads_of_several_words_take_no_room_from_the_cells() -> None:
    columns = ["world", "accuracy", "pictures", "method", "most relevance on it", "a word for it", "both"]
    row = dict.fromkeys(columns, 0.1234) | {"world": "aviary-background/resnet", "method": "integrated-gradients"}
    lines = shown(Report("x", "t", columns, [row]), 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.count("0.123") for line in lines) == 5
    assert all(word in " ".join(lines) for word in ["most", "relevance", "on", "it", "a", "word", "for", "both"])


def test_long_texts_wrap_and_brackets_stay() -> None:
    sentence = "a bird with a red crown and a [bold] wing that stands in the grass beside the water " * 2
    text = shown(Report("x", "t", ["picture", "sentence"], [{"picture": "1.png", "sentence": sentence}]), 80)
    assert "[bold]" in text
    assert max(map(len, text.splitlines())) <= 80


def test_an_empty_table_has_its_head() -> None:
    assert "sentence" in shown(Report("x", "t", ["picture", "sentence"], []), 80)
