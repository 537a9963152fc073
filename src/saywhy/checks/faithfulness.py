"""Is a map faithful? Scores of relevance maps against what a network does to changed pictures, and against truth.

Pure functions on tensors, which do not know who asks. A map is (h, w), a picture (C, h, w) in the frame that the
network gets, a filling (C, h, w) what stands where something is taken out. What compares maps with a network is made of
two numbers for each of K sets of pixels: how far the score falls without the set (``falls``: the network's, the same
for every map), and how much relevance lies in it (``inside``: the map's).

Relevance is signed, except where a function says "positive relevance only".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import final

import torch
from torch import Tensor

from saywhy.errors import SaywhyError

Score = Callable[[Tensor], Tensor]
"""(B, C, h, w) pictures -> (B,) what is explained of each: the logit of one class."""
BATCH = 16


# -- pictures without something ---------------------------------------------------------------------------------------


def scores(score: Score, pictures: Iterable[Tensor], batch_size: int = BATCH) -> Tensor:
    """(K,) float64 scores of K pictures (C, h, w), which may be made on the way: a batch at a time is kept."""
    rest, found = iter(pictures), []
    while batch := list(islice(rest, batch_size)):
        found.append(score(torch.stack(batch).contiguous(memory_format=torch.channels_last)).double().cpu())
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.float64)


def falls(score: Score, pixels: Tensor, masks: Tensor, filling: Tensor, batch_size: int = BATCH) -> Tensor:
    """(K,) how far the score falls when what is under each of (K, h, w) bool masks is filled."""
    found = scores(score, [pixels, *(torch.where(mask, filling, pixels) for mask in masks)], batch_size)
    return found[0] - found[1:]


def cells(height: int, width: int, side: int) -> Tensor:
    """(height, width) the index of the square patch that each pixel lies in; the last in a row may be narrower.

    Raises SaywhyError for a side below 1.
    """
    if side < 1:
        raise SaywhyError(f"patches have a side of at least 1 pixel; it is {side}")
    rows, columns = torch.arange(height) // side, torch.arange(width) // side
    return rows[:, None] * (int(columns[-1]) + 1) + columns


def random_sets(grid: Tensor, share: float, count: int, seed: int = 0) -> Tensor:
    """(count, h, w) bool: each a random share of the cells of a grid (``cells``), one at least."""
    total, generator = int(grid.max()) + 1, torch.Generator().manual_seed(seed)
    taken = max(1, round(share * total))
    drawn = torch.rand(count, total, generator=generator).argsort(dim=1) < taken
    return drawn[:, grid]


def random_squares(height: int, width: int, sides: tuple[int, int], count: int, seed: int = 0) -> Tensor:
    """(count, height, width) bool: squares at random places, sides drawn evenly from first to last."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(count, height, width, dtype=torch.bool)
    for mask in masks:
        side = int(torch.randint(sides[0], sides[1] + 1, (), generator=generator))
        top = int(torch.randint(max(1, height - side + 1), (), generator=generator))
        left = int(torch.randint(max(1, width - side + 1), (), generator=generator))
        mask[top : top + side, left : left + side] = True
    return masks


# -- patch by patch ---------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, eq=False)
class Curves:
    """Scores while a picture goes, or comes, patch by patch, for M maps.

    removed: (M, steps + 1), after filling a share k / steps of the patches, the most relevant first.
    kept:    (M, steps + 1), where only these are kept, and all others filled.
    """

    removed: Tensor
    kept: Tensor

    @property
    def deletion(self) -> Tensor:
        """(M,) area under ``removed``: lower is better (Petsiuk et al. 2018; here patches, and the score as it is)."""
        return area(self.removed)

    @property
    def insertion(self) -> Tensor:
        """(M,) area under ``kept``: higher is better. It is the area of flipping the least relevant first, too."""
        return area(self.kept)

    @property
    def between(self) -> Tensor:
        """(M,) insertion less deletion: pixel flipping from both ends, 0 in the mean of random orders.

        What a filling does to any picture cancels in it (symmetric relevance gain, Bluecher et al. 2024).
        """
        return self.insertion - self.deletion

    def sufficiency(self, share: float) -> Tensor:
        """(M,) the score where only that share of the patches is kept: linear between the steps."""
        at = share * (self.kept.shape[1] - 1)
        low = min(math.floor(at), self.kept.shape[1] - 2)
        return self.kept[:, low] + (at - low) * (self.kept[:, low + 1] - self.kept[:, low])


