"""Whatever befalls a file, it is read or refused in one line, soon, and in bounded memory."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import pytest

from saywhy.errors import SaywhyError
from saywhy.pictures.reading import PictureWarning, read_picture
from tests.pictures.broken import mutated

LONGEST = 10  # seconds for one file
MOST_GROWTH = 1.5 * 2**30  # bytes


def peak() -> int:
    """Bytes that this process has held at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def survive(folder: Path, count: int, seed: int) -> tuple[int, int]:
    """How many of the mutated files were read, and refused."""
    before, read = peak(), 0
    for name, data in mutated(count, seed):
        path = folder / name
        path.write_bytes(data)
        start = time.monotonic()
        reason = mode = ""
        try:
            mode = read_picture(path).mode
        except SaywhyError as error:
            reason = str(error)
        assert time.monotonic() - start < LONGEST, name
        assert mode == "RGB" or (str(path) in reason and reason.isprintable()), name
        read += mode == "RGB"
        path.unlink()
    assert peak() - before < MOST_GROWTH
    return read, count - read


@pytest.mark.filterwarnings("error", f"ignore::{PictureWarning.__module__}.{PictureWarning.__name__}")
def test_a_few_broken_files_are_read_or_refused(tmp_path: Path) -> None:
    read, refused = survive(tmp_path, 200, seed=1)
    assert min(read, refused) > 20  # neither did the mutations leave everything whole, nor break everything at once


@pytest.mark.slow
@pytest.mark.filterwarnings("error", f"ignore::{PictureWarning.__module__}.{PictureWarning.__name__}")
def test_many_broken_files_are_read_or_refused(tmp_path: Path) -> None:
    read, refused = survive(tmp_path, 2000, seed=2)
    assert min(read, refused) > 200
