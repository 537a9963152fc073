"""Which values of a layer's output belong to which place in the picture: known from what the network did with it.

While the network runs on one picture, every tensor has a companion of the same shape that says where in the picture
each value stands. A convolution or a pooling spreads places over its output, a linear map keeps them, attention gives
those of the queries; whatever moves values about (view, permute, roll, cat, ...) is done to the companion too. So the
grid of any layer is known, square or not, with its class and register tokens, in any order of axes. Where the
companion is lost, or its places form no grid, there is no layout: none is guessed from a shape.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from math import prod
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from saywhy.classifiers.borrowing import borrowed

looking: ContextVar[bool] = ContextVar("looking", default=False)
"""Whether a network runs only to find its layouts: hooks that read or write maps then do nothing."""

# Functions that move values about and compute nothing; an in-place one goes by its name without the last "_".
JOINING = {"cat", "concat", "concatenate", "hstack", "stack", "vstack"}
MOVING = {
    "__get__", "__getitem__", "broadcast_to", "channel_shuffle", "chunk", "diagonal", "expand", "expand_as", "flatten",
    "flip", "fliplr", "flipud", "gather", "hsplit", "index_select", "moveaxis", "movedim", "narrow", "permute", "ravel",
    "repeat", "repeat_interleave", "reshape", "reshape_as", "roll", "rot90", "select", "split", "split_with_sizes",
    "squeeze", "swapaxes", "swapdims", "t", "take_along_dim", "tensor_split", "tile", "transpose", "unbind",
    "unflatten", "unfold", "unsqueeze", "view", "view_as", "vsplit",
}  # fmt: skip
VIEWS = {"view": Tensor.reshape, "view_as": Tensor.reshape_as}  # a companion need not lie in memory as its tensor does
PRODUCTS = {
    "matmul": "...ik,...kj->...ij",
    "__matmul__": "...ik,...kj->...ij",
    "bmm": "bik,bkj->bij",
    "mm": "ik,kj->ij",
}
MERGING = {"mean", "sum", "amax", "amin", "max", "min"}
"""Functions that make one value of several along axes: it stands in the middle of theirs."""
SCATTERING = ("sort", "msort", "argsort", "topk", "cumsum", "cumprod", "logcumsumexp")
"""Functions after which values of the same shape no longer stand where they stood; so do those of ``torch.fft``."""
OUTSIDE = 0.75  # of a step: how far the first and the last place may lie from where an even grid's lie
CLOSE = 0.01  # pixels of the picture: places nearer than this are the same


@final
@dataclass(frozen=True)
class Layout:
    """How the positions of a map lie in a layer's output.

    shape: of the output for one picture, (1, ...).
    grid:  (h, w), both above one.
    axes:  of rows and columns; or one axis of tokens.
    start: tokens before those of the grid: class and register tokens. Others may stand behind.
    order: which of the grid's tokens each position is, row by row; () where they stand row by row themselves.
    """

    shape: tuple[int, ...]
    grid: tuple[int, int]
    axes: tuple[int, ...]
    start: int = 0
    order: tuple[int, ...] = field(default=(), repr=False)

    @property
    def extra(self) -> int:
        """How many tokens there are beside those of the grid."""
        return prod(self.shape[axis] for axis in self.axes) - prod(self.grid)

    def view(self, x: Tensor) -> Tensor:
        """(N, C, h, w) view of an output, without the other tokens: what is written to it is in ``x``.

        Where tokens stand in an order of their own it is a copy, and what is written to it is not.
        """
        (channels,) = {*range(1, x.dim())} - {*self.axes}
        if len(self.axes) == 2:
            return x.permute(0, channels, *self.axes)
        tokens = x.narrow(self.axes[0], self.start, prod(self.grid))
        if self.order:
            tokens = tokens.index_select(self.axes[0], torch.tensor(self.order, device=x.device))
        return tokens.permute(0, channels, self.axes[0]).unflatten(2, self.grid)


@final
@dataclass(frozen=True)
class Seen:
    """What a module gave when the network ran.

    given:   the layout of what went in last; None where it has none.
    layouts: of what came out, one for each shape; the last one last.
    """

    given: Layout | None
    layouts: tuple[Layout, ...]

    @property
    def layout(self) -> Layout:
        return self.layouts[-1]

    def of(self, x: Tensor) -> Layout | None:
        """The layout that an output of this module has, for any number of pictures; None where it has none."""
        return next((layout for layout in self.layouts if layout.shape[1:] == x.shape[1:]), None)


def find_layouts(network: nn.Module, pixels: Tensor) -> dict[str, Seen]:
    """The layers whose output is a map, by their modules' paths, in the order in which they finish last.

    pixels: (N, C, H, W), preprocessed; the first picture is run through a shadow of the network.
    """
    seen: dict[str, Seen] = {}
    token = looking.set(True)
    try:
        with torch.no_grad(), borrowed(network) as shadow, ExitStack() as stack:
            places = Places(pixels[:1])
            for name, module in shadow.named_modules():
                if name:
                    stack.callback(module.register_forward_hook(_noting(name, places, seen)).remove)
            stack.enter_context(places)
            shadow(places.pixels)
    finally:
        looking.reset(token)
    return seen


def first_tensor(output: Any) -> Any:
    """A module's output, or the first of several (transformers' blocks return tuples)."""
    return output[0] if isinstance(output, list | tuple) and output else output


def _noting(name: str, places: Places, seen: dict[str, Seen]) -> Callable[..., None]:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        layout = places.layout(first_tensor(output))
        before = seen.pop(name, None)
        if layout is not None:
            earlier = () if before is None else tuple(one for one in before.layouts if one.shape != layout.shape)
            seen[name] = Seen(places.layout(first_tensor(args)), (*earlier, layout))

    return hook


class Places(TorchFunctionMode):
    """Follows where in the picture the values of each tensor stand.

    A companion is complex: row + column * i, both above 0, in pixels of the picture; 0 where a value has no place.
    """

    def __init__(self, pixels: Tensor) -> None:
        super().__init__()
        self.pixels = pixels.detach().clone()
        self._of = WeakTensorKeyDictionary()
        rows, columns = (torch.arange(size, device=pixels.device) + 0.5 for size in pixels.shape[2:])
        self._of[self.pixels] = torch.complex(*torch.meshgrid(rows, columns, indexing="ij")).expand(pixels.shape)
        self._layouts = WeakTensorKeyDictionary()  # of companions: many tensors share one

    def layout(self, x: Any) -> Layout | None:
        """How a map lies in a tensor; None where it has no positions, or they form no grid."""
        found = self._of.get(x) if isinstance(x, Tensor) else None
        if found is None or found.shape != x.shape:
            return None
        if found not in self._layouts:
            self._layouts[found] = _layout(found, self.pixels.shape[2:])
        return self._layouts[found]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") == "__get__" and not isinstance(result := func(*args, **kwargs), Tensor):
            return result  # a shape, a device
        tracked = [x for x in _tensors((*args, *kwargs.values())) if x in self._of]
        if not tracked:
            return func(*args, **kwargs)
        before = [(x.shape, self._of[x]) for x in tracked]
        result = func(*args, **kwargs)
        try:
            found = self._follow(func, args, kwargs, before, result)
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError):
            found = None  # a call that the companion cannot follow: its result has no places
        results = result if isinstance(result, list | tuple) else [result]
        companions = found if isinstance(found, list | tuple) else [found] * len(results)
        for x, companion in zip(results, companions, strict=False):
            if not isinstance(x, Tensor):
                continue
            if companion is not None and companion.shape == x.shape:
                self._of[x] = companion
            elif x in self._of and getattr(func, "__name__", "") != "__get__":
                del self._of[x]
        return result

    def _follow(self, func: Any, args: Any, kwargs: Any, before: list[tuple[Any, Tensor]], result: Any) -> Any:
        """The companion of what ``func`` gave, or one for each where it gave several; None where there is none."""
        name = str(getattr(func, "__name__", ""))
        if name.endswith("_") and not name.endswith("__") and hasattr(Tensor, name[:-1]):
            name = name[:-1]
            func = getattr(Tensor, name)
        if name == "pad":
            given = self._of[args[0] if args else kwargs["input"]]
            margins = args[1] if len(args) > 1 else kwargs["pad"]
            return torch.nn.functional.pad(given, margins)
        if name in JOINING:
            joined = [self._of[x] if x in self._of else _nowhere(x) for x in args[0]]
            return func(joined, *args[1:], **kwargs)
        if name in MOVING:
            func = VIEWS.get(name, func)
            return func(self._of[args[0]], *args[1:], **kwargs)
        if name in SCATTERING or "fft" in name:
            return None
        if not isinstance(result, Tensor):
            result = first_tensor(result)
        if name in MERGING and (dims := kwargs.get("dim", args[1] if len(args) > 1 else None)) is not None:
            return _merged(before[0][1], dims, result.dim() == args[0].dim())
        if name == "linear":
            return _mean(before[0][1], -1).expand(result.shape)
        if name == "einsum":
            factors = args[1] if isinstance(args[1], list | tuple) else args[1:]
            return self._of_product(args[0], factors, result)
        if name in PRODUCTS:
            return self._of_product(PRODUCTS[name], args, result)
        if name == "glu":
            return before[0][1].chunk(2, kwargs.get("dim", args[1] if len(args) > 1 else -1))[0]
        if name == "scaled_dot_product_attention":
            return None if args[0] not in self._of else _mean(self._of[args[0]], -1).expand(result.shape)
        same = [companion for shape, companion in before if shape == result.shape]
        if same:
            return same[0]
        for shape, companion in before:
            if name == "conv1d":
                return _mean(companion, 1).expand(result.shape)
            if len(shape) == result.dim() == 4 and shape[0] == result.shape[0] and not _broadcasts(shape, result.shape):
                return _spread(companion, result.shape)
        return next((c.expand(result.shape) for shape, c in before if _broadcasts(shape, result.shape)), None)

    def _of_product(self, equation: str, factors: Any, result: Tensor) -> Tensor | None:
        """Of matmul or einsum: the places of the first factor that has any left, means over what is summed."""
        inputs, _, output = equation.replace(" ", "").partition("->")
        for letters, factor in zip(inputs.split(","), factors, strict=True):
            companion = self._of.get(factor)
            if companion is None:
                continue
            letters, out = (text.replace("...", "") for text in (letters, output))
            lead = companion.dim() - len(letters)
            for axis in reversed(range(len(letters))):
                if letters[axis] not in out:
                    companion = _mean(companion, lead + axis).squeeze(lead + axis)
                    letters = letters[:axis] + letters[axis + 1 :]
            more = result.dim() - len(out) - lead  # leading axes that only the other factor has
            order = [*range(lead), *(lead + letters.index(letter) for letter in out if letter in letters)]
            companion = companion.permute(order)[(None,) * more]
            for axis, letter in enumerate(out):
                if letter not in letters:
                    companion = companion.unsqueeze(lead + more + axis)
            if bool((companion != companion.flatten()[0]).any()):
                return companion.expand(result.shape)
        return None


def _layout(places: Tensor, size: torch.Size) -> Layout | None:
    """The layout that a companion (1, ...) of a tensor with one axis of channels shows. size: (H, W) of the picture."""
    if len(places) != 1 or places.dim() not in (3, 4) or not places.numel():
        return None
    chosen = places[0]
    axes: list[int] = []
    for axis in reversed(range(1, places.dim())):
        if _same_along(chosen, axis - 1):
            chosen = chosen.select(axis - 1, 0)
        else:
            axes.insert(0, axis)
    if len(axes) != places.dim() - 2:
        return None
    if len(axes) == 2:
        for order in ((0, 1), (1, 0)):
            grid = chosen.permute(order)
            if bool((chosen != 0).all()) and _is_grid(grid, size):
                height, width = grid.shape
                return Layout(tuple(places.shape), (height, width), (axes[order[0]], axes[order[1]]))
        return None
    there = (chosen != 0).nonzero()[:, 0].tolist()
    if not there or there != list(range(there[0], there[-1] + 1)):
        return None
    tokens = torch.view_as_complex(torch.view_as_real(chosen[there[0] : there[-1] + 1]).div(CLOSE).round() * CLOSE)
    width = int((tokens.real == tokens.real[0]).sum())
    if len(tokens) % width:
        return None
    where = tokens.tolist()
    by_row = sorted(range(len(tokens)), key=lambda n: (where[n].real, where[n].imag))
    if not _is_grid(tokens[by_row].view(-1, width), size):
        return None
    own = tuple(by_row) if by_row != sorted(by_row) else ()
    return Layout(tuple(places.shape), (len(tokens) // width, width), (axes[0],), there[0], own)


def _is_grid(places: Tensor, size: torch.Size) -> bool:
    """Whether (h, w) places, h and w above one, are those of rows from the top and columns from the left of all."""
    rows, columns = places.real, places.imag
    if min(places.shape) < 2 or not (_covers(rows[:, 0], size[0]) and _covers(columns[0], size[1])):
        return False
    return bool(
        ((rows - rows[:, :1]).abs() < CLOSE).all()
        and ((columns - columns[:1]).abs() < CLOSE).all()
        and (rows[1:, 0] - rows[:-1, 0] > CLOSE).all()
        and (columns[0, 1:] - columns[0, :-1] > CLOSE).all()
    )


def _covers(line: Tensor, length: int) -> bool:
    """Whether places along an axis go from one edge to the other, but for what a subsampling leaves out."""
    step = float(line[-1] - line[0]) / (len(line) - 1)
    before, behind = float(line[0]) - step / 2, length - float(line[-1]) - step / 2
    return max(abs(before), abs(behind)) < OUTSIDE * step


def _same_along(places: Tensor, axis: int) -> bool:
    if places.stride(axis) == 0:
        return True
    apart = torch.view_as_real(places - places.narrow(axis, 0, 1))
    return bool(apart.abs().max() < CLOSE)


def _mean(places: Tensor, axis: int) -> Tensor:
    """The mean place along an axis, which stays as one; of values without a place nothing is counted."""
    if places.stride(axis) == 0:
        return places.narrow(axis, 0, 1)
    return places.sum(axis, keepdim=True) / (places != 0).sum(axis, keepdim=True).clamp(min=1)


def _merged(places: Tensor, dims: Any, keep: bool) -> Tensor:
    axes = {axis % places.dim() for axis in ((dims,) if isinstance(dims, int) else dims)}
    for axis in axes:
        places = _mean(places, axis)
    return places if keep else places[tuple(0 if axis in axes else slice(None) for axis in range(places.dim()))]


def _spread(places: Tensor, shape: torch.Size) -> Tensor | None:
    """The places (B, C, h', w') after a convolution, pooling or interpolation of maps (B, C, h, w).

    Those of the input's rows and columns, spread evenly from its first edge to its last: padding has no place.
    """
    flat = _mean(places, 1)[:, 0]
    rows, columns = flat.real.amax(2), flat.imag.amax(1)  # 0, of padding, is the least
    if bool(((flat - torch.complex(*_crossed(rows, columns))).abs() > CLOSE)[flat != 0].any()):
        return None  # not rows by columns
    spread = torch.complex(*_crossed(_evenly(rows, shape[2]), _evenly(columns, shape[3])))
    return spread[:, None].expand(shape)


def _crossed(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """(B, h), (B, w) -> twice (B, h, w)."""
    shape = len(rows), rows.shape[1], columns.shape[1]
    return rows[:, :, None].expand(shape).contiguous(), columns[:, None].expand(shape).contiguous()


def _evenly(line: Tensor, count: int) -> Tensor:
    """(B, count) of (B, n) places along an axis, 0 where there is none: as many, spread over the same stretch."""
    low, high = line.masked_fill(line == 0, torch.inf).amin(1, keepdim=True), line.amax(1, keepdim=True)
    number = (line != 0).sum(1, keepdim=True).clamp(min=2)
    half = (high - low) / (number - 1) / 2
    steps = (torch.arange(count, device=line.device) + 0.5) / count
    return low - half + (high - low + 2 * half) * steps


def _broadcasts(shape: torch.Size, to: torch.Size) -> bool:
    if len(shape) > len(to):
        return False
    return all(a in (1, b) for a, b in zip(reversed(shape), reversed(to), strict=False))


def _tensors(values: Any) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found


def _nowhere(x: Tensor) -> Tensor:
    return torch.zeros((), dtype=torch.complex64, device=x.device).expand(x.shape)
