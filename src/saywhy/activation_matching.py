"""Which channel of one network goes with which of another: correlations over a data set, in one pass, and matches.

Source: Caption-driven XAI (Koller et al. 2025); its matching descends from Rosetta Neurons (Dravid et al. 2023). Added
here: sums instead of stored activations, statistics taken after the resizing (so that a network matches itself with a
correlation of exactly 1), a null from pictures that are shuffled between the networks, and one-to-one matching.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from saywhy.errors import SaywhyError
from saywhy.feature_maps import recorded, resized
from saywhy.modules import frozen

HOW = ("best", "one-to-one")
DEAD = 1e-6  # a deviation below this share of the channel's mean size is rounding, not signal


@final
@dataclass(frozen=True, eq=False)
class Correlation:
    """How the channels of some layers of a source go with those of one layer of a target, over a data set.

    layer:       of the target; everything is taken on its grid.
    sources:     (layer, channels) of the source, in the order of the rows below.
    values:      (C_s, C_t) float32, Pearson's correlation over pictures and positions; 0 for a constant channel.
    null:        (C_s, C_t) float32, the same with every picture's maps of the source handed to another picture; None
                 where it was not asked for.
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


@final
@dataclass(frozen=True, eq=False)
class LayerMatch:
    """For each channel of one layer of the target, the source's channel that goes with it.

    layer:      of the target.
    sources:    (layer, channels) of the source; a channel is counted through all of them in this order.
    channels:   (C_t,) int64, the source's channel; -1 where none is good enough.
    scores:     (C_t,) float32, correlation with it; 0 where there is none.
    threshold:  what a correlation had to exceed.
    dead:       channels of the target that are constant.
    source_mean, source_std, target_mean, target_std: (C_t,) float32 of the matched pairs.
    """

    layer: str
    sources: tuple[tuple[str, int], ...]
    channels: Tensor
    scores: Tensor
    threshold: float
    dead: int
    source_mean: Tensor
    source_std: Tensor
    target_mean: Tensor
    target_std: Tensor

    @property
    def matched(self) -> Tensor:
        """(C_t,) bool."""
        return self.channels >= 0


