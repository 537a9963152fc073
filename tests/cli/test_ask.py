"""``saywhy ask`` as a person types it, with everything that a person can get wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from saywhy.bench.surgery.graded_digits import pictures
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.pictures.sources import read_sources
from saywhy.questions.names_and_defaults import check_space
from saywhy.spaces.operated import load_operated
from saywhy.worlds.digits import digits
from tests.cli.test_app import refused, saywhy

COLOURED = ("--model", "world:digits-coloured")
OPERATE = (*COLOURED, "--operate", "world:digits")
CAPTIONS = ("a red digit|a green digit", "the digit 5|the digit 8")


@pytest.fixture(scope="module")
def matching(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("matching") / "found.safetensors"
    assert saywhy("ask", "world:digits", "red|green", *OPERATE, "--limit", 50, "--save", path).returncode == 0
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight digits in folders of their classes."""
    for n, one in enumerate(read_sources(["world:digits"], limit=8)):
        (tmp_path / "data" / str(one.label)).mkdir(parents=True, exist_ok=True)
        one.open().save(tmp_path / "data" / str(one.label) / f"{n}.png")
    return tmp_path / "data"


def test_a_classifier_is_asked_through_clip(tmp_path: Path) -> None:
    """The classifier went by colour: colour passes, shape does not."""
    out = tmp_path / "out"
    result = saywhy("ask", "world:digits", *CAPTIONS, *OPERATE, "--limit", 60, "--out", out)
    assert result.returncode == 0, result.stderr
    assert "passes on" in result.stdout
    assert {path.name for path in out.iterdir()} == {"index.html", "answers.json", "answers.png", "pictures.csv"}
    document = json.loads((out / "answers.json").read_text())
    left = {tuple(one["group"]): one["kept"]["value"] for one in document["findings"] if one["kind"] == "kept"}
    assert left["a red digit", "a green digit"] > 0.5 > left["the digit 5", "the digit 8"] + 0.2
    assert document["matching"]["images"] == 60
    assert {row["pictures"] for row in document["concepts"]} == {"all", "digit five", "digit eight", "right", "wrong"}
    with (out / "pictures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    assert set(rows[0]) == {"name", "class", "predicted"} | {
        f"{when}: {caption}" for when in ("before", "after") for group in CAPTIONS for caption in group.split("|")
    }
    with Image.open(out / "answers.png") as figure:
        assert figure.width > 800


def test_a_matching_is_kept_and_used(matching: Path, folder: Path) -> None:
    result = saywhy("ask", folder, *CAPTIONS, *OPERATE, "--matching", matching, "--json")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert (document["pictures"], document["matching"]["images"]) == (8, 50)
    assert not result.stderr
    nothing = saywhy("ask", folder, *CAPTIONS, *COLOURED, "--matching", matching, "--json", "--strength", 0)
    findings = json.loads(nothing.stdout)["findings"]
    left = [one["kept"]["value"] for one in findings if one["kind"] == "kept"]
    assert left == pytest.approx([1] * len(left), abs=1e-4)
    assert {one["pictures"] for one in findings if one["kind"] == "kept"} >= {"all", "digit five", "digit eight"}


def test_no_channels_pass_nothing(matching: Path, folder: Path) -> None:
    result = saywhy("ask", folder, *CAPTIONS, *COLOURED, "--matching", matching, "--share", 0, "--by-class")
    assert result.returncode == 1
    assert "Nothing can be said of world:digits-coloured: on 50 pictures no channel of" in " ".join(
        result.stdout.split()
    )
    assert "similarity" not in result.stdout
    every = saywhy("ask", folder, *CAPTIONS, *COLOURED, "--matching", matching, "--by-class")
    assert every.returncode == 0, every.stderr
    assert "pictures it gets" in every.stdout


def test_a_space_is_asked_without_a_classifier(folder: Path) -> None:
    result = saywhy("ask", folder, "a red digit", "a green digit", "--space", "world:digits")
    assert result.returncode == 0, result.stderr
    assert "8 pictures: the digits' CLIP" in result.stdout
    assert "nearest" in result.stdout
    assert "after" not in result.stdout


