"""One reader for the real birds, for a user's copy with all its faults, and for our own worlds."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saywhy.errors import SaywhyError
from saywhy.pictures.cub import read_cub
from saywhy.words.cub_names import attribute_part, bundled_attributes, cub_vocabulary, part_attributes
from saywhy.worlds import cub_layout
from saywhy.worlds.cub_layout import CUB_PARTS, cached_cub, write_cub
from saywhy.worlds.drawing import PARTS


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cub(tmp_path_factory.mktemp("aviary"), "planted-background", train=12, test=12, size=96)


@pytest.fixture
def five(tmp_path: Path) -> Path:
    """Five pictures as people have them: hidden parts, odd names, one absent, a line with words too many."""
    root = tmp_path / "CUB_200_2011"
    names = ["001.A/plain.jpg", "001.A/with space.jpg", "002.B_b/ünïcode.jpg", "002.B_b/UPPER.JPG", "002.B_b/gone.jpg"]
    for name in names[:4]:
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(root / "images" / name, format="JPEG")
    for folder in ("parts", "attributes"):
        (root / folder).mkdir()
    write = {
        "images.txt": [f"{n} {name}" for n, name in enumerate(names, 1)],
        "classes.txt": ["1 001.A", "2 002.B_b"],
        "image_class_labels.txt": ["1 1", "2 1", "3 2", "4 2", "5 2"],
        "train_test_split.txt": ["1 1", "2 0", "3 0", "4 0", "5 0"],
        "bounding_boxes.txt": [f"{n} 1.0 2.0 10.0 20.0" for n in range(1, 6)],
        "parts/parts.txt": ["1 back", "2 beak", "7 left eye"],
        "parts/part_locs.txt": ["1 1 0.0 0.0 0", "1 2 5.5 6.5 1", "1 7 7.0 8.0 1", "2 2 0.0 0.0 0"],
        "attributes/image_attribute_labels.txt": ["1 1 1 3 27.7", "1 2 0 4 1.0", "2 2 1 3 0 12.0", "3 5 1 1 2.5"],
    }
    for name, lines in write.items():
        (root / name).write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    return root


def test_a_users_copy_is_read_and_what_is_absent_is_said(five: Path) -> None:
    data = read_cub(five)
    assert data.classes == ("A", "B b")
    assert [bird.path.name for bird in data.birds] == ["plain.jpg", "with space.jpg", "ünïcode.jpg", "UPPER.JPG"]
    assert data.skipped == (("002.B_b/gone.jpg", "listed in images.txt and not in images/"),)
    first, second, *_ = data.birds
    assert first.parts == {"beak": (5.5, 6.5), "left eye": (7.0, 8.0)}  # the back has visible = 0
    assert first.box == (1, 2, 11, 22)
    assert first.mask is None
    assert first.attributes == {0}
    assert second.attributes == {1}
    assert second.parts == {}
    assert len(data.attributes) == 312


def test_halves(five: Path) -> None:
    assert [bird.path.name for bird in read_cub(five, "train").birds] == ["plain.jpg"]
    assert len(read_cub(five, "test").birds) == 3
    assert len(read_cub(five.parent).birds) == 4  # the folder above will do


def test_not_cub(tmp_path: Path) -> None:
    with pytest.raises(SaywhyError, match=r"no images\.txt here"):
        read_cub(tmp_path)


def test_our_worlds_are_read_back(written: Path) -> None:
    data = read_cub(written)
    assert len(data.birds) == 24
    assert not data.skipped
    assert len(data.classes) == 12
    assert len(read_cub(written, "train").birds) == 12
    names = {line.split(maxsplit=1)[1] for line in (written / "parts" / "parts.txt").read_text().splitlines()}
    assert names == set(CUB_PARTS)
    for bird in data.birds:
        assert bird.mask is not None
        parts = np.asarray(Image.open(bird.mask))
        seen = {data.attributes[m] for m in bird.attributes}
        assert len(seen) == 16
        assert any(name.startswith("has_bill_shape::") for name in seen)
        for part, (x, y) in bird.parts.items():
            drawn = {"beak": "bill"}.get(part.split()[-1], part.split()[-1])
            assert PARTS[parts[int(y), int(x)]] == drawn
            assert bird.box[0] <= x <= bird.box[2]
            assert bird.box[1] <= y <= bird.box[3]
        assert not {"left eye", "right eye"} <= set(bird.parts)  # a bird shows one side


def test_the_truth_is_beside_the_data(written: Path) -> None:
    lines = (written / "truth.csv").read_text().splitlines()
    assert lines[0] == "image_id,file,affected,deciding_parts,deciding_background"
    for line in lines[1:]:
        _, file, affected, parts, background = line.split(",")
        assert ("Wanderer" in file) == bool(int(affected)) == bool(int(background)) == (not parts)


def test_a_cached_folder_that_was_cut_short_is_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path))
    monkeypatch.setattr(cub_layout, "draw", lambda kind, seed, size, draw=cub_layout.draw: draw(kind, seed, 48))
    whole = cached_cub("species", 2)
    files = sorted(whole.rglob("*.txt"))
    write = cub_layout._write
    for file in files:

        def write_until(path: Path, lines: list[str], last: str = file.relative_to(whole).as_posix()) -> None:
            if path.as_posix().endswith(f"/{last}"):  # in a folder that gets its name when it is complete
                raise KeyboardInterrupt
            write(path, lines)

        shutil.rmtree(whole)
        monkeypatch.setattr(cub_layout, "_write", write_until)
        with pytest.raises(KeyboardInterrupt):
            cached_cub("species", 2)
        monkeypatch.setattr(cub_layout, "_write", write)
        assert sorted(cached_cub("species", 2).rglob("*.txt")) == files


def test_the_real_birds(pack: Path) -> None:
    data = read_cub(pack / "cub-crops" / "CUB_200_2011", "test")
    assert len(data.birds) == 900
    assert not data.skipped
    assert all(0 < len(bird.parts) <= 15 for bird in data.birds)
    assert 5 < np.mean([len(bird.attributes) for bird in data.birds]) < 30  # by class


def test_every_part_of_cub_has_attributes_that_exist() -> None:
    speak = {attribute_part(name) for name in bundled_attributes()}
    mapping = part_attributes()
    assert set(mapping) == set(CUB_PARTS)
    assert {name for names in mapping.values() for name in names} <= speak
    assert speak - {n for names in mapping.values() for n in names} == {
        "shape", "size", "primary", "upperparts", "underparts", "head",
    }  # fmt: skip


def test_phrases_are_english() -> None:
    vocabulary, meant = cub_vocabulary(bundled_attributes())
    assert len(vocabulary) == 312
    assert all(len(some) == 1 for some in meant)
    assert {"hooked bill", "forked tail", "pointed wing", "mostly red bird", "bill longer than head"} <= set(
        vocabulary.phrases
    )
    assert not any("tail tail" in phrase or "::" in phrase for phrase in vocabulary.phrases)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("image_class_labels.txt", "1 one", "picture 1: 'one' is not a number"),
        ("image_class_labels.txt", "1 " + "9" * 5000, "is not a number"),
        ("bounding_boxes.txt", "1 1 2 3", "picture 1: expected x, y, width and height"),
        ("bounding_boxes.txt", "1 1 2 nan 3", "picture 1: 'nan' is not a number"),
        ("images.txt", b"1 caf\xe9.jpg", "line 1: not text in UTF-8"),
        ("parts/part_locs.txt", "\n1 1 x 2 1", "line 2: 'x' is not a number"),
        ("attributes/image_attribute_labels.txt", "1 x 1", "line 1: 'x' is not a number"),
        ("attributes/image_attribute_labels.txt", "1 313 1", "there is no attribute 313"),
        ("attributes/class_attribute_labels_continuous.txt", "1 2\n3", "all of the same length"),
        ("attributes/class_attribute_labels_continuous.txt", "", "expected 1 rows"),
        ("attributes/class_attribute_labels_continuous.txt", "1 1e999", "line 1: '1e999'"),
    ],
)
def test_damaged_tables_are_named_with_the_line(tmp_path: Path, file: str, content: str | bytes, said: str) -> None:
    files: dict[str, str | bytes] = {
        "images.txt": "1 a.jpg", "classes.txt": "1 001.Owl", "image_class_labels.txt": "1 1", "images/a.jpg": "",
        "parts/parts.txt": "1 back", file: content,
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SaywhyError) as caught:
        read_cub(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / file}: ")
    assert said in str(caught.value)
