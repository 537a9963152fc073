"""Opening picture files: formats that are allowed, sizes that are bounded, and one line where a decoder fails."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, UnidentifiedImageError

from saywhy.errors import SaywhyError
from saywhy.pictures.tags import MOST_CLAIMED, claims_too_much
from saywhy.plumbing.files import open_file
from saywhy.plumbing.names import shown

FORMATS = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF", "HEIC")
"""The formats that are read, as messages name them; a phone's MPO is a JPEG. HEIC needs the package pillow-heif."""

ENDINGS = {
    *(".jpg", ".jpeg", ".mpo", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".avif"),
    *((".heic", ".heif") if find_spec("pillow_heif") else ()),
}
"""What the names of pictures end in, where a folder is searched for them."""

MOST_PIXELS = 128_000_000
"""No larger picture is read: held as 4 bytes a pixel, twice while it is converted or turned, it takes 1 GiB."""
MOST_MEMORY = 1 << 30
"""Bytes: a picture whose decoder would take more, by ``bytes_per_pixel``, is not read."""
MOST_ELONGATED = 50  # longer side over shorter: preprocessing resizes the shorter one up to the frame
MOST_FILE = 256 << 20  # bytes of a file: what stands beside the pixels is held whole by some decoders
MOST_PLAIN_FILE = 512 << 20  # bytes of a TIFF or BMP, which may be uncompressed

_PLAIN = (b"II", b"MM", b"BM")
_TIFF_BITS, _TIFF_TILE_WIDTH, _TIFF_TILE_HEIGHT = 258, 322, 323


@contextmanager
def opened(file: BinaryIO, name: str) -> Iterator[Image.Image]:
    """The picture in a file whose header is read and whose size is allowed, not yet its pixels.

    Raises SaywhyError, in one line with the name, for a picture that is not of ``FORMATS`` or too large, and for
    whatever a decoder raises as long as the picture is open.
    """
    with decoding(name):
        check_bytes(file, name)
        if claims_too_much(file):
            raise SaywhyError(f"{name}: cannot be read (its tags claim more than {MOST_CLAIMED >> 20} MiB)")
        with Image.open(file, formats=_formats()) as image:
            check_size(image.size, name, int(MOST_MEMORY / bytes_per_pixel(image)), image.format or "")
            _check_tiles(image, name)
            yield image


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Whatever a decoder raises is one SaywhyError line that names the picture; its warnings are not heard."""
    try:
        with nullcontext() if getattr(_thread, "heard_by_none", False) else decoding_in_threads():
            yield
    except (SaywhyError, Warning):
        raise
    except UnidentifiedImageError:
        known = ", ".join(formats()) + ("" if "HEIC" in formats() else "; HEIC where pillow-heif is installed")
        raise SaywhyError(
            f"{name}: not a picture in a format that is read ({known}), or damaged at its start"
        ) from None
    except Image.DecompressionBombError:
        raise SaywhyError(f"{name}: over {MOST_PIXELS / 1e6:.0f} megapixels; make it smaller first") from None
    except MemoryError:
        raise SaywhyError(f"{name}: the picture is too large for the memory that is free") from None
    except Exception as error:  # Pillow's plugins raise anything on a broken file
        reason = "the file is truncated" if "truncated" in str(error).lower() else f"cannot be read ({_reason(error)})"
        raise SaywhyError(f"{name}: {reason}") from None


@contextmanager
def decoding_in_threads() -> Iterator[None]:
    """While this lasts decoders' warnings are not heard. Around threads of which each begins with ``in_thread``.

    What becomes of warnings is one setting of the whole process: no two threads may change it and change it back.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif)(\.|$)")
        yield


_thread = threading.local()


def in_thread() -> None:
    """Here ``decoding`` leaves warnings as they are set."""
    _thread.heard_by_none = True


def open_path(path: Path) -> BinaryIO:
    """A picture's file, open. Raises SaywhyError as ``open_file`` does, and for an empty one."""
    name = shown(path)
    file = open_file(path, f"the pictures in it, e.g. {name}/*.jpg")
    if not os.fstat(file.fileno()).st_size:
        file.close()
        raise SaywhyError(f"{name}: the file is empty")
    return file


