"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to, which takes its place at the end; nothing is left of it on any exception.

    Whoever reads, and a run that was stopped half way, finds the file before or the whole new one.
    """
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")  # several processes may write the same file
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
