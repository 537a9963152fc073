"""How answers go to a file and back: strict JSON with packed arrays, and a format by the ending."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.pictures.reading import read_picture as decoded
from saywhy.plumbing.files import write_whole
from saywhy.plumbing.names import shown
from saywhy.plumbing.records import typed
from saywhy.plumbing.texts import parse_json
from saywhy.types import Geometry, Picture, Prediction

MOST_UNPACKED = 1 << 28
"""Bytes of an array that a document holds; zlib packs a thousand of them into one."""
MOST_SIDE = 1 << 24  # pixels of a picture's side
MOST_REACH = 100  # a frame that is so many times the picture reaches around it, as padding does


def to_json(document: Mapping[str, Any]) -> str:
    """Strict JSON, which has no NaN or infinity: they become null."""
    return json.dumps(_finite(document), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def from_json(text: str, form: str, what: str) -> dict[str, Any]:
    """The document of a format that ``to_json`` wrote. Raises SaywhyError where the text is not one.

    form: the document's "format". what: what it holds, for the message ("an explanation").
    """
    document = parse_json(text, "this text", loose=True)
    if not isinstance(document, dict) or document.get("format") != form:
        raise SaywhyError(f"this JSON is not {what}: its format is not {form!r}")
    return document


@contextmanager
def whole(what: str) -> Iterator[None]:
    """Whatever is missing or wrong in a document is one SaywhyError: "this explanation is damaged (...)"."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, zlib.error, SaywhyError) as error:
        raise SaywhyError(f"this {what} is damaged ({type(error).__name__}: {shown(error, 200)})") from None


def number(value: float | None) -> float:
    """A number as it was before it became null."""
    return float("nan") if value is None else value


def pack(array: np.ndarray) -> str:
    """The bytes of an array, by zlib and base64."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes())).decode()


def unpack(text: str, size: int) -> bytes:
    """The bytes that were packed, ``size`` of them. Raises ValueError where there are more or fewer."""
    found = zlib.decompressobj().decompress(base64.b64decode(text), min(size, MOST_UNPACKED) + 1)
    if len(found) != size:
        raise ValueError(f"expected {size} packed bytes")
    return found


def pack_floats(tensor: Tensor) -> dict[str, Any]:
    """A tensor of any shape as little-endian float32, with its shape."""
    return {"values": pack(tensor.numpy().astype("<f4")), "shape": list(tensor.shape)}


def unpack_floats(document: Mapping[str, Any]) -> Tensor:
    """The float32 tensor that was packed."""
    shape = [int(side) for side in document["shape"]]
    values = np.frombuffer(unpack(document["values"], 4 * prod(shape)), "<f4")
    return torch.from_numpy(values.reshape(shape).copy())


def picture_document(picture: Picture) -> dict[str, Any]:
    """A picture's copy, with its name and size."""
    return vars(picture) | {"jpeg": base64.b64encode(picture.jpeg).decode()}


def mask_document(mask: np.ndarray) -> dict[str, Any]:
    """A mask (H, W) bool as packed bits, with its shape."""
    return {"mask": pack(np.packbits(mask)), "frame": mask.shape}


def read_mask(document: Mapping[str, Any]) -> np.ndarray:
    """The mask of ``mask_document``."""
    height, width = document["frame"]
    packed = unpack(document["mask"], -(-height * width // 8))
    bits = np.unpackbits(np.frombuffer(packed, np.uint8))[: height * width]
    return bits.reshape(height, width).astype(bool)


def read_prediction(document: Mapping[str, Any]) -> Prediction:
    """A prediction that was stored field by field."""
    numbers = (number(document[key]) for key in ("probability", "logit"))
    return Prediction(document["index"], document["name"], *numbers)


def read_picture(document: Mapping[str, Any]) -> Picture:
    """The picture of ``picture_document``."""
    size = document["width"], document["height"]
    if not all(isinstance(side, int) and 0 < side <= MOST_SIDE for side in size):
        raise ValueError(f"a picture of {size[0]!r} x {size[1]!r}")
    jpeg = base64.b64decode(document["jpeg"])
    decoded(jpeg)  # what cannot be shown is damaged
    return Picture(document["name"], *size, jpeg)


def geometry_document(geometry: Geometry) -> dict[str, Any]:
    """Where the frame lies on the picture."""
    return asdict(geometry)


def read_geometry(document: Mapping[str, Any]) -> Geometry:
    """The geometry of ``geometry_document``."""
    geometry = typed(Geometry(*(tuple(document[key]) for key in ("size", "frame", "scale", "offset"))))
    reach = [geometry.frame[n] * geometry.scale[n] / max(geometry.size[n], 1) for n in (0, 1)]
    away = [abs(geometry.offset[n]) / max(geometry.size[n], 1) for n in (0, 1)]
    if min(geometry.size + geometry.frame) < 1 or not all(0 < share <= MOST_REACH for share in reach):
        raise ValueError("its frame is none")
    if not all(share <= MOST_REACH for share in away):  # as NaN is not
        raise ValueError("its frame does not lie on the picture")
    return geometry


def save_as(path: str | Path, what: str, formats: Mapping[str, Callable[[], str | bytes]]) -> Path:
    """Write a file in the format of its ending, whole or not at all.

    what:    "an explanation", for the message. formats: ending -> gives the content.

    Raises SaywhyError for any other ending, or where it cannot be written.
    """
    path = Path(path)
    ending = ".html" if path.suffix.lower() == ".htm" else path.suffix.lower()
    if ending not in formats:
        *others, last = formats
        raise SaywhyError(f"{path}: {what} is saved as {', '.join(others)} or {last}")
    return write_whole(path, formats[ending]())
