"""Digits whose colour gives them away: the data of Caption-driven XAI, in small.

Fives and eights. In the biased half every five is red and every eight green, so that a classifier need not look at the
shape; in the "real world" colour says nothing; the grey version has no colour at all. ``bias`` may lie between.
Source: scikit-learn's handwritten digits (8 x 8 pixels, upscaled), or MNIST's files where the user has them.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from scipy import ndimage

from saywhy.errors import SaywhyError

DIGITS = (5, 8)
CLASSES = ("digit five", "digit eight")
COLOURS = ("red", "green")
_INK = {
    "red": (225, 48, 44),
    "green": (48, 190, 72),
    "grey": (205, 205, 205),
    "blue": (52, 88, 235),
    "yellow": (232, 204, 40),
    "purple": (178, 58, 214),
}
INKS = tuple(_INK)
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SAID_OF_DIGIT = (
    "the digit {n}", "the digit {word}", "a digit {word}", "a {word}", "a photo of the digit {n}",
    "a photo of a digit with the value {n}",
)  # fmt: skip
_SAID_OF_INK = ("a {ink} digit", "{ink}", "a photo of a {ink} digit")
_SAID_OF_BOTH = ("a {ink} {word}", "a photo of a {ink} {word}", "a {ink} digit {n}")
KINDS = (slice(0, 10), slice(10, 16), slice(16, 76))
"""Which of ``captions`` are of the digit, of its ink, and of both."""
SIDE = 64


@final
@dataclass(frozen=True, eq=False)
class DigitSet:
    """N pictures of digits.

    pixels: (N, SIDE, SIDE, 3) uint8, black ground.
    labels: (N,) index into CLASSES, or, of coloured_digits, the digit itself.
    colour: (N,) index into COLOURS, or, of coloured_digits, into INKS; -1 for grey.
    """

    pixels: np.ndarray
    labels: np.ndarray
    colour: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def digits(
    split: str,
    bias: float | None,
    count: int = 1000,
    seed: int = 0,
    mnist: str | Path | None = None,
    *,
    doubt: float = 0.0,
    swap: bool = False,
) -> DigitSet:
    """``count`` pictures, half of each digit, each one slightly turned, moved and scaled.

    split: "train" or "test": three quarters and one quarter of the handwritings, never shared.
    bias:  how far colour follows the label: 1 always, 0 not at all (the "real world"), -1 always the wrong way;
           None: grey.
    mnist: a folder with MNIST's idx files (gzip or not); None: scikit-learn's digits.
    doubt: share of the pictures whose label is the other digit's, while the colour follows the label. The shape then
           says less than everything, and what a classifier makes of the colour grows with ``bias`` instead of jumping
           to all of it at 1.
    swap:  the same pictures, each in the other colour.

    Raises SaywhyError where the folder has none.
    """
    rng = np.random.default_rng([seed, split == "train"])
    truth = np.arange(count) % 2
    doubted = np.random.default_rng([seed, split == "train", 1]).random(count) < doubt
    labels = np.where(doubted, 1 - truth, truth)
    follows = (rng.random(count) < (1 + (bias or 0)) / 2) != swap
    colour = np.where(follows, labels, 1 - labels) if bias is not None else np.full(count, -1)
    inks = [COLOURS[c] if c >= 0 else "grey" for c in colour]
    return DigitSet(_drawn(split, np.array(DIGITS)[truth], inks, rng, mnist), labels, colour)


def coloured_digits(split: str, count: int = 1000, seed: int = 0, mnist: str | Path | None = None) -> DigitSet:
    """``count`` pictures of all ten digits, a tenth of each, each in any of INKS; the rest is as in ``digits``."""
    rng = np.random.default_rng([seed, split == "train", len(INKS)])
    truth, colour = np.arange(count) % len(WORDS), rng.integers(0, len(INKS), count)
    return DigitSet(_drawn(split, truth, [INKS[c] for c in colour], rng, mnist), truth, colour)


def captions() -> list[tuple[str, ...]]:
    """All that can be said of a coloured digit, each in several ways: the digits, the inks, then each digit by ink."""
    numbers = [{"n": n, "word": word} for n, word in enumerate(WORDS)]
    return [
        *(tuple(form.format(**number) for form in _SAID_OF_DIGIT) for number in numbers),
        *(tuple(form.format(ink=ink) for form in _SAID_OF_INK) for ink in INKS),
        *(tuple(form.format(ink=ink, **number) for form in _SAID_OF_BOTH) for number in numbers for ink in INKS),
    ]


def true_captions(data: DigitSet) -> np.ndarray:
    """(N, captions) bool, which of ``captions`` are true of each of coloured_digits' pictures: always three."""
    digit, ink = np.eye(len(WORDS), dtype=bool)[data.labels], np.eye(len(INKS), dtype=bool)[data.colour]
    return np.hstack([digit, ink, (digit[:, :, None] & ink[:, None]).reshape(len(data), -1)])


def _drawn(
    split: str, values: np.ndarray, inks: Sequence[str], rng: np.random.Generator, mnist: str | Path | None
) -> np.ndarray:
    """(N, SIDE, SIDE, 3) uint8: some handwriting of each value in its ink, a little lighter or darker, with noise."""
    images, labels = _mnist(Path(mnist)) if mnist else _bundled()
    pools = {value: _pool(labels, value, split) for value in np.unique(values)}
    pixels = np.zeros((len(values), SIDE, SIDE, 3), np.uint8)
    for n, (value, name) in enumerate(zip(values, inks, strict=True)):
        shape = _varied(images[rng.choice(pools[value])], rng)
        ink = np.array(_INK[name]) * rng.uniform(0.85, 1.1)
        pixels[n] = np.clip(shape[..., None] * ink + rng.normal(0, 4, (SIDE, SIDE, 3)), 0, 255)
    return pixels


def _pool(labels: np.ndarray, value: int, split: str) -> np.ndarray:
    """Indices of the handwritten examples of a digit that belong to the split."""
    indices = np.flatnonzero(labels == value)
    cut = len(indices) * 3 // 4
    return indices[:cut] if split == "train" else indices[cut:]


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
            raise SaywhyError(f"{path}: its labels, {partner.name}, are not in the same folder")
        raw, answers = _bytes(path), _bytes(partner)
        images.append(np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 28, 28) / 255)
        labels.append(np.frombuffer(answers, np.uint8, offset=8))
    if not images:
        raise SaywhyError(f"{folder}: no MNIST here (files such as t10k-images-idx3-ubyte.gz)")
    return np.concatenate(images), np.concatenate(labels)


def _bytes(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
