"""How answers go to a file and back: strict JSON with packed arrays, and a format by the ending."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.plumbing.files import write_whole
from saywhy.plumbing.texts import parse_json
from saywhy.types import Geometry, Picture


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
    document = parse_json(text, "this text", halves=True)
    if not isinstance(document, dict) or document.get("format") != form:
        raise SaywhyError(f"this JSON is not {what}: its format is not {form!r}")
    return document


@contextmanager
def whole(what: str) -> Iterator[None]:
    """Whatever is missing or wrong in a document is one SaywhyError: "this explanation is damaged (...)"."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, zlib.error) as error:
        raise SaywhyError(f"this {what} is damaged ({type(error).__name__}: {error})") from None


def number(value: float | None) -> float:
    """A number as it was before it became null."""
    return float("nan") if value is None else value


def pack(array: np.ndarray) -> str:
    """The bytes of an array, by zlib and base64."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes())).decode()


def unpack(text: str) -> bytes:
    """The bytes that were packed."""
    return zlib.decompress(base64.b64decode(text))


def pack_floats(tensor: Tensor) -> dict[str, Any]:
    """A tensor of any shape as little-endian float32, with its shape."""
    return {"values": pack(tensor.numpy().astype("<f4")), "shape": list(tensor.shape)}


def unpack_floats(document: Mapping[str, Any]) -> Tensor:
    """The float32 tensor that was packed."""
    return torch.from_numpy(np.frombuffer(unpack(document["values"]), "<f4").reshape(document["shape"]).copy())


def picture_document(picture: Picture) -> dict[str, Any]:
    """A picture's copy, with its name and size."""
    return vars(picture) | {"jpeg": base64.b64encode(picture.jpeg).decode()}


def read_picture(document: Mapping[str, Any]) -> Picture:
    """The picture of ``picture_document``."""
    return Picture(document["name"], document["width"], document["height"], base64.b64decode(document["jpeg"]))


def geometry_document(geometry: Geometry) -> dict[str, Any]:
    """Where the frame lies on the picture."""
    return asdict(geometry)


def read_geometry(document: Mapping[str, Any]) -> Geometry:
    """The geometry of ``geometry_document``."""
    return Geometry(*(tuple(document[key]) for key in ("size", "frame", "scale", "offset")))


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