def test_a_space_that_says_no_words_is_asked_no_captions(folder: Path) -> None:
    result = saywhy("ask", folder, "a giraffe|a red car", "--model", "world:digits", "--space", "own")
    assert result.returncode == 2
    assert "no caption means anything" in result.stderr
    assert "--space clip" in result.stderr


def test_explaining_in_an_operated_space(matching: Path, folder: Path) -> None:
    photo = next(folder.rglob("*.png"))
    result = saywhy("explain", photo, *COLOURED, "--space", f"operated:{matching}")
    assert result.returncode == 0, result.stderr
    assert "world:digits-coloured's" in result.stdout  # in a narrow column, its "activations" are on the next line
    other = saywhy("explain", photo, "--model", "world:digits", "--space", f"operated:{matching}")
    refused(other, "was made with another source", "match again")


def test_an_operated_space_is_of_one_classifier(matching: Path) -> None:
    space = load_operated(matching, Classifier.load("world:digits-coloured"))
    check_space(space, Classifier.load("world:digits-coloured"))
    with pytest.raises(SaywhyError, match="belongs to world:digits-coloured, not to world:digits;"):
        check_space(space, Classifier.load("world:digits"))


def test_damaged_files_are_named_and_the_others_done(folder: Path) -> None:
    (folder / "digit five" / "text.jpg").write_text("no picture")
    result = saywhy("ask", folder, *CAPTIONS, *OPERATE, "--json")
    assert result.returncode == 1
    document = json.loads(result.stdout)
    assert document["pictures"] == 8
    assert [Path(name).name for name in document["failures"]] == ["text.jpg"]
    assert result.stderr.count("text.jpg") == 1  # although the pictures are read twice
    assert "matched on 9 pictures; with fewer than 50" in result.stderr


def test_classes_that_the_model_does_not_have(matching: Path, folder: Path) -> None:
    (folder / "digit five").rename(folder / "toucan")
    result = saywhy("ask", folder, *CAPTIONS, *COLOURED, "--matching", matching, "--json")
    assert result.returncode == 0
    assert "has no class toucan" in result.stderr
    subsets = {row["pictures"] for row in json.loads(result.stdout)["concepts"]}
    assert subsets == {"all", "toucan", "digit eight"}


def test_ctrl_c_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("saywhy.pictures.sources.read_picture", interrupted)
    result = saywhy("ask", folder, "a", "b", "--space", "world:digits")
    assert result.returncode == 130
    assert result.stderr.strip() == "saywhy: interrupted; nothing was answered"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["world:digits"], ["no captions"]),
        (["a dog", "a cat"], ["no pictures", "world:digits"]),
        (["none/", "a dog"], ["none/", "no such picture or folder"]),
        (["none.jpg", "a dog"], ["none.jpg", "no such picture"]),
        (["world:narnia", "a dog"], ["no world 'narnia'"]),
        (["world:digits", "a|a"], ["twice"]),
        (["world:digits", "a|b", "--space", "clop"], ["no space 'clop'"]),
        (["world:digits", "a|b", "--space", "own"], ["'own'", "--model"]),
        (["world:digits", "a|b", "--operate", "world:digits"], ["--model"]),
        (["world:digits", "a|b", *OPERATE, "--space", "own"], ["--space and --operate exclude each other"]),
        (["world:digits", "a|b", *COLOURED, "--layers", "last"], ["--layers", "--operate"]),
        (["world:digits", "a|b", *COLOURED, "--pairing", "best"], ["--pairing", "--operate"]),
        (["world:digits", "a|b", *COLOURED, "--share", "0.5"], ["--share", "--operate"]),
        (["world:digits", "a|b", *COLOURED, "--matching", "x", "--save", "y"], ["--save", "--matching"]),
        (["world:digits", "a|b", *OPERATE, "--pairing", "first"], ["best or one-to-one"]),
        (["world:digits", "a|b", *OPERATE, "--unmatched", "none"], ["keep or mean"]),
        (["world:digits", "a|b", "--model", "world:digits", "--operate", "own"], ["must be a CLIP"]),
        (["world:digits", "a|b", *OPERATE, "--share", "2"], ["share"]),
        (["world:digits", "a|b", *OPERATE, "--save", "none/found.safetensors"], ["--save", "folder"]),
        (["world:digits", "a|b", *OPERATE, "--save", "found.json"], [".safetensors"]),
        (["world:digits", "a|b", *OPERATE, "--limit", "1"], ["at least two pictures", "--match-on"]),
        (["world:digits", "a|b", *OPERATE, "--layers", "layerz", "--limit", "50"], ["no layer 'layerz'"]),
        (["world:digits", "a|b", *COLOURED, "--matching", "none.safetensors"], ["holds no matching"]),
    ],
)
def test_wrong_words_are_usage_errors(words: list[str], said: list[str]) -> None:
    refused(saywhy("ask", *words), *said)


