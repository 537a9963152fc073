"""One way through many pictures: a batch at a time; a failure is a value that names its picture, the others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, final

from PIL.Image import Image

from saywhy.errors import SaywhyError
from saywhy.pictures.decoding import MOST_PIXELS

BATCH = 16  # pictures at once

_T = TypeVar("_T")
Advance = Callable[[int], object]
"""Told how many more pictures are done with; for a progress bar."""


class Unopened(Protocol):
    """A picture that is not open yet: a ``LabelledImage``, or anything like it."""

    @property
    def name(self) -> str:
        """What it is called: a path, "world:digits 3"."""

    @property
    def open(self) -> Callable[[], Image]:
        """Gives the upright RGB picture; raises SaywhyError, in one line with the name, where it cannot be read."""


_P = TypeVar("_P", bound=Unopened)


@final
@dataclass(frozen=True)
class Failure:
    """A picture that has no answer. name: what it is called. reason: why, in one line that names it."""

    name: str
    reason: str


def opened(pictures: Iterable[_P], advance: Advance = lambda count: None) -> Iterator[tuple[_P, Image] | Failure]:
    """Each picture with what it shows, opened when its turn comes, or the reason why it cannot be read."""
    for picture in pictures:
        try:
            yield picture, picture.open()
        except SaywhyError as error:
            yield Failure(picture.name, str(error))
        advance(1)


@final
class Readable:
    """Goes through pictures, once or several times: what cannot be read is told once, and left out of every later pass.

    ``failures`` are those that could not be read, in the order in which they were met.
    """

    def __init__(self, tell: Callable[[Failure], object] = lambda failure: None) -> None:
        self._tell, self._failed = tell, dict[str, Failure]()

    @property
    def failures(self) -> tuple[Failure, ...]:
        return tuple(self._failed.values())

    def __call__(self, pictures: Iterable[_P], advance: Advance = lambda count: None) -> Iterator[tuple[_P, Image]]:
        """Each picture that can be read, with what it shows."""
        for item in opened((picture for picture in pictures if picture.name not in self._failed), advance):
            if isinstance(item, Failure):
                self._failed[item.name] = item
                self._tell(item)
            else:
                yield item


def in_batches(
    pictures: Sequence[_P],
    work: Callable[[Sequence[tuple[str, Image]]], Iterable[_T]],
    *,
    batch_size: int = BATCH,
    advance: Advance = lambda count: None,
) -> Iterator[_T | Failure]:
    """What ``work`` makes of each picture, in order, or why there is nothing; of a batch the unreadable ones first.

    work: takes (name, RGB picture) pairs and gives a result for each, in order, all at once or one by one. The name is
          the file's, without its folders. Where it raises SaywhyError for a batch, one of the pictures is to blame:
          those without a result are given to it again, one by one. Any other error is a fault of the program, and ends
          the loop: what was yielded before is whole.

    A batch ends before ``batch_size`` where its pictures together have as many pixels as one may have, so that memory
    stays flat however large they are.
    """
    for start in range(0, len(pictures), batch_size):
        batch: list[tuple[str, Image]] = []
        for item in opened(pictures[start : start + batch_size]):
            if isinstance(item, Failure):
                yield item
                advance(1)
                continue
            batch.append((Path(item[0].name).name, item[1]))
            del item  # the batch alone holds what the picture shows
            if sum(picture.width * picture.height for _, picture in batch) >= MOST_PIXELS:
                for result in _worked(batch, work):
                    yield result
                    advance(1)
                batch = []
        for result in _worked(batch, work) if batch else ():
            yield result
            advance(1)


def _worked(
    batch: Sequence[tuple[str, Image]], work: Callable[[Sequence[tuple[str, Image]]], Iterable[_T]]
) -> Iterator[_T | Failure]:
    done = 0
    try:
        for result in work(batch):
            yield result
            done += 1
    except SaywhyError:
        for name, picture in batch[done:]:
            try:
                yield from work([(name, picture)])
            except SaywhyError as error:
                yield Failure(name, f"{name}: {error}")
