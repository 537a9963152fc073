"""Tensors and what is said of them, in one safetensors file. Nothing in it can run code."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.plumbing.files import replacing
from saywhy.plumbing.texts import parse_json

STORY = "saywhy"
"""The key that a file's story stands under, where no other is named."""
_FORMAT = "saywhy_format"
"""The key that the number of a story's format stands under, from 2 on. A file without it is of format 1: safetensors
writes several keys in any order, and the same content is to be the same bytes."""
_WRONG_SHAPE = (AttributeError, LookupError, TypeError, ValueError, ArithmeticError, RuntimeError, MemoryError)
_DAMAGE = (OSError, SafetensorError, *_WRONG_SHAPE)


@final
@dataclass(frozen=True, eq=False)
class Stored:
    """What such a file holds. story: the JSON document; None where none was asked for. metadata: all, as texts."""

    tensors: dict[str, Tensor]
    story: Any
    metadata: dict[str, str]


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    story: Any = None,
    *,
    key: str = STORY,
    form: int = 1,
    texts: Mapping[str, str] | None = None,
    make_folder: bool = False,
) -> Path:
    """Write a file that everybody may read, whole or not at all, and say where it is.

    story: a JSON document, kept in the metadata under ``key``; None: there is none. form: the number of its format,
    which rises when an older reader would misread it. texts: what else stands there.
    make_folder: make the folder where there is none.

    Raises SaywhyError where it cannot be written.
    """
    number = {} if form == 1 else {_FORMAT: str(form)}
    metadata = dict(texts or {}) | ({} if story is None else {key: json.dumps(story), **number})
    with _writing(path):
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, durable=True) as unfinished:
            save_file({name: one.contiguous() for name, one in tensors.items()}, unfinished, metadata or None)
            unfinished.chmod(0o644)  # safetensors writes files that only their owner can read
    return path


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write what ``torch.load(weights_only=True)`` reads; the one before stays until it is on the disk.

    The folder is made where there is none. Raises SaywhyError where it cannot be written.
    """
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, durable=True) as unfinished:
            try:
                torch.save(state, unfinished)
            except RuntimeError as error:  # torch's words for a full disk, of several kinds
                raise OSError(f"is the disk full? {str(error).splitlines()[0]}") from None


@contextmanager
def writing_model(folder: Path) -> Iterator[Path]:
    """A folder for a library to write a model into; its files take their places in ``folder`` at the end, each whole.

    ``folder`` is made where there is none; on an exception nothing in it changes. Raises SaywhyError where a file
    cannot be written.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, suffix=".part") as unfinished:
            yield Path(unfinished)
            for file in sorted(Path(unfinished).iterdir()):
                file.chmod(0o644)  # safetensors writes files that only their owner can read
                file.replace(folder / file.name)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Raises SaywhyError for what the file system refuses."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise SaywhyError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})") from None


@contextmanager
def reading_checkpoint(path: Path) -> Iterator[Any]:
    """The state that ``write_checkpoint`` wrote, its tensors on the CPU; what the body finds wrong in it is damage too.

    Raises SaywhyError where there is none, and for every exception of unpickling, or of the body, but a SaywhyError.
    """
    if not os.path.isfile(path):
        raise SaywhyError(f"{path}: there is no run here to resume")
    try:
        yield torch.load(path, map_location="cpu", weights_only=True)
    except SaywhyError:
        raise
    except Exception as error:  # whatever unpickling, or a foreign file, comes up with
        raise SaywhyError(
            f"{path}: is damaged, or not a checkpoint of saywhy ({type(error).__name__}); start again"
        ) from None


@contextmanager
def reading_tensors(
    path: Path, damaged: str, advice: str = "", *, key: str | None = STORY, form: int = 1
) -> Iterator[Stored]:
    """What a file holds, its tensors on the CPU; what the body then finds wrong in it is damage as well.

    key:  what its story stands under; None: it has none. A file without its story is refused before its tensors are
          read.
    form: the newest format of the story that the caller can read.

    Raises SaywhyError, "PATH: <damaged> (the reason)<advice>", where the file is absent, damaged or of a newer format,
    and for every exception of the body that data of a wrong shape can cause.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if key is not None and int(metadata.get(_FORMAT, 1)) > form:
                raise SaywhyError(f"it is of format {metadata[_FORMAT]}, and this saywhy reads up to {form}: update it")
            story = None if key is None else parse_json(metadata[key], key)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
        yield Stored(tensors, story, metadata)
    except (*_DAMAGE, SaywhyError) as error:
        raise SaywhyError(f"{path}: {damaged} ({_reason(error)}){advice}") from None


def _reason(error: Exception) -> str:
    """In one line."""
    said = f"there is no {error}" if isinstance(error, KeyError) else str(error)
    return (said.strip().splitlines() or [type(error).__name__])[0][:120]
