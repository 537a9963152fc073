"""Pictures opened ahead of their turn, in a thread, while something else is done with those before them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Generic, TypeVar, final

from PIL.Image import Image

from saywhy.pictures.decoding import decoding_in_threads, in_thread
from saywhy.pictures.in_batches import Unopened

_P = TypeVar("_P", bound=Unopened)
HELD = 64_000_000
"""Pixels of pictures that wait for their turn, from which no further one is opened: 200 MB."""


@final
@dataclass(frozen=True, eq=False)
class Ahead(Generic[_P]):
    """A picture that may be open already. ``open`` waits for it, and is asked once."""

    picture: _P
    open: Callable[[], Image]

    @property
    def name(self) -> str:
        return self.picture.name


@contextmanager
def ahead(pictures: Iterable[_P], most: int) -> Iterator[Iterator[Ahead[_P]]]:
    """The pictures in order, of which at most ``most`` are opened before their turn; 0: none.

    One thread opens them, one after another, so that those of an archive may share a file; memory is that of HELD
    pixels and one picture more. What opening raises, ``Ahead.open`` raises. At the end, whatever brought it, those that
    were not taken are forgotten.
    """
    if most < 1:
        yield (Ahead(picture, picture.open) for picture in pictures)
        return
    pool = ThreadPoolExecutor(1, "saywhy-reading", initializer=in_thread)
    try:
        with decoding_in_threads():
            yield _in_order(pictures, most, pool, Lock())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_order(pictures: Iterable[_P], most: int, pool: ThreadPoolExecutor, one: Lock) -> Iterator[Ahead[_P]]:
    held = 0

    def early(picture: _P) -> Image | None:
        nonlocal held
        if held > HELD:
            return None
        with one:
            image = picture.open()
        held += image.width * image.height
        return image

    def taken(picture: _P, future: Future[Image | None]) -> Image:
        nonlocal held
        image = future.result()
        if image is None:
            with one:
                return picture.open()
        held -= image.width * image.height
        return image

    waiting: deque[tuple[_P, Future[Image | None]]] = deque()
    for picture in pictures:
        waiting.append((picture, pool.submit(early, picture)))
        if len(waiting) > most:
            first = waiting.popleft()
            yield Ahead(first[0], partial(taken, *first))
            del first
    while waiting:
        first = waiting.popleft()
        yield Ahead(first[0], partial(taken, *first))
        del first
