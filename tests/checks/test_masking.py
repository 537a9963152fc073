"""Areas of a picture: properties of what is chosen, moved and painted over."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from saywhy.attribution.regions import top_area
from saywhy.checks.masking import HOW, masked, random_masks_like
from saywhy.errors import SaywhyError


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def blob(height: int, width: int, share: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width)) < share


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_nothing_of_what_is_under_a_mask_shines_through(how: str, share: float) -> None:
    """Two pictures that are equal outside of it become the same; outside they stay as they were."""
    mask, pixels = blob(20, 31, share), noise(20, 31)
    other = pixels.copy()
    other[mask] = noise(20, 31, seed=1)[mask]
    found = np.asarray(masked(Image.fromarray(pixels), mask, how))
    np.testing.assert_array_equal(found[~mask], pixels[~mask])
    np.testing.assert_array_equal(found, np.asarray(masked(Image.fromarray(other), mask, how)))


@pytest.mark.parametrize("how", HOW)
def test_what_is_all_of_one_colour_stays_so(how: str) -> None:
    plain = Image.new("RGB", (24, 16), (200, 30, 90))
    for mask in (blob(16, 24, 0.5), np.ones((16, 24), bool), np.zeros((16, 24), bool)):
        np.testing.assert_array_equal(np.asarray(masked(plain, mask, how)), np.asarray(plain))


def test_a_blur_takes_the_colours_that_are_near() -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, 16:] = 255
    mask = np.zeros((32, 32), bool)
    mask[14:18, 2:30] = True
    row = np.asarray(masked(Image.fromarray(pixels), mask, "blur"))[16, 2:30, 0].astype(int)
    assert (np.diff(row) >= 0).all()
    assert row[0] < 20 < 235 < row[-1]


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (15, 22), (40, 7)])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
def test_a_mask_is_moved_as_it_is(shape: tuple[int, int], share: float) -> None:
    mask = blob(*shape, share)
    found = random_masks_like(mask, 5, np.random.default_rng(0))
    assert found.shape == (5, *shape)
    moved = {np.roll(mask, (y, x), (0, 1)).tobytes() for y in range(shape[0]) for x in range(shape[1])}
    assert all(one.tobytes() in moved for one in found)
    assert (found.sum((1, 2)) == mask.sum()).all()


def test_a_small_mask_is_moved_off_itself_and_to_different_places() -> None:
    mask = np.zeros((20, 20), bool)
    mask[5:11, 3:9] = True
    found = random_masks_like(mask, 40, np.random.default_rng(0))
    assert not (found & mask).any()
    assert len({one.tobytes() for one in found}) == 40
    again, other = (random_masks_like(mask, 40, np.random.default_rng(seed)) for seed in (0, 1))
    np.testing.assert_array_equal(found, again)
    assert (found != other).any()


def test_a_large_mask_is_moved_to_where_it_meets_itself_least() -> None:
    mask = np.zeros((20, 20), bool)
    mask[2:18, 2:18] = True
    overlaps = [(np.roll(mask, (y, x), (0, 1)) & mask).sum() for y in range(20) for x in range(20)]
    found = random_masks_like(mask, 8, np.random.default_rng(0))
    assert (found & mask).sum((1, 2)).max() <= np.quantile(overlaps, 0.1)
    assert len({one.tobytes() for one in found}) == 8


@pytest.mark.parametrize("share", [0.001, 0.1, 0.35, 1])
def test_the_hottest_are_the_hottest(share: float) -> None:
    for heat in (np.random.default_rng(0).normal(size=(12, 17)), np.zeros((12, 17))):
        area = top_area(heat, share)
        assert area.sum() == max(1, round(share * heat.size))
        if not area.all():
            assert heat[area].min() >= heat[~area].max()


def test_what_cannot_be_masked_is_refused() -> None:
    picture = Image.fromarray(noise(8, 10))
    with pytest.raises(SaywhyError, match="there is no masking 'burn'; did you mean blur"):
        masked(picture, np.ones((8, 10), bool), "burn")
    with pytest.raises(SaywhyError, match=r"of shape \(10, 8\), the picture of \(8, 10\)"):
        masked(picture, np.ones((10, 8), bool))
    for share in (0, 1.1, -1):
        with pytest.raises(SaywhyError, match="above 0, to 1"):
            top_area(np.ones((2, 2)), share)
    with pytest.raises(SaywhyError, match="NaN"):
        top_area(np.array([[0.0, np.nan]]), 0.5)
