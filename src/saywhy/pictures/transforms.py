"""Transforms of every library as one kind: RGB picture -> (C, h, w) tensor."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.pictures.geometry import Transform
from saywhy.plumbing.caches import weights_digest

PROBE = (256, 256)  # width, height of the picture that a transform is tried on
ODD = (312, 280)  # width and height that no transform makes by itself
KEYS = ("image", "pixel_values")  # under which libraries return what they made


def as_transform(transform: Callable[..., Any]) -> Transform:
    """The transform itself where it makes a (C, h, w) tensor of a picture; else one around it that does.

    Understood are transforms that take the picture as an array by the name ``image`` (albumentations), and that give an
    array, a dict with one of KEYS, or a batch of one.

    Raises SaywhyError for anything else, with what the transform said.
    """
    picture = Image.new("RGB", PROBE)
    try:
        result = transform(picture)
        called_by_name = False
    except Exception as error:
        try:
            result = transform(image=np.asarray(picture))
        except Exception:
            said = (str(error).strip().splitlines() or [""])[0]
            reason = f"{type(error).__name__}: {said}"
            raise SaywhyError(f"the transform does not run on an RGB picture ({reason})") from None
        called_by_name = True
    if isinstance(result, Tensor) and result.dim() == 3 and not called_by_name:
        return transform
    _tensor_of(result)  # says what is wrong with it
    return Adapted(transform, called_by_name)


def transform_digest(transform: Transform) -> str | None:
    """A digest of what a transform makes of a few pictures.

    It is the same in every process, and another where the code, what it refers to, an option or the library does
    another thing.

    None for a transform that draws at random, of which the next picture would be another.
    """
    digest = hashlib.sha256()
    with _random_state() as drawn:
        for picture in _probes():
            first, again = (weights_digest([torch.as_tensor(transform(picture.copy()))]) for _ in range(2))
            if first != again:
                return None
            digest.update(first.encode())
        return None if drawn() else digest.hexdigest()[:16]


def _probes() -> Iterator[Image.Image]:
    """Noise of small, wide and large pictures, dark and light ones, and one without a feature."""
    rng = np.random.default_rng(0)
    for (width, height), (low, high) in _PROBES:
        yield Image.fromarray(rng.integers(low, high + 1, (height, width, 3), dtype=np.uint8))


_PROBES = (
    ((61, 47), (0, 255)), ((90, 300), (0, 255)), ((640, 200), (0, 255)), ((520, 410), (0, 255)),
    ((256, 256), (0, 20)), ((256, 256), (240, 255)), ((256, 256), (128, 128)),
)  # fmt: skip


@contextmanager
def _random_state() -> Iterator[Callable[[], bool]]:
    """Tells whether anything was drawn meanwhile from the generators that all share, and sets them back."""
    ours, theirs, torchs = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002

    def drawn() -> bool:
        same = repr(np.random.get_state()) == repr(theirs)  # noqa: NPY002
        return not same or random.getstate() != ours or not torch.equal(torch.get_rng_state(), torchs)

    try:
        yield drawn
    finally:
        random.setstate(ours)
        np.random.set_state(theirs)  # noqa: NPY002
        torch.set_rng_state(torchs)


@final
class Adapted:
    """A transform of another kind as one of a picture to a tensor. by_name: it takes ``image=``, an array."""

    def __init__(self, transform: Callable[..., Any], by_name: bool) -> None:
        self.transform, self.by_name = transform, by_name

    def __call__(self, image: Image.Image) -> Tensor:
        return _tensor_of(self.transform(image=np.asarray(image)) if self.by_name else self.transform(image))

    def __repr__(self) -> str:
        return repr(self.transform)


def keeps_size(transform: Transform) -> bool:
    """Whether a transform leaves pictures at their size: it has no Resize and no crop."""
    try:
        return tuple(transform(Image.new("RGB", ODD)).shape[-2:]) == (ODD[1], ODD[0])
    except Exception:  # of any library, for a picture of this size
        return False


@final
@dataclass(frozen=True)
class Sized:
    """A transform without a Resize before a network that takes one size: pictures of another are stretched to it."""

    transform: Transform
    side: int

    def __call__(self, image: Image.Image) -> Tensor:
        size = (self.side, self.side)
        return self.transform(image if image.size == size else image.resize(size, Image.Resampling.BICUBIC))


def _tensor_of(result: Any) -> Tensor:
    """(C, h, w) float32 of what a transform gave. Raises SaywhyError for anything that is no picture."""
    if isinstance(result, Mapping):
        result = next((result[key] for key in KEYS if key in result), result)
    if isinstance(result, list | tuple) and len(result) == 1:
        (result,) = result
    if isinstance(result, np.ndarray | Image.Image):
        values = np.asarray(result)
        last = values.ndim == 3 and values.shape[-1] in (1, 3, 4) and values.shape[0] not in (1, 3, 4)
        result = torch.as_tensor(np.ascontiguousarray(np.moveaxis(values, -1, 0) if last else values))
        result = result / 255 if values.dtype == np.uint8 else result
    if isinstance(result, Tensor) and result.dim() == 4 and len(result) == 1:
        result = result[0]
    if not isinstance(result, Tensor) or result.dim() != 3:
        shape = f" of shape {tuple(result.shape)}" if hasattr(result, "shape") else ""
        raise SaywhyError(f"the transform gives a {type(result).__name__}{shape}; expected a (C, h, w) tensor")
    return result.float()
