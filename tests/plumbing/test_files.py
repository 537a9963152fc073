"""A file is there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from saywhy.plumbing.files import replacing


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
