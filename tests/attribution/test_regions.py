"""Regions of heatmaps of which one knows what they should be."""

from __future__ import annotations

import numpy as np
import pytest

from saywhy.attribution.regions import diffuse, find_regions
from saywhy.types import Geometry, Region

SIDE = 224
PLAIN = Geometry((SIDE, SIDE), (SIDE, SIDE), (1.0, 1.0), (0.0, 0.0))


def blob(x: float, y: float, sd: float = 10, height: float = 1.0) -> np.ndarray:
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    return height * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sd**2))


def centres(regions: tuple[Region, ...]) -> list[tuple[int, int]]:
    return [(round((r.box[0] + r.box[2]) / 2), round((r.box[1] + r.box[3]) / 2)) for r in regions]


def test_two_things_are_two_regions_most_relevant_first() -> None:
    regions = find_regions(blob(60, 60) + 2 * blob(160, 150), PLAIN)
    assert [abs(np.subtract(c, t)).max() < 8 for c, t in zip(centres(regions), [(160, 150), (60, 60)], strict=True)]
    assert regions[0].share > 1.5 * regions[1].share


def test_touching_things_are_split_where_the_saddle_is_low() -> None:
    assert len(find_regions(blob(85, 112, 14) + blob(139, 112, 14), PLAIN)) == 2


def test_one_thing_with_two_near_peaks_stays_one() -> None:
    assert len(find_regions(blob(105, 112, 16) + blob(119, 112, 16), PLAIN)) == 1


def test_specks_close_together_are_merged() -> None:
    specks = np.zeros((SIDE, SIDE))
    rng = np.random.default_rng(0)
    specks[100 + rng.integers(0, 18, 40), 100 + rng.integers(0, 18, 40)] = 1
    assert len(find_regions(specks, PLAIN)) == 1


@pytest.mark.parametrize("seed", range(4))
def test_masks_are_disjoint_shares_are_theirs_and_boxes_hold_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    relevance = sum(blob(*rng.uniform(20, 200, 2), rng.uniform(5, 20), rng.uniform(0.3, 1)) for _ in range(6))
    relevance = relevance - 0.3 * blob(*rng.uniform(20, 200, 2), 30) + rng.normal(0, 0.05, relevance.shape)
    regions = find_regions(relevance, PLAIN, count=6)
    positive = relevance.clip(min=0)
    assert 1 <= len(regions) <= 6
    assert sum(r.mask.astype(int) for r in regions).max() == 1
    assert sum(r.share for r in regions) <= 1
    assert [r.share for r in regions] == sorted((r.share for r in regions), reverse=True)
    for region in regions:
        left, top, right, bottom = region.box
        assert region.share == pytest.approx(positive[region.mask].sum() / positive.sum())
        assert 0 <= left < right <= SIDE
        assert 0 <= top < bottom <= SIDE
        inside = np.zeros_like(region.mask)
        inside[top:bottom, left:right] = True
        assert positive[region.mask & inside].sum() > 0.92 * positive[region.mask].sum()


def test_scale_does_not_matter_and_mirrors_mirror() -> None:
    relevance = blob(60, 80, 12) + 0.7 * blob(150, 120, 18) - 0.2 * blob(30, 200, 20)
    regions = find_regions(relevance, PLAIN)
    for factor in (1e-9, 1e6):
        assert [r.box for r in find_regions(relevance * factor, PLAIN)] == [r.box for r in regions]
    for one, other in zip(regions, find_regions(relevance[:, ::-1], PLAIN), strict=True):
        assert one.share == pytest.approx(other.share, rel=0.02)
        assert abs(one.box[0] - (SIDE - other.box[2])) <= 3
        assert abs(one.box[1] - other.box[1]) <= 3


@pytest.mark.parametrize("values", [0.0, -1.0, np.nan, np.inf, -np.inf])
def test_where_nothing_speaks_for_the_class_there_is_no_region(values: float) -> None:
    assert find_regions(np.full((SIDE, SIDE), values), PLAIN) == ()


