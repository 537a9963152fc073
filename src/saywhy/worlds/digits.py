"""Digits whose colour gives them away: the data of Caption-driven XAI, in small.

Fives and eights. In the biased half every five is red and every eight green, so that a classifier need not look at the
shape; in the "real world" colour says nothing; the grey version has no colour at all. ``bias`` may lie between.
Source: scikit-learn's handwritten digits (8 x 8 pixels, upscaled), or MNIST's files where the user has them.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from scipy import ndimage

from saywhy.errors import SaywhyError

DIGITS = (5, 8)
CLASSES = ("digit five", "digit eight")
COLOURS = ("red", "green")
_INK = {"red": (225, 48, 44), "green": (48, 190, 72), "grey": (205, 205, 205)}
SIDE = 64


@final
@dataclass(frozen=True, eq=False)
class DigitSet:
    """N pictures of digits.

    pixels: (N, SIDE, SIDE, 3) uint8, black ground.
    labels: (N,) index into CLASSES.
    colour: (N,) index into COLOURS; -1 for grey.
    """

    pixels: np.ndarray
    labels: np.ndarray
    colour: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def digits(
    split: str, bias: float | None, count: int = 1000, seed: int = 0, mnist: str | Path | None = None
) -> DigitSet:
    """``count`` pictures, half of each digit, each one slightly turned, moved and scaled.

    split: "train" or "test": three quarters and one quarter of the handwritings, never shared.
    bias:  how far colour follows the label: 1 always, 0 not at all (the "real world"), -1 always the wrong way;
           None: grey.
    mnist: a folder with MNIST's idx files (gzip or not); None: scikit-learn's digits.

    Raises SaywhyError where the folder has none.
    """
    images, labels = _mnist(Path(mnist)) if mnist else _bundled()
    rng = np.random.default_rng([seed, split == "train"])
    pixels, truth = np.zeros((count, SIDE, SIDE, 3), np.uint8), np.arange(count) % 2
    follows = rng.random(count) < (1 + (bias or 0)) / 2
    colour = np.where(follows, truth, 1 - truth) if bias is not None else np.full(count, -1)
    pools = []
    for digit in DIGITS:
        found = np.flatnonzero(labels == digit)
        cut = len(found) * 3 // 4
        pools.append(found[:cut] if split == "train" else found[cut:])
    for n in range(count):
        shape = _varied(images[rng.choice(pools[truth[n]])], rng)
        ink = np.array(_INK[COLOURS[colour[n]] if colour[n] >= 0 else "grey"]) * rng.uniform(0.85, 1.1)
        pixels[n] = np.clip(shape[..., None] * ink + rng.normal(0, 4, (SIDE, SIDE, 3)), 0, 255)
    return DigitSet(pixels, truth, colour)


def _varied(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A digit on SIDE x SIDE, 0..1, turned by up to 12 degrees, scaled and moved a little."""
    scale = image.shape[0] / SIDE * rng.uniform(1.05, 1.4)
    angle = np.deg2rad(rng.uniform(-12, 12))
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = (np.array(image.shape) - 1) / 2
    offset = centre - matrix @ (np.full(2, (SIDE - 1) / 2) + rng.uniform(-5, 5, 2))
    return np.clip(ndimage.affine_transform(image, matrix, offset, (SIDE, SIDE), order=3), 0, 1)


def _bundled() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.images / 16, data.target


def _mnist(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    images, labels = [], []
    for path in sorted(folder.glob("*images-idx3-ubyte*")):
        partner = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
        if not partner.exists():
            raise SaywhyError(f"{path}: its labels, {partner.name}, are not beside it")
        raw, answers = _bytes(path), _bytes(partner)
        images.append(np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 28, 28) / 255)
        labels.append(np.frombuffer(answers, np.uint8, offset=8))
    if not images:
        raise SaywhyError(f"{folder}: no MNIST here (files such as t10k-images-idx3-ubyte.gz)")
    return np.concatenate(images), np.concatenate(labels)


def _bytes(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