def test_a_folder_without_pictures_and_an_out_that_is_a_file(tmp_path: Path) -> None:
    refused(saywhy("ask", tmp_path, "a|b", "--space", "world:digits"), "no pictures in this folder")
    (tmp_path / "taken").write_text("a file")
    refused(saywhy("ask", "world:digits", "a|b", "--space", "world:digits", "--out", tmp_path / "taken"), "--out")


def test_a_matching_with_another_clip(matching: Path) -> None:
    wrong = (*COLOURED, "--operate", "world:digits/vit", "--matching", matching)
    refused(saywhy("ask", "world:digits", "a|b", *wrong), "was made with the digits' CLIP")


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "kept.safetensors").mkdir()
    (tmp_path / "out" / "answers.json").mkdir(parents=True)
    words = ("ask", "world:digits", "red|green", *OPERATE, "--limit", 4)
    refused(saywhy(*words, "--save", tmp_path / "kept.safetensors"), "kept.safetensors: cannot be written")
    result = saywhy(*words, "--out", tmp_path / "out", "--json")
    assert result.returncode == 2
    assert f"{tmp_path / 'out' / 'answers.json'}: cannot be written" in result.stderr
    assert json.loads(result.stdout)["pictures"] == 4  # what was done is not lost


def test_that_nothing_matches_is_said(folder: Path) -> None:
    result = saywhy("ask", folder, "red|green", *OPERATE, "--floor", 1e9, "--unmatched", "keep")
    assert result.returncode == 1
    assert "none of its evidence for classes varies by more than the floor" in " ".join(result.stdout.split())
    assert len(result.stdout.splitlines()) < 4


def test_of_grey_digits_nothing_is_said_of_their_colour(tmp_path: Path) -> None:
    for n, image in enumerate(pictures(digits("test", None, 60, 3))):
        image.save(tmp_path / f"{n}.png")
    result = saywhy("ask", tmp_path, *CAPTIONS, "--model", "world:digits", "--operate", "world:digits", "--json")
    assert result.returncode == 0, result.stderr
    colour, shape = json.loads(result.stdout)["findings"]
    assert (colour["kind"], shape["kind"]) == ("alike", "kept")
    assert 'itself does not tell "a red digit | a green digit" apart in these pictures' in colour["sentence"]
    assert "kept" not in colour
    assert shape["contrast"] > shape["by chance"] > colour["contrast"]


def test_published_settings_carry_their_caution_in_the_terminal(folder: Path) -> None:
    published = ("--layers", "convolutions", "--clip-layers", "stages", "--chance", 1, "--unmatched", "keep")
    result = saywhy("ask", folder, *CAPTIONS, *OPERATE, *published)
    assert result.returncode == 0, result.stderr
    assert "Caution: So it was published." in " ".join(result.stdout.split())
    refused(saywhy("ask", folder, *CAPTIONS, *OPERATE, "--shuffles", 0), "shuffles")


def test_options_of_the_classifier_are_those_of_explain(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("0\n1\n2\n")
    ask = ("ask", "world:digits", "red|green", "--limit", 4)
    refused(saywhy(*ask, *COLOURED, "--labels", tmp_path / "names.txt"), "3 class names")
    refused(saywhy(*ask, *COLOURED, "--task", "binary"), "has 2 logits")
    refused(saywhy(*ask, *COLOURED, "--checkpoint", tmp_path / "none.pth"), "no such checkpoint file")
    refused(saywhy(*ask, *COLOURED, "--output", "logits"), "leave output= out")
    refused(saywhy(*ask, "--space", "world:digits", "--num-classes", 3), "--num-classes is for a classifier")
    assert saywhy(*ask, *COLOURED, "--space", "world:digits", "--task", "multi-label").returncode == 0
