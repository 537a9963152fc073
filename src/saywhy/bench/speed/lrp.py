"""How much longer does LRP take than the one forward and one backward pass that it cannot do without?

Every contender runs in turn, round after round in one process, on the same batch, and each time is divided by that of
the plain passes of its own round: a machine that is busy slows all of them alike. The baseline does the least that a
gradient of the picture needs: parameters do not require gradients.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from saywhy.attribution.composites import COMPOSITES
from saywhy.attribution.lrp import lrp
from saywhy.bench import Report
from saywhy.classifiers.borrowing import frozen
from saywhy.plumbing.devices import choose_device

Pass = Callable[[], Any]
BATCH, ROUNDS = 8, 7
OURS = {
    "resnet50": ("epsilon", "epsilon-plus", "epsilon-plus-flat", "epsilon-gamma-box"),
    "vit_b_16": ("cp-lrp", "attnlrp-epsilon", "cp-lrp-gamma", "attnlrp"),
}
PLAIN = "one forward, one backward"


def run(limit: int | None = None) -> Report:
    """Median ratios over ROUNDS rounds (or ``limit`` rounds). GPU where there is one."""
    device = choose_device(None).type
    rows = []
    for name, composites in OURS.items():
        network = _network(name).to(device)
        pixels = torch.randn(BATCH, 3, 224, 224, generator=torch.Generator().manual_seed(0)).clamp(-2, 2).to(device)
        contenders: dict[str, Pass] = {PLAIN: lambda n=network, x=pixels: _plain(n, x)}  # type: ignore[misc]
        for composite in composites:
            contenders[f"saywhy {composite}"] = lambda n=network, x=pixels, c=composite: _ours(n, x, c)  # type: ignore[misc]
        with _peers(name, network, pixels) as peers:
            rows += _measure(name, contenders | peers, limit or ROUNDS, device)
    return Report(
        "lrp-speed",
        f"time over one forward and one backward pass, batch {BATCH}, {device}",
        ("network", "what", "ratio", "lowest", "highest", "seconds"),
        rows,
        {"batch": BATCH, "rounds": limit or ROUNDS, "device": device},
    )


def _network(name: str) -> nn.Module:
    import torchvision

    torch.manual_seed(0)
    network = getattr(torchvision.models, name)().eval().requires_grad_(False)
    for module in network.modules():  # a head of zeros would have no relevance to propagate
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.02)
    return network


def _best(output: Tensor) -> Tensor:
    return output.max(1).values


def _plain(network: nn.Module, pixels: Tensor) -> None:
    with frozen(network):
        leaf = pixels.clone().requires_grad_()
        torch.autograd.grad(_best(network(leaf)).sum(), leaf)


def _ours(network: nn.Module, pixels: Tensor, composite: str) -> None:
    low, high = torch.full((3,), -2.5), torch.full((3,), 2.5)
    lrp(network, pixels, _best, COMPOSITES[composite], (low, high))


def _measure(name: str, contenders: dict[str, Pass], rounds: int, device: str) -> list[dict[str, Any]]:
    times: dict[str, list[float]] = {what: [] for what in contenders}
    for n in range(rounds + 1):
        for what, run_once in contenders.items():
            start = time.perf_counter()
            run_once()
            if device == "cuda":
                torch.cuda.synchronize()
            if n:  # the first round warms up
                times[what].append(time.perf_counter() - start)
    rows = []
    for what, seconds in times.items():
        ratios = [s / base for s, base in zip(seconds, times[PLAIN], strict=True)]
        spread = {"ratio": median(ratios), "lowest": min(ratios), "highest": max(ratios)}
        rows.append({"network": name, "what": what, **spread, "seconds": median(seconds)})
    return rows


# -- the others, where they are installed -----------------------------------------------------------------------------


@contextmanager
def _peers(name: str, network: nn.Module, pixels: Tensor) -> Iterator[dict[str, Pass]]:
    with _zennit(network, pixels) if name == "resnet50" else _lxt(network, pixels) as found:
        yield found


@contextmanager
def _zennit(network: nn.Module, pixels: Tensor) -> Iterator[dict[str, Pass]]:
    """zennit with its canonizer, hooks registered once, outside of what is timed."""
    try:
        from zennit import composites
        from zennit.torchvision import ResNetCanonizer
    except ImportError:
        yield {}
        return
    low, high = (torch.full((1, 3, 1, 1), side, device=pixels.device) for side in (-2.5, 2.5))
    made = {
        "epsilon-plus": lambda c: composites.EpsilonPlus(canonizers=c),
        "epsilon-plus-flat": lambda c: composites.EpsilonPlusFlat(canonizers=c),
        "epsilon-gamma-box": lambda c: composites.EpsilonGammaBox(low, high, canonizers=c),
    }

    def attribute(make: Callable[[Any], Any]) -> None:
        with frozen(network), make([ResNetCanonizer()]).context(network) as hooked:
            leaf = pixels.clone().requires_grad_()
            torch.autograd.grad(_best(hooked(leaf)).sum(), leaf)

    yield {f"zennit {what}": lambda m=make: attribute(m) for what, make in made.items()}  # type: ignore[misc]


@contextmanager
def _lxt(network: nn.Module, pixels: Tensor) -> Iterator[dict[str, Pass]]:
    """LXT's patch of torchvision's transformer (CP-LRP), plain and with zennit's gamma on every linear module, as in
    LXT's own example. A copy of the network is patched. Needs lxt, and a transformers that it imports."""
    try:
        from copy import deepcopy
        from functools import partial
        from types import MethodType

        from lxt.efficient.patches import cp_multi_head_attention_forward, layer_norm_forward, non_linear_forward
        from lxt.efficient.zennit_patches import monkey_patch_zennit
        from zennit.composites import LayerMapComposite
        from zennit.core import BasicHook
        from zennit.rules import Gamma
    except ImportError:
        yield {}
        return
    patched = deepcopy(network)
    module: Any
    for module in patched.modules():
        patches: dict[Any, Any] = {
            nn.GELU: non_linear_forward,
            nn.LayerNorm: layer_norm_forward,
            nn.MultiheadAttention: cp_multi_head_attention_forward,
        }
        for kind, forward in patches.items():
            if isinstance(module, kind):
                module.original_forward = module.forward
                module.forward = MethodType(forward, module)

    def passes(hooks: Any) -> None:
        with hooks:
            leaf = pixels.clone().requires_grad_()
            torch.autograd.grad(_best(patched(leaf)).sum(), leaf)

    gamma = LayerMapComposite([(nn.Conv2d, Gamma(0.25)), (nn.Linear, Gamma(0.05))])
    before = BasicHook.forward, BasicHook.backward
    monkey_patch_zennit()
    try:
        yield {
            "LXT cp-lrp": partial(passes, nullcontext()),
            "LXT cp-lrp-gamma": lambda: passes(gamma.context(patched)),
        }
    finally:
        BasicHook.forward, BasicHook.backward = before
