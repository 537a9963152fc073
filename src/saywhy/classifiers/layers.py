"""Layers of an image network as maps (N, C, h, w), whatever their layout: found, recorded, and written to.

A layer is named by its module's path ("layer3", "blocks.5"). Tokens are maps too: those of the positions as
(grid x grid), and the class token, named "blocks.5:class", as a map of one position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from math import isqrt
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saywhy.classifiers.borrowing import borrowed
from saywhy.errors import SaywhyError
from saywhy.plumbing.names import unknown

CLASS_TOKEN = ":class"
MOST_STAGES = 4


def positions(x: Tensor) -> tuple[int, int] | None:
    """(h, w) of a feature map in any of the three layouts, or None where it has no more than one position.

    The layouts: (N, C, h, w), (N, h, w, C), and tokens (N, L, C) of which the last h * w form a square.
    """
    if x.dim() == 4:
        channels_last = x.shape[1] == x.shape[2] != x.shape[3]
        height, width = x.shape[1:3] if channels_last else x.shape[2:4]
        return (height, width) if min(height, width) > 1 else None
    if x.dim() == 3:
        side = isqrt(x.shape[1])
        return (side, side) if side > 1 and x.shape[1] - side**2 <= 8 else None
    return None


def channels_first(x: Tensor) -> Tensor:
    """(N, C, h, w) view of a feature map, class and register tokens left out: what is written to it is in ``x``."""
    grid = positions(x)
    assert grid is not None
    height, width = grid
    if x.dim() == 3:
        return x[:, -height * width :].transpose(1, 2).unflatten(2, (height, width))
    return x.permute(0, 3, 1, 2) if x.shape[1] == x.shape[2] == height and x.shape[3] != width else x


def resized(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """(N, C, h, w) on another grid: averages of areas where it is coarser, bilinear where it is finer."""
    height, width = maps.shape[-2:]
    if (height, width) == grid:
        return maps
    if height >= grid[0] and width >= grid[1]:
        return F.adaptive_avg_pool2d(maps, grid)
    return F.interpolate(maps, grid, mode="bilinear", align_corners=False, antialias=True)


def stages(network: nn.Module, pixels: Tensor, class_tokens: bool = False) -> tuple[str, ...]:
    """The layers at which a network is best read, first to last, at most four of them.

    Of one whose maps shrink: the last output of each grid (a ResNet's four stages, without the stem). Of one whose
    maps do not (a ViT): four blocks, evenly deep, the last among them; without blocks, the last such layer.

    pixels: (N, 3, h, w), any one picture. class_tokens: name the class tokens of the blocks too.

    Raises SaywhyError where no layer has more than one position.
    """
    seen = _maps_of(network, pixels)
    last = {layer.grid: name for name, layer in seen.items() if _is_whole(name, seen)}
    repeated = [name for name in seen if _repeated(network, name)]
    blocks = [name for name in repeated if not any(outer in repeated for outer in _around(name))]
    if not last:
        raise SaywhyError(f"{type(network).__name__} has no layers whose output has positions; name layers to match")
    if len(last) > 1 or not blocks:
        return tuple(last.values())[-MOST_STAGES:]
    step = len(blocks) / MOST_STAGES
    chosen = sorted({round(step * (n + 1)) - 1 for n in range(MOST_STAGES)} - {-1})
    names = [blocks[n] for n in chosen]
    if class_tokens:
        names = [part for name in names for part in (name, *([name + CLASS_TOKEN] if seen[name].extra else []))]
    return tuple(names)


def convolutions(network: nn.Module, pixels: Tensor) -> tuple[str, ...]:
    """Every convolution whose output has positions: what Caption-driven XAI matched of the classifier."""
    modules = dict(network.named_modules())
    return tuple(name for name in _maps_of(network, pixels) if isinstance(modules[name], nn.Conv2d))


@contextmanager
def recorded(network: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """While in the context, every forward pass of the network leaves its layers' maps (N, C, h, w) in the dict.

    Raises SaywhyError for a layer that does not exist; reading a layer whose output is not a map raises it as well.
    """
    maps: dict[str, Tensor] = {}

    def keeper(name: str) -> Callable[..., None]:
        # Copied: the next layer may work in place.
        return lambda module, args, output: maps.__setitem__(name, layer_view(_tensor(output), name).detach().clone())

    with ExitStack() as stack:
        for name in layers:
            handle = find_layer(network, name).register_forward_hook(keeper(name))
            stack.callback(handle.remove)
        yield maps


@contextmanager
def caught(network: nn.Module, name: str) -> Iterator[list[Tensor]]:
    """While in the context, the layer's output of the last forward pass is in the list as it is, with its graph."""
    outputs: list[Tensor] = []

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        outputs[:] = [_tensor(output)]

    handle = find_layer(network, name).register_forward_hook(keep)
    try:
        yield outputs
    finally:
        handle.remove()


@contextmanager
def rewritten(network: nn.Module, edits: dict[str, Callable[[Tensor], None]]) -> Iterator[None]:
    """While in the context, each named layer's map (N, C, h, w) is handed to its edit, which writes into it."""

    def editor(name: str, edit: Callable[[Tensor], None]) -> Callable[..., Any]:
        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            changed = _tensor(output).clone()
            edit(layer_view(changed, name))
            return changed if isinstance(output, Tensor) else type(output)([changed, *output[1:]])

        return hook

    with ExitStack() as stack:
        for name, edit in edits.items():
            handle = find_layer(network, name).register_forward_hook(editor(name, edit))
            stack.callback(handle.remove)
        yield


def layer_view(output: Tensor, name: str) -> Tensor:
    """(N, C, h, w) view of the output of the layer of that name. Raises SaywhyError where it has no such view."""
    if not isinstance(output, Tensor):
        raise SaywhyError(f"layer {name}: its output, {type(output).__name__}, is not a map with positions")
    grid = positions(output)
    if name.endswith(CLASS_TOKEN):
        if output.dim() != 3 or grid is None or output.shape[1] == grid[0] * grid[1]:
            raise SaywhyError(f"layer {name}: its output of shape {tuple(output.shape)} has no class token")
        return output[:, 0, :, None, None]
    if output.dim() == 4 and output.shape[2:] == (1, 1):  # of one position, in an unambiguous layout
        return output
    if grid is None:
        raise SaywhyError(f"layer {name}: its output of shape {tuple(output.shape)} is not a map with positions")
    return channels_first(output)


def find_layer(network: nn.Module, name: str) -> nn.Module:
    """The module of that path. Raises SaywhyError, with near names, where there is none."""
    path = name.removesuffix(CLASS_TOKEN)
    modules = dict(network.named_modules())
    if path not in modules:
        raise unknown(
            "layer", path, filter(None, modules), lead=f"{type(network).__name__} has no", see="named_modules()"
        )
    return modules[path]


class _Seen(NamedTuple):
    """What a layer returned: grid (h, w), whether there are tokens beside it, and whether stages may lie inside."""

    grid: tuple[int, int]
    extra: bool
    container: bool


@torch.no_grad()
def _maps_of(network: nn.Module, pixels: Tensor) -> dict[str, _Seen]:
    """The layers whose output is a map for each picture, in the order they finish."""
    seen: dict[str, _Seen] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            x = _tensor(output)
            grid = positions(x) if isinstance(x, Tensor) and x.shape[:1] == pixels.shape[:1] else None  # no windows
            if grid is not None:
                seen.pop(name, None)
                extra = x.dim() == 3 and x.shape[1] > grid[0] * grid[1]
                seen[name] = _Seen(grid, extra, _is_container(module, _tensor(args), grid))

        return hook

    with ExitStack() as stack, borrowed(network) as shadow:
        for name, module in shadow.named_modules():
            if name:
                stack.callback(module.register_forward_hook(note(name)).remove)
        shadow(pixels)
    return seen


def _is_container(module: nn.Module, x: Any, grid: tuple[int, int]) -> bool:
    """Whether a module runs whole layers one after another: a Sequential, or what shrinks its input more than once.

    Not so a block, which may look at smaller windows or larger maps on its way, and shrinks its input once at most.
    """
    before = positions(x) if isinstance(x, Tensor) else None
    return isinstance(module, nn.Sequential) or (before is not None and before[0] > 2 * grid[0])


def _is_whole(name: str, seen: Mapping[str, _Seen]) -> bool:
    """Whether a layer's output is all that the network has at that point, and not an intermediate inside a block."""
    around = [seen[outer] for outer in _around(name) if outer in seen]
    return all(outer.container or outer.grid == seen[name].grid for outer in around)


def _tensor(output: Any) -> Any:
    """A module's output, or the first of several (transformers' blocks return tuples)."""
    return output[0] if isinstance(output, list | tuple) and output else output


def _around(name: str) -> Iterator[str]:
    """The modules that a module lies in."""
    while name := name.rpartition(".")[0]:
        yield name


def _repeated(network: nn.Module, name: str) -> bool:
    """Whether a module is in a list of its type alone, as blocks are."""
    parent = network.get_submodule(name.rpartition(".")[0])
    return isinstance(parent, nn.ModuleList | nn.Sequential) and len({type(child) for child in parent}) == 1
