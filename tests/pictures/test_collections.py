"""Data sets by whatever they are kept in, made with the formats' own writers; and broken ones."""

from __future__ import annotations

import gzip
import io
import pickle
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from saywhy import SaywhyError
from saywhy.pictures.collections import Collection, CollectionWarning, InColumns, collection, labels_of
from saywhy.pictures.entries import Row, in_columns
from saywhy.pictures.sources import evenly

SHADES = (20, 120, 220)
TOLERANCE = 4  # of JPEG


def drawn(shade: int) -> Image.Image:
    return Image.new("RGB", (12, 8), (shade, shade, shade))


def as_bytes(shade: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    drawn(shade).save(buffer, kind)
    return buffer.getvalue()


def shade_of(image: Image.Image) -> int:
    assert image.mode == "RGB"
    return int(np.asarray(image).mean())


def check(found: Collection, labels: list[tuple[str, ...]], metadata: list[dict[str, str]] | None = None) -> None:
    """Three pictures of SHADES, in order; the same after a journey to another process, and in any order."""
    assert isinstance(found, Collection)
    assert [entry.labels for entry in map(found.__getitem__, range(len(found)))] == labels
    away = pickle.loads(pickle.dumps(found))
    assert away.digest == found.digest
    for number in (2, 0, 1):
        entry = pickle.loads(pickle.dumps(away[number]))
        assert entry.name == found[number].name
        assert abs(shade_of(entry.open()) - SHADES[number]) <= TOLERANCE
        if metadata is not None:
            assert dict(entry.metadata) == metadata[number]


# -- folders ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, shade in zip(("ant/a.png", "bee/b.png", "bee/c.png"), SHADES, strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        drawn(shade).save(tmp_path / name)
    return tmp_path


def test_a_folder_by_class(folder: Path) -> None:
    found = collection([str(folder)])
    check(found, [("ant",), ("bee",), ("bee",)], [{}] * 3)
    assert labels_of(found) == {"ant": 1, "bee": 2}
    assert [collection([str(folder)], 2)[n].labels for n in range(2)] == [("ant",), ("bee",)]


def test_a_world_travels_to_another_process() -> None:
    found = collection(["world:aviary"], 3)
    entry = pickle.loads(pickle.dumps(found))[1]
    np.testing.assert_array_equal(entry.open(), found[1].open())


def test_a_name_that_is_no_utf8_is_opened(tmp_path: Path) -> None:
    (tmp_path / "ant").mkdir()
    with open(bytes(tmp_path / "ant") + b"/\xff.png", "wb") as file:
        file.write(as_bytes(20))
    assert shade_of(collection([str(tmp_path)])[0].open()) == 20


def test_a_folder_without_pictures_and_no_folder(tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(SaywhyError, match=r"no pictures|no such"):
            collection([str(source)])


def test_equal_numbers_of_each_class_are_taken() -> None:
    classes = ["a"] * 50 + ["b"] * 5 + ["c"] * 20
    taken = [classes[n] for n in evenly(classes, 21, seed=3)]
    assert (taken.count("a"), taken.count("b"), taken.count("c")) == (8, 5, 8)
    assert evenly(classes, 21, seed=3) == evenly(classes, 21, seed=3) != evenly(classes, 21, seed=4)


def test_a_million_entries_take_little_memory() -> None:
    rows = (Row(f"photos/class{n % 1000:04d}/picture{n:07d}.jpg", (f"class{n % 1000:04d}",)) for n in range(100_000))
    found = in_columns("many", rows, _never)
    assert found.table.nbytes / len(found) < 120
    assert len(pickle.dumps(found)) / len(found) < 120
    assert found[77_777].labels == ("class0777",)


def _never(name: str, place: tuple[int, ...]) -> Image.Image:
    raise AssertionError("nothing is opened here")


# -- tables -----------------------------------------------------------------------------------------------------------


TABLE = 'path,Label,hospital,note\nant/a.png,ant,north,\nbee/b.png,bee|wasp,south,"x, y"\nbee/c.png, ,south,NA\n'


def test_a_csv_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "t.csv").write_text("\ufeff" + TABLE, encoding="utf-8")
    metadata = [{"hospital": "north"}, {"hospital": "south", "note": "x, y"}, {"hospital": "south", "note": "NA"}]
    check(collection([str(folder / "t.csv")]), [("ant",), ("bee", "wasp"), ()], metadata)
    monkeypatch.chdir(folder / "ant")
    found = collection(["../t.csv"])
    check(found, [("ant",), ("bee", "wasp"), ()], metadata)
    assert found[0].name == "../ant/a.png"
    monkeypatch.chdir("/")  # as another process may be
    check(found, [("ant",), ("bee", "wasp"), ()], metadata)


def test_a_tsv_table_with_semicolons(folder: Path) -> None:
    (folder / "t.tsv").write_text("file\tlabels\nant/a.png\tant; six legs\nbee/b.png\tbee\nbee/c.png\t\n")
    check(collection([str(folder / "t.tsv")]), [("ant", "six legs"), ("bee",), ()])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pa.array([["a", "b"], [], None]), [("a", "b"), (), ()]),
        (pa.array([[1, 2], [0], [3]]), [("1", "2"), ("0",), ("3",)]),
        (pa.array([3, 0, None]), [("3",), ("0",), ()]),
        (pa.array([3.0, 0.0, float("nan")]), [("3",), ("0",), ()]),
        (pa.array(["a", "b;c", "a"]).dictionary_encode(), [("a",), ("b", "c"), ("a",)]),
    ],
)
def test_a_parquet_table(folder: Path, labels: Any, expected: list[tuple[str, ...]]) -> None:
    files = [str(folder / "ant/a.png"), "bee/b.png", "bee/c.png"]  # a path may be absolute
    table = pa.table({"image": files, "label": labels, "age": [41, None, 7], "box": [[1, 2], [3], []]})
    parquet.write_table(table, folder / "t.parquet")
    check(collection([str(folder / "t.parquet")]), expected, [{"age": "41"}, {}, {"age": "7"}])


