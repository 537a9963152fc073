"""Network surgery: a network that runs with another network's activations in the place of its own.

Source: Caption-driven XAI (Koller et al. 2025): A_l = N_k * sigma_l + mu_l, where N_k is the matched channel of the
other network, standardised, and mu, sigma are those of the channel it replaces. By hooks, on unmodified networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from saywhy.classifiers.borrowing import borrowed
from saywhy.classifiers.layers import recorded, resized, rewritten
from saywhy.errors import SaywhyError
from saywhy.spaces.surgery.matching import LayerMatch, Matching
from saywhy.spaces.surgery.options import AS_PUBLISHED, Surgery


@contextmanager
def operated(
    target: nn.Module, matching: Matching, maps: dict[str, Tensor], how: Surgery = AS_PUBLISHED
) -> Iterator[None]:
    """While in the context, the target's matched channels are replaced by the source's ``maps``.

    maps: layer of the source -> (N, C, h, w), of the pictures that the target is about to be given.
    """
    edits: dict[str, Callable[[Tensor], None]] = {
        layer.layer: partial(_replace, layer, maps, how)
        for layer in matching.layers
        if how.unmatched == "mean" or bool(layer.matched.any())
    }
    with rewritten(target, edits if how.strength else {}):
        yield


@torch.no_grad()
def run_operated(
    source: nn.Module, target: nn.Module, matching: Matching,
    source_pixels: Tensor, target_pixels: Tensor, how: Surgery = AS_PUBLISHED,
) -> Tensor:  # fmt: skip
    """The target's output for pictures, with the source's activations in it. The two may be the same network."""
    with borrowed(source) as one, borrowed(target) as other:
        with recorded(one, source_layers(matching)) as maps:
            one(source_pixels)
        with operated(other, matching, maps, how):
            return other(target_pixels)


def source_layers(matching: Matching) -> list[str]:
    """The layers of the source that the matching takes channels from."""
    used = dict.fromkeys(name for layer in matching.layers for name, _, _ in _pieces(layer))
    return list(used)


def _pieces(layer: LayerMatch) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(layer of the source, its channels, the target's channels they replace), where there are any."""
    start = 0
    for name, count in layer.sources:
        places = ((layer.channels >= start) & (layer.channels < start + count)).nonzero()[:, 0]
        if len(places):
            yield name, layer.channels[places] - start, places
        start += count


def _replace(layer: LayerMatch, maps: dict[str, Tensor], how: Surgery, view: Tensor) -> None:
    """Write into ``view`` (N, C_t, h, w), the target's own map."""
    grid = (view.shape[2], view.shape[3])
    there = [(maps[name].shape[1], count) for name, count in layer.sources if name in maps]
    if any(one != other for one, other in ((view.shape[1], len(layer.channels)), *there)):
        raise SaywhyError(f"{layer.layer}: was matched with other numbers of channels; match again")
    for name, channels, places in _pieces(layer):
        own = view[:, places].float()
        sign = layer.scores[places].sign()
        numbers = sign * layer.target_std[places] / layer.source_std[places], layer.source_mean[places]
        gain, source_mean, target_mean = (
            x.to(own.device)[:, None, None] for x in (*numbers, layer.target_mean[places])
        )
        theirs = resized(maps[name][:, channels].to(own.device).float(), grid)
        # Centred first: a large mean times the gain would leave little of float32 for the deviations.
        view[:, places] = torch.lerp(own, (theirs - source_mean) * gain + target_mean, how.strength).to(view.dtype)
    if how.unmatched == "mean":
        places = (~layer.matched).nonzero()[:, 0]
        own = view[:, places].float()
        mean = layer.target_mean[places].to(own.device)[:, None, None].expand_as(own)
        view[:, places] = torch.lerp(own, mean, how.strength).to(view.dtype)
