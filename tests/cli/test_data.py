"""``saywhy data check`` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from saywhy.cli.data import check
from saywhy.errors import SaywhyError
from saywhy.pictures.rationale_folders import write_doubly_right

LISTS = {"kit_fox": ["large ears", "a bushy tail"], "seal": ["whiskers", "a bushy tail"], "donuts": []}


def checked(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(check)
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three pictures to train on and two to test on, one of which is in both."""
    shots = [Image.new("RGB", (8, 8), (20 * n, 0, 0)) for n in range(4)]
    write_doubly_right(
        tmp_path / "data",
        [
            ("train", "kit_fox", ["large ears", "a bushy tail"], shots[0]),
            ("train", "seal", ["whiskers"], shots[1]),
            ("train", "seal", ["a bushy tail"], shots[2]),
            ("test", "seal", ["whiskers"], shots[3]),
            ("test", "seal", ["whiskers"], shots[1]),
        ],
        LISTS,
    )
    return tmp_path / "data"


def test_what_is_there_is_counted(data: Path) -> None:
    result = checked(data, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["categories"], found["rationales"], found["pairs"], found["without rationales"]) == (3, 3, 4, 1)
    assert (found["shared rationales"], found["most shared"]) == (1, {"rationale": "a bushy tail", "categories": 2})
    assert found["longest"] == {"rationale": "a bushy tail", "words": 3}
    assert found["bank"] == {"texts": 9, "bytes": {"512": 9 * 512 * 2, "768": 9 * 768 * 2}}
    assert found["splits"]["train"] == {
        "pictures": 3, "categories": 2, "rationales": 3, "pairs": 3, "several": 0, "skipped": 0,
    }  # fmt: skip
    assert list(found["splits"]) == ["train", "test"]
    assert found["in both"] == {"train and test": 1}
    assert [oddity["kind"] for oddity in found["oddities"]] == ["empty list"]  # told once, not for each split
    assert found["skipped"] == 0


def test_people_get_a_table(data: Path) -> None:
    result = checked(data)
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert "categories 3 (1 without rationales: only wrong answers)" in text
    assert "prompt bank 9 texts; as float16 9.0 KiB at 512, 13.5 KiB at 768 dimensions" in text
    assert "'a bushy tail' of 2" in text
    assert "1 picture is, byte for byte, in train and test" in text
    assert "5 pictures can be used." in text
    assert "empty list donuts" in text


def test_pictures_that_are_left_out_are_an_exit_code(data: Path) -> None:
    for n in range(5):
        folder = data / f"train/otter {n}/fur/0"
        folder.mkdir(parents=True)
        (folder / "a.jpg").touch()
    (data / "train/seal/whiskers/0/broken.jpg").write_text("no picture")
    (data / "train/seal/whiskers/0/url.txt").write_text("https://")
    result = checked(data)
    assert result.exit_code == 1, result.output
    text = " ".join(result.stdout.split())
    assert "5 pictures can be used; 6 will be left out." in text
    assert text.index("no such category") < text.index("cannot be opened") < text.index("no picture train")
    assert "... and 2 more, 2 pictures" in text
    found = json.loads(checked(data, "--json").stdout)
    assert (found["splits"]["train"]["skipped"], found["splits"]["test"]["skipped"]) == (6, 0)


def test_one_split_and_other_lists(data: Path, tmp_path: Path) -> None:
    lists = tmp_path / "lists.json"
    lists.write_text(json.dumps({"seal": ["whiskers"]}))
    result = checked(data, "--split", "test", "--rationales", lists, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (list(found["splits"]), found["in both"], found["categories"]) == (["test"], {}, 1)


def test_a_table(data: Path, tmp_path: Path) -> None:
    picture = next(data.rglob("*.png"))
    table = tmp_path / "own.csv"
    table.write_text(f"picture,category,rationale\n{picture},fox,large ears; a bushy tail\nnone.jpg,fox,large ears\n")
    result = checked(table, "--json")
    assert result.exit_code == 1, result.output
    found = json.loads(result.stdout)
    assert found["splits"][""]["several"] == 1
    assert [oddity["kind"] for oddity in found["oddities"]] == ["missing"]
    assert "all" in checked(table).stdout


def test_data_that_cannot_be_used(data: Path, tmp_path: Path) -> None:
    for arguments, message in (((tmp_path / "none",), "no such folder"), ((data, "--split", "val"), "no split 'val'")):
        result = checked(*arguments)
        assert isinstance(result.exception, SaywhyError)
        assert message in str(result.exception)
        assert not result.stdout
