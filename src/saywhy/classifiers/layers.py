"""Layers of an image network as maps (N, C, h, w), whatever their layout: found, recorded, and written to.

A layer is named by its module's path ("layer3", "blocks.5"). Tokens are maps too: those of the positions on their
grid, and the class token, named "blocks.5:class", as a map of one position. How a map lies in a layer's output is
known from what the network does (grids.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saywhy.classifiers.grids import Seen, find_layouts, first_tensor, looking
from saywhy.errors import SaywhyError
from saywhy.plumbing.names import unknown

CLASS_TOKEN = ":class"
MOST_STAGES = 4


def resized(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """(N, C, h, w) on another grid: averages of areas where it is coarser, bilinear where it is finer."""
    height, width = maps.shape[-2:]
    if (height, width) == grid:
        return maps
    if height >= grid[0] and width >= grid[1]:
        return F.adaptive_avg_pool2d(maps, grid)
    return F.interpolate(maps, grid, mode="bilinear", align_corners=False, antialias=True)


def stages(
    network: nn.Module, pixels: Tensor, class_tokens: bool = False, seen: Mapping[str, Seen] | None = None
) -> tuple[str, ...]:
    """The layers at which a network is best read, first to last, at most four of them.

    Of one whose maps shrink: the last output of each grid (a ResNet's four stages, without the stem). Of one whose
    maps do not (a ViT): four blocks, evenly deep, the last among them; without blocks, the last such layer.

    pixels: (N, 3, h, w), any one picture. class_tokens: name the class tokens of the blocks too.
    seen:   what ``find_layouts`` found for it, where that is known.

    Raises SaywhyError where no layer has more than one position.
    """
    seen = find_layouts(network, pixels) if seen is None else seen
    last = {one.layout.grid: name for name, one in seen.items() if _is_whole(network, name, seen)}
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
        names = [part for name in names for part in (name, *([name + CLASS_TOKEN] if seen[name].layout.start else []))]
    return tuple(names)


def convolutions(network: nn.Module, pixels: Tensor) -> tuple[str, ...]:
    """Every convolution whose output has positions: what Caption-driven XAI matched of the classifier."""
    modules = dict(network.named_modules())
    return tuple(name for name in find_layouts(network, pixels) if isinstance(modules[name], nn.Conv2d))


@contextmanager
def recorded(network: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """While in the context, every forward pass of the network leaves its layers' maps (N, C, h, w) in the dict.

    Raises SaywhyError for a layer that does not exist; reading a layer whose output is not a map raises it as well.
    """
    maps: dict[str, Tensor] = {}

    def keeper(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if not looking.get():  # copied: the next layer may work in place
                maps[name] = layer_view(first_tensor(output), name, seen).detach().clone()

        return hook

    with ExitStack() as stack, _laid_out(network) as seen:
        for name in layers:
            handle = find_layer(network, name).register_forward_hook(keeper(name))
            stack.callback(handle.remove)
        yield maps


@contextmanager
def caught(network: nn.Module, name: str) -> Iterator[list[Tensor]]:
    """While in the context, the layer's output of the last forward pass is in the list as it is, with its graph."""
    outputs: list[Tensor] = []

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        outputs[:] = [first_tensor(output)]

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
            if looking.get():
                return output
            changed = first_tensor(output).clone()
            view = layer_view(changed, name, seen)
            if view.untyped_storage().data_ptr() != changed.untyped_storage().data_ptr():  # a copy
                raise SaywhyError(f"layer {name}: its tokens stand in an order of their own, and cannot be replaced")
            edit(view)
            return changed if isinstance(output, Tensor) else type(output)([changed, *output[1:]])

        return hook

    with ExitStack() as stack, _laid_out(network) as seen:
        for name, edit in edits.items():
            handle = find_layer(network, name).register_forward_hook(editor(name, edit))
            stack.callback(handle.remove)
        yield


def layer_view(output: Any, name: str, seen: Mapping[str, Seen]) -> Tensor:
    """(N, C, h, w) view of the output of the layer of that name. Raises SaywhyError where it has no such view.

    seen: what ``find_layouts`` found for pictures of this size.
    """
    if not isinstance(output, Tensor):
        raise SaywhyError(f"layer {name}: its output, {type(output).__name__}, is not a map with positions")
    path = name.removesuffix(CLASS_TOKEN)
    layout = seen[path].of(output) if path in seen else None
    if name != path:
        if layout is None or not layout.start:
            raise SaywhyError(f"layer {name}: its output of shape {tuple(output.shape)} has no class token")
        return output[:, 0, :, None, None]
    if layout is None:
        if output.dim() == 4 and output.shape[2:] == (1, 1):  # of one position, in an unambiguous layout
            return output
        raise SaywhyError(f"layer {name}: its output of shape {tuple(output.shape)} is not a map with positions")
    return layout.view(output)


def find_layer(network: nn.Module, name: str) -> nn.Module:
    """The module of that path. Raises SaywhyError, with near names, where there is none."""
    path = name.removesuffix(CLASS_TOKEN)
    modules = dict(network.named_modules())
    if path not in modules:
        raise unknown(
            "layer", path, filter(None, modules), lead=f"{type(network).__name__} has no", see="named_modules()"
        )
    return modules[path]


_known: WeakKeyDictionary[nn.Module, dict[torch.Size, dict[str, Seen]]] = WeakKeyDictionary()


@contextmanager
def _laid_out(network: nn.Module) -> Iterator[Mapping[str, Seen]]:
    """While in the context, the dict holds the layouts for pictures of the size that the network is running on."""
    current: dict[str, Seen] = {}

    def look(module: nn.Module, args: Any) -> None:
        if not looking.get():
            found = _known.setdefault(network, {})
            size = args[0].shape[1:]
            if size not in found:
                found[size] = find_layouts(network, args[0])
            current.clear()
            current.update(found[size])

    handle = network.register_forward_pre_hook(look)
    try:
        yield current
    finally:
        handle.remove()


def _is_container(network: nn.Module, name: str, seen: Seen) -> bool:
    """Whether a module runs whole layers one after another: a Sequential, or what shrinks its input more than once.

    Not so a block, which may look at smaller windows or larger maps on its way, and shrinks its input once at most.
    """
    shrinks = seen.given is not None and seen.given.grid[0] > 2 * seen.layout.grid[0]
    return shrinks or isinstance(network.get_submodule(name), nn.Sequential)


def _is_whole(network: nn.Module, name: str, seen: Mapping[str, Seen]) -> bool:
    """Whether a layer's output is all that the network has at that point, and not an intermediate inside a block."""
    around = [outer for outer in _around(name) if outer in seen]
    grid = seen[name].layout.grid
    return all(_is_container(network, outer, seen[outer]) or seen[outer].layout.grid == grid for outer in around)


def _around(name: str) -> Iterator[str]:
    """The modules that a module lies in."""
    while name := name.rpartition(".")[0]:
        yield name


def _repeated(network: nn.Module, name: str) -> bool:
    """Whether a module is in a list of its type alone, as blocks are."""
    parent = network.get_submodule(name.rpartition(".")[0])
    return isinstance(parent, nn.ModuleList | nn.Sequential) and len({type(child) for child in parent}) == 1