@final
@dataclass(frozen=True, eq=False)
class Matching:
    """What ``match`` found, layer by layer of the target, and how. Keep it with ``save``.

    source, target: whose layers these are; ``fingerprints`` of their weights refuse others on loading.
    """

    layers: tuple[LayerMatch, ...]
    how: str
    images: int
    source: str = "source"
    target: str = "target"
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.layers:
            raise SaywhyError("a matching needs at least one layer")

    def quality(self) -> list[dict[str, Any]]:
        """A row for each layer of the target: channels, matched, dead, threshold, and the scores of the matched."""
        return [_quality(layer) for layer in self.layers]

    def shuffled(self, seed: int = 0) -> Matching:
        """A control: the same source channels, dealt at random to the matched channels of each layer."""
        generator = torch.Generator().manual_seed(seed)
        return replace(self, layers=tuple(_dealt_anew(layer, generator) for layer in self.layers))

    def strongest(self, share: float) -> Matching:
        """Only the given share (0..1) of each layer's channels: those that are matched best."""
        if not 0 <= share <= 1:
            raise SaywhyError(f"the share of channels must lie in 0..1; it is {share}")
        return replace(self, layers=tuple(_strongest(layer, share) for layer in self.layers))

    def only(self, layers: Sequence[str]) -> Matching:
        """Only those layers of the target. Raises SaywhyError for one that was not matched."""
        there = {layer.layer: layer for layer in self.layers}
        missing = [name for name in layers if name not in there]
        if missing:
            raise SaywhyError(f"no matches for layer {missing[0]!r}; there are {', '.join(there)}")
        return replace(self, layers=tuple(there[name] for name in layers))

    def save(self, path: str | Path) -> Path:
        """Write PATH (safetensors) and, beside it, PATH with the ending .json: what a person may want to read."""
        from safetensors.torch import save_file

        path = Path(path)
        tensors = {
            f"{n}.{name}": getattr(layer, name).contiguous() for n, layer in enumerate(self.layers) for name in _TENSORS
        }
        about = {key: value for key, value in asdict(self).items() if key != "layers"}
        about["layers"] = [
            {"layer": layer.layer, "sources": layer.sources, "threshold": layer.threshold, "dead": layer.dead}
            for layer in self.layers
        ]
        save_file(tensors, path, metadata={"saywhy": json.dumps(about)})
        path.with_suffix(".json").write_text(json.dumps(about | {"quality": self.quality()}, indent=1))
        return path

    @staticmethod
    def load(path: str | Path, fingerprints: Mapping[str, str] | None = None) -> Matching:
        """The matching that was saved. Raises SaywhyError where it is none, or of networks with other fingerprints."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                about = json.loads(file.metadata()["saywhy"])
                layers = tuple(
                    LayerMatch(
                        **{**one, "sources": tuple((name, count) for name, count in one["sources"])},
                        **{name: file.get_tensor(f"{n}.{name}") for name in _TENSORS},
                    )
                    for n, one in enumerate(about.pop("layers"))
                )
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise SaywhyError(f"{path}: holds no matching ({str(error).splitlines()[0][:120]})") from None
        for role, expected in (fingerprints or {}).items():
            if about["fingerprints"].get(role) != expected:
                raise SaywhyError(f"{path}: was made with another {role} ({about[role]}); match anew")
        return Matching(layers, **about)


_TENSORS = ("channels", "scores", "source_mean", "source_std", "target_mean", "target_std")


def correlate(
    source: nn.Module,
    target: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    pairs: Sequence[tuple[Sequence[str], str]],
    null: bool = True,
) -> list[Correlation]:
    """Correlations of channels in one pass over the data; no activations are kept.

    batches: pixels for the source and for the target, of the same pictures, in an order that is random with respect to
             what they show (the null hands each picture's maps to its neighbour in the batch). Equal tensors are
             passed through an identical source and target once.
    pairs:   (layers of the source, layer of the target), one Correlation each.
    null:    also correlate with pictures that are shuffled between the networks.

    Memory: 8 bytes * C_s * C_t for each pair, twice with the null, and the maps of one batch.
    Time: 2 * C_s * C_t * positions FLOP a picture, twice with the null, besides the two forward passes.

    Raises SaywhyError for unknown layers, layers that are no maps, and fewer than two pictures.
    """
    sums: list[list[_Sums]] = [[_Sums() for _ in layers] for layers, _ in pairs]
    source_layers = list(dict.fromkeys(name for layers, _ in pairs for name in layers))
    target_layers = list(dict.fromkeys(layer for _, layer in pairs))
    with frozen(source), frozen(target), torch.no_grad():
        for source_pixels, target_pixels in batches:
            with recorded(source, source_layers) as source_maps:
                source(source_pixels)
            with recorded(target, target_layers) as target_maps:
                target(target_pixels)
            for (layers, layer), kept in zip(pairs, sums, strict=True):
                maps = target_maps[layer]
                for name, some in zip(layers, kept, strict=True):
                    some.add(resized(source_maps[name], (maps.shape[2], maps.shape[3])), maps, null)
    images = sums[0][0].images if sums and sums[0] else 0
    if images < 2:
        raise SaywhyError(f"correlations need at least two pictures; there {'is one' if images else 'are none'}")
    return [_correlation(layers, layer, kept) for (layers, layer), kept in zip(pairs, sums, strict=True)]


class _Sums:
    """Running sums of one pair of layers, centred by the first batch so that float32 products stay accurate."""

    def __init__(self) -> None:
        self.images = self.positions = self.null_positions = 0
        self.shift: tuple[Tensor, Tensor] | None = None
        self.first = self.second = (torch.zeros(()), torch.zeros(()))  # sums, and sums of squares: source, target
        self.product: Tensor = torch.zeros(())
        self.null_product: Tensor | None = None

    def add(self, source: Tensor, target: Tensor, null: bool) -> None:
        """Maps (N, C_s, h, w) and (N, C_t, h, w) of the same pictures."""
        x, y = (maps.float().transpose(0, 1).flatten(2) for maps in (source, target))  # (C, N, positions)
        if self.shift is None:
            self.shift = x.mean((1, 2)), y.mean((1, 2))
        x, y = (values - shift[:, None, None] for values, shift in zip((x, y), self.shift, strict=True))
        flat_x, flat_y = x.flatten(1), y.flatten(1)
        self.images += x.shape[1]
        self.positions += flat_x.shape[1]
        self.first = _added(self.first, (flat_x.sum(1, dtype=torch.float64), flat_y.sum(1, dtype=torch.float64)))
        squares = (flat_x.square().sum(1, dtype=torch.float64), flat_y.square().sum(1, dtype=torch.float64))
        self.second = _added(self.second, squares)
        self.product = self.product + (flat_x @ flat_y.T).double()
        if null and x.shape[1] > 1:
            shuffled = x.roll(1, 1).flatten(1) @ flat_y.T
            self.null_product = shuffled.double() + (0 if self.null_product is None else self.null_product)
            self.null_positions += flat_x.shape[1]

    def statistics(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """(mean, deviation) of the source's channels, and of the target's; a deviation that is only rounding is 0."""
        assert self.shift is not None
        found = []
        for total, squares, shift in zip(self.first, self.second, self.shift, strict=True):
            centre = total / self.positions
            mean = shift.double() + centre
            std = (squares / self.positions - centre.square()).clamp(min=0).sqrt()
            found.append((mean.cpu(), torch.where(std > DEAD * mean.abs(), std, 0).cpu()))
        return found[0], found[1]


def _added(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return a[0] + b[0], a[1] + b[1]


def _correlation(layers: Sequence[str], layer: str, kept: Sequence[_Sums]) -> Correlation:
    blocks, nulls, means, stds = [], [], [], []
    target_mean = target_std = torch.zeros(0)
    for some in kept:
        (mean, std), (target_mean, target_std) = some.statistics()
        centre = [total.cpu() / some.positions for total in some.first]
        outer = centre[0][:, None] * centre[1]
        scale = std[:, None] * target_std
        blocks.append(_divided(some.product.cpu() / some.positions - outer, scale))
        if some.null_product is not None:
            nulls.append(_divided(some.null_product.cpu() / some.null_positions - outer, scale))
        means.append(mean)
        stds.append(std)
    sources = tuple((name, len(mean)) for name, mean in zip(layers, means, strict=True))
    return Correlation(
        layer, sources, torch.cat(blocks), torch.cat(nulls) if nulls else None,
        torch.cat(means), torch.cat(stds), target_mean, target_std, kept[0].images,
    )  # fmt: skip


def _divided(covariance: Tensor, scale: Tensor) -> Tensor:
    """Covariances over products of deviations, in -1..1; 0 where a deviation is 0."""
    return torch.where(scale > 0, covariance / scale.clamp(min=1e-300), 0).clamp(-1, 1).float()


def match(
    correlations: Sequence[Correlation],
    how: str = "best",
    chance: float = 0.0,
    signed: bool = False,
    untrained: Sequence[Sequence[Correlation]] = (),
) -> Matching:
    """For each channel of the target the source's channel that goes with it, where one does.

    how:    "best": the best correlation, a source channel may serve several; "one-to-one": the assignment with the
            highest sum of correlations, in which each serves once.
    chance: share of the target's channels that may find a match by chance: the threshold is that quantile of their
            best correlations with shuffled pictures. 0: their maximum. Without a null the threshold is 0.
    signed: count a channel that runs the other way (a negative correlation) as going with it.
    untrained: the correlations of copies of the source with random weights: a match must be better than any that they
            offer for the channel. Any network sees colours and edges; this leaves what was learned.

    Raises SaywhyError for another ``how``, and a ``chance`` outside 0..1.
    """
    if how not in HOW:
        raise SaywhyError(f"there is no matching {how!r}; there are {', '.join(HOW)}")
    if not 0 <= chance <= 1:
        raise SaywhyError(f"the share of matches by chance must lie in 0..1; it is {chance}")
    layers = tuple(
        _layer_match(one, how, chance, signed, [copy[n] for copy in untrained]) for n, one in enumerate(correlations)
    )
    return Matching(layers, how, min(one.images for one in correlations))


def _layer_match(
    one: Correlation, how: str, chance: float, signed: bool, untrained: Sequence[Correlation]
) -> LayerMatch:
    def sized(values: Tensor) -> Tensor:
        return values.abs() if signed else values

    strength = sized(one.values)
    threshold = 0.0 if one.null is None else max(float(sized(one.null).max(0).values.quantile(1 - chance)), 0.0)
    floor = torch.full((strength.shape[1],), threshold)
    for copy in untrained:
        floor = floor.maximum(sized(copy.values).max(0).values)
    if how == "best":
        channels = strength.argmax(0)
    else:
        from scipy.optimize import linear_sum_assignment

        rows, columns = linear_sum_assignment(strength.numpy(), maximize=True)
        channels = torch.full((strength.shape[1],), -1)
        channels[torch.as_tensor(columns)] = torch.as_tensor(rows)
    index = channels.clamp(min=0)
    columns = torch.arange(len(channels))
    good = (channels >= 0) & (strength[index, columns] > floor)
    return LayerMatch(
        layer=one.layer,
        sources=one.sources,
        channels=torch.where(good, channels, -1),
        scores=torch.where(good, one.values[index, columns], 0),
        threshold=threshold,
        dead=int((one.target_std == 0).sum()),
        source_mean=one.source_mean[index].float(),
        source_std=one.source_std[index].float(),
        target_mean=one.target_mean.float(),
        target_std=one.target_std.float(),
    )


def _quality(layer: LayerMatch) -> dict[str, Any]:
    scores = layer.scores[layer.matched].abs().numpy()
    low, middle, high = np.quantile(scores, [0.1, 0.5, 0.9]).round(3).tolist() if len(scores) else (None,) * 3
    counts = np.bincount(
        np.digitize(layer.channels[layer.matched].numpy(), np.cumsum([count for _, count in layer.sources])),
        minlength=len(layer.sources),
    )
    return {
        "layer": layer.layer,
        "channels": len(layer.channels),
        "matched": int(layer.matched.sum()),
        "dead": layer.dead,
        "threshold": round(layer.threshold, 3),
        "10%": low, "median": middle, "90%": high,
        "different sources": len(layer.channels[layer.matched].unique()),
        "from": {name: int(count) for (name, _), count in zip(layer.sources, counts, strict=True) if count},
    }  # fmt: skip


def _dealt_anew(layer: LayerMatch, generator: torch.Generator) -> LayerMatch:
    places = layer.matched.nonzero()[:, 0]
    order = places[torch.randperm(len(places), generator=generator)]
    changed = {}
    for name in ("channels", "scores", "source_mean", "source_std"):  # scores: their signs go with the channels
        values = getattr(layer, name).clone()
        values[places] = values[order]
        changed[name] = values
    return replace(layer, **changed)


def _strongest(layer: LayerMatch, share: float) -> LayerMatch:
    keep = round(share * len(layer.channels))
    order = layer.scores.abs().argsort(descending=True, stable=True)
    dropped = torch.ones(len(order), dtype=torch.bool)
    dropped[order[:keep]] = False
    return replace(
        layer,
        channels=torch.where(dropped, -1, layer.channels),
        scores=torch.where(dropped, 0, layer.scores),
    )
