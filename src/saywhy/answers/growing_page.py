"""A page about many pictures, written as their answers come: memory stays flat however many there are."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, final

from PIL.Image import Image

from saywhy.answers.page_templates import in_html, jpeg, links, page_templates
from saywhy.errors import SaywhyError
from saywhy.pictures.in_batches import Failure
from saywhy.plumbing.files import replacing, write_whole

MANY = 50
"""From so many pictures on, those of a page are files beside it."""
FOLDER = "pictures"
"""Where these are."""
THUMBNAIL = 240  # pixels, longest side

Place = Callable[[bytes, str], str]
"""Puts a JPEG where a page finds it: (its bytes, what it is: "map") -> the text that an <img> takes."""

_T = TypeVar("_T")


@final
@dataclass(frozen=True)
class Entry:
    """What the contents of a page say of an answer.

    model: whose answer it is, "" where that is not said. wrong: how it is wrong, "" where it is right or nobody knows.
    """

    title: str
    thumbnail: str
    model: str = ""
    wrong: str = ""


Card = Callable[[_T, int, Place, Sequence[str]], tuple[str, Entry]]
"""Makes an answer's card: (answer, number, place, files to link to) -> HTML, and its entry in the contents."""


def in_the_page(content: bytes, what: str) -> str:
    """The ``Place`` of a page that is one file: in the page itself."""
    return in_html(content)


def small(image: Image) -> bytes:
    """A picture for the contents of a page, as JPEG."""
    copy = image.copy()
    copy.thumbnail((THUMBNAIL, THUMBNAIL))
    return jpeg(copy)


@final
class GrowingPage(Generic[_T]):
    """A page to which answers are added one by one.

    path:     of the page, whose folder is made. template, title: of the page. card: makes each card.
    pictures: how many there will be; from MANY on what they show lies in a folder beside the page, and is loaded when
              it is scrolled to. Below, the page is one file.

    Raises SaywhyError, here and in each method, where something cannot be written.
    """

    def __init__(self, path: Path, template: str, title: str, card: Card[_T], pictures: int) -> None:
        self._path, self._template, self._title, self._card = path, template, title, card
        self._beside = pictures >= MANY
        self._entries: list[Entry] = []
        self._ends = [0]
        self._cards = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the page
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SaywhyError(f"{path}: cannot be written ({error.strerror or error})") from None

    def add(self, answer: _T, files: Sequence[str] = (), wrong: str = "") -> None:
        """Keep an answer's card. files: names of files beside the page that hold the answer, for links. wrong: how it
        is wrong, where that is known."""
        number = len(self._entries) + 1

        def beside(content: bytes, what: str) -> str:
            name = f"{FOLDER}/{number:03d}-{what}.jpg"
            write_whole(self._path.parent / name, content)
            return name

        html, entry = self._card(answer, number, beside if self._beside else in_the_page, files)
        try:
            self._cards.write(html.encode())
            self._cards.flush()
        except OSError as error:
            raise SaywhyError(f"{self._path}: cannot be written ({error.strerror or error})") from None
        self._ends.append(self._cards.tell())
        self._entries.append(replace(entry, wrong=wrong))

    def save(self, failures: Sequence[Failure] = (), note: str = "", files: Sequence[str] = ()) -> Path:
        """Write the page about all that were added.

        failures: the pictures without an answer. note: of them all. files: names of files beside the page about all of
        them, for links; those that are not there are left out.
        """
        there = [name for name in files if (self._path.parent / name).is_file()]
        values: dict[str, Any] = {
            "title": self._title, "failures": list(failures), "beside": self._beside, "contents": self._entries,
            "note": note, "links": links(there), "cards": self._kept(),
        }  # fmt: skip
        page = page_templates().get_template(self._template).stream(values)
        page.enable_buffering(100)
        try:
            with replacing(self._path) as unfinished:
                page.dump(str(unfinished), "utf-8")
        except OSError as error:
            raise SaywhyError(f"{self._path}: cannot be written ({error.strerror or error})") from None
        return self._path

    def _kept(self) -> Iterator[tuple[Entry, str]]:
        from markupsafe import Markup

        self._cards.seek(0)
        for n, entry in enumerate(self._entries):
            yield entry, Markup(self._cards.read(self._ends[n + 1] - self._ends[n]).decode())