def lower_tiles(image: Image.Image) -> list[Any]:
    """What decodes the lower 8 bits of 16-bit colours, of which Pillow keeps the upper 8; [] for all other pictures.

    image: not loaded yet. Told the wrong order of bytes, Pillow takes the lower for the upper ones, and keeps those.
    """
    tiles = []
    for tile in getattr(image, "tile", ()):
        *place, args = tile
        mode = args if isinstance(args, str) else args[0] if args else ""
        base, _, order = str(mode).partition(";16")
        if base not in ("RGB", "RGBA") or base != image.mode or order not in ("B", "L", "N"):
            return []
        little = order == "L" or (order == "N" and sys.byteorder == "little")
        other = f"{base};16{'B' if little else 'L'}"
        told = other if isinstance(args, str) else (other, *args[1:])
        tiles.append(tile._replace(args=told) if hasattr(tile, "_replace") else (*place, told))  # older Pillows: tuples
    return tiles


def check_bytes(file: BinaryIO, name: str) -> None:
    """Raises SaywhyError where a file has more bytes than are read of its format."""
    file.seek(0)
    start = file.read(2)
    size = file.seek(0, 2)
    file.seek(0)
    most = MOST_PLAIN_FILE if start in _PLAIN else MOST_FILE
    if size > most:
        raise SaywhyError(f"{name}: {size >> 20} MiB, over the {most >> 20} MiB that are read; make it smaller first")


def check_size(size: tuple[int, int], name: str, most: int = MOST_PIXELS, kind: str = "") -> None:
    """Raises SaywhyError for pictures without pixels, with too many, and for threads of them.

    size: width and height. most: pixels. kind: the format for which there are so many at most.
    """
    width, height = size
    most = min(most, MOST_PIXELS)
    if min(size) < 1:
        raise SaywhyError(f"{name}: {width} x {height} is no picture: it has no pixels")
    if width * height > most:
        of = f" that are read of such a {kind}" if most < MOST_PIXELS and kind else ""
        raise SaywhyError(
            f"{name}: {width} x {height} is over the {most / 1e6:.0f} megapixels{of}; make it smaller first"
        )
    if max(size) > MOST_ELONGATED * min(size):
        raise SaywhyError(f"{name}: {width} x {height} is over {MOST_ELONGATED} times longer than wide; crop it first")


def bytes_per_pixel(image: Image.Image) -> float:
    """The memory that reading takes at its peak: of the decoder, or of converting, whichever is more."""
    held = {"1": 1, "L": 1, "P": 1}.get(image.mode, 2 if image.mode.startswith("I;16") else 4)
    converting = held + 4
    return max(converting, held + _working(image))


def _working(image: Image.Image) -> float:
    """Bytes a pixel that a decoder has beside the picture, as measured."""
    if image.format in ("JPEG", "MPO"):
        return 2 * len(image.getbands()) if image.info.get("progressive") else 0
    if image.format == "TIFF":  # a strip may be the whole picture
        bits = getattr(image, "tag_v2", {}).get(_TIFF_BITS, (8,))
        return sum(bits if isinstance(bits, tuple) else (bits,)) / 8
    return {"WEBP": 13, "AVIF": 16, "HEIF": 16}.get(image.format or "", 0)


def _check_tiles(image: Image.Image, name: str) -> None:
    """A TIFF's tile may be far larger than its picture."""
    tags = getattr(image, "tag_v2", {})
    tile = [tags.get(tag) for tag in (_TIFF_TILE_WIDTH, _TIFF_TILE_HEIGHT)]
    if any(tile) and not all(isinstance(side, int) and 0 < side <= 1 << 13 for side in tile):
        raise SaywhyError(f"{name}: cannot be read (tiles of {tile[0]} x {tile[1]})")


def formats() -> tuple[str, ...]:
    """Those of ``FORMATS`` that can be read here, as messages name them."""
    have = _formats()
    return tuple(name for name in FORMATS if {"HEIC": "HEIF"}.get(name, name.upper()) in have)


@cache
def _formats() -> tuple[str, ...]:
    """As Pillow names them."""
    if find_spec("pillow_heif"):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return tuple(
        name for name in ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF") if name in Image.OPEN
    )


def _reason(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return shown(" ".join(said.split()) or type(error).__name__, 200)
