"""A file is there whole or not at all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from saywhy.errors import SaywhyError
from saywhy.plumbing.files import replacing, write_whole


def test_the_new_file_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    for text in ("first", "second"):
        with replacing(kept) as unfinished:
            unfinished.write_text(text)
            assert unfinished.parent == tmp_path
            assert kept.exists() == (text == "second")
        assert kept.read_text() == text
        assert list(tmp_path.iterdir()) == [kept]


def stopped(path: Path, text: str | None, by: type[BaseException]) -> None:
    with replacing(path) as unfinished:
        if text is not None:
            unfinished.write_text(text)
        raise by


@pytest.mark.parametrize("by", [ValueError, KeyboardInterrupt])
def test_half_a_file_leaves_the_one_before(tmp_path: Path, by: type[BaseException]) -> None:
    kept = tmp_path / "kept.json"
    kept.write_text("before")
    with pytest.raises(by):
        stopped(kept, "half", by)
    assert kept.read_text() == "before"
    assert list(tmp_path.iterdir()) == [kept]


def test_stopped_before_anything_was_written(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        stopped(tmp_path / "kept", None, KeyboardInterrupt)
    assert not list(tmp_path.iterdir())


def test_threads_that_write_one_file_leave_one_whole_file(tmp_path: Path) -> None:
    kept, texts = tmp_path / "kept", [letter * 100_000 for letter in "abcdefgh"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_whole(kept, text), texts * 10))
    assert kept.read_text() in texts
    assert list(tmp_path.iterdir()) == [kept]


def test_a_link_stays_a_link_and_a_name_may_be_as_long_as_the_system_has_them(tmp_path: Path) -> None:
    named, link = tmp_path / "named", tmp_path / "link"
    link.symlink_to(named)
    write_whole(link, "text")
    assert link.is_symlink()
    assert named.read_text() == "text"
    long = tmp_path / ("ä" * 120 + ".json")  # 245 bytes
    assert write_whole(long, "é").read_bytes() == "é".encode()


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "x", tmp_path / "folder"):
        with pytest.raises(SaywhyError, match=r"cannot be written \((File exists|Is a directory)\)"):
            write_whole(path, "text")
    assert len(list(tmp_path.iterdir())) == 2
