"""Data with rationales: every quirk of the doubly-right sets as a tiny tree; tables; draws; writing."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from saywhy.errors import SaywhyError
from saywhy.pictures.checking import check_pictures, same_pictures
from saywhy.pictures.rationale_data import read_rationale_data
from saywhy.pictures.rationale_folders import split_names, write_doubly_right
from saywhy.pictures.truth import RationaleData, joined
from saywhy.training.prompts.batches import epoch_order, pair_balanced
from tests.words.test_rationale_lists import kinds, listed, written

LISTS = {"kit_fox": ["large ears", "a bushy tail"], "seal": ["whiskers", "a bushy tail"]}


def tree(root: Path, *pictures: str, lists: Any = None) -> Path:
    """Files of these names, and rationales.json; the files hold their own names, and so are no real pictures."""
    for name in pictures:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    if lists is not None:
        (root / "rationales.json").write_text(json.dumps(lists))
    return root


def saved(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (value, 0, 0)).save(path)
    return path


def told(data: RationaleData) -> list[tuple[str, tuple[str, ...]]]:
    """(category, rationales) of each picture, by name."""
    words = data.words
    return [(words.categories[i.category], tuple(words.rationales[r] for r in i.rationales)) for i in data.images]


# Folders


def test_the_doubly_right_layout(tmp_path: Path) -> None:
    names = ("kit_fox/large ears/0/b.jpg", "kit_fox/a bushy tail/1/a.PNG", "seal/whiskers/0/a.webp")
    tree(tmp_path, *(f"train/{name}" for name in names), "test/seal/a bushy tail/0/a.jpg", lists=LISTS)
    data = read_rationale_data(tmp_path)
    assert told(data) == [("kit fox", ("a bushy tail",)), ("kit fox", ("large ears",)), ("seal", ("whiskers",))]
    assert [image.path for image in data.images] == sorted(tmp_path / "train" / name for name in names)
    assert not data.oddities
    assert told(read_rationale_data(tmp_path, "test")) == [("seal", ("a bushy tail",))]
    assert split_names(tmp_path) == ("train", "test")


@pytest.mark.parametrize(
    ("category", "rationale"),
    [
        ("apse/indoor", "a read/write head"),
        ("apse__indoor", "a read__write head"),
        ("Apse or-Indoor", "a read or write head"),
    ],
)
@pytest.mark.parametrize("number", ["0/", "", "17/"])
def test_names_with_a_slash_however_they_were_stored(
    tmp_path: Path, category: str, rationale: str, number: str
) -> None:
    lists = {"apse": ["a vault"], "apse/indoor": ["a read/write head", "a vault"]}
    tree(tmp_path, f"train/{category}/{rationale}/{number}a.jpg", lists=lists)
    assert told(read_rationale_data(tmp_path)) == [("apse or indoor", ("a read or write head",))]


def test_and_or_is_a_folder_in_a_folder(tmp_path: Path) -> None:
    lists = {"jean": ["has a zipper and/or buttons", "a zipper"]}
    tree(tmp_path, "train/jean/has a zipper and/or buttons/0/a.jpg", "train/jean/a zipper/0/a.jpg", lists=lists)
    assert told(read_rationale_data(tmp_path)) == [
        ("jean", ("a zipper",)),
        ("jean", ("has a zipper and or or buttons",)),
    ]


def test_folders_of_two_levels(tmp_path: Path) -> None:
    names = ("wings/long/0/a.jpg", "wings/long/1/a.jpg", "wings/read/write/0/a.jpg", "windows/0/a.jpg")
    lists = {"airplane": [{"wings": ["long", "read/write"]}, {"windows": []}]}
    tree(tmp_path, *(f"train/airplane/{name}" for name in names), lists=lists)
    data = read_rationale_data(tmp_path)
    assert [r for _, (r,) in told(data)] == ["windows", "wings, long", "wings, long", "wings, read or write"]
    assert not data.oddities


def test_names_are_never_matched_in_part(tmp_path: Path) -> None:
    names = ("sea/a tail/0/a.jpg", "seal/a tail/0/a.jpg", "seal/tail/0/a.jpg", "seal/tail/0/b.jpg")
    tree(tmp_path, *(f"train/{name}" for name in names), lists={"seal": ["a tail", "a black tail"], "sea": ["waves"]})
    data = read_rationale_data(tmp_path)
    assert told(data) == [("seal", ("a tail",))]
    assert [(o.kind, o.where, o.skipped) for o in data.oddities] == [
        ("no such rationale", "train/sea/a tail/0", 1),
        ("no such rationale", "train/seal/tail/0", 2),
    ]


def test_what_does_not_fit_is_told_and_left_out(tmp_path: Path) -> None:
    names = ("seal/whiskers/0/a.jpg", "seal/whiskers/0/url.txt", "seal/whiskers/0/.DS_Store", "otter/fur/0/a.jpg",
             "seal/0/a.jpg", "seal/b.jpg", "c.jpg", "notes.txt")  # fmt: skip
    tree(tmp_path, *(f"train/{name}" for name in names), lists=LISTS)
    (tmp_path / "train/seal/a bushy tail/0").mkdir(parents=True)
    data = read_rationale_data(tmp_path)
    assert told(data) == [("seal", ("whiskers",))]
    assert kinds(data.oddities) == {"no picture": 0, "no such category": 2, "no rationale": 2, "empty folder": 0}
    assert {o.where for o in data.oddities if o.kind == "empty folder"} == {"train/seal/a bushy tail/0"}


def test_a_category_may_be_called_as_a_split_or_a_number(tmp_path: Path) -> None:
    """CIFAR-100 has a class "train"."""
    tree(
        tmp_path, "train/train/rails/0/a.jpg", "train/7/a bar/0/a.jpg", lists={"train": ["rails"], "7": ["a bar", "9"]}
    )
    tree(tmp_path, "train/7/9/a.jpg")
    assert told(read_rationale_data(tmp_path)) == [("7", ("9",)), ("7", ("a bar",)), ("train", ("rails",))]


def test_without_lists_the_folders_are_the_lists_of_all_splits(tmp_path: Path) -> None:
    tree(
        tmp_path,
        "train/kit_fox/large ears/0/a.jpg",
        "test/kit_fox/large-ears/0/a.jpg",
        "test/seal/a read/write head/0/a.jpg",
    )
    train, test = (read_rationale_data(tmp_path, split) for split in ("train", "test"))
    assert train.words == test.words
    assert listed(train.words) == {"kit fox": ["large ears"], "seal": ["a read or write head"]}
    assert kinds(train.oddities) == {"no lists": 0, "same rationale": 0}
    assert told(test) == [("kit fox", ("large ears",)), ("seal", ("a read or write head",))]
    assert "1 lie a folder deeper" in train.oddities[0].says


def test_where_the_lists_are(tmp_path: Path) -> None:
    tree(tmp_path, "train/seal/whiskers/0/a.jpg")
    other = written(tmp_path / "SUN_text.json", json.dumps(LISTS))
    assert len(read_rationale_data(tmp_path).words.categories) == 2
    written(tmp_path / "other.json", json.dumps(LISTS))
    with pytest.raises(SaywhyError, match=r"may be in SUN_text.json, other.json; name one of them"):
        read_rationale_data(tmp_path)
    assert told(read_rationale_data(tmp_path, rationales=other)) == [("seal", ("whiskers",))]
    written(tmp_path / "rationales.csv", "category,rationale\nseal,whiskers\n")
    assert len(read_rationale_data(tmp_path).words.categories) == 1
    written(tmp_path / "rationales.json", json.dumps(LISTS))
    assert len(read_rationale_data(tmp_path).words.categories) == 2


def test_a_folder_that_links_to_its_own_parent_has_an_end(tmp_path: Path) -> None:
    tree(tmp_path, "train/seal/whiskers/0/a.jpg", lists=LISTS)
    (tmp_path / "train/seal/again").symlink_to(tmp_path / "train/seal")
    data = read_rationale_data(tmp_path)
    assert told(data) == [("seal", ("whiskers",))]


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(SaywhyError, match="no such folder or table"):
        read_rationale_data(tmp_path / "none")
    tree(tmp_path, "cats/a.jpg")
    with pytest.raises(SaywhyError, match="no folder train or test"):
        read_rationale_data(tmp_path)
    with pytest.raises(SaywhyError, match="CATEGORY/RATIONALE"):
        read_rationale_data(tmp_path, "")
    tree(tmp_path, "train/otter/fur/0/a.jpg", "train/otter/fur/0/b.jpg", lists=LISTS)
    with pytest.raises(SaywhyError, match=r"none of its 2 pictures can be used.*train/otter/fur/0"):
        read_rationale_data(tmp_path)
    with pytest.raises(SaywhyError, match="no split 'test'; there is train"):
        read_rationale_data(tmp_path, "test")
    (tmp_path / "test").mkdir()
    with pytest.raises(SaywhyError, match="there are no pictures in it"):
        read_rationale_data(tmp_path, "test")
    with pytest.raises(SaywhyError, match="there is no gold 'some'; there are query, all"):
        read_rationale_data(tmp_path, gold="some")


def test_a_folder_without_splits_is_read_when_asked(tmp_path: Path) -> None:
    tree(tmp_path, "seal/whiskers/a.jpg", lists=LISTS)
    assert split_names(tmp_path) == ("",)
    data = read_rationale_data(tmp_path, "")
    assert told(data) == [("seal", ("whiskers",))]
    assert not data.oddities


# Tables


def test_a_table_with_rows_and_cells_of_several_rationales(tmp_path: Path) -> None:
    tree(tmp_path, "b.jpg", "in/a.jpg")
    table = written(
        tmp_path / "own.csv",
        "picture,category,rationale,note\nin/a.jpg,seal,whiskers; a bushy tail,x\nb.jpg,Kit_Fox,large ears\n"
        "\nb.jpg,kit fox,a bushy tail\nb.jpg,kit fox,a bushy tail\n",
    )
    data = read_rationale_data(table, "")
    assert data.words.rationales == ("whiskers", "a bushy tail", "large ears")
    assert listed(data.words) == {"seal": ["whiskers", "a bushy tail"], "kit fox": ["large ears", "a bushy tail"]}
    assert told(data) == [("kit fox", ("a bushy tail", "large ears")), ("seal", ("whiskers", "a bushy tail"))]
    assert kinds(data.oddities) == {"same category": 0}


def test_a_tables_splits_share_their_words(tmp_path: Path) -> None:
    tree(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    rows = "a.jpg,seal,whiskers,Train\nb.jpg,fox,large ears,test\nc.jpg,fox,large ears,\n"
    table = written(tmp_path / "own.csv", f"picture,category,rationale,split\n{rows}")
    train, test = (read_rationale_data(table, split) for split in ("train", "test"))
    assert train.words == test.words
    assert (told(train), told(test)) == ([("seal", ("whiskers",))], [("fox", ("large ears",))])
    assert split_names(table) == ("train", "test")
    assert kinds(train.oddities) == {"no split": 1}
    with pytest.raises(SaywhyError, match="no split 'val'; there are train, test"):
        read_rationale_data(table, "val")


def test_a_table_with_lists_of_its_own(tmp_path: Path) -> None:
    tree(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    table = written(
        tmp_path / "own.csv",
        "picture,category,rationale\na.jpg,seal,whiskers;fins\nb.jpg,seal,fins\nc.jpg,otter,fur\nd.jpg,seal,whiskers\n",
    )
    written(tmp_path / "rationales.csv", "category,rationale\nseal,whiskers\nfox,large ears\n")
    data = read_rationale_data(table, "")
    assert told(data) == [("seal", ("whiskers",))]
    assert listed(data.words) == {"seal": ["whiskers"], "fox": ["large ears"]}
    assert kinds(data.oddities) == {"no such rationale": 0, "no such category": 1, "no rationale": 1, "missing": 1}
    lists = written(tmp_path / "lists.json", '{"seal": ["fins"]}')
    assert told(read_rationale_data(table, "", lists)) == [("seal", ("fins",))] * 2


def test_rows_that_do_not_fit(tmp_path: Path) -> None:
    tree(tmp_path, "a.jpg", "b.jpg")
    rows = "a.jpg,seal,whiskers\nb.jpg,seal,whiskers\nb.jpg,fox,large ears\n,seal,whiskers\na.jpg,,whiskers\n"
    data = read_rationale_data(written(tmp_path / "own.csv", f"picture,category,rationale\n{rows}"), "")
    assert told(data) == [("seal", ("whiskers",))]
    assert kinds(data.oddities) == {"two categories": 1, "not whole": 2}


def test_tables_that_cannot_be_used(tmp_path: Path) -> None:
    table = written(tmp_path / "own.csv", "picture,category,rationale\na.jpg,seal,whiskers\n")
    with pytest.raises(SaywhyError, match="no column split"):
        read_rationale_data(table)
    with pytest.raises(SaywhyError, match=r"no picture can be used.*no such file"):
        read_rationale_data(table, "")
    with pytest.raises(SaywhyError, match=r"or a \.csv"):
        read_rationale_data(written(tmp_path / "own.txt", ""))
    with pytest.raises(SaywhyError, match="it lacks rationale"):
        read_rationale_data(written(tmp_path / "own.csv", "picture,category\n"))


# Several rationales


@pytest.fixture
def birds(tmp_path: Path) -> tuple[RationaleData, RationaleData]:
    """Two splits of a table; sets of one, two and three rationales."""
    rows = {
        "a": ("finch", "a red bill; a long tail", "train"),
        "b": ("finch", "a long tail;a red bill", "train"),
        "c": ("finch", "a red bill", "train"),
        "d": ("owl", "a long tail; a red bill; big eyes", "train"),
        "e": ("owl", "big eyes;a red bill", "test"),
    }
    tree(tmp_path, *(f"{name}.jpg" for name in rows))
    text = "\n".join(["picture,category,rationale,split", *(f"{n}.jpg,{','.join(row)}" for n, row in rows.items())])
    table = written(tmp_path / "birds.csv", text)
    return read_rationale_data(table), read_rationale_data(table, "test")


def test_joined_sets_are_rationales(birds: tuple[RationaleData, RationaleData]) -> None:
    train, test = birds
    data = joined(train)
    singles = train.words.rationales
    pair, three = "a red bill and a long tail", "a red bill and a long tail and big eyes"
    assert data.words.rationales == (*singles, pair, three)
    assert data.words.several == {3: ("a red bill", "a long tail"), 4: ("a red bill", "a long tail", "big eyes")}
    assert listed(data.words) == {
        "finch": ["a red bill", "a long tail", pair],
        "owl": ["a long tail", "a red bill", "big eyes", three],
    }
    assert told(data) == [("finch", (pair,)), ("finch", (pair,)), ("finch", ("a red bill",)), ("owl", (three,))]
    texts = data.words.rationale_texts()
    assert texts[0] == "There is a red bill in the photo."
    assert texts[3] == "There are a red bill and a long tail in the photo."
    assert [image.path for image in data.images] == [image.path for image in train.images]
    both = joined(train, [test]), joined(test, [train])
    assert both[0].words == both[1].words
    assert "a red bill and big eyes" in both[0].words.rationales


def test_joining_twice_or_singles_changes_nothing(birds: tuple[RationaleData, RationaleData], tmp_path: Path) -> None:
    once = joined(birds[0])
    again = joined(once)
    assert (again.words, again.images) == (once.words, once.images)
    tree(tmp_path / "one", "train/seal/whiskers/0/a.jpg", lists=LISTS)
    data = read_rationale_data(tmp_path / "one")
    assert joined(data).words == data.words
    with pytest.raises(SaywhyError, match="same lists"):
        joined(data, [birds[0]])


def test_a_set_that_is_listed_as_one_thing_is_that_thing(tmp_path: Path) -> None:
    tree(tmp_path, "a.jpg", "b.jpg")
    rows = "a.jpg,breakfast,bread;butter\nb.jpg,lunch,bread and butter\n"
    data = joined(read_rationale_data(written(tmp_path / "own.csv", f"picture,category,rationale\n{rows}"), ""))
    assert told(data) == [("breakfast", ("bread and butter",)), ("lunch", ("bread and butter",))]
    assert not data.words.several


# Draws


def test_draws_are_even_over_categories_then_rationales_then_pictures(tmp_path: Path) -> None:
    names = [f"kit_fox/large ears/0/{n}.jpg" for n in range(9)] + [
        "kit_fox/a bushy tail/0/a.jpg",
        "seal/whiskers/0/a.jpg",
    ]
    tree(tmp_path, *(f"train/{name}" for name in names), lists=LISTS | {"wall": []})
    data = read_rationale_data(tmp_path)
    count = 20_000
    drawn = np.bincount(list(islice(pair_balanced(data, seed=3), count)), minlength=len(data.images)) / count
    expected = [1 / 2 if c == "seal" else 1 / 4 if r == "a bushy tail" else 1 / 36 for c, (r,) in told(data)]
    assert drawn == pytest.approx(expected, abs=0.015)


def test_draws_go_on_where_they_stopped(birds: tuple[RationaleData, RationaleData]) -> None:
    whole = list(islice(pair_balanced(birds[0], seed=1), 10_000))
    for start in (0, 1, 4095, 4096, 9_000):
        assert list(islice(pair_balanced(birds[0], 1, start), 1000)) == whole[start : start + 1000]
    assert whole != list(islice(pair_balanced(birds[0], seed=2), 10_000))
    assert set(whole) == set(range(4))


def test_an_epoch_has_every_picture_once(birds: tuple[RationaleData, RationaleData], tmp_path: Path) -> None:
    tree(tmp_path / "many", *(f"train/seal/whiskers/0/{n}.jpg" for n in range(50)), lists=LISTS)
    data = read_rationale_data(tmp_path / "many")
    orders = [epoch_order(data, seed, epoch).tolist() for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert epoch_order(data, 0, 1).tolist() == orders[1]


# Pictures


def test_pictures_that_cannot_be_opened_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "train/seal/whiskers/0"
    good = saved(folder / "good.png")
    (folder / "text.jpg").write_text("no picture")
    (folder / "empty.jpg").touch()
    (folder / "broken.png").write_bytes(good.read_bytes()[:-20])
    tree(tmp_path, lists=LISTS)
    read = read_rationale_data(tmp_path)
    assert len(read.images) == 4
    data = check_pictures(read)
    assert [image.path.name for image in data.images] == ["good.png"]
    assert kinds(data.oddities) == {"cannot be opened": 3}
    good.unlink()
    with pytest.raises(SaywhyError, match="none of the 4 pictures"):
        check_pictures(read)


def test_pictures_in_two_splits_are_found_by_what_they_hold(tmp_path: Path) -> None:
    for n, split in enumerate(("train", "train", "train", "test", "test")):
        saved(tmp_path / split / "seal/whiskers/0" / f"{n}.png", value=(0, 10, 20, 10, 30)[n])
    tree(tmp_path, lists=LISTS)
    train, test = read_rationale_data(tmp_path), read_rationale_data(tmp_path, "test")
    assert [path.name for path in same_pictures(test, train)] == ["3.png"]
    assert [path.name for path in same_pictures(train, test)] == ["1.png"]


# Writing


def pictures(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (6, 5), (n, 2 * n, 0)) for n in range(count)]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    lists = {"apse/indoor": ["a read/write head", "a wide-brimmed hat", "a vault"], "kit_fox": ["Big ears"], "wall": []}
    shots = pictures(4)
    images = [
        ("train", "apse/indoor", ["a wide-brimmed hat", "a read/write head"], shots[0]),
        ("train", "kit_fox", ["Big ears"], shots[1]),
        ("test", "apse/indoor", ["a read/write head"], shots[2]),
        ("train", "apse/indoor", ["a vault"], shots[3]),
    ]
    write_doubly_right(tmp_path / "out", iter(images), lists)
    query = read_rationale_data(tmp_path / "out")
    assert listed(query.words) == {
        "apse or indoor": ["a read or write head", "a wide brimmed hat", "a vault"],
        "kit fox": ["big ears"],
        "wall": [],
    }
    assert told(query) == [
        ("apse or indoor", ("a vault",)),
        ("apse or indoor", ("a wide brimmed hat",)),
        ("kit fox", ("big ears",)),
    ]
    every = read_rationale_data(tmp_path / "out", gold="all")
    assert told(every)[1] == ("apse or indoor", ("a read or write head", "a wide brimmed hat"))
    assert told(every)[::2] == told(query)[::2]
    assert kinds(every.oddities) == {"empty list": 0}
    with Image.open(every.images[1].path) as picture:
        assert np.array_equal(np.asarray(picture), np.asarray(shots[0]))
    assert told(read_rationale_data(tmp_path / "out", "test", gold="all")) == [
        ("apse or indoor", ("a read or write head",))
    ]
    assert not list(tmp_path.rglob("*.part"))


def test_gold_that_does_not_fit(tmp_path: Path) -> None:
    tree(tmp_path, "train/seal/whiskers/0/a.jpg", lists=LISTS)
    with pytest.raises(SaywhyError, match=r"gold.csv: does not exist"):
        read_rationale_data(tmp_path, gold="all")
    name = "train/seal/whiskers/0/a.jpg"
    rows = f"picture,category,rationale\n{name},seal,large ears\n{name},kit fox,large ears\nelse.jpg,seal,whiskers\n"
    written(tmp_path / "gold.csv", rows)
    data = read_rationale_data(tmp_path, gold="all")
    assert told(data) == [("seal", ("whiskers",))]
    assert [o.where for o in data.oddities] == ["gold.csv:2", "gold.csv:3"]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    one = pictures(1)[0]
    with pytest.raises(SaywhyError, match="not listed for it: fins"):
        write_doubly_right(tmp_path / "a", [("train", "seal", ["fins"], one)], {"seal": ["whiskers"]})
    with pytest.raises(SaywhyError, match="no rationale"):
        write_doubly_right(tmp_path / "b", [("train", "seal", [], one)], {"seal": ["whiskers"]})
    with pytest.raises(SaywhyError, match="cannot be the name of a folder"):
        write_doubly_right(tmp_path / "c", [("train", "..", ["x"], one)], {"..": ["x"]})
    assert not list(tmp_path.rglob("rationales.json"))
    tree(tmp_path / "full", "a.jpg")
    with pytest.raises(SaywhyError, match="already exists"):
        write_doubly_right(tmp_path / "full", [], {})


def test_a_write_that_was_stopped_has_no_lists(tmp_path: Path) -> None:
    def stopped() -> Any:
        yield "train", "seal", ["whiskers"], pictures(1)[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_doubly_right(tmp_path / "out", stopped(), {"seal": ["whiskers"]})
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["train"]
