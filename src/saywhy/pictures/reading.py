"""Reading pictures: whatever the file holds, an upright RGB picture comes out, or one line that says why not."""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import numpy as np
from PIL import Image

from saywhy.errors import SaywhyError
from saywhy.pictures.decoding import (
    ENDINGS,
    MOST_MEMORY,
    MOST_PLAIN_FILE,
    check_size,
    decoding,
    lower_tiles,
    open_path,
    opened,
)
from saywhy.pictures.tags import exif_claims_too_much
from saywhy.plumbing.names import shown
from saywhy.types import Picture

PictureLike: TypeAlias = "str | os.PathLike[str] | Image.Image | np.ndarray | bytes | BinaryIO"
"""What ``read_picture`` reads: a path, a PIL picture, an array, the bytes of a file, or a file open in binary mode."""

UNNAMED = "picture"
"""What a picture that is no file on disk is called."""

DISPLAY_SIDE = 1024  # pixels: the longest side of the copy that a report shows
JPEG_QUALITY = "jpeg_quality"
"""In ``info`` of what was read from a JPEG: the quality by which it was saved, 1 to 100, as its tables have it."""
_STRIP = 1 << 20  # pixels that are converted at once
_BITS = (8, 10, 12, 14, 16)  # of what scanners and cameras give in 16

_Rows: TypeAlias = Callable[[int, int], np.ndarray]
"""From one row to before another: (rows, width) or (rows, width, channels) values."""
_STANDARD_LUMA = 3688  # the sum of the standard's table for luma
_ORIENTATION = 0x0112  # in EXIF
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class PictureWarning(UserWarning):
    """A picture's values have no range of their own: says which is shown as black to white."""


def read_picture(
    source: PictureLike, *, value_range: tuple[float, float] | None = None, name: str | None = None
) -> Image.Image:
    """The picture as upright RGB of its true size: first frame, EXIF rotation applied, alpha on white, 8 bits.

    source:      a path; the bytes of a file, or a file open in binary mode, which is read from its start; a PIL
                 picture; or an array (H, W), (H, W, 1), (H, W, 3), (H, W, 4) of bool, uint8, uint16 or floats.
    value_range: what is black and what is white in a picture of more than 8 bits. None: 0 to 65535 of 16-bit values,
                 or, where they need only 8, 10, 12 or 14 bits, the range of so many, with a PictureWarning; 0 to 1 of
                 float arrays within it; of other floats and of 32-bit integers their least finite value (0 where
                 nothing is below 0) to their greatest, with a PictureWarning.
    name:        what messages call the bytes of a file; None: "the picture".

    Formats and limits are those of ``saywhy.pictures.decoding``. Memory grows by 1 GiB at most: measured at the limits,
    990 MiB for 128 megapixels of a PNG, TIFF or rotated JPEG, 1012 MiB for 128 of floats, 1013 MiB for 106 of a
    progressive JPEG, 973 MiB for 62 of a WebP, 605 MiB for 53 of an AVIF.

    Raises SaywhyError, in one line with the name and the reason, where no picture can be read.
    """
    if value_range is not None:
        value_range = _valid_range(value_range)
    if isinstance(source, np.ndarray):
        return _from_array(source, value_range)
    if isinstance(source, Image.Image):
        check_size(source.size, f"the {UNNAMED}")
        with decoding(f"the {UNNAMED}"):
            return _to_rgb(source, f"the {UNNAMED}", value_range)
    if isinstance(source, str | os.PathLike):
        name, file = shown(os.fspath(source)), open_path(_as_path(source))
    else:
        name = shown(name or f"the {UNNAMED}")
        file = _as_file(source, name)
    with file, opened(file, name) as image:
        lower = lower_tiles(image)
        image.load()
        if lower and (value_range is not None or _uses_few_bits(image)):
            with opened(file, name) as again:
                return _deep_to_rgb(image, again, lower, name, value_range)
        return _to_rgb(image, name, value_range, close=True)


def picture_name(source: PictureLike) -> str:
    """What a picture is called: its file's name without folders, or "picture"."""
    return Path(source).name if isinstance(source, str | os.PathLike) else UNNAMED


