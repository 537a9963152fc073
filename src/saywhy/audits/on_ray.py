"""The same work on many machines: chunks of pictures as tasks of Ray Data actors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from saywhy.audits.subject import Subject
from saywhy.errors import SaywhyError
from saywhy.pictures.in_batches import Advance

if TYPE_CHECKING:
    from saywhy.audits.chunks import Chunk


def on_ray(subject: Subject, chunks: Sequence[int], advance: Advance) -> Iterator[Chunk]:
    """The rows of chunks, in any order."""
    raise SaywhyError("--engine ray is not there yet")
    yield
