"""Pictures named on the command line, with their classes: listed at once, opened one by one."""

from __future__ import annotations

import io
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from saywhy.errors import SaywhyError
from saywhy.pictures.photos import PHOTOS
from saywhy.pictures.sources import LabelledImage, find_pictures, is_source, named, read_sources
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
    [
        ("none/", "no such picture or folder$"),
        ("none.jpg", "no such picture"),
        ("world:narnia", "no world 'narnia'"),
        ("coffee", "did you mean photos:coffee"),
        ("aviary", "did you mean world:aviary"),
    ],
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
    found = find_pictures(["nosuch.png", "photos:coffee", "photos:all", "photos:cofee"])
    rest = [Path(photo.file).stem for name, photo in PHOTOS.items() if name != "coffee"]
    assert [Path(one.name).stem for one in found.pictures] == ["coffee", *rest]
    assert found.again == 1
    assert [failure.name for failure in found.failures] == ["nosuch.png", "photos:cofee"]
    assert "no photograph 'cofee'; did you mean coffee" in found.failures[1].reason
    assert len(find_pictures(["world:digits"]).pictures) == 300


def names(found: list[LabelledImage]) -> list[str]:
    return [one.name for one in found]


def test_a_folder_gives_all_below_it_and_counts_what_is_no_picture(folders: Path) -> None:
    (folders / "teapot" / "blue" / "deep").mkdir(parents=True)
    picture(8, 8).save(folders / "teapot" / "blue" / "deep" / "z.png")
    (folders / ".hidden").mkdir()
    picture(8, 8).save(folders / ".hidden" / "a.png")
    (folders / "teapot" / "around").symlink_to(folders)
    found = find_pictures([str(folders)])
    assert Counter(one.label for one in found.pictures) == {"001.King_Snake": 2, "teapot": 7, None: 1}
    listed = [str(Path(name).relative_to(folders)) for name in names(found.pictures)]
    assert listed[:4] == ["alone.JPG", "001.King_Snake/0.png", "001.King_Snake/1.png", "teapot/0.png"]
    assert listed[-2:] == ["teapot/5.png", "teapot/blue/deep/z.png"]
    assert (found.others, found.again, found.failures) == (1, 0, [])


def test_the_same_picture_is_there_once_however_it_is_named(folders: Path) -> None:
    (folders / "link.jpg").symlink_to(folders / "alone.JPG")
    words = [str(folders / "alone.JPG"), str(folders / "teapot"), f"{folders}/teapot/../teapot/1.png", str(folders)]
    found = find_pictures([*words, f"{folders}/link.jpg"])
    assert names(found.pictures)[:2] == [str(folders / "alone.JPG"), str(folders / "teapot" / "0.png")]
    assert (len(found.pictures), found.again) == (9, 1 + 8 + 1)


def test_patterns_match_pictures_below_too(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folders)
    assert names(find_pictures(["**/1.png"]).pictures) == ["001.King_Snake/1.png", "teapot/1.png"]
    found = find_pictures(["*"])
    assert (len(found.pictures), found.others, found.again) == (9, 1, 0)
    assert {one.label for one in found.pictures} == {None}
    picture(8, 8).save("odd[1].png")
    assert names(find_pictures(["odd[1].png"]).pictures) == ["odd[1].png"]


@pytest.mark.parametrize("text", [b"teapot/0.png\n\nworld:digits\r\n", b"teapot/0.png\0world:digits\0"])
def test_lists_of_names(text: bytes, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folders)
    Path("names.txt").write_bytes(text)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    for word in ("@names.txt", "-"):
        assert is_source(word)
        found = find_pictures([word], limit=5)
        assert not found.failures
        assert names(found.pictures)[0] == "teapot/0.png"
        assert len(found.pictures) == 5
    odd = os.fsdecode("tëa\npot.png".encode("latin-1"))  # no UTF-8, and a line end in the name
    picture(8, 8).save("x.png")
    Path("x.png").rename(odd)
    Path("names.txt").write_bytes(os.fsencode(odd) + b"\0")
    assert find_pictures(["@names.txt"]).pictures[0].open().size == (8, 8)


def test_what_stands_for_no_picture_is_said_and_the_others_go_on(
    folders: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folders)
    Path("nothing.txt").touch()
    words = ["none.jpg", "empty", "x/*.png", "world:narnia", "@nothing.txt", "@none.txt", "alone.JPG", "no\x1bway/"]
    found = find_pictures(words)
    assert names(found.pictures) == ["alone.JPG"]
    reasons = [failure.reason for failure in found.failures]
    assert [failure.name for failure in found.failures] == [word for word in words if word != "alone.JPG"]
    wrong = (
        "no such picture",
        "no pictures in this folder",
        "no picture matches",
        "'narnia'",
        "is empty",
        "No such file",
    )
    assert all(text in reason for text, reason in zip(wrong, reasons, strict=False))
    assert not any("\n" in reason or "\x1b" in reason for reason in reasons)


def test_a_folder_that_cannot_be_read_is_said_and_the_others_go_on(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def closed(path: str) -> object:
        if str(path).endswith("teapot"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    found = find_pictures([str(folders)])
    assert len(found.pictures) == 3
    assert [failure.reason for failure in found.failures] == [
        f"{folders}/teapot: the folder cannot be read (Permission denied)"
    ]


def test_a_seed_takes_other_pictures(folders: Path) -> None:
    few = [names(find_pictures([str(folders)], 4, seed).pictures) for seed in (0, 0, 1, 2, 3)]
    assert few[0] == few[1]
    assert len({tuple(some) for some in few}) > 1
