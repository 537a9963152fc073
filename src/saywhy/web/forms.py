"""Questions as they are sent: bounded while they are read, held in memory, and never on a disk."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncGenerator
from typing import Any, final
from urllib.parse import parse_qsl

from PIL.Image import Image
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from saywhy.errors import one_line
from saywhy.pictures.decoding import check_size, opened
from saywhy.pictures.reading import UNNAMED, read_picture
from saywhy.plumbing.names import in_utf8, shown

MAX_BYTES = 20 << 20
MAX_PIXELS = 50_000_000
MOST_HELD = 512 << 20
"""Bytes of all questions that are held at once, waiting or being read."""
SLOWEST = 60.0
"""Seconds in which a question must have come."""
BESIDE = 64 << 10  # bytes of a question beside its picture: names, captions, what stands between them
MOST_FIELDS = 64
LONGEST_NAME = 100  # characters of a picture's name
_PARTS, _PLAIN = "multipart/form-data", "application/x-www-form-urlencoded"


@final
class Room:
    """How many bytes may be held at once, by all who ask."""

    def __init__(self, most: int = MOST_HELD) -> None:
        self._left, self._lock = most, threading.Lock()

    def take(self, count: int) -> bool:
        """Whether so many more may be held; if so, they are."""
        with self._lock:
            if count > self._left:
                return False
            self._left -= count
            return True

    def give_back(self, count: int) -> None:
        """They are held no more."""
        with self._lock:
            self._left += count

    @property
    def left(self) -> int:
        """Bytes."""
        return self._left


@final
class Held:
    """The bytes of one question: ``let_go`` gives them back, once."""

    def __init__(self, room: Room) -> None:
        self._room, self._count = room, 0

    def take(self, count: int) -> None:
        """Hold so many more. Raises HTTPException 503 where there is no room."""
        if not self._room.take(count):
            raise HTTPException(503, "too many pictures are waiting; try again in a while", {"Retry-After": "10"})
        self._count += count

    def let_go(self) -> None:
        """May be called twice."""
        self._room.give_back(self._count)
        self._count = 0


class _InMemory(MultiPartParser):
    spool_max_size = 1 << 40  # whatever comes is bounded before


async def read_form(
    request: Request, kind: type[BaseModel], held: Held, max_bytes: int = MAX_BYTES
) -> tuple[Any, bytes | None, str]:
    """The fields of a question, the bytes of its picture and their name; None and "" where it has no picture.

    kind: the model that the fields are held against. held: what is charged for the bytes.

    Raises HTTPException: 413 for too many bytes, 415 for another kind of content, 400 for what cannot be read, 408
    where it comes too slowly, 422 for wrong fields, 503 where there is no room.
    """
    most = max_bytes + BESIDE
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise _too_large(max_bytes)
    content = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not content and declared in ("", "0"):
        return _checked(kind, {}), None, ""
    if content not in (_PARTS, _PLAIN):
        raise HTTPException(415, f"send {_PARTS}: the picture as a file, names as fields")

    async def bounded() -> AsyncGenerator[bytes, None]:
        read = 0
        async for chunk in request.stream():
            read += len(chunk)
            if content == _PLAIN and read > BESIDE:
                raise HTTPException(413, f"a question without a file has more than {BESIDE >> 10} KiB; shorten it")
            if read > most:
                raise _too_large(max_bytes)
            held.take(len(chunk))
            yield chunk

    try:
        async with asyncio.timeout(SLOWEST):
            if content == _PARTS:
                form = await _InMemory(request.headers, bounded(), max_files=1, max_fields=MOST_FIELDS).parse()
                items = form.multi_items()
            else:
                body = b"".join([chunk async for chunk in bounded()])
                items = list(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except TimeoutError:
        raise HTTPException(408, f"the question did not come within {SLOWEST:.0f} seconds") from None
    except ClientDisconnect:
        raise
    except (MultiPartException, KeyError, ValueError) as error:
        said = getattr(error, "message", "") or "its parts cannot be told apart"
        raise HTTPException(400, f"the form cannot be read: {one_line(str(said), 200)}") from None
    fields: dict[str, Any] = {}
    picture, name = None, ""
    for key, value in items:
        if isinstance(value, UploadFile):
            if key != "picture":
                raise HTTPException(422, "the only file that is read is called picture")
            picture, name = await value.read(), value.filename or ""
            await value.close()
        elif key == "picture":
            raise HTTPException(422, "picture is no file; send it as one, with the name of a file")
        elif not value:
            continue  # as if it were left out
        elif key == "captions":
            fields.setdefault(key, []).append(in_utf8(value))
        elif key in fields:
            raise HTTPException(422, f"{shown(key, 60)} is there twice")
        else:
            fields[key] = in_utf8(value)
    if picture is not None and len(picture) > max_bytes:
        raise _too_large(max_bytes)
    return _checked(kind, fields), picture, _named(name)


def decoded(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Image:
    """The picture, upright RGB of its true size. Raises SaywhyError, in one line with the name, where it is none."""
    if content:
        with opened(io.BytesIO(content), name) as image:  # of the header alone
            check_size(image.size, name, max_pixels)
    return read_picture(content, name=name)


def _named(name: str) -> str:
    """What a picture is called: what it is called where it comes from, without folders, in one line."""
    own = name.replace("\\", "/").rpartition("/")[2].strip()
    return shown(in_utf8(own), LONGEST_NAME) if own else UNNAMED


def _checked(kind: type[BaseModel], fields: dict[str, Any]) -> Any:
    if strange := [key for key in fields if key not in kind.model_fields]:
        known = ", ".join(kind.model_fields)
        raise HTTPException(422, f"there is no field {shown(repr(strange[0]), 60)}; there are picture, {known}")
    try:
        return kind(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise HTTPException(422, f"{shown(where, 60)}: {shown(first['msg'], 200)}") from None


def _too_large(max_bytes: int) -> HTTPException:
    return HTTPException(413, f"the picture has more than {max_bytes / (1 << 20):.0f} MiB; make it smaller first")
