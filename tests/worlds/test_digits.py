"""Colour follows the label as far as it is said to, and handwritings of training are never in a test."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from saywhy.errors import SaywhyError
from saywhy.worlds.digits import INKS, KINDS, WORDS, DigitSet, captions, coloured_digits, digits, true_captions


@pytest.mark.parametrize(("bias", "agrees"), [(1.0, 1.0), (0.0, 0.5), (-1.0, 0.0), (0.5, 0.75)])
def test_bias_is_how_far_colour_follows_the_label(bias: float, agrees: float) -> None:
    data = digits("train", bias, 400)
    assert abs((data.colour == data.labels).mean() - agrees) < 0.08
    redness = data.pixels[..., 0].sum((1, 2)) > data.pixels[..., 1].sum((1, 2))
    assert (redness == (data.colour == 0)).all()


def test_grey_has_no_colour() -> None:
    data = digits("test", None, 50)
    assert (data.colour == -1).all()
    means = data.pixels.reshape(-1, 3).astype(float).mean(0)
    assert np.ptp(means) < 2


def test_the_same_seed_is_the_same_data() -> None:
    assert np.array_equal(digits("train", 1.0, 20).pixels, digits("train", 1.0, 20).pixels)
    assert not np.array_equal(digits("train", 1.0, 20).pixels, digits("train", 1.0, 20, seed=1).pixels)


def test_ten_digits_come_in_every_ink_whatever_the_digit() -> None:
    data = coloured_digits("train", 600)
    assert (np.bincount(data.labels) == 60).all()
    for digit in range(10):
        assert set(data.colour[data.labels == digit]) == set(range(len(INKS)))
    strongest = data.pixels.reshape(600, -1, 3).astype(float).mean(1).argmax(1)
    for ink, channel in (("red", 0), ("green", 1), ("blue", 2)):
        assert (strongest[data.colour == INKS.index(ink)] == channel).all()
    assert np.array_equal(data.pixels, coloured_digits("train", 600).pixels)


def test_three_captions_are_true_of_a_coloured_digit() -> None:
    data = coloured_digits("test", 30)
    phrases = captions()
    assert [kind.start for kind in KINDS] == [0, 10, 10 + len(INKS)]
    assert KINDS[-1].stop == len(phrases)
    said = [way for ways in phrases for way in ways]
    assert len(set(said)) == len(said)
    for row, digit, colour in zip(true_captions(data), data.labels, data.colour, strict=True):
        true = [phrases[m][0] for m in np.flatnonzero(row)]
        assert true == [f"the digit {digit}", f"a {INKS[colour]} digit", f"a {INKS[colour]} {WORDS[digit]}"]


@pytest.mark.parametrize("draw", [partial(digits, bias=0.0), coloured_digits], ids=["two", "ten"])
def test_training_and_test_share_no_handwriting(draw: Callable[..., DigitSet], monkeypatch: pytest.MonkeyPatch) -> None:
    from saywhy.worlds import digits as module

    handwritings = np.ones((400, 8, 8)) * np.arange(400)[:, None, None]  # each a flat picture of its own number
    seen: dict[str, set[int]] = {"train": set(), "test": set()}

    def remembered(image: np.ndarray, rng: np.random.Generator, split: str) -> np.ndarray:
        seen[split].add(int(image[0, 0]))
        return np.zeros((module.SIDE, module.SIDE))

    monkeypatch.setattr(module, "_bundled", lambda: (handwritings, np.arange(400) % 10))
    for split in seen:
        monkeypatch.setattr(module, "_varied", partial(remembered, split=split))
        draw(split, count=300)
    assert len(seen["train"]) > 2 * len(seen["test"]) > 0
    assert not seen["train"] & seen["test"]


def test_mnist_is_read_where_it_is(pack: Path, tmp_path: Path) -> None:
    data = digits("test", 1.0, 40, mnist=pack / "mnist")
    assert data.pixels.max() > 150
    assert set(data.labels) == {0, 1}
    with pytest.raises(SaywhyError, match="no MNIST here"):
        digits("test", 1.0, 4, mnist=tmp_path)


@pytest.mark.parametrize("doubt", [0.0, 0.3])
def test_swapped_pictures_differ_in_their_ink_alone(doubt: float) -> None:
    one, other = (digits("test", 0.0, 60, 3, doubt=doubt, swap=swap) for swap in (False, True))
    assert np.array_equal(one.labels, other.labels)
    assert np.array_equal(one.colour, 1 - other.colour)
    bright = [data.pixels.astype(float).max(3) for data in (one, other)]
    for a, b in zip(*bright, strict=True):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.99
    redness = other.pixels[..., 0].sum((1, 2)) > other.pixels[..., 1].sum((1, 2))
    assert (redness == (other.colour == 0)).all()


def test_grey_has_nothing_to_swap() -> None:
    one, other = (digits("test", None, 10, swap=swap) for swap in (False, True))
    assert np.array_equal(one.pixels, other.pixels)
    assert (other.colour == -1).all()


def test_doubt_is_in_the_label_and_not_in_the_shape() -> None:
    plain, doubted = (digits("train", None, 1000, doubt=doubt) for doubt in (0.0, 0.15))
    assert np.array_equal(plain.pixels, doubted.pixels)
    assert (plain.labels == np.arange(1000) % 2).all()
    wrong = plain.labels != doubted.labels
    assert abs(wrong.mean() - 0.15) < 0.04
    assert abs(wrong[plain.labels == 0].mean() - wrong[plain.labels == 1].mean()) < 0.06
    assert (digits("train", None, 50, doubt=1.0).labels == 1 - plain.labels[:50]).all()


@pytest.mark.parametrize(("bias", "agrees"), [(1.0, 1.0), (0.0, 0.5), (-1.0, 0.0), (0.5, 0.75)])
def test_colour_follows_the_label_whatever_the_shape(bias: float, agrees: float) -> None:
    data = digits("train", bias, 600, doubt=0.3)
    follows = data.colour == data.labels
    doubted = data.labels != np.arange(600) % 2
    assert abs(follows.mean() - agrees) < 0.06
    assert abs(follows[doubted].mean() - agrees) < 0.12
    redness = data.pixels[..., 0].sum((1, 2)) > data.pixels[..., 1].sum((1, 2))
    assert (redness == (data.colour == 0)).all()
    certain = digits("train", bias, 600)
    same = certain.colour == data.colour
    assert np.array_equal(certain.pixels[same], data.pixels[same])
