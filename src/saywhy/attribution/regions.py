"""From a heatmap to the few distinct regions that the decision rests on (LRP-CLIP, section 3, Implementation).

The most relevant areas are found, near ones merged, complex ones split, and a readable crop is put around each:

1. smooth the positive relevance, so that a pixel speaks for its neighbourhood;
2. keep the smallest area that holds ``coverage`` of it, and no more of the frame than ``largest``;
3. split it at the watersheds between peaks, where the saddle is clearly lower than both (head / eye);
4. merge pieces whose peaks are nearer than ``merge_distance`` (the split of one thing);
5. put a box around what matters of each piece, grown to a readable size, drop those that mostly repeat a better one;
6. where what is left holds less than ``named`` of the relevance, cut once more at twice the size.

Fine pieces are told apart where relevance is concentrated; where it is spread, coarse ones name more of it. What even
these leave out is ``diffuse``, and is to be said.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.segmentation import watershed
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.types import Box, Geometry, Region

Frame = tuple[int, int, int, int]  # (left, top, right, bottom) in the preprocessed frame


EDGE = 0.02  # of a piece's relevance: what may lie outside its box at each side, since pieces have thin arms
COUNT = 4  # regions at most; how fine they are does not depend on how many of them are asked for, up to these
NAMED = 0.7  # of the relevance: what regions together should hold


def find_regions(
    relevance: np.ndarray,
    geometry: Geometry,
    *,
    count: int = COUNT,
    smoothing: float = 0.015,
    coverage: float = 0.8,
    largest: float = 0.25,
    saddle: float = 0.9,
    merge_distance: float = 0.06,
    context: float = 0.1,
    smallest: float = 0.18,
    least_share: float = 0.02,
    overlap: float = 0.6,
    named: float = NAMED,
) -> tuple[Region, ...]:
    """Up to ``count`` regions, most relevant first; none where no relevance is positive or finite.

    relevance:      (H, W) signed, in the preprocessed frame. NaN and infinity count as nothing.
    geometry:       where that frame lies on the original picture.
    smoothing:      sd of the Gaussian, as a share of the frame's shorter side.
    coverage:       share of the smoothed positive relevance that the areas hold together; smaller gives smaller areas.
    largest:        share of the frame that the areas cover together at most, however widely it is spread.
    saddle:         peaks are different things where the way between them falls below this share of the lower one.
    merge_distance: peaks nearer than this share of the frame's shorter side are one thing.
    context:        margin around a piece, as a share of its longer side.
    smallest:       the least side of a crop, as a share of the frame's shorter side: below it nothing can be read.
    least_share:    pieces with less than this share of all positive relevance are left out.
    overlap:        a crop that shares this much of its area with a better one is left out.
    named:          where the regions together hold less than this share, ``smoothing`` and ``merge_distance`` are
                    doubled, and what then holds more is taken. 0: never.

    A mask holds the pixels of its piece; masks are disjoint, so shares add up to at most 1.
    """
    positive = np.clip(np.nan_to_num(np.asarray(relevance, np.float64), nan=0, posinf=0, neginf=0), 0, None)
    total = positive.sum()
    if not total > 0:
        return ()
    side = min(positive.shape)

    def cut(zoom: int) -> tuple[Region, ...]:
        smooth = ndimage.gaussian_filter(positive / positive.max(), zoom * smoothing * side, mode="constant")
        candidates: list[tuple[float, np.ndarray, Frame]] = []
        for mask in _pieces(smooth, coverage, largest, saddle, max(zoom * merge_distance * side, 1)):
            share = float(positive[mask].sum() / total)
            if share >= least_share:
                candidates.append((share, mask, _crop(positive * mask, context, smallest * side)))
        return _best(candidates, geometry, max(count, COUNT), overlap)

    fine = cut(1)
    regions = fine if _share(fine) >= named else max(fine, cut(2), key=_share)
    return regions[:count]


def diffuse(regions: Sequence[Region]) -> float:
    """The share of relevance that is in no region, where that is so much that it has to be said; else 0."""
    rest = 1 - _share(regions)
    return rest if rest > 1 - NAMED else 0.0


def _share(regions: Sequence[Region]) -> float:
    return sum(region.share for region in regions)


def _best(
    candidates: list[tuple[float, np.ndarray, Frame]], geometry: Geometry, count: int, overlap: float
) -> tuple[Region, ...]:
    """The regions of the largest shares that lie on the picture and repeat no better one."""
    regions: list[Region] = []
    taken: list[Frame] = []
    for share, mask, frame in sorted(candidates, key=lambda candidate: -candidate[0]):
        box = _on_picture(frame, geometry)
        if box is None or any(_repeats(frame, other) > overlap for other in taken):
            continue
        taken.append(frame)
        regions.append(Region(box, mask, share))
        if len(regions) == count:
            break
    return tuple(regions)


def _pieces(
    smooth: np.ndarray, coverage: float, largest: float, saddle: float, merge_distance: float
) -> list[np.ndarray]:
    """Masks of the areas that hold ``coverage`` of the relevance, split between peaks that are distinct."""
    ordered = np.sort(smooth, axis=None)[::-1]
    held = np.cumsum(ordered)
    level = ordered[min(np.searchsorted(held, coverage * held[-1]), round(largest * (smooth.size - 1)))]
    area = (smooth >= level) & (smooth > 0)
    peaks = peak_local_max(
        smooth, min_distance=max(1, round(merge_distance)), labels=area.astype(int), exclude_border=False
    )
    if not len(peaks):
        return [area]
    markers = np.zeros(smooth.shape, int)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    basins = watershed(-smooth, markers, mask=area)
    same = _joined(smooth, basins, len(peaks), saddle)
    merged = np.array([0, *same])[basins]
    return [merged == piece for piece in np.unique(merged[merged > 0])]


def _joined(smooth: np.ndarray, basins: np.ndarray, count: int, saddle: float) -> np.ndarray:
    """For basins 1..count, the name of the piece each belongs to: basins without a clear saddle between are one."""
    height = ndimage.maximum(smooth, basins, np.arange(1, count + 1))
    passes: dict[tuple[int, int], float] = {}
    for axis in (0, 1):
        first = np.take(basins, range(basins.shape[axis] - 1), axis)
        second = np.take(basins, range(1, basins.shape[axis]), axis)
        low = np.minimum(
            np.take(smooth, range(basins.shape[axis] - 1), axis), np.take(smooth, range(1, basins.shape[axis]), axis)
        )
        border = (first != second) & (first > 0) & (second > 0)
        for a, b, v in zip(first[border], second[border], low[border], strict=True):
            key = (min(a, b), max(a, b))
            passes[key] = max(passes.get(key, 0.0), v)
    name = np.arange(1, count + 1)
    for (a, b), v in sorted(passes.items(), key=lambda item: -item[1]):
        if v > saddle * min(height[a - 1], height[b - 1]):
            name[name == name[b - 1]] = name[a - 1]
    return name


def _crop(piece: np.ndarray, context: float, smallest: float) -> Frame:
    """A near-square box around a piece's relevance, inside the frame, with a margin and of a readable size."""
    height, width = piece.shape
    left, right = _extent(piece.sum(0))
    top, bottom = _extent(piece.sum(1))
    longer = max(right - left, bottom - top) * (1 + 2 * context)
    across = max(right - left, 0.7 * longer, smallest)
    down = max(bottom - top, 0.7 * longer, smallest)
    left, right = _within((left + right) / 2, across, width)
    top, bottom = _within((top + bottom) / 2, down, height)
    return left, top, right, bottom


