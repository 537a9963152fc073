"""Layer-wise relevance propagation for any torch network, unmodified: one forward and one backward pass.

While the network runs, every torch function it calls is looked up by name in the table of ``functions.py``
(``torch.overrides.TorchFunctionMode``). No module is patched, replaced or hooked, and no architecture is special.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from saywhy.attribution.composites import DEFAULT_COMPOSITE, Box, Composite
from saywhy.attribution.functions import ATTENTION, IN_PLACE, TABLE, carries
from saywhy.attribution.rules import Rule
from saywhy.classifiers.borrowing import frozen
from saywhy.errors import SaywhyError

Select = Callable[[Tensor], Tensor]
"""From the network's output (N, C) to the N scalars to explain."""


class Interception(TorchFunctionMode):
    """A mode under which torch functions propagate relevance by the rules of one composite.

    Inside it values are those of the plain network, and ``x * torch.autograd.grad(y, x)`` is the relevance of any
    tensor x for y. It holds the state of one run of a network; make a new one for each.
    """

    def __init__(self, composite: Composite, pixel_range: tuple[Tensor, Tensor] | None = None) -> None:
        super().__init__()
        self.composite = composite
        self.intercepting = self
        self._first: Rule | None
        if composite.first == "box":
            if pixel_range is None:
                raise SaywhyError("the z^B rule needs the values of black and white: pass pixel_range=(low, high)")
            self._first = Box(*pixel_range)
        else:
            self._first = composite.first

    def rule_for(self, kind: str) -> Rule:
        first, self._first = self._first, None
        return first or getattr(self.composite, kind)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in IN_PLACE and carries(args[0]):
            name = IN_PLACE[name]
            func = getattr(torch.Tensor, name, None) or getattr(F, name)
        handler = TABLE.get(name)
        if handler is None or not _any_carries(args, kwargs):
            return func(*args, **kwargs)
        return handler(self, func, *args, **kwargs)


def _any_carries(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    for value in (*args, *kwargs.values()):
        if carries(value) or (isinstance(value, list | tuple) and any(map(carries, value))):
            return True
    return False


def lrp(
    network: nn.Module,
    pixels: Tensor,
    select: Select,
    composite: Composite,
    pixel_range: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Relevance of every input value for the selected outputs.

    network:     any module from (N, C, H, W) to (N, K) logits; left exactly as it was found.
    pixels:      (N, C, H, W), preprocessed.
    select:      output -> the (N,) scalars to explain; each may depend on its own picture only.
    pixel_range: (C,), (C,) values of black and white, for the z^B rule.

    Returns (N, C, H, W) relevance and the (N,) explained scalars, detached. Where every rule conserves and biases are
    zero, the sum over a picture equals its scalar. Raises SaywhyError where the network computes different values under
    interception than without it (an in-place operation whose result is not used by name).
    """
    with torch.inference_mode(False), torch.enable_grad(), frozen(network):
        # A first layer's rule (flat, z^B) divides its relevance by the pixel: keep exact zeros a hair away from zero.
        hair = 1e-7 if pixels.dtype == torch.float16 else 1e-30
        leaf = pixels.detach().masked_fill(pixels == 0, hair).requires_grad_()
        with Interception(composite, pixel_range):
            output = network(leaf)
        _check_same(network, pixels, output)
        selected = select(output)
        (gradient,) = torch.autograd.grad(selected.sum(), leaf)
        return (leaf * gradient).detach(), selected.detach()


def default_composite(network: nn.Module, pixels: Tensor) -> str:
    """The name of the composite that the literature found best for this kind of network.

    Attention: AttnLRP with gamma (Achtibat et al. 2024). Otherwise epsilon-plus (Montavon et al. 2019). What the
    network does is seen by running it once on the first picture, which is remembered.
    """
    with torch.inference_mode(False), frozen(network):
        return DEFAULT_COMPOSITE["attention" if _probe(network, pixels).attends else "convolution"]


# -- the first run of a network ---------------------------------------------------------------------------------------


@dataclass
class _Probe:
    """What was seen when a network first ran, on one picture, as it is."""

    attends: bool
    pixels: Tensor | None
    output: Tensor | None  # both until an intercepted run on the same picture has been compared


_probes: WeakKeyDictionary[nn.Module, _Probe] = WeakKeyDictionary()


class _Watch(TorchFunctionMode):
    """Notes whether a network attends: a softmax over the last of three or more axes, fused or not."""

    attends = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in ATTENTION and (name != "softmax" or result.dim() > 2):
            self.attends = True
        return result


def _probe(network: nn.Module, pixels: Tensor) -> _Probe:
    if network not in _probes:
        first = pixels[:1].detach().clone()
        with torch.no_grad(), _Watch() as watch:
            output = network(first)
        _probes[network] = _Probe(watch.attends, first, output)
    return _probes[network]


def _check_same(network: nn.Module, pixels: Tensor, output: Tensor) -> None:
    """Compare once per network with the plain run; values must agree up to the order of additions."""
    probe = _probe(network, pixels)
    if probe.pixels is None or probe.output is None or not torch.equal(probe.pixels, pixels[:1]):
        return
    difference = (output[:1].detach() - probe.output).abs().max()
    scale = probe.output.abs().max().clamp(min=1e-6)
    tolerance = 1e-3 if output.dtype in (torch.float32, torch.float64) else 0.1
    if torch.isfinite(probe.output).all() and difference > tolerance * scale:
        raise SaywhyError(
            f"{type(network).__name__} computes different values while its relevance is traced (off by "
            f"{float(difference / scale):.1%}); probably it changes a tensor in place and then uses it under its old "
            'name. Write x = x.add(y) for x.add_(y), or use method="integrated-gradients"'
        )
    probe.pixels = probe.output = None
