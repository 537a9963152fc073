"""One way through many pictures: a batch at a time; a failure is a value that names its picture, the others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, final

from PIL.Image import Image

from saywhy.errors import SaywhyError
from saywhy.pictures.decoding import MOST_PIXELS
from saywhy.plumbing.names import shown

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
_K = TypeVar("_K")


@final
@dataclass(frozen=True)
class Failure:
    """A picture that has no answer. name: what it is called. reason: why, in one line that names it."""

    name: str
    reason: str


def opened(pictures: Iterable[_P], advance: Advance = lambda count: None) -> Iterator[tuple[_P, Image | Failure]]:
    """Each picture with what it shows, opened when its turn comes, or with the reason why it cannot be read."""
    for picture in pictures:
        try:
            yield picture, picture.open()
        except SaywhyError as error:
            yield picture, Failure(picture.name, str(error))
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
        for picture, image in opened((picture for picture in pictures if picture.name not in self._failed), advance):
            if isinstance(image, Failure):
                self._failed[picture.name] = image
                self._tell(image)
            else:
                yield picture, image


def bounded(opened: Iterable[tuple[_K, Image]], size: int) -> Iterator[list[tuple[_K, Image]]]:
    """Batches of at most ``size`` pictures, each with whatever belongs to it, in order.

    A batch ends earlier where its pictures together have as many pixels as one may have, so that memory stays flat
    however large they are.
    """
    batch: list[tuple[_K, Image]] = []
    for item in opened:
        batch.append(item)
        del item  # the batch alone holds what the picture shows
        if len(batch) == size or sum(picture.width * picture.height for _, picture in batch) >= MOST_PIXELS:
            yield batch
            batch = []
    if batch:
        yield batch


def in_batches(
    pictures: Iterable[_P],
    work: Callable[[Sequence[tuple[str, Image]]], Iterable[_T]],
    *,
    batch_size: int,
    advance: Advance = lambda count: None,
) -> Iterator[tuple[_P, _T | Failure]]:
    """Each picture with what ``work`` makes of it, in order, or why there is nothing; unreadable ones come early.

    work: takes (name, RGB picture) pairs and gives a result for each, in order, all at once or one by one. The name is
          the file's, without its folders. Where it raises SaywhyError for a batch, one of the pictures is to blame:
          those without a result are given to it again, one by one. Any other error is a fault of the program, and ends
          the loop: what was yielded before is whole.

    Batches are ``bounded``.
    """
    unreadable: list[tuple[_P, Failure]] = []

    def readable() -> Iterator[tuple[_P, Image]]:
        for picture, image in opened(pictures):
            if isinstance(image, Failure):
                unreadable.append((picture, image))
            else:
                yield picture, image
            del image  # the batch alone holds what the picture shows

    def told() -> Iterator[tuple[_P, Failure]]:
        while unreadable:
            yield unreadable.pop(0)
            advance(1)

    for batch in bounded(readable(), batch_size):
        yield from told()
        for picture, result in zip((picture for picture, _ in batch), _worked(batch, work), strict=True):
            yield picture, result
            advance(1)
        del batch
    yield from told()


def _worked(
    batch: Sequence[tuple[_P, Image]], work: Callable[[Sequence[tuple[str, Image]]], Iterable[_T]]
) -> Iterator[_T | Failure]:
    done = 0
    try:
        for result in work([(Path(picture.name).name, image) for picture, image in batch]):
            yield result
            done += 1
    except SaywhyError:
        for picture, image in batch[done:]:
            try:
                yield from work([(Path(picture.name).name, image)])
            except SaywhyError as error:
                yield Failure(picture.name, f"{shown(picture.name)}: {error}")
