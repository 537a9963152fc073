"""Whatever befalls a picture's file, it is read or refused in one line, soon, and in bounded memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from saywhy.pictures.reading import PictureWarning, read_picture
from tests.fuzz.surviving import survive
from tests.pictures.broken import mutated

MOST_GROWTH = 1.5 * 2**30  # bytes


@pytest.mark.filterwarnings("error", f"ignore::{PictureWarning.__module__}.{PictureWarning.__name__}")
@pytest.mark.parametrize(("count", "seed"), [(200, 1), pytest.param(2000, 2, marks=pytest.mark.slow)])
def test_broken_files_are_read_or_refused(tmp_path: Path, count: int, seed: int) -> None:
    def read(path: Path) -> None:
        assert read_picture(path).mode == "RGB"

    found = survive(((tmp_path / name, content) for name, content in mutated(count, seed)), read)
    assert found.grown < MOST_GROWTH
    # Neither did the mutations leave everything whole, nor break everything at once.
    assert min(found.read, found.refused) > count / 10
