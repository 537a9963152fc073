"""One record of what is true of pictures, whatever it is read from; contradictions are refused with their line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from saywhy.errors import SaywhyError
from saywhy.pictures.phrase_tables import ABSENT, THERE, UNKNOWN, read_phrases
from saywhy.worlds.aviary import SPECIES, phrases_of
from saywhy.worlds.cub_layout import write_cub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "inner/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    return tmp_path


def table(folder: Path, *rows: str, name: str = "table.csv") -> Path:
    (folder / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / name


FULL = (
    "Picture,phrase,there,class,group",
    "a.png,red  crown,1,Robin,crown",
    "a.png,hooked bill,no,Robin,bill",
    "b.png,red crown,0.0,,crown",
    "b.png,hooked bill,?,Owl,",
    "inner/c.png,red crown,True,Owl,",
    "gone.png,hooked bill,1,Owl,",
)


def test_a_table_says_what_is_there_what_is_not_and_what_nobody_knows(folder: Path) -> None:
    data = read_phrases(table(folder, *FULL))
    assert data.vocabulary.phrases == ("red crown", "hooked bill")
    assert data.vocabulary.groups == ("crown", "bill")
    assert [Path(picture.name).name for picture in data.pictures] == ["a.png", "b.png", "c.png"]
    assert data.there.tolist() == [[THERE, ABSENT], [ABSENT, UNKNOWN], [THERE, UNKNOWN]]
    assert data.classes == ("Robin", "Owl", "Owl")
    assert data.skipped == (("gone.png", "listed in the table, and there is no such file"),)
    assert data.pictures[2].open().size == (8, 8)


def test_without_the_column_a_table_lists_what_is_there(folder: Path) -> None:
    data = read_phrases(table(folder, "picture,phrase", "a.png,red crown", "b.png,hooked bill", "b.png,red crown"))
    assert data.there.tolist() == [[THERE, ABSENT], [THERE, THERE]]
    assert data.classes is None


def test_parquet_reads_as_the_same_table_does(folder: Path) -> None:
    columns = {
        "picture": ["a.png", "b.png", "b.png"], "phrase": ["red crown", "red crown", "hooked bill"],
        "there": [True, False, None], "class": ["Robin", "Owl", None], "other": [1, 2, 3],
    }  # fmt: skip
    parquet.write_table(pyarrow.table(columns), folder / "table.parquet")
    data = read_phrases(folder / "table.parquet")
    assert data.there.tolist() == [[THERE, UNKNOWN], [ABSENT, UNKNOWN]]
    assert data.classes == ("Robin", "Owl")


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (("picture,there", "a.png,1"), "lacks phrase"),
        (("picture,phrase,there", "a.png,red crown,maybe"), "line 2: there is 'maybe'"),
        (("picture,phrase,there", "a.png,red crown,1", "a.png,red crown,0"), "line 3: says of"),
        (("picture,phrase,class", "a.png,red crown,Owl", "a.png,grey eye,Robin"), "line 3: a.png is of class 'Robin'"),
        (("picture,phrase,group", "a.png,x,bill", "b.png,x,eye"), "line 3: 'x' is in the group 'eye'"),
        (("picture,phrase", "a.png,"), "line 2: the phrase is empty"),
        (("picture,phrase",), "without rows"),
        (("picture,phrase", "gone.png,red crown"), "there are no pictures; gone.png listed in the table"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_in_a_line(folder: Path, rows: tuple[str, ...], says: str) -> None:
    with pytest.raises(SaywhyError, match=says):
        read_phrases(table(folder, *rows))


def test_what_is_no_source_is_refused(folder: Path) -> None:
    with pytest.raises(SaywhyError, match="no such table"):
        read_phrases(folder / "nothing.csv")
    with pytest.raises(SaywhyError, match=r"no images\.txt here"):
        read_phrases(folder)
    with pytest.raises(SaywhyError, match="not a Parquet table"):
        read_phrases(table(folder, "picture,phrase", name="broken.parquet"))
    with pytest.raises(SaywhyError, match="no phrases of this world"):
        read_phrases("world:digits")


def test_a_folder_in_cubs_layout(tmp_path: Path) -> None:
    root = write_cub(tmp_path, train=6, test=6, size=64)
    data = read_phrases(root)
    assert data.shares is None
    crown = data.vocabulary.phrases.index("red crown")
    has = ["red crown" in phrases_of(SPECIES[name]) for name in data.classes or ()]
    assert (data.there[:, crown] == THERE).tolist() == has
    labels = root / "attributes" / "image_attribute_labels.txt"
    labels.write_text(labels.read_text().replace(" 4 0.0", " 1 0.0", 1))  # of the first attribute, not visible
    hooked = read_phrases(root)
    assert (hooked.there != data.there).sum() == 1
    assert (hooked.there == UNKNOWN).sum() == 1
    labels.unlink()  # then the table of classes counts
    by_class = read_phrases(root)
    assert by_class.shares is not None
    np.testing.assert_array_equal(by_class.shares, data.there)
    np.testing.assert_array_equal(read_phrases(root).there, data.there)
    assert len(read_phrases(root, limit=5)) == 5


def test_annotators_of_a_class_who_do_not_agree_say_nothing(tmp_path: Path) -> None:
    root = write_cub(tmp_path, train=1, test=0, size=64)
    (root / "attributes" / "image_attribute_labels.txt").unlink()
    table = root / "attributes" / "class_attribute_labels_continuous.txt"
    rows = np.loadtxt(table)
    rows[:] = 5
    rows[:, :3] = (50, 51, 10)
    np.savetxt(table, rows)
    there = read_phrases(root).there[0]
    assert there.tolist()[:3] == [UNKNOWN, THERE, UNKNOWN]
    assert not there[3:].any()


def test_scenes_of_the_aviary_are_half_of_them_of_no_species() -> None:
    data = read_phrases("world:aviary", limit=6)
    assert len(data) == 6
    assert [name in SPECIES for name in data.classes or ()] == [True] * 3 + [False] * 3
    columns = {phrase: m for m, phrase in enumerate(data.vocabulary.phrases)}
    for row, name in zip(data.there[:3], (data.classes or ())[:3], strict=True):
        true = [columns[phrase] for phrase in phrases_of(SPECIES[name])]
        assert set(row[true]) <= {THERE, UNKNOWN}
        assert (row[true] == THERE).mean() > 0.7  # few parts are hidden
        scenery = [columns[place] for place in ("water", "sky", "grass", "sand", "snow", "branch", "buildings")]
        assert row[scenery].sum() == THERE
