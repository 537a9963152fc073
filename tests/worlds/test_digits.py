"""Colour follows the label as far as it is said to, and handwritings of training are never in a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from saywhy.errors import SaywhyError
from saywhy.worlds.digits import digits


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


def test_mnist_is_read_where_it_is(pack: Path, tmp_path: Path) -> None:
    data = digits("test", 1.0, 40, mnist=pack / "mnist")
    assert data.pixels.max() > 150
    assert set(data.labels) == {0, 1}
    with pytest.raises(SaywhyError, match="no MNIST here"):
        digits("test", 1.0, 4, mnist=tmp_path)
