import numpy as np

from saywhy.checks.elsewhere import equal_areas


def _shape() -> np.ndarray:
    mask = np.zeros((20, 30), bool)
    mask[4:9, 5:12] = True
    mask[4, 5] = False
    return mask


def test_equal_areas_are_whole_and_keep_away() -> None:
    mask = _shape()
    avoid = np.zeros_like(mask)
    avoid[:, :15] = True
    areas = equal_areas(mask, 30, np.random.default_rng(0), avoid)
    assert (areas.sum((1, 2)) == mask.sum()).all()
    assert not (areas & avoid).any()
    assert len({area.tobytes() for area in areas}) == 30
    for area in areas:
        rows, columns = np.flatnonzero(area.any(1)), np.flatnonzero(area.any(0))
        assert (rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1) == (5, 7)


def test_all_places_are_equally_likely() -> None:
    mask = np.zeros((4, 5), bool)
    mask[1:3, 1:3] = True
    areas = equal_areas(mask, 12_000, np.random.default_rng(0))
    _, counts = np.unique(areas.reshape(len(areas), -1), axis=0, return_counts=True)
    assert len(counts) == 3 * 4
    assert counts.min() > 850
    assert counts.max() < 1150


def test_where_no_place_is_free_the_freest_are_taken() -> None:
    mask = np.zeros((6, 6), bool)
    mask[:4, :4] = True
    areas = equal_areas(mask, 5, np.random.default_rng(0), mask)
    assert (areas.sum((1, 2)) == 16).all()
    assert not (areas == mask).all((1, 2)).any()
    assert equal_areas(np.ones((3, 3), bool), 4, np.random.default_rng(0)).all()
    assert not equal_areas(np.zeros((3, 3), bool), 4, np.random.default_rng(0)).any()
