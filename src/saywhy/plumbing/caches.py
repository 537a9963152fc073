"""Where things are kept on disk that can be made again, and what they are known by there.

Nothing depends on the cache: where it cannot be used, that is one CacheWarning, and the work goes on without it.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import torch
from torch import Tensor

from saywhy.errors import SaywhyError


class CacheWarning(UserWarning):
    """What is computed is not kept, and will be computed again."""


def named_cache() -> Path:
    """The cache as it is set, whether it can be used or not: $SAYWHY_CACHE, else the user's cache folder."""
    from platformdirs import user_cache_dir

    try:
        return Path(os.environ.get("SAYWHY_CACHE") or user_cache_dir("saywhy"))
    except RuntimeError:  # there is no home
        return Path("~/.cache/saywhy")


def cache_directory() -> Path:
    """Where saywhy keeps what can be computed again: ``named_cache``, where it can be written to.

    Else a folder that is removed when the process ends, with a CacheWarning.
    """
    return _usable(named_cache())


@cache
def _usable(named: Path) -> Path:
    try:
        folder = named.expanduser()  # RuntimeError where there is no home
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError) as error:
        say_not_kept(named, error)
        return Path(_for_this_process().name)
    return folder


@cache
def _for_this_process() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="saywhy-", ignore_cleanup_errors=True)


@contextmanager
def keeping() -> Iterator[None]:
    """Around what reads or writes the cache: where that fails, a CacheWarning, and the work goes on without it."""
    try:
        yield
    except (OSError, SaywhyError, sqlite3.Error) as error:
        say_not_kept(cache_directory(), error)


def say_not_kept(folder: Path, error: Exception) -> None:
    """Warn with a CacheWarning, once for a folder: what does not fit in now will not fit in a moment later."""
    if str(folder) not in _told:
        _told.add(str(folder))
        reason = getattr(error, "strerror", None) or error
        warnings.warn(
            f"the cache {folder} cannot be used ({reason}): what is computed is not kept. Set SAYWHY_CACHE to a folder "
            "that can be written to",
            CacheWarning,
        )


_told = set[str]()


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """The folder of that name in the cache; ``make`` fills it where there is none.

    It appears by one renaming, so that it is whole whatever was interrupted, and several processes may make it at once.

    Raises SaywhyError where it cannot be written.
    """
    folder = cache_directory() / name
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name[:50]}.", suffix=".part") as unfinished:
            made = Path(unfinished) / folder.name
            make(made)
            try:
                made.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process was quicker
                    raise
    except OSError as error:
        raise SaywhyError(f"{folder}: cannot be written ({error.strerror or error})") from None
    return folder


def has_sha256(path: Path, sha256: str) -> bool:
    """Whether a file has that SHA-256.

    It is read once: that it had it is kept with its size and its time of change, and costs nothing from then on.
    """
    try:
        about = path.stat()
        key = hashlib.sha256(f"{sha256} {os.path.realpath(path)} {about.st_size} {about.st_mtime_ns}".encode())
        mark = cache_directory() / "files" / key.hexdigest()[:32]
        if mark.exists():
            return True
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                return False
    except OSError:
        return False
    with keeping():
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    return True


def versions(*packages: str) -> str:
    """Of installed packages, for keys of what another version would compute otherwise."""
    return " ".join(f"{package}={_version(package)}" for package in packages)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def weights_digest(tensors: Iterable[Tensor]) -> str:
    """A digest of weights: of the shape, the type and every bit of each tensor."""
    digest = hashlib.sha256()
    for tensor in tensors:
        flat = tensor.detach().cpu().contiguous().flatten()
        bits = zlib.crc32(flat.view(torch.uint8).numpy().data) if len(flat) else 0
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype} {bits}\n".encode())
    return digest.hexdigest()[:16]