def test_some_nan_does_no_harm() -> None:
    relevance = blob(60, 60)
    expected = find_regions(relevance, PLAIN)
    relevance[150:, 150:] = np.nan
    assert [r.box for r in find_regions(relevance, PLAIN)] == [r.box for r in expected]


def test_one_pixel_is_one_region_of_the_smallest_size() -> None:
    relevance = np.zeros((SIDE, SIDE))
    relevance[30, 200] = 5
    (region,) = find_regions(relevance, PLAIN, smallest=0.25)
    left, top, right, bottom = region.box
    assert (right - left, bottom - top) == (56, 56)
    assert left <= 200 < right
    assert top <= 30 < bottom
    assert region.share == 1


def test_a_constant_heatmap_and_a_frame_of_one_pixel() -> None:
    assert len(find_regions(np.ones((SIDE, SIDE)), PLAIN)) >= 1
    (region,) = find_regions(np.ones((1, 1)), Geometry((5, 5), (1, 1), (5.0, 5.0), (0.0, 0.0)))
    assert region.box == (0, 0, 5, 5)


def test_boxes_are_in_pixels_of_the_original_and_padding_is_left_out() -> None:
    geometry = Geometry((500, 375), (SIDE, SIDE), (1.5, 1.25), (80.0, 20.0))
    (region,) = find_regions(blob(100, 60), geometry)
    left, top, right, bottom = region.box
    assert abs((left + right) / 2 - (80 + 150)) < 6
    assert abs((top + bottom) / 2 - (20 + 75)) < 6
    border = Geometry((224, 100), (SIDE, SIDE), (1.0, 1.0), (0.0, -62.0))  # the picture is a strip in the middle
    assert find_regions(blob(112, 15, 6), border) == ()


def test_count_and_least_share_limit() -> None:
    relevance = sum(blob(x, y, 8) for x in (40, 112, 184) for y in (40, 112, 184))
    assert [len(find_regions(relevance, PLAIN, count=n)) for n in (1, 2, 5)] == [1, 2, 5]
    assert find_regions(relevance, PLAIN, least_share=0.5) == ()


def test_where_fine_regions_name_too_little_coarser_ones_name_more() -> None:
    relevance = sum(blob(x, y, 9) for x in (60, 85, 110) for y in (60, 85, 110)) + 0.8 * blob(180, 180, 9)
    fine = find_regions(relevance, PLAIN, named=0)
    cut = find_regions(relevance, PLAIN)
    assert sum(r.share for r in fine) < 0.7 < sum(r.share for r in cut)
    assert diffuse(fine) == pytest.approx(1 - sum(r.share for r in fine))
    assert diffuse(cut) == 0
    concentrated = blob(60, 60) + blob(160, 150)
    boxes = [[r.box for r in find_regions(concentrated, PLAIN, named=named)] for named in (0, 0.7)]
    assert boxes[0] == boxes[1]


def test_what_is_relevant_everywhere_is_diffuse_and_its_regions_stay_small() -> None:
    relevance = 1 + np.random.default_rng(0).random((SIDE, SIDE))
    regions = find_regions(relevance, PLAIN)
    assert sum(r.mask.mean() for r in regions) <= 0.25 + 1e-3
    assert diffuse(regions) > 0.7
    assert sum(r.mask.mean() for r in find_regions(relevance, PLAIN, largest=0.1)) <= 0.1 + 1e-3


def test_fewer_regions_are_the_first_of_more() -> None:
    relevance = sum(blob(x, y, 8) for x in (40, 184) for y in (40, 184)) + 0.5 * blob(112, 112, 8)
    boxes = [r.box for r in find_regions(relevance, PLAIN)]
    assert [[r.box for r in find_regions(relevance, PLAIN, count=n)] for n in (1, 2, 3)] == [
        boxes[:n] for n in (1, 2, 3)
    ]