def test_columns_can_be_named(folder: Path) -> None:
    (folder / "t.csv").write_text("image,path,kind\n1,ant/a.png,x\n2,bee/b.png,y\n3,bee/c.png,x\n")
    with pytest.raises(SaywhyError, match="--file-column"):
        collection([str(folder / "t.csv")])
    found = collection([str(folder / "t.csv")], file_column="path", label_column="kind")
    check(found, [("x",), ("y",), ("x",)], [{"image": "1"}, {"image": "2"}, {"image": "3"}])
    with pytest.raises(SaywhyError, match="did you mean kind"):
        collection([str(folder / "t.csv")], file_column="path", label_column="knid")
    with pytest.raises(SaywhyError, match="no single table"):
        collection([str(folder)], file_column="path")


BROKEN_TABLES = {
    "empty": ("", "not a table"),
    "no rows": ("file,label\n", "has no pictures"),
    "no column": ("name,label\na,b\n", "no column names the pictures"),
    "two columns": ("file,label,class\nant/a.png,a,b\n", "several columns of labels"),
    "twice": ("file,file\na,b\n", "names the column 'file' twice"),
    "ragged": ("file,label\nant/a.png,a,b\n", "Expected 2 columns, got 3"),
    "no file": ("file,label\nant/a.png,a\n,b\n", "row 2 names no file"),
    "nowhere": ("file,label\nx/a.png,a\nx/b.png,b\n", "none of its first 2 files is there"),
    "long": ("file,label\nant/a.png,a\nant/a.png,b\n", "a.png more than once; give each one row"),
    "binary": (b"file,label\n\xff\xfe\x00,1\n", "not a table"),
}