def flip(
    score: Score,
    pixels: Tensor,
    maps: Tensor,
    filling: Tensor,
    *,
    side: int = 8,
    steps: int = 10,
    batch_size: int = BATCH,
    seed: int = 0,
) -> Curves:
    """Pixel flipping (Bach et al. 2015, Samek et al. 2017) by patches of so many pixels, from both ends of the order.

    maps: (M, h, w) of the one picture; a patch counts with its mean relevance, and equal ones come in random order.
    Takes 2 + 2 M (steps - 1) passes. Raises SaywhyError for more steps than patches, and for maps of
    another size or that are not finite.
    """
    if maps.shape[1:] != pixels.shape[1:]:
        raise SaywhyError(f"maps of {tuple(maps.shape[1:])} do not fit a picture of {tuple(pixels.shape[1:])} pixels")
    if not maps.isfinite().all():
        raise SaywhyError("a map that is not finite puts patches in no order; leave it out")
    grid = cells(maps.shape[1], maps.shape[2], side)
    means = _means(maps.double(), grid)
    count = means.shape[1]
    if not 1 <= steps <= count:
        raise SaywhyError(f"{count} patches of {side} pixels cannot go in {steps} steps; take smaller patches")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    first = order[means[:, order].argsort(dim=1, descending=True, stable=True)]
    ranks = first.argsort(dim=1)  # 0 for the most relevant patch
    bounds = [round(k * count / steps) for k in range(1, steps)]

    def changed() -> Iterable[Tensor]:
        yield pixels
        yield filling
        for own in ranks:
            for bound in bounds:
                gone = (own < bound)[grid]
                yield torch.where(gone, filling, pixels)
                yield torch.where(gone, pixels, filling)

    found = scores(score, changed(), batch_size)
    inner = found[2:].view(len(maps), len(bounds), 2)
    full, empty = found[0].expand(len(maps), 1), found[1].expand(len(maps), 1)
    return Curves(torch.cat([full, inner[..., 0], empty], 1), torch.cat([empty, inner[..., 1], full], 1))


def area(curve: Tensor) -> Tensor:
    """(..., S + 1) -> (...): the area under a curve over shares from 0 to 1."""
    return torch.trapezoid(curve, dx=1 / (curve.shape[-1] - 1))


def _means(maps: Tensor, grid: Tensor) -> Tensor:
    """(M, cells) mean relevance."""
    flat, index = maps.flatten(1), grid.flatten()
    sums = torch.zeros(len(maps), int(index.max()) + 1, dtype=maps.dtype).index_add_(1, index, flat)
    return sums / torch.bincount(index)


# -- sets of pixels ---------------------------------------------------------------------------------------------------


def inside(maps: Tensor, masks: Tensor) -> Tensor:
    """(M, K) relevance of (M, h, w) maps in each of (K, h, w) masks: by how much it says that the score would fall."""
    return maps.flatten(1).double() @ masks.flatten(1).double().T


def infidelity(predicted: Tensor, fallen: Tensor, *, scaled: bool = True) -> Tensor:
    """(M,) mean square of what maps say less what happens (Yeh et al. 2019). 0 is best.

    predicted: (M, K), as of ``inside``. fallen: (K,), as of ``falls``.
    scaled:    after the scale that suits the map best, over the mean square of the falls: 1 for a map that says
               nothing. Without, in squares of the score, and only for maps in its unit.
    """
    if not scaled:
        return (predicted - fallen).square().mean(-1)
    both = (predicted * fallen).sum(-1).square()
    sizes = predicted.square().sum(-1) * fallen.square().sum()
    return 1 - torch.where(sizes > 0, both / sizes.clamp(min=torch.finfo(sizes.dtype).tiny), 0)


