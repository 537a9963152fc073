"""How a picture becomes a network's input: what can be said of it by option, and what a transform does in one line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from math import isfinite
from typing import Any, final

import torch

from saywhy.errors import SaywhyError
from saywhy.pictures.channels import AsGiven
from saywhy.pictures.geometry import Transform, pixel_range, probe_geometry
from saywhy.pictures.transforms import Adapted, Sized, keeps_size
from saywhy.plumbing.names import shown, unknown

CROP_MODES = ("center", "squash", "border")
INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "box", "hamming", "lanczos")
_PILLOW = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # by Pillow's numbers
_PLAIN = ("ToTensor", "MaybeToTensor", "PILToTensor", "MaybePILToTensor", "ToImage", "ConvertImageDtype", "ToDtype")
"""Steps that only make a tensor of a picture."""
_WIDE = (
    700,
    410,
)  # of no usual shape: width, height of the picture by which a transform that does not show its steps is measured


class PreprocessingWarning(UserWarning):
    """A checkpoint does not say how pictures are prepared for it, and a library's defaults were taken."""


@final
@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What is said of a network's preprocessing, by the names of timm's train.py; None: as its library has it.

    img_size:      pixels a side of the network's input.
    crop_pct:      img_size over the size that the picture is resized to before the crop: 0 to 1.
    crop_mode:     "center": the shorter side is resized, and the middle cut out; "squash": both sides are, so that
                   shapes change; "border": the longer side is, and the rest filled.
    interpolation: of the resizing: one of INTERPOLATIONS.
    mean, std:     of red, green and blue, of values from 0 to 1.

    Raises SaywhyError for values that are none of these.
    """

    img_size: int | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None
    interpolation: str | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None

    def __post_init__(self) -> None:
        size, crop = self.img_size, self.crop_pct
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 8192):
            raise SaywhyError(f"--img-size {size!r}: give the pixels of a side, a whole number from 1 to 8192")
        if crop is not None and not 0 < crop <= 1:
            raise SaywhyError(f"--crop-pct {crop!r}: give a share above 0 and up to 1; 1 cuts nothing off")
        for option, value, known in (
            ("--crop-mode", self.crop_mode, CROP_MODES), ("--interpolation", self.interpolation, INTERPOLATIONS),
        ):  # fmt: skip
            if value is not None and value not in known:
                raise unknown(option, value, known)
        for option, values in (("--mean", self.mean), ("--std", self.std)):
            if values is None:
                continue
            if len(values) != 3 or not all(isfinite(value) for value in values):
                raise SaywhyError(f"{option} {_numbers(values)}: give three numbers, of red, green and blue")
            if max(values) > 1.5:
                over = tuple(value / 255 for value in values)
                raise SaywhyError(
                    f"{option} {_numbers(values)}: is of values from 0 to 255; divide by 255: {_numbers(over)}"
                )
        if self.std is not None and min(self.std) <= 0:
            raise SaywhyError(f"--std {_numbers(self.std)}: standard deviations are above 0")

    @property
    def said(self) -> dict[str, Any]:
        """What is not None, by its name."""
        return {one.name: value for one in fields(self) if (value := getattr(self, one.name)) is not None}

    @property
    def unsaid(self) -> tuple[str, ...]:
        """The names of what is None, as options: "--img-size"."""
        return tuple(f"--{one.name.replace('_', '-')}" for one in fields(self) if getattr(self, one.name) is None)

    def or_else(self, other: Preprocessing) -> Preprocessing:
        """This, and what only the other says."""
        return Preprocessing(**{**other.said, **self.said})

    def transform(self, defaults: Mapping[str, Any]) -> Transform:
        """timm's transform of evaluation. defaults: timm's data config, of which what is said replaces a part."""
        import timm

        said = self.said
        if (size := said.pop("img_size", None)) is not None:
            said["input_size"] = (3, size, size)
        return timm.data.create_transform(**{**defaults, **said}, is_training=False)


@lru_cache(maxsize=64)
def described(transform: Transform) -> str:
    """What a transform does to a picture, in a line: resizing, interpolation, crop, mean, std, with options' names.

    Transforms of torchvision, timm and transformers show their steps. What another does is measured on a few
    pictures, which the line says.
    """
    if isinstance(transform, AsGiven):
        return f"none: tensors of {' x '.join(map(str, transform.shape))}, as they are given"
    if isinstance(transform, Sized):
        return f"stretched to {transform.side} x {transform.side} (bicubic); {described(transform.transform)}"
    plain = transform.transform if isinstance(transform, Adapted) else transform
    try:
        return "; ".join(_steps(plain)) or _measured(transform)
    except Exception:  # whatever a transform of one's own does when it is looked at: its name is left
        return f"{_called(plain)}, which does not show what it does"


def _steps(transform: Any) -> list[str]:
    """What each step does, of a transform that shows its steps; else nothing."""
    if hasattr(transform, "processor"):
        return _of_processor(transform.processor.to_dict())
    if type(transform).__name__ == "ImageClassification":  # torchvision's, beside its weights
        size, crop = transform.resize_size, transform.crop_size
        return [_resize(size, transform.interpolation), _crop(crop), _normal(transform.mean, transform.std)]
    if type(transform).__name__ in ("Compose", "Sequential") and type(transform).__module__.startswith("torch"):
        steps = getattr(transform, "transforms", None) or list(transform)
        return [said for step in steps for said in _steps(step) or [_step(step)] if said]
    return []


def _step(step: Any) -> str:
    """One step of several; "" for one that only makes a tensor."""
    kind = type(step).__name__
    if kind in _PLAIN:
        return ""
    if kind == "Resize":
        return _resize(step.size, step.interpolation)
    if kind == "CenterCrop":
        return _crop(step.size)
    if kind in ("ResizeKeepRatio", "CenterCropOrPad") and type(step).__module__.startswith("timm."):  # of --crop-mode
        height, width = step.size
        return f"fitted into {width} x {height}" if kind == "ResizeKeepRatio" else f"{_crop(step.size)}, filled up"
    if kind == "Normalize" and hasattr(step, "mean"):
        return _normal(step.mean, step.std)
    return _called(step)


def _of_processor(found: Mapping[str, Any]) -> list[str]:
    """A transformers image processor, by its settings."""
    said, size = [], found.get("size") or {}
    if found.get("do_resize"):
        side = size.get("shortest_edge")
        both = [size["height"], size["width"]] if "height" in size and "width" in size else None
        how = found.get("resample")
        said.append(_resize(both or side or dict(size), how))
        if found.get("crop_pct"):
            said[-1] += f", crop {found['crop_pct']:g}"
    if found.get("do_center_crop") and (crop := found.get("crop_size")):
        said.append(_crop([crop["height"], crop["width"]] if isinstance(crop, Mapping) else crop))
    if found.get("do_normalize"):
        said.append(_normal(found["image_mean"], found["image_std"]))
    return said


def _measured(transform: Transform) -> str:
    """What a transform that shows nothing does: where a picture's frame lies, and what black and white become."""
    black, white = pixel_range(transform)
    std = 1 / (white - black)
    colours = _normal((-black * std).round(decimals=4), std.round(decimals=4))
    name = _called(transform)
    if keeps_size(transform):
        return f"{name}: pictures at their own size; {colours} (measured)"
    found = probe_geometry(transform, _WIDE)
    width, height = (round(side / scale) for side, scale in zip(_WIDE, found.scale, strict=True))
    size = f"{found.frame[0]} x {found.frame[1]}"
    if abs(found.scale[0] / found.scale[1] - 1) > 0.02:
        where = f"stretched to {width} x {height}"
    else:
        where = f"shorter side to {min(width, height)}"
    cut = "" if (width, height) == found.frame else f"; of it {size}"
    return f"{name}: {where}{cut}; {colours} (measured)"


def _resize(size: Any, interpolation: Any) -> str:
    how = getattr(interpolation, "value", interpolation)
    how = _PILLOW[how] if isinstance(how, int) and 0 <= how < len(_PILLOW) else how
    sides = list(size) if isinstance(size, list | tuple) else [size]
    if len(sides) == 1:
        return f"shorter side to {sides[0]} ({how})"
    return f"stretched to {sides[1]} x {sides[0]} ({how})"


def _crop(size: Any) -> str:
    sides = list(size) if isinstance(size, list | tuple) else [size]
    return f"centre {sides[-1]} x {sides[0]}"


def _normal(mean: Any, std: Any) -> str:
    return f"mean {_numbers(mean)}; std {_numbers(std)}"


def _numbers(values: Any) -> str:
    return " ".join(f"{value + 0.0:.6g}" for value in torch.as_tensor(values, dtype=torch.float64).flatten().tolist())


def _called(thing: Any) -> str:
    """A function or step by its name, without where it lies in memory."""
    name = getattr(thing, "__name__", None) or re.sub(r" at 0x[0-9a-fA-F]+", "", repr(thing))
    return shown(" ".join(str(name).split()), 80)