def display_copy(image: Image.Image, name: str) -> Picture:
    """What a report shows of an RGB picture: its name and true size, and a JPEG no longer than DISPLAY_SIDE."""
    copy = image.copy()
    copy.thumbnail((DISPLAY_SIDE, DISPLAY_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    copy.save(buffer, "JPEG", quality=90)
    return Picture(name, image.width, image.height, buffer.getvalue())


def picture_files(folder: Path) -> list[Path]:
    """The pictures in a folder, in order of name, by their ending."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)


# -- sources ----------------------------------------------------------------------------------------------------------


def _as_path(source: str | os.PathLike[str]) -> Path:
    if not os.fspath(source):
        raise SaywhyError("a picture's name is empty")
    try:
        return Path(source)
    except TypeError:  # a path of bytes
        raise SaywhyError(f"{shown(source)}: is no name of a file; a str or Path is") from None


def _as_file(source: object, name: str) -> BinaryIO:
    """Bytes, or what is read from a file object, as a file in memory."""
    data = source
    if callable(getattr(source, "read", None)):
        stream = cast(Any, source)
        try:
            if callable(getattr(stream, "seekable", None)) and stream.seekable():
                stream.seek(0)
            data = stream.read(MOST_PLAIN_FILE + 1)
        except Exception as error:  # of whoever wrote the file object
            raise SaywhyError(f"{name}: cannot be read ({shown(error, 200) or type(error).__name__})") from None
        if isinstance(data, str):
            raise SaywhyError(f"{name}: the file is open as text; open it with mode 'rb'")
    if not isinstance(data, bytes | bytearray | memoryview):
        what = type(data).__name__
        raise SaywhyError(f"{name}: {what} is no picture; a path, PIL picture, NumPy array, bytes or binary file is")
    if not len(data):
        raise SaywhyError(f"{name}: the file is empty")
    return io.BytesIO(data)


def _from_array(array: np.ndarray, value_range: tuple[float, float] | None) -> Image.Image:
    name = "the array"
    kind, width = array.dtype.kind, array.dtype.itemsize
    if kind not in "fb" and not (kind == "u" and width <= 2):
        raise SaywhyError(f"{name}: {array.dtype} is no type of pictures; bool, uint8, uint16 and floats are")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 and (array.ndim != 3 or array.shape[2] not in (3, 4)):
        raise SaywhyError(f"{name}: shape {array.shape} is no picture's; (H, W), (H, W, 1), (H, W, 3), (H, W, 4) are")
    size = array.shape[1], array.shape[0]
    check_size(size, name)
    array = np.asarray(array)  # no mask or matrix
    return _scaled(lambda start, end: array[start:end], size, name, value_range, unit=True)


def _valid_range(value_range: tuple[float, float]) -> tuple[float, float]:
    try:
        low, high = map(float, value_range)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise SaywhyError(f"value_range is two numbers, what is black and what is white, and not {shown(value_range)}")
    return low, high


# -- conversion, in strips, so that nothing but the picture and its result is held whole ------------------------------


def _to_rgb(image: Image.Image, name: str, value_range: tuple[float, float] | None, close: bool = False) -> Image.Image:
    """close: lets go of the pixels of ``image`` as soon as they are converted."""
    image.load()
    turn, quality = _turn(image), _jpeg_quality(image)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        result = _scaled(lambda start, end: np.asarray(_strip(image, start, end)), image.size, name, value_range)
    elif image.mode == "RGB" and "transparency" not in image.info:
        result = image.copy()
        result.info = {}  # who reads the result again finds no EXIF rotation to apply
    else:
        result = Image.new("RGB", image.size)
        for start, end in _strips(image.size):
            result.paste(_on_white(_strip(image, start, end)), (0, start))
    if close:
        image.close()
    if quality is not None:
        result.info[JPEG_QUALITY] = quality
    return result if turn is None else result.transpose(turn)


def _jpeg_quality(image: Image.Image) -> int | None:
    """By which a JPEG was saved: how its table for luma scales the standard's (ITU T.81, K.1), as libjpeg has it."""
    tables = getattr(image, "quantization", None)
    table = tables.get(0) if isinstance(tables, dict) else None
    if not table or len(table) != 64:
        return None
    scale = 100 * sum(table) / _STANDARD_LUMA
    return max(1, min(100, round(100 - scale / 2 if scale <= 100 else 5000 / scale)))


def _uses_few_bits(image: Image.Image) -> bool:
    """Whether colours of 16 bits, of which the upper 8 are here, need fewer than 15."""
    return max(high for _, high in cast(Any, image.getextrema())[:3]) < 1 << 6


def _deep_to_rgb(
    upper: Image.Image, lower: Any, tiles: list[Any], name: str, value_range: tuple[float, float] | None
) -> Image.Image:
    """Colours of 16 bits, decoded in two halves. lower: the picture opened again, to be decoded by ``tiles``."""
    check_size(upper.size, name, MOST_MEMORY // 14, f"{upper.format} of 16-bit colours")
    turn = _turn(upper)
    lower.tile = tiles
    lower.load()

    def rows(start: int, end: int) -> np.ndarray:
        high, low = (np.asarray(_strip(half, start, end)) for half in (upper, lower))
        return high.astype(np.uint16) << 8 | low

    result = _scaled(rows, upper.size, name, value_range)
    return result if turn is None else result.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes a picture upright; None for nothing, and where its EXIF is broken."""
    try:
        if exif_claims_too_much(_exif(image)):
            return None
        return _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a picture without its EXIF is still a picture
        return None


def _exif(image: Image.Image) -> bytes:
    """The block that Pillow takes EXIF from; PNG may have it as text, in which the digits follow three lines."""
    if exif := image.info.get("exif"):
        return bytes(exif)
    return bytes.fromhex("".join(image.info.get("Raw profile type exif", "").split("\n")[3:]))


def _strips(size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    rows = max(1, _STRIP // size[0])
    return ((start, min(start + rows, size[1])) for start in range(0, size[1], rows))


def _strip(image: Image.Image, start: int, end: int) -> Image.Image:
    return image.crop((0, start, image.width, end))


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert("RGB")


def _scaled(
    rows: _Rows, size: tuple[int, int], name: str, value_range: tuple[float, float] | None, unit: bool = False
) -> Image.Image:
    """Values of any kind as RGB: Pillow's own conversion would clip everything above 255 to white.

    unit: floats within 0 to 1 are shown as they are.
    """
    first = rows(0, 1)
    alpha = first.ndim == 3 and first.shape[2] == 4
    fixed = {"bool": (0.0, 1.0), "uint8": (0.0, 255.0)}.get(first.dtype.name)
    opaque = 1.0
    if alpha:
        opaque = (fixed or _range(*_extremes(rows, size, slice(3, 4), name), first.dtype, unit))[1]
    if given := fixed or value_range:
        black, white = given
    else:
        black, white, said = _range(*_extremes(rows, size, slice(0, 3), name), first.dtype, unit)
        if said:
            warnings.warn(f"{name}: {said} (read_picture has a value_range)", PictureWarning)
    result = Image.new("RGB", size)
    for start, end in _strips(size):
        values = rows(start, end)
        if first.ndim == 2:
            strip = Image.fromarray(_eight_bit(values, black, white))
        else:
            strip = Image.fromarray(_eight_bit(values[..., :3], black, white))
            if alpha:
                strip.putalpha(Image.fromarray(_eight_bit(values[..., 3], 0, opaque)))
        result.paste(_on_white(strip), (0, start))
    return result


def _extremes(rows: _Rows, size: tuple[int, int], channels: slice, name: str) -> tuple[float, float]:
    """The least and the greatest finite value. Raises SaywhyError where there is none."""
    low, high = math.inf, -math.inf
    for start, end in _strips(size):
        values = rows(start, end)
        values = values[..., channels] if values.ndim == 3 else values
        if values.dtype.kind == "f":
            values = values[np.isfinite(values)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if low > high:
        raise SaywhyError(f"{name}: has no finite value")
    return low, high


def _range(low: float, high: float, dtype: np.dtype, unit: bool) -> tuple[float, float, str]:
    """What is black, what is white, and what to say of it, "" where there is nothing to say."""
    if dtype.kind == "f" and unit and 0 <= low <= high <= 1:
        return 0, 1, ""
    if dtype.kind == "u":
        bits = next(bits for bits in _BITS if high < 1 << bits)
        white = (1 << bits) - 1
        return 0, white, "" if bits == 16 or not high else f"its values have {bits} bits: 0 is black, {white} is white"
    black = min(low, 0.0)
    return black, high, f"its values have no range of their own: {black:.6g} is black, {high:.6g} is white"


def _eight_bit(values: np.ndarray, black: float, white: float) -> np.ndarray:
    """Values as uint8 of the same shape, rounded: black and below are 0, white and above 255, no number is 0."""
    if values.dtype == np.uint8 and (black, white) == (0, 255):
        return np.ascontiguousarray(values)
    scaled = np.clip(np.nan_to_num(values.astype(np.float64), nan=black), black, white)
    if not math.isfinite(white - black):
        scaled, black, white = scaled / 4, black / 4, white / 4
    span = white - black
    scaled = (scaled - black) / span * 255 + 0.5 if span > 0 else np.zeros_like(scaled)
    return np.clip(scaled, 0, 255).astype(np.uint8)