def sensitivity_n(predicted: Tensor, fallen: Tensor) -> Tensor:
    """(M,) Pearson's correlation over sets of n pixels each (Ancona et al. 2018). 1 is best; NaN where one is constant.

    predicted: (M, K). fallen: (K,).
    """
    a, b = predicted - predicted.mean(-1, keepdim=True), fallen - fallen.mean()
    sizes = (a.square().sum(-1) * b.square().sum()).sqrt()
    return torch.where(sizes > 0, (a * b).sum(-1) / sizes, torch.nan)


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """(...) Spearman's of (..., K), equal values sharing their mean rank; NaN where one of them is constant."""
    from scipy.stats import rankdata

    ranks = [torch.as_tensor(rankdata(one.detach().double().cpu().numpy(), axis=-1)) for one in (a, b)]
    a, b = (one - one.mean(-1, keepdim=True) for one in ranks)
    sizes = (a.square().sum(-1) * b.square().sum(-1)).sqrt()
    return torch.where(sizes > 0, (a * b).sum(-1) / sizes, torch.nan)


def max_sensitivity(before: Tensor, after: Tensor) -> Tensor:
    """(N,) how far N maps (N, h, w) move at most, over their size (Yeh et al. 2019).

    after: (N, D, h, w), the maps of D changed pictures of each.
    """
    moved = (after - before[:, None]).flatten(2).double().norm(dim=2)
    return moved.amax(1) / before.flatten(1).double().norm(dim=1)


# -- where relevance lies, and on how much ----------------------------------------------------------------------------


def relevance_mass(maps: Tensor, masks: Tensor) -> Tensor:
    """(N,) share of relevance inside of (N, h, w) masks (Arras et al. 2022). Positive relevance only; NaN of none."""
    positive = maps.clamp(min=0).flatten(1).double()
    total = positive.sum(1)
    return torch.where(total > 0, (positive * masks.flatten(1)).sum(1) / total, torch.nan)


def relevance_rank(maps: Tensor, masks: Tensor) -> Tensor:
    """(N,) share of the k most relevant pixels that lie inside masks of k pixels (Arras et al. 2022); NaN where k is 0.

    Equal pixels count with the share of them that chance would take.
    """
    found = []
    for relevance, mask in zip(maps.flatten(1).double(), masks.flatten(1), strict=True):
        count = int(mask.sum())
        if not count:
            found.append(torch.nan)
            continue
        least = relevance.topk(count).values[-1]
        above, level = relevance > least, relevance == least
        left = (count - above.sum()) / level.sum()
        found.append(float(((mask & above).sum() + left * (mask & level).sum()) / count))
    return torch.tensor(found, dtype=torch.float64)


def pointing_game(maps: Tensor, masks: Tensor) -> Tensor:
    """(N,) 1 where the most relevant pixel lies inside the mask, else 0 (Zhang et al. 2018); NaN of empty masks.

    Of several equal pixels the share that does.
    """
    flat, within = maps.flatten(1), masks.flatten(1)
    first = flat == flat.amax(1, keepdim=True)
    hits = (first & within).sum(1).double() / first.sum(1)
    return torch.where(within.any(1), hits, torch.nan)


def entropy(maps: Tensor) -> Tensor:
    """(N,) of relevance without sign, over that of an even map, 0..1: complexity (Bhatt et al. 2020); NaN of none."""
    sizes = maps.flatten(1).double().abs()
    shares = sizes / sizes.sum(1, keepdim=True)
    return torch.special.entr(shares).sum(1) / math.log(sizes.shape[1])


def gini(maps: Tensor) -> Tensor:
    """(N,) of relevance without sign: 0 where even, towards 1 on few pixels (Chalasani et al. 2020); NaN of none."""
    sizes = maps.flatten(1).double().abs().sort(1).values
    count = sizes.shape[1]
    weights = 2 * torch.arange(1, count + 1, dtype=torch.float64) - count - 1
    return (sizes * weights).sum(1) / (count * sizes.sum(1))
