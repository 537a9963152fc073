"""The linear layer that makes the logits, found by a hook on every linear layer of any network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saywhy.classifiers.borrowing import frozen

Linear = nn.Linear | nn.Conv2d
"""What a head can be; a convolution only with a kernel of one pixel, on one position."""


@final
@dataclass(frozen=True, eq=False)
class Head:
    """The linear layer that makes the logits: ``logits = features @ weight.T + bias``. weight (C, d), bias (C,)."""

    weight: Tensor
    bias: Tensor


@final
class OtherRows(nn.Module):
    """A network that reads its own features by other rows than its head's: pixels -> (N, K) ``features @ rows.T``.

    head: the path of the head's layer, whose input the features are. rows: (K, d).
    """

    def __init__(self, network: nn.Module, head: str, rows: Tensor) -> None:
        super().__init__()
        self.network, self.head = network, head
        self.register_buffer("rows", rows)

    def forward(self, pixels: Tensor) -> Tensor:
        features: list[Tensor] = []
        layer = self.network.get_submodule(self.head)
        handle = layer.register_forward_pre_hook(lambda module, args: features.append(args[0]))
        try:
            self.network(pixels)
        finally:
            handle.remove()
        return F.linear(features[-1].flatten(1), self.get_buffer("rows"))


def find_head(network: nn.Module, noise: Tensor, revive: bool) -> tuple[Linear | None, float, str]:
    """The linear layer whose output is the logits, found by a hook on every linear layer; or why there is none.

    The logits may also be its output times a constant, a temperature, which comes second; else 1.

    revive: some libraries start a head at zero; give random weights to such a head, or nothing could be checked.
    """
    calls: list[tuple[Linear, Tensor, Tensor]] = []

    def note(module: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
        calls.append((module, args[0], output))

    def run() -> Tensor:
        calls.clear()
        with torch.no_grad(), frozen(network):
            return network(noise)

    linear = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d) and _is_pointwise(m)]
    handles = [module.register_forward_hook(note) for module in linear]
    try:
        logits = run()
        if revive and calls and not calls[-1][0].weight.any():
            nn.init.trunc_normal_(calls[-1][0].weight, std=0.02)
            logits = run()
    finally:
        for handle in handles:
            handle.remove()
    factors = [(_factor(output, logits), module, features) for module, features, output in reversed(calls)]
    for factor, module, features in sorted(factors, key=lambda one: one[0] != 1):  # the logits themselves first
        if factor is None:
            continue
        if features.numel() != len(logits) * features.shape[1]:  # positions: pooled after, or not at all
            return None, 1.0, "its last linear layer works on positions, not on one feature vector"
        weight = module.weight.flatten(1)
        again = factor * F.linear(features.flatten(1), weight, module.bias)
        tolerance = 1e-3 if logits.dtype == torch.float32 else 5e-2
        if (again - logits).abs().max() > tolerance * logits.abs().max().clamp(min=1e-6):
            return None, 1.0, "f @ W.T + b differs from its logits"
        return module, factor, ""
    return None, 1.0, "no linear layer's output is its logits"


def _factor(output: Tensor, logits: Tensor) -> float | None:
    """The positive constant by which a layer's output is multiplied to give the logits; None where there is none."""
    if output.numel() != logits.numel():
        return None
    output = output.reshape_as(logits)
    if torch.equal(output, logits):
        return 1.0
    if logits.numel() < 3:  # a constant between two values proves nothing
        return None
    wide, aim = output.double(), logits.double()
    factor = float((wide * aim).sum() / (wide * wide).sum())
    tolerance = 1e-5 if logits.dtype in (torch.float32, torch.float64) else 1e-2
    if not factor > 0 or (factor * wide - aim).abs().max() > tolerance * aim.abs().max():
        return None
    return factor


def _is_pointwise(module: Linear) -> bool:
    return isinstance(module, nn.Linear) or (module.kernel_size == (1, 1) and module.groups == 1)
