"""Class names from files of every kind, and English names for Latin ones."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from saywhy.errors import SaywhyError
from saywhy.words.class_names import (
    ClassNameWarning,
    are_words,
    check_count,
    common_name,
    folder_names,
    read_class_names,
    warn_of_duplicates,
    without_names,
)

NAMES = ("tench", "king snake", "hen, cock")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.txt", "tench\nking snake\n\nhen, cock\n"),
        ("x.json", '["tench", "king snake", "hen, cock"]'),
        ("x.json", '{"2": "hen, cock", "0": "tench", "1": "king snake"}'),
        ("x.json", '{"0": ["n1", "tench"], "1": ["n2", "king snake"], "2": ["n3", "hen, cock"]}'),
        ("x.csv", 'index,name\n1,king snake\n0,tench\n2,"hen, cock"\n'),
        ("x.json", '{"king snake": 1, "tench": 0, "hen, cock": 2}'),
        ("x.json", '{"king snake": "1", "tench": "0", "hen, cock": "2"}'),
        ("x.csv", 'class,index\nking snake,1\ntench,0\n"hen, cock",2\n'),
        ("x.csv", 'tench\nking snake\n"hen, cock"\n'),
    ],
)
def test_every_format_gives_the_names_in_order(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_class_names(tmp_path / name) == NAMES
    assert read_class_names(NAMES) == NAMES


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({"cat": 1, "dog": 0}, ("dog", "cat")),
        ({0: "cat", 1: "dog"}, ("cat", "dog")),
        ({1: "dog", 0: "cat"}, ("cat", "dog")),
        ({"1": "dog", "0": "cat"}, ("cat", "dog")),
        ({np.int64(1): "dog", np.int64(0): "cat"}, ("cat", "dog")),
        ({"0": 0, "1": 1, "10": 2, "2": 3}, ("0", "1", "10", "2")),  # numbered folders, as ImageFolder counts them
        ({"1": 0, "0": 1}, ("1", "0")),
        ({0: ["n01", "tench"], 1: ["n02", "goldfish"]}, ("tench", "goldfish")),
        ({"0": "9", "1": "3"}, ("9", "3")),
    ],
)
def test_mappings_are_read_in_either_order(labels: dict, names: tuple[str, ...], tmp_path: Path) -> None:
    assert read_class_names(labels) == names
    (tmp_path / "x.json").write_text(json.dumps({str(key): value for key, value in labels.items()}))
    assert read_class_names(tmp_path / "x.json") == names


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"cat": 1, "dog": 2}, "indices must run from 0 to 1 without gaps, each once; these are 1 and 2"),
        ({"cat": 0, "dog": 0}, "these are 0 and 0"),
        ({1: "cat", 2: "dog", 3: "cow"}, "0 to 2 without gaps, each once; these are 1, 2 and 3"),
        ({-1: "cat", 0: "dog"}, "these are -1 and 0"),
        ({"cat": "dog"}, "expected class indices and names"),
        ({1: 0, 0: 1}, "which side"),
        ({"1": "0", "0": "1"}, "which side"),
    ],
)
def test_mappings_that_leave_a_class_out_are_refused(labels: dict, message: str) -> None:
    with pytest.raises(SaywhyError, match=message):
        read_class_names(labels)


def test_a_set_of_names_is_refused() -> None:
    with pytest.raises(SaywhyError, match="a set has no order"):
        read_class_names({"cat", "dog"})  # type: ignore[arg-type]


def test_names_of_several_classes_are_said() -> None:
    with pytest.warns(ClassNameWarning, match="x: 'crane' is the name of classes 0 and 2; name such a class"):
        warn_of_duplicates(["crane", "cat", "crane"], "x")
    with pytest.warns(ClassNameWarning, match="0, 1, 2, 3, 4 and 5 more; "):
        warn_of_duplicates(["crane"] * 10, "x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_duplicates(["crane", "Crane"], "x")


def image_folder_order(root: Path, names: list[str]) -> dict[str, int]:
    """What torchvision's ImageFolder makes of folders of these names."""
    for name in names:
        (root / name).mkdir()
        Image.new("RGB", (2, 2)).save(root / name / "x.png")
    return ImageFolder(str(root)).class_to_idx


@pytest.mark.parametrize("names", [[str(n) for n in range(12)], [str(n) for n in range(1, 13)]])
def test_numbered_folders_are_counted_as_image_folder_sorts_them(names: list[str], tmp_path: Path) -> None:
    truth = image_folder_order(tmp_path, names)
    with pytest.warns(ClassNameWarning, match="folder 10 is class"):
        known = folder_names(without_names(12), names)
    assert {name: known[name] for name in names} == truth
    assert folder_names(without_names(12))["10"] == 2


def test_padded_folders_are_counted_by_their_numbers(tmp_path: Path) -> None:
    names = [f"{n:02d}" for n in range(12)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        known = folder_names(without_names(12), names)
    assert {name: known[name] for name in names} == image_folder_order(tmp_path, names)


def test_numbers_are_indices_of_classes_that_have_names() -> None:
    names = [f"thing {'abcdefghijkl'[n]}" for n in range(12)]
    assert folder_names(names, [str(n) for n in range(12)])["10"] == 10
    assert folder_names([*"987654321xyz"])["8"] == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.json", "{", "not JSON"),
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
    with pytest.raises(SaywhyError, match="no such file"):
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


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["tench", "goldfish", "great white shark"], True),
        (["0", "1", "2"], False),
        (["n01440764", "n01443537", "n01484850"], False),
        (list(without_names(9)), False),
        (["a3f9", "0x1b", "c-17"], False),
        (["Haemorhous cassinii (Cassin's Finch)", "Aramus guarauna (Limpkin)"], True),
        (["狗", "猫", "鸟"], True),
        (["tench", "1", "2", "3"], False),
        (["cat", "cat"], False),
        (["defect", "without defect"], True),
    ],
)
def test_words_tell_classes_apart_and_codes_do_not(names: list[str], words: bool) -> None:
    assert are_words(names) == words
