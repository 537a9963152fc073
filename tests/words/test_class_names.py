"""Class names from files of every kind, and English names for Latin ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from saywhy.errors import SaywhyError
from saywhy.words.class_names import check_count, common_name, read_class_names

NAMES = ("tench", "king snake", "hen, cock")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.txt", "tench\nking snake\n\nhen, cock\n"),
        ("x.json", '["tench", "king snake", "hen, cock"]'),
        ("x.json", '{"2": "hen, cock", "0": "tench", "1": "king snake"}'),
        ("x.json", '{"0": ["n1", "tench"], "1": ["n2", "king snake"], "2": ["n3", "hen, cock"]}'),
        ("x.csv", 'index,name\n1,king snake\n0,tench\n2,"hen, cock"\n'),
        ("x.csv", 'tench\nking snake\n"hen, cock"\n'),
    ],
)
def test_every_format_gives_the_names_in_order(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_class_names(tmp_path / name) == NAMES
    assert read_class_names(NAMES) == NAMES


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.json", "{", "not valid JSON"),
        ("x.json", '{"a": "tench"}', "indices"),
        ("x.json", '{"0": "tench", "2": "hen"}', "gaps"),
        ("x.json", "3", "expected"),
        ("x.txt", "\n\n", "contains no class names"),
    ],
)
def test_what_is_no_label_file_says_so(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SaywhyError, match=message):
        read_class_names(tmp_path / name)


def test_a_missing_file_and_a_wrong_count_are_named(tmp_path: Path) -> None:
    with pytest.raises(SaywhyError, match="no such label file"):
        read_class_names(tmp_path / "none.txt")
    with pytest.raises(SaywhyError, match="3 class names for a classifier of 5"):
        check_count(NAMES, 5, "labels.txt")


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Cyanocitta cristata (Blue Jay)", "Blue Jay"),
        ("Junco hyemalis hyemalis (Dark-eyed Junco)", "Dark-eyed Junco"),
        ("kite (bird of prey)", "kite (bird of prey)"),
        ("background", "background"),
    ],
)
def test_latin_names_give_way_to_english_ones(label: str, name: str) -> None:
    assert common_name(label) == name