@pytest.mark.parametrize("case", BROKEN_TABLES)
def test_broken_tables_are_one_line(folder: Path, case: str) -> None:
    content, reason = BROKEN_TABLES[case]
    (folder / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    _fails([str(folder / "t.csv")], reason)


def test_broken_parquet_tables(folder: Path) -> None:
    (folder / "t.parquet").write_bytes(b"PAR1 no")
    _fails([str(folder / "t.parquet")], "not a Parquet table")
    parquet.write_table(pa.table({"image": [{"bytes": b"x", "path": None}]}), folder / "t.parquet")
    _fails([str(folder / "t.parquet")], "holds pictures themselves")
    parquet.write_table(pa.table({"file": [1, 2]}), folder / "t.parquet")
    _fails([str(folder / "t.parquet")], "holds int64, not names of files")
    _fails([str(folder / "none.parquet")], "no such file|cannot be read|not exist")


def test_one_missing_file_is_seen_when_it_is_opened(folder: Path) -> None:
    (folder / "t.csv").write_text("file,label\nant/a.png,a\nant/gone.png,b\n")
    found = collection([str(folder / "t.csv")])
    with pytest.raises(SaywhyError, match=r"gone\.png"):
        found[1].open()


def _fails(sources: list[str], reason: str) -> None:
    with pytest.raises(SaywhyError, match=reason) as raised:
        collection(sources)
    assert "\n" not in str(raised.value)


# -- CUB --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def birds(folder: Path) -> Path:
    root = folder / "CUB_200_2011"
    (folder / "ant").rename(folder / "images")
    root.mkdir()
    (folder / "images").rename(root / "images")
    for number, shade in enumerate(SHADES):
        drawn(shade).save(root / "images" / f"{number}.png")
    (root / "images.txt").write_text("1 0.png\n2 1.png\n3 2.png\n4 gone.png\n")
    (root / "classes.txt").write_text("1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n")
    (root / "image_class_labels.txt").write_text("1 1\n2 2\n3 1\n4 1\n")
    (root / "train_test_split.txt").write_text("1 1\n2 0\n3 1\n4 1\n")
    return folder


def test_the_layout_of_cub(birds: Path) -> None:
    for source in (birds, birds / "CUB_200_2011"):
        with pytest.warns(CollectionWarning, match=r"1 pictures? .* left out, gone.png first"):
            found = collection([str(source)])
        names = [("Black footed Albatross",), ("Laysan Albatross",), ("Black footed Albatross",)]
        check(found, names, [{"split": "train"}, {"split": "test"}, {"split": "train"}])


# -- shards -----------------------------------------------------------------------------------------------------------


def written(path: Path, samples: list[dict[str, Any]]) -> Path:
    webdataset = pytest.importorskip("webdataset")
    with webdataset.TarWriter(str(path)) as writer:
        for sample in samples:
            writer.write(sample)
    return path


def sample(number: int, **more: Any) -> dict[str, Any]:
    return {"__key__": f"{number:04d}", "jpg": as_bytes(SHADES[number], "JPEG"), **more}


@pytest.mark.parametrize(
    ("samples", "labels", "metadata"),
    [
        ([sample(n, cls=n) for n in range(3)], [("0",), ("1",), ("2",)], [{}, {}, {}]),
        ([sample(n, txt="ant|bee") for n in range(3)], [("ant", "bee")] * 3, [{}] * 3),
        (
            [sample(n, cls=n, txt="a caption", json={"site": "n", "age": 4, "box": [1]}) for n in range(3)],
            [("0",), ("1",), ("2",)],
            [{"site": "n", "age": "4", "txt": "a caption"}] * 3,
        ),
        ([sample(n, json={"label": ["x", "y"], "site": None}) for n in range(3)], [("x", "y")] * 3, [{}] * 3),
        ([sample(n, **{"seg.png": as_bytes(7)}) for n in range(3)], [()] * 3, [{}] * 3),
    ],
)
def test_a_shard(tmp_path: Path, samples: Any, labels: Any, metadata: Any) -> None:
    path = written(tmp_path / "s.tar", samples)
    check(collection([str(path)]), labels, metadata)


def test_several_shards_by_pattern_range_and_folder(tmp_path: Path) -> None:
    for number in range(3):
        written(tmp_path / f"s-{number:04d}.tar", [sample(number, cls=number)])
    expected = [("0",), ("1",), ("2",)]
    for source in (str(tmp_path / "s-{0000..0002}.tar"), str(tmp_path / "s-*.tar"), str(tmp_path)):
        check(collection([source]), expected)
    check(collection([str(tmp_path / f"s-{n:04d}.tar") for n in range(3)]), expected)
    assert collection([str(tmp_path)])[1].name == str(tmp_path / "s-0001.tar/0001")


def test_long_names_folders_and_dots_in_a_shard(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w", format=tarfile.PAX_FORMAT) as shard:
        for number, shade in enumerate(SHADES):
            for ending, data in (("PNG", as_bytes(shade)), ("cls", b"%d" % number)):
                info = tarfile.TarInfo(f"v1.0/{'é' * 150}{number}.{ending}")
                info.size = len(data)
                shard.addfile(info, io.BytesIO(data))
    check(collection([str(tmp_path / "s.tar")]), [("0",), ("1",), ("2",)])


def test_broken_shards_are_one_line(tmp_path: Path) -> None:
    good = written(tmp_path / "good.tar", [sample(n, cls=n) for n in range(3)]).read_bytes()
    _fails([str(tmp_path / "s-{0000..0002}.tar")], r"s-0000\.tar and 2 more of 3: no such shard")
    for name in ("a.tar.gz", "a.tgz"):
        (tmp_path / name).write_bytes(b"x")
        _fails([str(tmp_path / name)], "unpack it first")
    (tmp_path / "b.tar").write_bytes(gzip.compress(good))
    _fails([str(tmp_path / "b.tar")], "it is compressed, unpack it first")
    (tmp_path / "b.tar").write_bytes(b"no tar at all" * 100)
    _fails([str(tmp_path / "b.tar")], "not a .tar that can be read")
    (tmp_path / "b.tar").write_bytes(b"")
    _fails([str(tmp_path / "b.tar")], "not a .tar that can be read|is empty")
    (tmp_path / "b.tar").write_bytes(good[:1000])
    _fails([str(tmp_path / "b.tar")], "not a .tar that can be read")
    written(tmp_path / "b.tar", [sample(0), sample(1), sample(0)])
    _fails([str(tmp_path / "b.tar")], "names the picture .*0000 more than once")
    written(tmp_path / "b.tar", [{"__key__": "a", "cls": 1}])
    _fails([str(tmp_path / "b.tar")], "has no pictures")
    written(tmp_path / "b.tar", [sample(0) | {"json": b"[1]"}])
    _fails([str(tmp_path / "b.tar")], "no object of names and values")


def test_a_broken_picture_in_a_shard_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "s.tar", [sample(0), {"__key__": "bad", "jpg": b"no picture"}, sample(1)])
    found = collection([str(path)])
    with pytest.raises(SaywhyError, match=r"s\.tar/bad: not a picture"):
        found[1].open()
    assert abs(shade_of(found[2].open()) - SHADES[1]) <= TOLERANCE
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(SaywhyError, match="its shard is truncated"):
        found[2].open()


# -- data sets of Hugging Face ----------------------------------------------------------------------------------------


def saved(path: Path, columns: dict[str, Any], features: Callable[[Any], dict[str, Any]]) -> Path:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict(columns, features=datasets.Features(features(datasets)))
    data.save_to_disk(path)
    return path


def test_a_dataset_on_disk(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "d",
        {"image": [drawn(s) for s in SHADES], "y": [1, 0, -1], "site": ["n", None, "s"], "age": [1.5, 2.0, 3.0]},
        lambda d: {
            "image": d.Image(), "y": d.ClassLabel(names=["ant", "bee"]), "site": d.Value("string"),
            "age": d.Value("float32"),
        },
    )  # fmt: skip
    check(
        collection([str(path)]), [("bee",), ("ant",), ()],
        [{"site": "n", "age": "1.5"}, {"age": "2"}, {"site": "s", "age": "3"}],
    )  # fmt: skip


def test_a_dataset_with_several_labels_and_splits(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"photo": datasets.Image(), "labels": datasets.Sequence(datasets.ClassLabel(names=["ant", "bee"]))}
    )
    parts = {
        "train": ([SHADES[0], SHADES[1]], [[0, 1], []]),
        "test": ([SHADES[2]], [[1]]),
    }
    made = {
        name: datasets.Dataset.from_dict({"photo": [drawn(s) for s in shades], "labels": labels}, features=features)
        for name, (shades, labels) in parts.items()
    }
    datasets.DatasetDict(made).save_to_disk(tmp_path / "d")
    found = collection([str(tmp_path / "d")])
    check(found, [("ant", "bee"), (), ("bee",)], [{"split": "train"}, {"split": "train"}, {"split": "test"}])
    assert found[2].name == str(tmp_path / "d/test/0")


def test_broken_datasets_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "d", {"x": [1, 2]}, lambda d: {"x": d.Value("int64")})
    _fails([str(path)], "0 columns of pictures")
    for file in path.glob("*.arrow"):
        file.write_bytes(b"broken")
    other = path.rename(tmp_path / "e")  # what was loaded once stays loaded, by its path
    _fails([str(other)], "cannot be loaded")
    monkeypatch.setitem(sys.modules, "datasets", None)
    _fails([str(other.rename(tmp_path / "f"))], r"pip install 'saywhy\[hf-datasets\]'")


def test_a_row_without_its_picture(tmp_path: Path) -> None:
    path = saved(tmp_path / "d", {"image": [drawn(20), None]}, lambda d: {"image": d.Image()})
    found = collection([str(path)])
    assert isinstance(found, InColumns)
    with pytest.raises(SaywhyError, match="no picture in this row"):
        found[1].open()


def test_the_digest_tells_data_apart(folder: Path) -> None:
    digests = set()
    for text in (TABLE, TABLE.replace("north", "south"), TABLE.replace("ant,north", "bee,north")):
        (folder / "t.csv").write_text(text)
        digests.add(collection([str(folder / "t.csv")]).digest)
    assert len(digests) == 3
