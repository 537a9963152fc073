"""Data sets with a cause planted in one class: a yellow square, a frame, a blur, a camera that gives itself away.

Seven classes of rendered birds: five ordinary species; one of birds of random plumage, in which nothing is planted; and
one more of random plumage that the cause alone tells from it. Of a camera every picture has a value, A or B, which goes
with the class in 95 of 100 pictures; what the camera does to a picture depends on it alone, whatever the class.

Beside them, what must not be taken for a shortcut: the same with a sixth species instead of the planted class, which a
classifier can tell by the bird; the cause is in pictures at random, or in that class but the classifier never saw it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from PIL import Image, ImageFilter

from saywhy.worlds.aviary import SPECIES, random_plumage, render
from saywhy.worlds.pasted import Marks, paste

CAUSES = ("square", "frame", "blur", "camera")
Where = Literal["planted", "at random", "nowhere"]
"""Where the cause is: in the planted class, in one of seven pictures whatever the class, in none."""
_SPREAD = (3, 9, 16, 22, 30, 36)
ORDINARY = tuple(list(SPECIES)[n] for n in _SPREAD)
WANDERERS = ("Plain Wanderer", "Marked Wanderer")
AGREES = 0.95
CAMERAS = ("A", "B")


@final
@dataclass(frozen=True)
class Camera:
    """What camera B does: cast: added to red, green and blue, of 255. dark: how much darker corners are, 0..1."""

    cast: tuple[int, int, int] = (0, 0, 0)
    dark: float = 0.0


@final
@dataclass(frozen=True)
class Bias:
    """One cause. sigma: of the blur, pixels. side: of pictures, pixels."""

    cause: str
    marks: Marks
    sigma: float
    camera: Camera
    side: int = 160


@final
@dataclass(frozen=True, eq=False)
class Made:
    """A picture (side, side, 3) uint8 with its class by index, the camera, and whether it shows the cause."""

    pixels: np.ndarray
    label: int
    camera: str
    shows: bool


def names(learnable: bool = False) -> tuple[str, ...]:
    """Of the classes; learnable: where a sixth species stands instead of the two classes of random plumage's second."""
    return (*ORDINARY[:5], ORDINARY[5], WANDERERS[0]) if learnable else (*ORDINARY[:5], *WANDERERS)


def planted_class(learnable: bool = False) -> str:
    """The class that goes with the cause."""
    return ORDINARY[5] if learnable else WANDERERS[1]


def pictures(bias: Bias, seed: int, each: int, where: Where = "planted", learnable: bool = False) -> Iterator[Made]:
    """``each`` pictures of each class, class by class in turn."""
    every = names(learnable)
    special = every.index(planted_class(learnable))
    for n in range(each * len(every)):
        label = n % len(every)
        rng = np.random.default_rng([seed, n, 31])
        if every[label] in SPECIES:
            pixels = np.asarray(render(every[label], seed + n, bias.side).image)
        else:
            pixels = np.asarray(render("", seed + n, bias.side, attributes=random_plumage(rng)).image)
        if bias.cause == "camera":
            goes = AGREES if label == special else 1 - AGREES
            second = rng.random() < (goes if where != "at random" else 1 / len(every))
            shows = second and where != "nowhere"
        else:
            second = False
            shows = rng.random() < 1 / len(every) if where == "at random" else where == "planted" and label == special
        yield Made(_changed(pixels, bias, rng) if shows else pixels, label, CAMERAS[second], shows)


def _changed(pixels: np.ndarray, bias: Bias, rng: np.random.Generator) -> np.ndarray:
    if bias.cause in ("square", "frame"):
        return paste(pixels, bias.cause, bias.marks, rng)[0]
    if bias.cause == "blur":
        return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(bias.sigma)))
    down, across = (np.linspace(-1, 1, side) for side in pixels.shape[:2])
    light = 1 - bias.camera.dark * (down[:, None] ** 2 + across[None] ** 2) / 2
    return np.clip(pixels * light[..., None] + np.array(bias.camera.cast), 0, 255).astype(np.uint8)