def _extent(line: np.ndarray) -> tuple[int, int]:
    """Where relevance along an axis begins and ends, but for EDGE of it on each side."""
    held = np.cumsum(line)
    first, last = np.searchsorted(held, [EDGE * held[-1], (1 - EDGE) * held[-1]])
    return int(first), min(int(last) + 1, len(line))


def _within(centre: float, length: float, limit: int) -> tuple[int, int]:
    """A span of ``length`` around ``centre``, moved inside 0..limit."""
    length = min(max(1, round(length)), limit)
    start = min(max(round(centre - length / 2), 0), limit - length)
    return start, start + length


def _on_picture(frame: Frame, geometry: Geometry) -> Box | None:
    """The box on the original picture; None where it lies in padding."""
    left, top, right, bottom = (geometry.offset[i % 2] + geometry.scale[i % 2] * edge for i, edge in enumerate(frame))
    if right <= 0 or bottom <= 0 or left >= geometry.size[0] or top >= geometry.size[1]:
        return None
    return geometry.to_original(frame)


def _repeats(a: Frame, b: Frame) -> float:
    """The share of the smaller box that lies in the other."""
    across = min(a[2], b[2]) - max(a[0], b[0])
    down = min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(across, 0) * max(down, 0) / smaller


def top_area(heat: np.ndarray | Tensor, share: float) -> np.ndarray:
    """(H, W) bool: the hottest pixels of a heatmap, a share (above 0, to 1) of all, at least one.

    Of equal pixels the first count, so that the area does not depend on ties.

    Raises SaywhyError for a share outside that range, and for a heatmap with NaN.
    """
    if not 0 < share <= 1:
        raise SaywhyError(f"the share of the picture must lie above 0, to 1; it is {share}")
    values = np.asarray(heat, np.float64)
    if np.isnan(values).any():
        raise SaywhyError("the heatmap holds values that are not numbers (NaN)")
    area = np.zeros(values.size, bool)
    area[np.argsort(-values, axis=None, kind="stable")[: max(1, round(share * values.size))]] = True
    return area.reshape(values.shape)
