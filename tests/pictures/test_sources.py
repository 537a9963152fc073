"""Pictures named on the command line, with their classes: listed at once, opened one by one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from saywhy.errors import SaywhyError
from saywhy.pictures.photos import PHOTOS
from saywhy.pictures.sources import LabelledImage, is_source, named, read_sources, unopened
from tests.helpers import picture


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two pictures of a class, six of another, one of none, and a file that is no picture."""
    for place, count in (("001.King_Snake", 2), ("teapot", 6), ("empty", 0)):
        (tmp_path / place).mkdir()
        for n in range(count):
            picture(seed=n).save(tmp_path / place / f"{n}.png")
    picture().save(tmp_path / "alone.JPG", "JPEG")
    (tmp_path / "teapot" / "notes.txt").write_text("no picture")
    return tmp_path


def test_pictures_and_captions_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zebra").mkdir()
    assert all(
        map(is_source, ("zebra", "photos/", "none.jpg", "x.PNG", "world:digits", "photos:all", "a/b", str(tmp_path)))
    )
    assert not any(map(is_source, ("a dog", "a red digit|a green digit", "no. 5", "a dog.", "", "  ", "x" * 5000)))


def test_a_folder_of_class_folders_gives_classes(folders: Path) -> None:
    found = read_sources([str(folders)])
    assert Counter(one.label for one in found) == {"001.King_Snake": 2, "teapot": 6, None: 1}
    assert found[0].open().size == (96, 64)
    assert len({one.name for one in found}) == len(found)


def test_classes_are_called_as_the_classifier_calls_them(folders: Path) -> None:
    found, strangers = named(read_sources([str(folders)]), ("toucan", "king snake"))
    assert strangers == ["teapot"]
    assert Counter(one.label for one in found) == {"king snake": 2, "teapot": 6, None: 1}


def test_a_table_gives_classes_by_index(folders: Path) -> None:
    (folders / "labels.csv").write_text("file,class_index\nteapot/0.png,1\n001.King_Snake/0.png,7\n")
    found = read_sources([str(folders)])
    assert [one.label for one in found] == [1, 7]
    renamed, strangers = named(found, ("7", "1"))  # names that are numbers do not stand for an index
    assert [one.label for one in renamed] == ["1", "7"]
    assert strangers == ["7"]
    (folders / "labels.csv").write_text("file,class_index\nteapot/0.png,x\n")
    with pytest.raises(SaywhyError, match="is not a number"):
        read_sources([str(folders)])


def test_a_limit_takes_from_every_class_in_turn(folders: Path) -> None:
    found = read_sources([str(folders)], limit=5)
    assert Counter(one.label for one in found) == {"001.King_Snake": 2, "teapot": 2, None: 1}
    assert [one.name for one in found] == [one.name for one in read_sources([str(folders)], limit=5)]
    assert len(read_sources([str(folders)], limit=500)) == 9


@pytest.mark.parametrize(("world", "classes"), [("digits-coloured", 2), ("aviary", 40), ("aviary-bill/vit", 12)])
def test_worlds_have_held_out_pictures(world: str, classes: int) -> None:
    from saywhy.classifiers.classifier import Classifier

    found = read_sources([f"world:{world}"], limit=2 * classes)
    assert set(Counter(one.label for one in found).values()) == {2}
    assert not named(found, Classifier.load(f"world:{world}").labels)[1]
    once, again = (np.asarray(found[3].open()) for _ in range(2))
    assert np.array_equal(once, again)


def test_the_digits_colours_say_nothing() -> None:
    def red(one: LabelledImage) -> bool:
        pixels = np.asarray(one.open(), float)
        return pixels[..., 0].sum() > pixels[..., 1].sum()

    found = read_sources(["world:digits"])
    assert len(found) == 300
    told = Counter((one.label, red(one)) for one in found)
    assert all(50 < count < 100 for count in told.values())


@pytest.mark.parametrize(
    ("source", "message"),
    [("none/", "no such picture or folder"), ("none.jpg", "no such picture"), ("world:narnia", "no world 'narnia'")],
)
def test_wrong_sources(source: str, message: str) -> None:
    with pytest.raises(SaywhyError, match=message):
        read_sources([source])


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(SaywhyError, match="no pictures in this folder"):
        read_sources([str(tmp_path)])


def test_pictures_far_down_are_found_where_there_are_none_above(tmp_path: Path) -> None:
    """The doubly-right layout: {category}/{rationale}/{number}/{picture}."""
    for place in ("kit fox/a tail/0", "kit fox/ears/0", "owl/eyes/0"):
        (tmp_path / place).mkdir(parents=True)
        picture(8, 8).save(tmp_path / place / "a.png")
    assert [(one.label, Path(one.name).parent.parent.name) for one in read_sources([str(tmp_path)])] == [
        ("kit fox", "a tail"), ("kit fox", "ears"), ("owl", "eyes"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", PHOTOS)
def test_photographs_come_with_the_installation(name: str) -> None:
    (photo,) = read_sources([f"photos:{name}"])
    assert min(photo.open().size) >= 300
    assert Path(photo.name).is_file()


def test_photographs_and_worlds_stand_among_files() -> None:
    found = unopened(["nosuch.png", "photos:all", "photos:coffee"])
    assert [Path(one.name).stem for one in found] == ["nosuch", *(Path(p.file).stem for p in PHOTOS.values()), "coffee"]
    assert len(unopened(["world:digits"])) == 300
    with pytest.raises(SaywhyError, match="no photograph 'cofee'; did you mean coffee"):
        unopened(["photos:cofee"])
