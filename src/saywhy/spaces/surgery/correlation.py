"""Correlations between all channels of two networks, in one pass over the pictures, with their null.

The null is the same correlations with pictures swapped between the networks, several times: what chance gives. Sums
stand for stored activations, and statistics are taken after the resizing, so that a network matches itself with a
correlation of 1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from saywhy.classifiers.borrowing import borrowed
from saywhy.classifiers.layers import recorded, resized
from saywhy.errors import SaywhyError

DEAD = 1e-6  # a deviation below this share of the channel's mean size is rounding, not signal


@final
@dataclass(frozen=True, eq=False)
class Correlation:
    """How the channels of some layers of a source go with those of one layer of a target, over a data set.

    layer:       of the target; everything is taken on its grid.
    sources:     (layer, channels) of the source, in the order of the rows below.
    values:      (C_s, C_t) float32, Pearson's correlation over pictures and positions; 0 for a constant channel.
    null:        (S, C_s, C_t) float32, the same with every picture's maps of the source handed to another picture, S
                 times to another one each, as often as the largest batch allows; None where it was not asked for.
    source_mean, source_std: (C_s,), target_mean, target_std: (C_t,) float64, over pictures and positions.
    images:      how many pictures.
    """

    layer: str
    sources: tuple[tuple[str, int], ...]
    values: Tensor
    null: Tensor | None
    source_mean: Tensor
    source_std: Tensor
    target_mean: Tensor
    target_std: Tensor
    images: int


def correlate(
    source: nn.Module,
    target: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    pairs: Sequence[tuple[Sequence[str], str]],
    shuffles: int = 1,
) -> list[Correlation]:
    """Correlations of channels in one pass over the data; no activations are kept.

    batches: pixels for the source and for the target, of the same pictures, in an order that is random with respect to
             what they show (the null hands each picture's maps on within the batch).
    pairs:   (layers of the source, layer of the target), one Correlation each. A layer that is named twice counts once.
    shuffles: how often to correlate also with pictures that are shuffled between the networks: each picture's maps go
             to the one 1, 2, ... places on, around the batch. A batch of n has n - 1 such shuffles, one of one none.

    Memory: 8 bytes * C_s * C_t for each pair, as much again for each shuffle, and the maps of one batch. What is
    returned takes half as much.
    Time: 2 * C_s * C_t * positions of the coarser map FLOP a picture, as much again for each shuffle, besides the
    forward passes.

    Raises SaywhyError for unknown layers, layers whose output is not a map, pictures of several sizes, fewer than two
    pictures, and, with shuffles, batches of no more than one.
    """
    if not pairs or not all(layers for layers, _ in pairs):
        raise SaywhyError("name at least one layer of each network to correlate")
    sums = _Sums(pairs, shuffles)
    source_layers = list(dict.fromkeys(name for layers, _ in pairs for name in layers))
    target_layers = list(dict.fromkeys(layer for _, layer in pairs))
    with borrowed(source) as one, borrowed(target) as other, torch.no_grad():
        for source_pixels, target_pixels in batches:
            with recorded(one, source_layers) as source_maps:
                one(source_pixels)
            with recorded(other, target_layers) as target_maps:
                other(target_pixels)
            _check_maps(source_maps, source_layers)
            _check_maps(target_maps, target_layers)
            sums.add(source_maps, target_maps)
    if sums.images < 2:
        raise SaywhyError(f"correlations need at least two pictures; there {'is one' if sums.images else 'are none'}")
    if shuffles and not sums.null_images:
        raise SaywhyError("the null swaps pictures within a batch; give batches of at least two")
    return [sums.correlation(n) for n in range(len(pairs))]


def _check_maps(maps: Mapping[str, Tensor], layers: Sequence[str]) -> None:
    for name in layers:
        if name not in maps:
            raise SaywhyError(f"layer {name} is not called when the network runs")


class _Channels:
    """Running means and deviations of one layer's channels, on one grid.

    Everything is centred by the first batch's means, so that sums and products in float32 stay accurate.
    """

    def __init__(self) -> None:
        self.positions = 0
        self.shift = torch.zeros(0)
        self.total = self.squares = torch.zeros(())

    def add(self, maps: Tensor, finer: _Finer | None = None) -> Tensor:
        """(C, N, h, w) centred maps, of (N, C, h, w); their sums are those on the finer grid where one is given."""
        count, channels, height, width = maps.shape
        if not self.positions:
            self.shift = maps.float().mean((0, 2, 3))
        centred = maps.new_empty((channels, count, height, width), dtype=torch.float32)
        torch.sub(maps.transpose(0, 1), self.shift[:, None, None, None], out=centred)  # subtracts and copies in one
        weighted, other = (centred, centred) if finer is None else (centred * finer.weights, finer.squared(centred))
        self.positions += count * (height * width if finer is None else finer.positions)
        self.total = self.total + weighted.flatten(1).sum(1).double()
        self.squares = self.squares + (centred * other).flatten(1).sum(1).double()  # vector_norm errs by up to 2e-5
        return centred

    @property
    def offset(self) -> Tensor:
        """(C,) float64 on the CPU: the mean, less the shift."""
        return self.total.cpu() / self.positions

    def statistics(self) -> tuple[Tensor, Tensor]:
        """(mean, deviation), (C,) float64 on the CPU; a deviation that is only rounding is 0."""
        mean = self.shift.cpu().double() + self.offset
        std = (self.squares.cpu() / self.positions - self.offset.square()).clamp(min=0).sqrt()
        return mean, torch.where(std > DEAD * mean.abs(), std, 0)


class _Finer:
    """What sums of maps of one grid would be on a finer one, without going there.

    Going there is linear: U(x) = A^T x B for the (h, w) map x. So <U(x), y> = <x, U^T(y)> for any y, with
    U^T(y) = A y B^T, and both are as small as x.
    """

    def __init__(self, coarse: tuple[int, int], fine: tuple[int, int], device: torch.device) -> None:
        self.positions = fine[0] * fine[1]
        self.rows, self.columns = (_upsampling(a, b).to(device) for a, b in zip(coarse, fine, strict=True))
        self.weights = self.rows.sum(1)[:, None] * self.columns.sum(1)  # <U(x), 1> = <x, weights>

    def back(self, y: Tensor) -> Tensor:
        """U^T: (..., fine grid) -> (..., coarse grid)"""
        return self.rows @ (y @ self.columns.T)

    def squared(self, x: Tensor) -> Tensor:
        """U^T U: (..., coarse grid) -> the same"""
        return self.rows @ self.rows.T @ x @ (self.columns @ self.columns.T)


def _upsampling(coarse: int, fine: int) -> Tensor:
    """(coarse, fine): ``resized`` of one axis."""
    ramps = torch.eye(coarse)[None, :, :, None].expand(-1, -1, -1, coarse)  # torch 2.15 errs for an output one wide
    return resized(ramps, (fine, fine))[0, :, :, 0]


class _Sums:
    """Running sums of all pairs of layers.

    A source's layer is prepared once for all the target's layers of a grid. The finer of two maps comes to the coarser:
    the source's is averaged, or else the target's is taken back (see _Finer); the sums are those on the target's grid.
    """

    def __init__(self, pairs: Sequence[tuple[Sequence[str], str]], shuffles: int) -> None:
        self.pairs, self.shuffles = [(tuple(dict.fromkeys(layers)), layer) for layers, layer in pairs], shuffles
        self.images = self.null_images = self.largest = 0  # pictures: all, in the null, of a batch
        self.grids: dict[str, tuple[int, int]] = {}  # of the target's layers
        self.source: dict[tuple[str, tuple[int, int]], _Channels] = defaultdict(_Channels)
        self.target: dict[str, _Channels] = defaultdict(_Channels)
        self.products: dict[tuple[int, str], Tensor] = {}  # (pair, source's layer) -> (1 + shuffles, C_s, C_t)

    def add(self, source_maps: Mapping[str, Tensor], target_maps: Mapping[str, Tensor]) -> None:
        """Maps (N, C, h, w) of the same pictures."""
        count = len(next(iter(target_maps.values())))
        self.images += count
        self.null_images += count if count > 1 else 0
        self.largest = max(self.largest, count)
        for layer, maps in target_maps.items():
            height, width = maps.shape[-2:]
            if self.grids.setdefault(layer, (height, width)) != (height, width):
                raise SaywhyError(f"layer {layer}: maps of {self.grids[layer]} and of {(height, width)}; use one size")
        for grid in dict.fromkeys(self.grids.values()):
            self._add_on(grid, source_maps, target_maps)

    def _add_on(
        self, grid: tuple[int, int], source_maps: Mapping[str, Tensor], target_maps: Mapping[str, Tensor]
    ) -> None:
        here = [n for n, (_, layer) in enumerate(self.pairs) if self.grids[layer] == grid]
        targets = {layer: self.target[layer].add(target_maps[layer]) for layer in {self.pairs[n][1] for n in here}}
        theirs: dict[tuple[str, tuple[int, int]], Tensor] = {}  # on the grids of the source
        for name in dict.fromkeys(name for n in here for name in self.pairs[n][0]):
            maps = source_maps[name]
            height, width = maps.shape[-2:]
            finer = None
            if (height, width) != grid and height <= grid[0] and width <= grid[1]:
                finer = _Finer((height, width), grid, maps.device)
            else:
                maps, (height, width) = resized(maps, grid), grid
            ours = self.source[name, grid].add(maps, finer).flatten(2)
            for n in here:
                layer = self.pairs[n][1]
                if name not in self.pairs[n][0]:
                    continue
                if (layer, (height, width)) not in theirs:
                    centred = targets[layer]
                    theirs[layer, (height, width)] = (centred if finer is None else finer.back(centred)).flatten(2)
                self._multiply((n, name), ours, theirs[layer, (height, width)])

    def _multiply(self, key: tuple[int, str], ours: Tensor, theirs: Tensor) -> None:
        """Of (C, N, positions) maps: as they belong together, then with each picture's handed on around the batch."""
        count = ours.shape[1]
        if key not in self.products:
            self.products[key] = ours.new_zeros((1 + self.shuffles, len(ours), len(theirs)), dtype=torch.float64)
        for shuffle, product in enumerate(self.products[key]):
            if shuffle and count == 1:
                break
            shift = 1 + (shuffle - 1) % (count - 1) if shuffle else 0
            few = len(ours) < len(theirs)  # the fewer channels are copied
            one, other = (ours.roll(shift, 1), theirs) if few else (ours, theirs.roll(-shift, 1))
            product += one.flatten(1) @ other.flatten(1).T

    def correlation(self, n: int) -> Correlation:
        """Of the n-th pair. Its sums are given up."""
        layers, layer = self.pairs[n]
        grid, target = self.grids[layer], self.target[layer]
        target_mean, target_std = target.statistics()
        sources = [self.source[name, grid] for name in layers]
        means, stds = zip(*(one.statistics() for one in sources), strict=True)
        counts = [len(mean) for mean in means]
        values = torch.empty(sum(counts), len(target_mean))
        shuffles = min(self.shuffles, self.largest - 1)  # a batch of n has no more that differ
        null = torch.empty(shuffles, *values.shape) if shuffles > 0 else None
        shares = self.images, *[self.null_images] * shuffles
        blocks = values.split(counts), *([] if null is None else [one.split(counts) for one in null])
        for k, (name, one, std) in enumerate(zip(layers, sources, stds, strict=True)):
            outer, scale = one.offset[:, None] * target.offset, std[:, None] * target_std
            products = self.products.pop((n, name))[: 1 + shuffles].cpu()
            for product, images, written in zip(products, shares, blocks, strict=True):
                positions = target.positions * images / self.images
                written[k].copy_(_divided(product / positions - outer, scale))
        return Correlation(
            layer, tuple(zip(layers, counts, strict=True)), values, null,
            torch.cat(means), torch.cat(stds), target_mean, target_std, self.images,
        )  # fmt: skip


def _divided(covariance: Tensor, scale: Tensor) -> Tensor:
    """Covariances over products of deviations, in -1..1; 0 where a deviation is 0."""
    return torch.where(scale > 0, covariance / scale.clamp(min=1e-300), 0).clamp(-1, 1)
