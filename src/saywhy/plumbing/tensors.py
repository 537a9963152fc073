"""Tensors and what is said of them, in one safetensors file. Nothing in it can run code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.plumbing.files import replacing
from saywhy.plumbing.texts import parse_json

STORY = "saywhy"
"""The key that a file's story stands under, where no other is named."""
_DAMAGE = (OSError, SafetensorError, AttributeError, LookupError, TypeError, ValueError, ArithmeticError, RuntimeError)


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
    texts: Mapping[str, str] | None = None,
    make_folder: bool = False,
) -> Path:
    """Write a file that everybody may read, whole or not at all, and say where it is.

    story: a JSON document, kept in the metadata under ``key``; None: there is none. texts: what else stands there.
    make_folder: make the folder where there is none.

    Raises SaywhyError where it cannot be written.
    """
    metadata = dict(texts or {}) | ({} if story is None else {key: json.dumps(story)})
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            save_file({name: one.contiguous() for name, one in tensors.items()}, unfinished, metadata or None)
            unfinished.chmod(0o644)  # safetensors writes files that only their owner can read
    except (OSError, SafetensorError) as error:
        raise SaywhyError(f"{path}: cannot be written ({error})") from None
    return path


@contextmanager
def reading_tensors(path: Path, damaged: str, advice: str = "", *, key: str | None = STORY) -> Iterator[Stored]:
    """What a file holds, its tensors on the CPU; what the body then finds wrong in it is damage as well.

    key: what its story stands under; None: it has none. A file without its story is refused before its tensors are
         read.

    Raises SaywhyError, "PATH: <damaged> (the reason)<advice>", where the file is absent or damaged, and for every
    exception of the body that data of a wrong shape can cause.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            story = None if key is None else parse_json(metadata[key], key)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
        yield Stored(tensors, story, metadata)
    except (*_DAMAGE, SaywhyError) as error:
        raise SaywhyError(f"{path}: {damaged} ({_reason(error)}){advice}") from None


def _reason(error: Exception) -> str:
    """In one line."""
    said = f"there is no {error}" if isinstance(error, KeyError) else str(error)
    return (said.strip().splitlines() or [type(error).__name__])[0][:120]
