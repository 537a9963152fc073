"""The benchmark of classes known by name only, on the embedded aviary; its ways to name pictures and its refusals."""

from __future__ import annotations

import csv
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch

from saywhy.bench import run_benchmark
from saywhy.bench.zsl import (
    PICTURES,
    PROMPTS,
    Task,
    _measured,
    _scores,
    read_pictures,
    run,
    split,
    tsne_figure,
    wordnet_parents,
)
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.words.class_names import plain
from saywhy.worlds.aviary import SPECIES, render
from tests.helpers import picture, unit

NAMES = tuple(SPECIES)
WORDNET = Path("/usr/share/wordnet")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path_factory.getbasetemp() / "zsl-cache"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures of each species in a folder of its own, named as CUB names its folders; labels.csv beside them."""
    root = tmp_path_factory.mktemp("birds")
    for n, name in enumerate(NAMES):
        place = root / "by name" / f"{n + 1:03d}.{name.replace(' ', '_').replace('-', '_')}"
        place.mkdir(parents=True)
        for seed in range(2):
            render(name, 5_000_000 + seed, 128).image.save(place / f"{seed}.png")
    (root / "by table").mkdir()
    (root / "by table" / "images").symlink_to(root / "by name")
    return root


def write_table(folder: Path, rows: list[tuple[str, object]]) -> Path:
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "class_index"), *rows])
    return folder


@pytest.fixture(scope="module")
def table(folders: Path) -> Path:
    places = sorted((folders / "by name").iterdir())
    rows: Any = [(f"{place.name}/{seed}.png", n) for n, place in enumerate(places) for seed in range(2)]
    return write_table(folders / "by table", rows)


def test_names_that_mean_something_beat_those_that_do_not(folders: Path) -> None:
    report = run(images=str(folders / "by name"), model="world:aviary", folds="4:2", mappers="default,ridge,mean")
    assert [(row["mapper"], row["picture"]) for row in report.rows] == [
        (mapper, picture) for mapper in ("default", "ridge", "mean") for picture in PICTURES
    ]
    rows = {(row["mapper"], row["picture"]): row for row in report.rows}
    for row in report.rows:
        assert {*report.columns, *report.more[0][1]} <= set(row)
        assert all(0 <= row[column] <= 100 for column in ("Train@1", "Train@5", "Test@1", "Test@5", "ZSL@1", "H"))
        assert 0 <= row["AUSUC"] <= 1
        assert row["Train@1"] <= row["Train@5"]
        assert row["Test@1"] <= row["Test@5"] <= row["ZSL@5"]
        assert row["Test@1"] <= row["Test@1 at -1%"] <= row["Test@1 at -5%"] <= row["ZSL@1"]
    for picture_vector in PICTURES:
        assert rows["mean", picture_vector]["AUSUC"] < 0.01
        assert rows["default", picture_vector]["AUSUC"] > rows["ridge", picture_vector]["AUSUC"] > 0.03
        assert rows["default", picture_vector]["Train@1"] > 90
    assert (report.summary["pictures"], report.summary["folds"]) == (80, 2)
    assert "2 of 4 folds" in report.title
    titles = [title for title, _, _ in report.more]
    assert titles[1] == "Table 7: prompts at inference"
    assert [row["prompt"] for row in report.more[1][2]] == [*PROMPTS, "the mean of these"]
    assert report.more[1][2][0]["AUSUC"] == pytest.approx(rows["default", "halves"]["AUSUC"])
    assert not [title for title in titles if "WordNet" in title]  # forty birds are no ImageNet
    assert report.figures["zsl.png"].startswith(b"\x89PNG")


def test_icis_is_scored_by_rows_and_biases_beside_the_heads_own() -> None:
    features, weight = torch.randn(6, 4), torch.randn(3, 4)
    task = Task(features, torch.arange(6) % 3, weight, torch.randn(3), unit(3, 5), "")
    unseen, rows = torch.tensor([2]), torch.randn(3, 5)
    found = _scores(task, unseen, rows, "features")
    torch.testing.assert_close(found[:, :2], (features @ weight.T + task.bias)[:, :2])
    torch.testing.assert_close(found[:, 2], features @ rows[2, :-1] + rows[2, -1])
    same = _scores(task, unseen, torch.nn.functional.normalize(rows[:, :-1], dim=1), "halves")
    torch.testing.assert_close(_scores(task, unseen, rows, "halves"), same)


def test_the_figure_of_rows_is_the_same_for_the_same_seed() -> None:
    weight = torch.randn(20, 6)
    task = Task(torch.randn(2, 6), torch.tensor([0, 1]), weight, torch.zeros(20), unit(20, 5), "")
    names, held_out = [f"class ${n}" for n in range(20)], torch.tensor([3, 7, 11])
    first, again, other = (
        tsne_figure(task, names, held_out, unit_rows, "ridge") for unit_rows in (weight, weight, -weight)
    )
    assert first.startswith(b"\x89PNG")
    assert first == again != other
    for count in ("1", "x", "-3"):
        with pytest.raises(SaywhyError, match=f"--tsne {count}: give the number of classes"):
            run(tsne=count, model="world:aviary", images="none", folds="4:1", mappers="default")


def test_a_table_names_the_same_pictures(folders: Path, table: Path) -> None:
    by_table, by_name = (read_pictures(folder, NAMES) for folder in (table, folders / "by name"))
    assert by_table[1] == by_name[1] == [n for n in range(40) for _ in range(2)]
    assert [path.resolve() for path in by_table[0]] == by_name[0]
    quick = {"model": "world:aviary", "folds": "4:1", "mappers": "default"}
    one, other = (run_benchmark("zsl", images=str(place), **quick) for place in (table, folders / "by name"))
    for row, same in zip(one.rows, other.rows, strict=True):
        assert row | {"fit s": 0} == same | {"fit s": 0}


def test_fewer_pictures_and_the_ablations(table: Path) -> None:
    report = run(
        60, images=str(table), model="world:aviary", folds="2", mappers="mlp-random-parameters,random-values",
        transfer=str(table / "images"),
    )  # fmt: skip
    assert report.summary["pictures"] == 60
    assert all(row["AUSUC"] < 0.05 for row in report.rows)
    title, _, (row,) = report.more[-1]
    assert title.startswith("Table 5")
    assert (row["classes"], row["pictures"], row["chance@1"]) == (40, 80, 2.5)
    assert row["Test@1"] > 50  # "other" classes of the same names are easy


# -- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "folder",
    [
        "Black-footed Albatross", "black_footed_albatross", "BLACK-FOOTED-ALBATROSS", "001.Black_footed_Albatross", "1",
    ],
)  # fmt: skip
def test_folders_of_many_spellings(tmp_path: Path, folder: str) -> None:
    for place in (folder, "0", "something else"):
        (tmp_path / place).mkdir()
        picture().save(tmp_path / place / "a.PNG")
        (tmp_path / place / "notes.txt").write_text("no picture")
    paths, labels = read_pictures(tmp_path, ("Laysan Albatross", "Black-footed Albatross"))
    assert {path.parent.name: label for path, label in zip(paths, labels, strict=True)} == {folder: 1, "0": 0}


def test_folders_of_birds_with_latin_names(tmp_path: Path) -> None:
    (tmp_path / "002.Blue_Jay").mkdir()
    picture().save(tmp_path / "002.Blue_Jay" / "a.png")
    classes = ("Parus major (Great Tit)", "Cyanocitta cristata (Blue Jay)", "background")
    assert read_pictures(tmp_path, classes)[1] == [1]


def test_a_name_that_is_a_number_is_a_name(tmp_path: Path) -> None:
    for place in ("5", "8"):
        (tmp_path / place).mkdir()
        picture().save(tmp_path / place / "a.png")
    assert read_pictures(tmp_path, ("8", "9", "x", "y", "z", "5"))[1] == [5, 0]


def test_names_in_any_script_stay_apart() -> None:
    assert plain("001.鶴_Grus") == "鶴 grus"
    assert len({plain(name) for name in ("鶴", "鷺", "Häher", "Hher")}) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,class_index\na.png,40\n", "class 40 of a classifier of 40"),
        ("file,class_index\na.png,3\nb.png,-1\n", "class -1 of a classifier of 40"),
        ("file,class_index\na.png,three\n", "is not a number"),
        ("file,class_index\na.png\n", "is not a number"),
        ("file,label\na.png,3\n", "the columns file, class_index"),
        ("file,class_index\n", "no rows of a labels.csv"),
        ("", "the columns file, class_index"),
    ],
)
def test_tables_that_do_not_fit(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(SaywhyError, match=message) as caught:
        read_pictures(tmp_path, NAMES)
    assert "\n" not in str(caught.value)
    assert "labels.csv" in str(caught.value)


def test_a_table_written_by_a_spreadsheet(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"\xef\xbb\xbffile,class_index\r\na.png,3\r\n")
    assert read_pictures(tmp_path, NAMES) == ([tmp_path / "a.png"], [3])


def test_folders_without_anything(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(SaywhyError, match=r"no rows of a labels\.csv, and no folder"):
            read_pictures(folder, NAMES)


# -- folds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("classes", "folds"), [(40, 4), (40, 12), (7, 3), (1000, 10), (5, 2)])
def test_folds_hold_every_class_once(classes: int, folds: int) -> None:
    parts = split(classes, folds)
    assert len(parts) == folds
    assert sorted(chain.from_iterable(part.tolist() for part in parts)) == list(range(classes))
    sizes = {len(part) for part in parts}
    assert min(sizes) >= 2
    assert max(sizes) - min(sizes) <= 1
    assert all(torch.equal(a, b) for a, b in zip(parts, split(classes, folds), strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mappers": "default,magic"}, "no mapper 'magic'; there are default, kernel-ridge"),
        ({"mappers": " , "}, "names none"),
        ({"folds": "21"}, "21 folds of 40 classes"),
        ({"folds": "1"}, "1 folds of 40 classes"),
        ({"folds": "ten"}, "NUMBER:FIRST"),
        ({"folds": "10:0"}, "NUMBER:FIRST"),
        ({"transfer": "nowhere"}, "--transfer nowhere"),
    ],
)
def test_what_cannot_be_is_one_line(table: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(SaywhyError, match=message) as caught:
        run(**{"images": str(table), "model": "world:aviary", "mappers": "mean", "folds": "4:1", **options})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_folds_without_pictures_of_both_kinds_are_left_out() -> None:
    labels = torch.tensor([0, 0, 1])
    task = Task(unit(3, 12), labels, unit(6, 12), torch.zeros(6), unit(6, 8), "")
    rows = unit(6, 12), 0.0
    with_seen, all_unseen, all_seen = torch.tensor([0, 2]), torch.tensor([0, 1]), torch.tensor([4, 5])
    expected = _measured(task, [with_seen], [rows], "features")[0]
    assert _measured(task, [all_unseen, with_seen, all_seen], [rows] * 3, "features")[0] == expected
    with pytest.raises(SaywhyError, match="no fold has both"):
        _measured(task, [all_unseen, all_seen], [rows] * 2, "features")


# -- real data --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_real_photographs(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_PACK", str(pack))
    report = run(folds="10:2", mappers="default,ridge,mean")
    area = {row["mapper"]: row["AUSUC"] for row in report.rows if row["picture"] == "halves"}
    assert area["default"] > area["ridge"] > area["mean"]
    assert area["mean"] < 0.01
    assert ("Table 12: WordNet's parents" in [title for title, _, _ in report.more]) == WORDNET.is_dir()


@pytest.mark.skipif(not WORDNET.is_dir(), reason=f"needs WordNet 3.0 in {WORDNET}")
def test_parents_are_wordnets(pack: Path) -> None:
    labels = Classifier.load(f"timm:{pack / 'models' / 'mobilenetv2_imagenet'}").labels
    parents = dict(zip(labels, wordnet_parents(labels, WORDNET), strict=True))
    assert parents["tench"][:2] == ["cyprinid", "cypriniform fish"]
    assert {"fish", "animal", "entity"} <= set(parents["goldfish"])
    assert all(chain[-1] == "entity" for chain in parents.values())
    assert wordnet_parents([f"thing {n}" for n in range(1000)], WORDNET) == []


def test_without_wordnet_there_are_no_parents(tmp_path: Path) -> None:
    assert wordnet_parents(["tench"] * 1000, tmp_path) == []
    assert wordnet_parents(NAMES, WORDNET) == []
