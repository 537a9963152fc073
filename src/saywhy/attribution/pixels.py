"""The pixels as the network's first linear map reads them, wherever they are normalised: outside the network or in it.

Relevance is value times gradient, so it depends on what counts as the value: of x in ``(x - mean) / std`` the rules
would give a part to the constants, another to a brighter pixel. A picture that is normalised by the transform is read
normalised. So is one that the network normalises: what an elementwise affine function with a number per channel makes
of pixels is read in their place. Rearranged pixels (other axes, channels in another order, patches) are pixels still,
each of which has its place in the picture. Whatever else is done to them is part of the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from saywhy.attribution.account import Account
from saywhy.attribution.functions import ADDED_AND_MULTIPLIED, carries, tensors_in

AFFINE = ADDED_AND_MULTIPLIED | {"clamp", "clip"}
REARRANGING = frozenset(
    ("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "permute", "transpose", "movedim", "swapaxes",
     "__getitem__", "select", "narrow", "index_select", "chunk", "split", "unbind", "cat", "concat", "stack", "pad",
     "flip", "roll", "contiguous", "clone", "to", "float", "double", "half", "bfloat16", "type", "type_as",
     "pixel_unshuffle", "pixel_shuffle")
)  # fmt: skip
Function = Callable[..., Any]


class Pixels:
    """What one run of a network reads of its pictures: the leaves of the graph, and what each was made of."""

    def __init__(self) -> None:
        self._leaves: list[Tensor] = []
        self._sources: list[Tensor | None] = []

    def start(self, pixels: Tensor, pixel_range: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """The pixels, to be given to the network. pixel_range: (C,), (C,) values of black and white."""
        sides = None
        if pixel_range is not None:
            sides = tuple(side.to(pixels).view(-1, 1, 1).expand_as(pixels) for side in pixel_range)
        return self._leaf(pixels, None, sides)

    def range_of(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """Black and white at x, in the shape of x; None where x is not made of pixels alone, or they are not known."""
        return getattr(x, "_saywhy_pixels", None) or None

    def normalised(self, name: str, function: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor | None:
        """The result of a function that normalises pixels; None for any other function."""
        carrying = [x for x in tensors_in((*args, *kwargs.values())) if carries(x)]
        if len(carrying) != 1 or not hasattr(carrying[0], "_saywhy_pixels"):
            return None
        (x,) = carrying
        constants = [c for c in tensors_in((*args, *kwargs.values())) if c is not x]
        if name in AFFINE:
            per_channel = all(constant.numel() in (1, self._leaves[0].shape[1]) for constant in constants)
        elif name == "batch_norm":
            per_channel = not kwargs.get("training", args[5] if len(args) > 5 else False)
        else:
            per_channel = name.startswith("conv") and _scales_channels(x, args, kwargs)
        if not per_channel:
            return None

        def at(value: Tensor) -> Tensor:
            with torch.no_grad():
                return function(*(value if a is x else a for a in args), **kwargs)

        y = at(x)
        if y.shape != x.shape:
            return None
        ends = self.range_of(x)
        sides = None
        if ends is not None:
            one, other = map(at, ends)
            sides = torch.minimum(one, other), torch.maximum(one, other)  # a negative factor turns them round
        return self._leaf(y, x, sides)

    def rearranged(self, name: str, function: Function, args: Any, kwargs: dict[str, Any], result: Any) -> None:
        """Told of every other function, so that it may mark what is pixels still."""
        if name not in REARRANGING:
            return
        carrying = [x for x in tensors_in((*args, *kwargs.values())) if carries(x)]
        if not carrying or not all(hasattr(x, "_saywhy_pixels") for x in carrying):
            return
        ends = []
        if all(self.range_of(x) for x in carrying) and len(carrying) == len(list(tensors_in(args))):
            for side in (0, 1):
                with torch.no_grad():
                    ends.append(list(tensors_in([function(*_replaced(args, side), **kwargs)])))
        for n, one in enumerate(tensors_in([result])):
            one._saywhy_pixels = (ends[0][n], ends[1][n]) if ends else ()  # type: ignore[attr-defined]

    def relevance(self, scalar: Tensor, account: Account) -> Tensor:
        """The relevance of every pixel for the scalar, in the shape of the pictures; what padding took is noted."""
        moved = [source is not None and not source.is_leaf for source in self._sources]
        gradients = torch.autograd.grad(scalar, self._leaves, allow_unused=True, retain_graph=any(moved))
        found: list[Tensor] = []
        for leaf, gradient in zip(self._leaves, gradients, strict=True):
            found.append(torch.zeros_like(leaf) if gradient is None else leaf.detach() * gradient)
        for n in range(len(found) - 1, 0, -1):  # what is read of a leaf belongs to the pixels that it was made of
            source, earlier = self._sources[n], self._leaves[:n]
            assert source is not None
            back: Sequence[Tensor | None]
            if moved[n]:
                with account.closed():
                    back = torch.autograd.grad(source, earlier, found[n], allow_unused=True, retain_graph=True)
                account.took(found[n])
                for got in filter(torch.is_tensor, back):
                    account.took(-got)
            else:
                back = tuple(found[n] if leaf is source else None for leaf in earlier)
            for k, part in enumerate(back):
                if part is not None:
                    found[k] = found[k] + part
        return found[0]

    def _leaf(self, values: Tensor, source: Tensor | None, sides: tuple[Tensor, ...] | None) -> Tensor:
        # A first layer's rule (flat, z^B) divides its relevance by the pixel: keep exact zeros a hair away from zero.
        hair = 1e-7 if values.dtype == torch.float16 else 1e-30
        leaf: Any = values.detach().masked_fill(values == 0, hair).requires_grad_()
        leaf._saywhy_pixels = sides or ()
        self._leaves.append(leaf)
        self._sources.append(source)
        return leaf


def _replaced(values: Any, side: int) -> Any:
    """Arguments with black (0) or white (1) for the pixels among them."""
    if isinstance(values, list | tuple):
        return type(values)(_replaced(value, side) for value in values)
    return getattr(values, "_saywhy_pixels")[side] if isinstance(values, Tensor) else values  # noqa: B009


def _scales_channels(x: Tensor, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Whether a convolution is one number per channel: of one pixel, and no channel sees another."""
    weight = kwargs.get("weight", args[1] if len(args) > 1 else None)
    if x is not args[0] or not isinstance(weight, Tensor) or set(weight.shape[2:]) != {1}:
        return False
    matrix = weight.flatten(1)
    if len(matrix) != x.shape[1] or matrix.shape[1] not in (1, len(matrix)):
        return False
    return matrix.shape[1] == 1 or torch.equal(matrix, matrix.diagonal().diag())
