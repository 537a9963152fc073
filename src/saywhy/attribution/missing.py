"""Why there is no map, and where a network hides relevance: asked only about a map that does not add up."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from saywhy.attribution.account import KINDS, Account, is_held
from saywhy.attribution.composites import Composite
from saywhy.attribution.functions import IN_PLACE, TABLE, carries
from saywhy.attribution.lrp import Interception, Select, changes_in_place
from saywhy.classifiers.borrowing import borrowed, is_scripted
from saywhy.classifiers.outputs import AsLogits
from saywhy.types import MapCheck

Range = tuple[Tensor, Tensor]
AS_IT_IS = Composite(attention="attnlrp", gate="uniform")  # holds no softmax and no gate constant


def why_empty(network: nn.Module, pixels: Tensor, select: Select) -> str:
    """Why the map of one picture is zero everywhere, in half a sentence; "" where the network's gradient is not zero.

    pixels: (1, C, H, W).
    """
    if not pixels.any():
        return "the picture is zero everywhere in the network's input, and relevance is a share of the input"
    steps = [] if is_scripted(network) else _steps(network, pixels, select)
    moving = [name for name, moves in steps if moves]
    if not steps:
        return "the logit does not change with the picture"
    if not moving:
        return f"the logit is a constant, whatever {steps[-1][0]} gives: weights are zero, or a function is saturated"
    if len(moving) < len(steps):
        return f"the gradient vanishes in {moving[0]}: its units are saturated, or its weights zero"
    return ""


def _steps(network: nn.Module, pixels: Tensor, select: Select) -> list[tuple[str, bool]]:
    """The layers that the picture passes, in order, but for the last; and whether the logit changes with their output.

    The last makes the logits of all classes: with its output, the explained one always changes.
    """
    found: list[tuple[str, Tensor]] = []

    def note(name: str, output: Any) -> None:
        if isinstance(output, Tensor) and output.requires_grad:
            found[:] = [one for one in found if one[1] is not output]  # changed in place by this layer
            found.append((name, output))

    with torch.inference_mode(False), torch.enable_grad(), borrowed(network) as shadow:
        for name, module in shadow.named_modules():
            if name and not any(module.children()):
                module.register_forward_hook(lambda module, args, output, name=name: note(name, output))
        logits = select(shadow(pixels.detach().clone().requires_grad_()))
        gradients = torch.autograd.grad(logits.sum(), [output for _, output in found], allow_unused=True)
    named = (_without_reader(network, name) for name, _ in found)
    return list(zip(named, (g is not None and bool(g.any()) for g in gradients), strict=True))[:-1]


def where_missing(
    network: nn.Module,
    pixels: Tensor,
    select: Select,
    composite: Composite,
    pixel_range: Range | None,
    check: MapCheck,
) -> str:
    """Where a network hides relevance of one picture under a composite, in half a sentence; "" where it is not known.

    pixels: (1, C, H, W). check: its map's, by which is looked for the first part that lets no gradient back, or for the
    functions without a rule that conserves.
    """
    if max(abs(check.held), abs(check.lost)) <= (check.allowed or 0):
        return "float16 underflows; use float32 or bfloat16" if pixels.dtype == torch.float16 else ""
    if abs(check.held) > abs(check.lost):
        return where_cut(network, pixels, composite, pixel_range)
    try:
        run = _watched(network, pixels, select, composite, pixel_range)
    except RuntimeError:  # a network that cannot be looked into so closely: that something is missing is said anyway
        return ""
    losses = run.losses()
    if not losses or abs(sum(losses.values()) - check.lost) > abs(check.lost) / 2:
        return "in no function that is seen: one that is compiled or scripted (torch.jit) may hide others"
    function, module = max(losses, key=lambda place: abs(losses[place]))
    most = "most of it" if abs(losses[function, module]) > abs(check.lost) / 2 else "in many places, most"
    rule = "whose rule does not conserve there" if function in TABLE or function in IN_PLACE else "which has no rule"
    return f"{most} by {function}{f' in {module}' if module else ''}, {rule}"


def where_cut(
    network: nn.Module, pixels: Tensor, composite: Composite = AS_IT_IS, pixel_range: Range | None = None
) -> str:
    """The first part of a network that sees one picture and lets no gradient back: "cut after stem, in left"; or ""."""
    try:
        run = _watched(network, pixels, None, composite, pixel_range)
    except RuntimeError:  # as above
        return ""
    return f"cut {run.first_held}" if run.first_held else ""


def _watched(
    network: nn.Module, pixels: Tensor, select: Select | None, composite: Composite, pixel_range: Range | None
) -> _Watch:
    """One run of a network for one picture, and the backward pass from what ``select`` chooses."""
    with torch.inference_mode(False), torch.enable_grad(), borrowed(network) as shadow:
        run = _Watch(composite, pixel_range)
        for name, module in shadow.named_modules():
            if name:
                run.watch(_without_reader(network, name), module)
        leaf = pixels.detach().clone().requires_grad_()
        with run:
            output = run.current(shadow(leaf))
        if select is not None:
            torch.autograd.grad(select(output).sum(), leaf)
    return run


class _Watch(Interception):
    """An interception that has an account of every call of a function, and knows in which module it is made."""

    def __init__(self, composite: Composite, pixel_range: Range | None) -> None:
        super().__init__(composite, pixel_range)
        self.first_held = ""
        self._inside: list[str] = []
        self._alive = ""
        self._calls: list[tuple[tuple[str, str], Account]] = []

    def watch(self, name: str, module: nn.Module) -> None:
        """Know when the module runs. name: what it is called."""

        def after(module: nn.Module, args: Any, output: Any) -> None:
            self._inside.pop()
            if is_held(output) and not self.first_held:
                self.first_held = f"after {self._alive}, in {name}" if self._alive else f"in {name}"
            elif carries(output):
                self._alive = name

        module.register_forward_pre_hook(lambda module, args: self._inside.append(name))
        module.register_forward_hook(after)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        whole, self.account = self.account, Account(1)
        inputs: list[Tensor] = []

        def own(value: Any) -> Any:
            """A tensor whose gradient is that of this call alone."""
            if isinstance(value, list | tuple):
                return type(value)(map(own, value))
            if not carries(value):
                return value
            alone = value.view_as(value)
            alone.__dict__.update(value.__dict__)
            inputs.append(alone)
            return alone

        name = getattr(func, "__name__", "")
        # A BatchNorm merges itself into the convolution before it: what that loses is lost there.
        merged = [value._saywhy_place for value in args if name == "batch_norm" and hasattr(value, "_saywhy_place")]
        place = merged[0] if merged else (name, self._inside[-1] if self._inside else "")
        try:
            args, kwargs = self.current(tuple(args)), self.current(kwargs or {})
            if not changes_in_place(name, args, kwargs):  # which its first argument stands for from there on
                args, kwargs = tuple(map(own, args)), {key: own(value) for key, value in kwargs.items()}
            result = super().__torch_function__(func, types, args, kwargs)
            if not inputs:
                return result
            for out in result if isinstance(result, tuple | list) else (result,):
                if carries(out):
                    self.account.passed(out, 1.0, "lost")
                    if hasattr(out, "_saywhy_map"):
                        out._saywhy_place = place
            for alone in inputs:
                self.account.passed(alone, -1.0, "lost")
            self._calls.append((place, self.account))
            return result
        finally:
            self.account = whole

    def losses(self) -> dict[tuple[str, str], float]:
        """(function, module) -> relevance that came in from behind and neither went on nor was taken by constants."""
        lost: dict[tuple[str, str], float] = defaultdict(float)
        for place, account in self._calls:
            lost[place] += float(account.totals("lost") - sum(account.totals(kind) for kind in KINDS))
        return lost


def _without_reader(network: nn.Module, name: str) -> str:
    """The name of a module as its owner knows it, without what reads the network's output."""
    return name.removeprefix("network.") if isinstance(network, AsLogits) else name
