"""Files: opened only where they are files, written whole or not at all, and named for the record."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import BinaryIO

from saywhy.errors import SaywhyError
from saywhy.plumbing.names import meant, shown

_number = count()


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A path beside ``path`` to write to, which takes its place at the end; nothing is left of it on any exception.

    Whoever reads, and a run that was stopped half way, finds the file before or the whole new one. Where ``path`` is a
    link, the file that it names is replaced.

    durable: the content is on the disk before it takes the place, so that even a power cut leaves one of the two.
    """
    path = Path(os.path.realpath(path))
    # Several processes, and threads, may write the same file; and a name may be as long as the system has them.
    unfinished = path.with_name(f"{path.name[:50]}.{os.getpid()}-{next(_number)}.part")
    try:
        yield unfinished
        if durable:
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes, *, durable: bool = False) -> Path:
    """Write a file, text as UTF-8, whole or not at all; its folder is made. durable: see ``replacing``.

    Raises SaywhyError where it cannot be.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, durable=durable) as unfinished:
            unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise SaywhyError(f"{path}: cannot be written ({error.strerror or error})") from None
    return path


def open_file(path: Path, instead: str = "a file") -> BinaryIO:
    """A file that can be read from disk, open. Never waits: pipes and devices are refused before they are opened.

    instead: what to name instead of a folder.

    Raises SaywhyError, in one line with the name, for what is not there, is no file, or may not be read.
    """
    name = shown(path)
    try:
        about = path.stat()
        if stat.S_ISDIR(about.st_mode):
            raise SaywhyError(f"{name}: is a folder; name {instead}")
        if not stat.S_ISREG(about.st_mode):
            raise SaywhyError(f"{name}: is a pipe or a device, not a file")
        return path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        raise SaywhyError(
            f"{name}: {'a link to a file that is not there' if os.path.islink(path) else f'no such file{meant(path)}'}"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SaywhyError(f"{name}: cannot be read ({shown(said, 200)})") from None


def named_with_digest(path: Path) -> str:
    """A file's name and how the SHA-256 of its content begins: what a record says of a file that was read."""
    with path.open("rb") as file:
        return f"{path.name}, SHA-256 {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
