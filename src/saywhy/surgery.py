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

from saywhy.activation_matching import LayerMatch, Matching
from saywhy.errors import SaywhyError
from saywhy.feature_maps import recorded, resized, rewritten
from saywhy.modules import frozen


@contextmanager
def operated(target: nn.Module, matching: Matching, maps: dict[str, Tensor], strength: float = 1.0) -> Iterator[None]:
    """While in the context, the target's matched channels are replaced by the source's ``maps``.

    maps:     layer of the source -> (N, C, h, w), of the pictures that the target is about to be given.
    strength: 0 leaves the target's own channel, 1 replaces it, between them a mixture.
    """
    if not 0 <= strength <= 1:
        raise SaywhyError(f"the strength of surgery must lie in 0..1; it is {strength}")
    edits: dict[str, Callable[[Tensor], None]] = {
        layer.layer: partial(_replace, layer, maps, strength) for layer in matching.layers if bool(layer.matched.any())
    }
    with rewritten(target, edits if strength else {}):
        yield


@torch.no_grad()
def run_operated(
    source: nn.Module, target: nn.Module, matching: Matching,
    source_pixels: Tensor, target_pixels: Tensor, strength: float = 1.0,
) -> Tensor:  # fmt: skip
    """The target's output for pictures, with the source's activations in it. The two may be the same network."""
    with frozen(source), frozen(target):
        with recorded(source, source_layers(matching)) as maps:
            source(source_pixels)
        with operated(target, matching, maps, strength):
            return target(target_pixels)


def source_layers(matching: Matching) -> list[str]:
    """The layers of the source that the matching takes channels from."""
    used: dict[str, None] = {}
    for layer in matching.layers:
        for name, inside, _ in _pieces(layer):
            if len(inside):
                used[name] = None
    return list(used)


def _pieces(layer: LayerMatch) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(layer of the source, its channels, the target's channels they replace)."""
    start = 0
    for name, count in layer.sources:
        places = ((layer.channels >= start) & (layer.channels < start + count)).nonzero()[:, 0]
        yield name, layer.channels[places] - start, places
        start += count


def _replace(layer: LayerMatch, maps: dict[str, Tensor], strength: float, view: Tensor) -> None:
    """Write into ``view`` (N, C_t, h, w), the target's own map."""
    for name, channels, places in _pieces(layer):
        if not len(places):
            continue
        own = view[:, places]
        gain = layer.scores[places].sign() * layer.target_std[places] / layer.source_std[places]
        numbers = gain, layer.source_mean[places], layer.target_mean[places]
        gain, source_mean, target_mean = (x.to(own.device)[:, None, None] for x in numbers)
        theirs = resized(maps[name][:, channels].to(own.device).float(), (view.shape[2], view.shape[3]))
        # Centred first: a large mean times the gain would leave little of float32 for the deviations.
        theirs = (theirs - source_mean) * gain + target_mean
        view[:, places] = torch.lerp(own.float(), theirs, strength).to(own.dtype)
