"""Layer-wise relevance propagation for any torch network, unmodified: one forward and one backward pass.

While the network runs, every torch function it calls is looked up by name in the table of ``functions.py``
(``torch.overrides.TorchFunctionMode``). No module is patched, replaced or hooked, and no architecture is special.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from saywhy.attribution.account import Account, hold, is_held
from saywhy.attribution.composites import DEFAULT_COMPOSITE, Box, Composite
from saywhy.attribution.functions import (
    ATTENTION,
    GATE_KEEPING,
    IN_PLACE,
    OVERWRITABLE,
    PRODUCTS,
    TABLE,
    carries,
    contiguous_gradient,
    keep_gate,
    ordinary,
    tensors_in,
)
from saywhy.attribution.pixels import Pixels
from saywhy.attribution.rules import Rule
from saywhy.classifiers.borrowing import borrowed, is_scripted
from saywhy.classifiers.outputs import AsLogits
from saywhy.errors import SaywhyError

Select = Callable[[Tensor], Tensor]
"""From the network's output (N, C) to the N scalars to explain."""


class Interception(TorchFunctionMode):
    """A mode under which torch functions propagate relevance by the rules of one composite.

    Inside it values are those of the plain network, and ``x * torch.autograd.grad(y, x)`` is the relevance of any
    tensor x for y. It holds the state of one run of a network; make a new one for each.
    """

    def __init__(
        self, composite: Composite, pixel_range: tuple[Tensor, Tensor] | None = None, pictures: int = 1
    ) -> None:
        super().__init__()
        self.composite = composite
        self.account = Account(pictures)
        self.path = 0  # of the functions that were called, in order: what another picture may not have in common
        self.pixels = Pixels()
        self._changed = WeakTensorKeyDictionary()
        self._first: Rule | None
        if composite.first == "box":
            if pixel_range is None:
                raise SaywhyError("the z^B rule needs the values of black and white: pass pixel_range=(low, high)")
            self._first = Box(*pixel_range)
        else:
            self._first = composite.first

    @property
    def intercepting(self) -> TorchFunctionMode:
        return self

    def rule_for(self, kind: str, x: Tensor) -> Rule:
        first, self._first = self._first, None
        if isinstance(first, Box):
            first = Box(*(self.pixels.range_of(x) or (first.low, first.high)))
        return first or getattr(self.composite, kind)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = (self.current(value) for value in (tuple(args), kwargs or {}))
        name = getattr(func, "__name__", "")
        self.path = hash((self.path, name))
        tensors = list(tensors_in((*args, *kwargs.values())))
        carrying = [x for x in tensors if carries(x)]
        if not carrying:
            result = func(*args, **kwargs)
            if any(map(is_held, tensors)):
                hold(result)
            return result
        unused = getattr(carrying[0], "_saywhy_unused", False) and carrying[0] is args[0] and not args[0].is_leaf
        for x in carrying:
            x._saywhy_unused = False  # type: ignore[attr-defined]
        in_place = changes_in_place(name, args, kwargs)
        if in_place and unused and name in ("relu", "relu_") and not args[0]._is_view():
            args[0]._saywhy_map = None
            return func(*args, **kwargs)
        result = self._changed_by(name, func, args, kwargs) if in_place else self._run(name, func, args, kwargs)
        if name not in TABLE or name in GATE_KEEPING:
            keep_gate(result, carrying)
        if name in OVERWRITABLE:
            result._saywhy_unused = True
        hold(result)
        return result

    def _run(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        normalised = self.pixels.normalised(name, func, args, kwargs)
        if normalised is not None:
            return normalised
        result = TABLE.get(name, ordinary)(self, func, *args, **kwargs)
        self.pixels.rearranged(name, func, args, kwargs, result)
        return result

    def _changed_by(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Of an in-place function the result, for which its first argument stands from here on."""
        before = args[0]
        if name in IN_PLACE:
            name = IN_PLACE[name]
            func = getattr(torch.Tensor, name, None) or getattr(F, name)
        elif "inplace" in kwargs:
            kwargs = {**kwargs, "inplace": False}
        elif name not in TABLE:  # of no other form: it changes a copy
            args = (before.clone(), *args[1:])
        result = self._run(name, func, args, kwargs)
        self._change(before, result)
        return result

    def _change(self, before: Tensor, now: Tensor) -> None:
        """An in-place function ran out of place: from here on, the tensor that it was given stands for its result.

        So does what shares its memory: a tensor of which it is a view is changed here, views of it in ``current``.
        """
        if now is before:
            return
        self._changed[before] = now
        base = before._base
        if base is not None and carries(base):
            whole = self.current(base).clone()
            if whole.stride() == base.stride():
                _seen_through(whole, before).copy_(now)  # as_strided_scatter has a wrong gradient in torch 2.14
                self._changed[base] = whole

    def current(self, value: Any) -> Any:
        """The value, every tensor in it that was changed in place being what it was changed to."""
        if not self._changed:
            return value
        if isinstance(value, Tensor):
            base = value._base
            if value not in self._changed and base is not None and base in self._changed:
                whole = self.current(base)
                return _seen_through(whole, value) if whole.stride() == base.stride() else value
            while value in self._changed:
                value = self._changed[value]
            return value
        if type(value) in (list, tuple):
            return type(value)(map(self.current, value))
        if isinstance(value, dict):
            return {key: self.current(one) for key, one in value.items()}
        return value


def _seen_through(whole: Tensor, view: Tensor) -> Tensor:
    """A view of ``whole`` as ``view`` is one of a tensor of the same layout."""
    return whole.as_strided(view.size(), view.stride(), view.storage_offset())


def changes_in_place(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a function changes its first argument, and relevance flows through that."""
    if not args or not carries(args[0]) or name == "requires_grad_":
        return False
    by_name = name in IN_PLACE or name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
    return by_name or kwargs.get("inplace") is True


@dataclass(frozen=True, eq=False)
class Traced:
    """What one pass gives: (N, C, H, W) relevance, the (N,) explained scalars, and where the rest of these went."""

    relevance: Tensor
    logits: Tensor
    account: Account


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
    interception than without it.
    """
    traced = trace(network, pixels, select, composite, pixel_range)
    return traced.relevance, traced.logits


def trace(
    network: nn.Module,
    pixels: Tensor,
    select: Select,
    composite: Composite,
    pixel_range: tuple[Tensor, Tensor] | None = None,
) -> Traced:
    """As ``lrp``, with the account of what did not reach the pixels."""
    _check_visible(network)
    with torch.inference_mode(False), torch.enable_grad(), _full_precision(pixels.device), borrowed(network) as shadow:
        run = Interception(composite, pixel_range, len(pixels))
        leaf = run.pixels.start(pixels, pixel_range if composite.first == "box" else None)
        with run:
            output = run.current(shadow(leaf))
        _check_traced(shadow, leaf, output)
        _check_same(network, pixels, output, run.path)
        selected = select(output)
        return Traced(run.pixels.relevance(selected.sum(), run.account).detach(), selected.detach(), run.account)


@contextmanager
def exact_gradients(device: torch.device) -> Iterator[None]:
    """While in the context, gradients are those of the chain rule, in the network's own precision.

    Autocast is off. PyTorch's CPU kernel for the gradient of an evaluation-mode BatchNorm is wrong for one picture
    whose gradient arrives transposed (by ``flatten(2).transpose(1, 2)``, as in LeViT and CvT): it is made contiguous.
    """
    with _full_precision(device), _ContiguousGradients():
        yield


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    with torch.autocast(device.type, enabled=False), torch.autocast("cpu", enabled=False):
        yield


class _ContiguousGradients(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") == "batch_norm" and isinstance(result, Tensor) and result.requires_grad:
            return contiguous_gradient(result)
        return result


def check_quantised(network: nn.Module) -> None:
    """Raises SaywhyError for a network with quantised layers, through which no gradient passes."""
    quantised = [name for name, module in network.named_modules() if ".quantized" in type(module).__module__]
    if quantised:
        raise SaywhyError(
            f"no gradient passes through the quantised layers of {_kind(network)} ({quantised[0]}, ...); "
            "explain the network before it was quantised"
        )


def check_gradient(network: nn.Module, pixels: Tensor) -> None:
    """Raises SaywhyError where the network cuts the gradient between its input and its output, and says where."""
    leaf = pixels[:1].detach().clone().requires_grad_()
    with torch.enable_grad():
        if not network(leaf).requires_grad:
            raise SaywhyError(_cut(network, leaf))


def _check_visible(network: nn.Module) -> None:
    """Raises SaywhyError for a network whose functions are compiled, so that they cannot be intercepted."""
    if is_scripted(network):
        raise SaywhyError(
            f"{_kind(network)} hides its functions (torch.jit), and relevance cannot follow them; explain the "
            'plain module, or use method="integrated-gradients"'
        )


def _check_traced(network: nn.Module, leaf: Tensor, output: Tensor) -> None:
    """Raises SaywhyError where relevance cannot flow back from output to leaf: no gradient, or a function unseen."""
    if not output.requires_grad:
        raise SaywhyError(_cut(network, leaf))
    hidden = _hidden_functions(output)
    if hidden:
        raise SaywhyError(
            f"{_kind(network)} computes {', '.join(sorted(hidden))} by an autograd function of its own, whose "
            "relevance has no rule; write it with torch's functions (EfficientNet: set_swish(False)), or use "
            'method="integrated-gradients"'
        )


def _hidden_functions(output: Tensor) -> set[str]:
    """Names of the autograd functions in Python that led to the output and are not the rules' own."""
    found: set[str] = set()
    seen: set[Any] = set()
    left = [output.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        written = getattr(node, "_forward_cls", None)  # of a function that is written in Python
        if written is not None and not written.__module__.startswith("saywhy."):
            found.add(written.__name__)
        left += [earlier for earlier, _ in node.next_functions]
    return found


def _cut(network: nn.Module, leaf: Tensor) -> str:
    """Where the network cuts the gradient, in a sentence: behind the last module whose output still has one."""
    finished: list[tuple[str, bool]] = []

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            tensors = [x for x in (output if isinstance(output, list | tuple) else [output]) if isinstance(x, Tensor)]
            finished.append((name, any(x.requires_grad for x in tensors)))

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in network.named_modules() if name]
    try:
        plain = network(leaf)
    finally:
        for handle in handles:
            handle.remove()
    if plain.requires_grad:
        return (
            f"the composite holds so much of {_kind(network)} constant that no relevance reaches the pixels; use "
            "another composite or method"
        )
    alive = [name for name, carries_gradient in finished if carries_gradient]
    first = next((name for name, carries_gradient in finished if not carries_gradient), "the first module")
    where = f"after {alive[-1]}" if alive else f"in or before {first}"
    return (
        f"the forward pass of {_kind(network)} cuts the gradient {where}, by torch.no_grad, detach or a layer "
        "that has none; an explanation needs one all the way to the pixels"
    )


def default_composite(network: nn.Module, pixels: Tensor) -> str:
    """The name of the composite that the literature found best for this kind of network.

    Attention: AttnLRP with gamma (Achtibat et al. 2024). Otherwise epsilon-plus (Montavon et al. 2019). What the
    network does is seen by running it once on the first picture, which is remembered.
    """
    with torch.inference_mode(False):
        return DEFAULT_COMPOSITE["attention" if _probe(network, pixels).attends else "convolution"]


# -- the first run of a network ---------------------------------------------------------------------------------------


@dataclass
class _Probe:
    """What was seen when a network first ran, on one picture, as it is."""

    attends: bool
    pixels: Tensor | None
    output: Tensor | None  # both until an intercepted run has been compared with a plain one
    compared: set[int]  # the paths through the network's functions on which that was done


_probes: WeakKeyDictionary[nn.Module, _Probe] = WeakKeyDictionary()


class _Watch(TorchFunctionMode):
    """Notes whether a network attends: by a fused function, or by softmax weights that go into a matrix product.

    The weights of split attention are multiplied element by element. Weights stay weights through what leaves them
    their number: dropout, masks, mixing of heads.
    """

    attends = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in ATTENTION:
            self.attends = True
        elif name == "softmax" and result.dim() > 2:
            result._saywhy_weights = True
        elif weights := [x for x in tensors_in(args) if getattr(x, "_saywhy_weights", False)]:
            if name in PRODUCTS:
                self.attends = True
            elif isinstance(result, Tensor) and result.numel() == weights[0].numel():
                result._saywhy_weights = True  # type: ignore[attr-defined]
        return result


def _probe(network: nn.Module, pixels: Tensor) -> _Probe:
    if network not in _probes:
        first = pixels[:1].detach().clone()
        with torch.no_grad(), _full_precision(pixels.device), borrowed(network) as shadow, _Watch() as watch:
            output = shadow(first)
        _probes[network] = _Probe(watch.attends, first, output, set())
    return _probes[network]


def _kind(network: nn.Module) -> str:
    """What a person calls the network: the name of its class, without what reads its output."""
    return type(network.network if isinstance(network, AsLogits) else network).__name__


def _check_same(network: nn.Module, pixels: Tensor, output: Tensor, path: int) -> None:
    """Compare with the plain run, once for each path that the network takes through its functions."""
    probe = _probe(network, pixels)
    if path in probe.compared:
        return
    first, plain = probe.pixels, probe.output  # taken once: another thread may be done with them meanwhile
    if first is not None and plain is not None and torch.equal(first, pixels[:1]):
        output = output[:1]
    else:
        with torch.no_grad(), borrowed(network) as shadow:
            plain = shadow(pixels.clone())  # it may work in place
    check_values(network, plain, output.detach())
    probe.compared.add(path)
    probe.pixels = probe.output = None


def check_values(network: nn.Module, plain: Tensor, traced: Tensor) -> Tensor:
    """(N,): how far the logits of the pass that is explained are from the plain ones, over the largest of each picture.

    plain, traced: (N, ...). They agree up to the order of additions. Raises SaywhyError where they do not.
    """
    plain, traced = plain.reshape(len(plain), -1), traced.reshape(len(traced), -1)
    difference = (traced.to(plain) - plain).abs().amax(1) / plain.abs().amax(1).clamp(min=1e-6)
    tolerance = 1e-3 if traced.dtype in (torch.float32, torch.float64) else 0.1
    if torch.isfinite(plain).all() and bool((difference > tolerance).any()):
        raise SaywhyError(
            f"{_kind(network)} computes different values while its relevance is traced (off by "
            f"{float(difference.max()):.1%}): it asks whether a gradient is wanted, draws at random, or changes a "
            'tensor in a way that no function of torch shows; use method="integrated-gradients"'
        )
    return difference
