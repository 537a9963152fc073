"""Equal areas elsewhere: the places that a claimed one is compared with."""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve

FEW = 4  # times as many places as are asked for: with fewer, places may touch what is claimed


def equal_areas(mask: np.ndarray, count: int, rng: np.random.Generator, avoid: np.ndarray | None = None) -> np.ndarray:
    """(count, H, W) bool: the mask (H, W) at random places of the frame, turned over or not.

    It stays whole, so that each has the same area and shape. All places are equally likely that do not touch
    ``avoid`` (H, W) bool; where those are fewer than FEW * count, those that touch it least. None: all places.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.zeros((count, *mask.shape), bool)
    shape = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    turned = [shape, shape[::-1], shape[:, ::-1], shape[::-1, ::-1]]
    if avoid is None:
        touched = np.zeros((4, mask.shape[0] - shape.shape[0] + 1, mask.shape[1] - shape.shape[1] + 1))
    else:
        solid = avoid.astype(np.float64)
        touched = np.stack([fftconvolve(solid, one[::-1, ::-1].astype(np.float64), "valid").round() for one in turned])
    flat = touched.ravel()
    few = min(FEW * count, flat.size)
    places = np.flatnonzero(flat <= max(0.0, np.partition(flat, few - 1)[few - 1]))
    chosen = rng.choice(places, count, replace=len(places) < count)
    areas = np.zeros((count, *mask.shape), bool)
    for area, place in zip(areas, chosen, strict=True):
        way, down, across = np.unravel_index(place, touched.shape)
        area[down : down + shape.shape[0], across : across + shape.shape[1]] = turned[way]
    return areas
