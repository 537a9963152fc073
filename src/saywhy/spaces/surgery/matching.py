"""Which channel of one network goes with which of another, by their correlations: kept, saved, and how good it is.

Source: Caption-driven XAI (Koller et al. 2025); its matching descends from Rosetta Neurons (Dravid et al. 2023). Added
here: a threshold from the null of ``correlation.py``, and one-to-one matching.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.plumbing.files import write_whole
from saywhy.plumbing.names import unknown
from saywhy.plumbing.records import typed
from saywhy.plumbing.tensors import reading_tensors, write_tensors
from saywhy.spaces.surgery.correlation import Correlation

HOW = ("best", "one-to-one")


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
    decisive: layer of the source -> how many of its channels were candidates; empty where all of all layers were.
    chance:   share of the target's channels that may have found a match by chance. shuffles: how often pictures were
              shuffled to know it; 0: not at all, so that any correlation counts.
    """

    layers: tuple[LayerMatch, ...]
    how: str
    images: int
    source: str = "source"
    target: str = "target"
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    decisive: Mapping[str, int] = field(default_factory=dict)
    chance: float = 0.0
    shuffles: int = 1

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
        for name in layers:
            if name not in there:
                raise unknown("layer", name, there, lead="there are no matches for")
        return replace(self, layers=tuple(there[name] for name in layers))

    def save(self, path: str | Path) -> Path:
        """Write PATH (safetensors) and, beside it, PATH with the ending .json: what a person may want to read.

        Raises SaywhyError where they cannot be written.
        """
        path = Path(path)
        tensors = {f"{n}.{name}": getattr(layer, name) for n, layer in enumerate(self.layers) for name in _TENSORS}
        about = {key: value for key, value in asdict(self).items() if key != "layers"}
        about["layers"] = [
            {"layer": layer.layer, "sources": layer.sources, "threshold": layer.threshold, "dead": layer.dead}
            for layer in self.layers
        ]
        write_tensors(path, tensors, about)
        beside = path.with_suffix(".json")
        write_whole(beside, json.dumps(about | {"quality": self.quality()}, indent=1))
        return path

    @staticmethod
    def load(path: str | Path, fingerprints: Mapping[str, str] | None = None) -> Matching:
        """The matching that was saved. Raises SaywhyError where it is none, or of networks with other fingerprints."""
        with reading_tensors(Path(path), "holds no matching") as file:
            about: dict[str, Any] = file.story
            tensors: dict[str, Any] = file.tensors
            layers = tuple(
                LayerMatch(
                    **{**one, "sources": tuple((name, count) for name, count in one["sources"])},
                    **{name: tensors[f"{n}.{name}"] for name in _TENSORS},
                )
                for n, one in enumerate(about.pop("layers"))
            )
            matching = typed(Matching(layers, **about))
            for layer in layers:
                _check_layer(layer)
        for role, expected in (fingerprints or {}).items():
            if matching.fingerprints.get(role) != expected:
                raise SaywhyError(f"{path}: was made with another {role} ({about[role]}); match again")
        return matching


def _check_layer(layer: LayerMatch) -> None:
    """Raises ValueError for channels that are not there, and for tensors of other sizes or types."""
    channels = sum(count for _, count in layer.sources)
    if layer.channels.ndim != 1 or layer.channels.dtype != torch.int64 or any(count < 1 for _, count in layer.sources):
        raise ValueError(f"{layer.layer}: expected indices of channels")
    if len(layer.channels) and not -1 <= int(layer.channels.min()) <= int(layer.channels.max()) < channels:
        raise ValueError(f"{layer.layer}: its channels are not among the {channels} of the source")
    for name in _TENSORS[1:]:
        values = getattr(layer, name)
        if values.shape != layer.channels.shape or values.dtype != torch.float32 or not values.isfinite().all():
            raise ValueError(f"{layer.layer}: its {name} are not one finite number for each channel")
    if not (layer.source_std[layer.matched] > 0).all():
        raise ValueError(f"{layer.layer}: a constant channel is matched")


_TENSORS = ("channels", "scores", "source_mean", "source_std", "target_mean", "target_std")


def match(
    correlations: Sequence[Correlation],
    how: str = "best",
    chance: float = 0.0,
    signed: bool = False,
    candidates: Mapping[str, Tensor] | None = None,
) -> Matching:
    """For each channel of the target the source's channel that goes with it, where one does.

    how:    "best": the best correlation, a source channel may serve several; "one-to-one": the assignment with the
            highest sum of correlations above the threshold, in which each serves once.
    chance: share of the target's channels that may find a match by chance: the threshold is that quantile of their
            best correlations over all shuffles of the pictures. 0: their maximum, which one pair of unrelated networks
            in 1 + shuffles exceeds somewhere. 1, and without a null: the threshold is 0.
    signed: count a channel that runs the other way (a negative correlation) as going with it.
    candidates: layer of the source -> (C,) bool, the channels that may be matched; None: all.

    Raises SaywhyError for an unknown ``how``, and a ``chance`` outside 0..1.
    """
    check_way(how, chance)
    layers = tuple(_layer_match(layer, how, chance, signed, candidates) for layer in correlations)
    shuffles = 0 if chance == 1 else min((0 if one.null is None else len(one.null) for one in correlations), default=0)
    images = min((layer.images for layer in correlations), default=0)
    return Matching(layers, how, images, chance=chance, shuffles=shuffles)


def check_way(how: str, chance: float) -> None:
    """Raises SaywhyError as ``match`` does: before the data are read, not after."""
    if how not in HOW:
        raise unknown("matching", how, HOW)
    if not 0 <= chance <= 1:
        raise SaywhyError(f"the share of matches by chance must lie in 0..1; it is {chance}")


def _layer_match(
    one: Correlation, how: str, chance: float, signed: bool, candidates: Mapping[str, Tensor] | None
) -> LayerMatch:
    def sized(values: Tensor) -> Tensor:
        return values.abs() if signed else values

    strength, null = sized(one.values), None if one.null is None or chance == 1 else sized(one.null)
    if candidates is not None:
        allowed = torch.cat([candidates[name] for name, _ in one.sources])[:, None]
        strength = torch.where(allowed, strength, 0)
        null = None if null is None else torch.where(allowed, null, 0)
    threshold = 0.0 if null is None else max(float(np.quantile(null.amax(1).numpy(), 1 - chance)), 0.0)
    if how == "best":
        channels = strength.argmax(0)
    else:
        from scipy.optimize import linear_sum_assignment

        # What stays below the threshold will be no match, and must not cost another channel its best one.
        counted = torch.where(strength > threshold, strength, 0)
        rows, columns = linear_sum_assignment(counted.numpy(), maximize=True)
        channels = torch.full((strength.shape[1],), -1)
        channels[torch.as_tensor(columns)] = torch.as_tensor(rows)
    index = channels.clamp(min=0)
    columns = torch.arange(len(channels))
    good = (channels >= 0) & (strength[index, columns] > threshold)
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
