"""How the first layers of a network respond to pictures: what tells a picture that it has never seen the like of.

Of each channel of the pixels and of one or two early layers, its mean and its deviation over the positions. Late layers
are made to give every picture a place among the classes; early ones still show that it is made of other stuff. Of the
pixels, also how neighbours differ, at several scales: a transformer's tokens average over a patch, and do not see it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, final

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from saywhy.classifiers.borrowing import borrowed
from saywhy.classifiers.classifier import Classifier
from saywhy.classifiers.grids import Seen, find_layouts, first_tensor
from saywhy.classifiers.layers import layer_view, stages
from saywhy.errors import SaywhyError
from saywhy.pictures.geometry import Transform
from saywhy.pictures.transforms import transform_digest
from saywhy.plumbing.caches import weights_digest
from saywhy.plumbing.devices import device_of, dtype_of
from saywhy.spaces.traits import classifier_of, tower_of
from saywhy.types import Space

SCALES = 5  # of the pixels: each half as large as the one before
BATCH = 32  # pictures at once


@final
@dataclass(frozen=True, eq=False)
class Eye:
    """A network as something that sees pictures.

    name:    whose it is, as a sentence begins: "the aviary's CLIP".
    prepare: RGB pictures -> (N, C, h, w).
    layers:  whose responses are looked at; None: ``early_layers``, found with the first pictures.
    """

    name: str
    network: nn.Module
    prepare: Callable[[Sequence[Image.Image]], Tensor]
    transform: Transform
    layers: tuple[str, ...] | None = None
    _layouts: dict[torch.Size, dict[str, Seen]] = field(default_factory=dict, init=False, repr=False)

    @property
    def fingerprint(self) -> str:
        """Of the weights: whoever has these has this network."""
        return weights_digest(self.network.state_dict().values())

    @property
    def key(self) -> str | None:
        """Of the weights and the preprocessing, the same in every process; None where that draws at random."""
        digest = transform_digest(self.transform)
        return None if digest is None else f"{self.fingerprint}-{digest}"

    def statistics(self, images: Sequence[Image.Image]) -> Tensor:
        """(N, S) float32 on the CPU, of N RGB pictures.

        Raises SaywhyError where the transform gives pictures of several shapes.
        """
        batches = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
        return torch.cat([self._of(self.prepare(batch)) for batch in batches])

    def early(self, images: Sequence[Image.Image]) -> tuple[str, ...]:
        """The layers that are looked at where pictures like these are shown to it."""
        pixels = self._ready(self.prepare(images[:1]))
        return early_layers(self._laid_out(pixels), self.network, pixels)

    @torch.no_grad()
    def _of(self, pixels: Tensor) -> Tensor:
        pixels = self._ready(pixels)
        seen = self._laid_out(pixels)
        layers = early_layers(seen, self.network, pixels) if self.layers is None else self.layers
        maps = _responses(self.network, pixels, layers, seen)
        moments = [moment for name in layers for moment in _moments(maps[name].float())]
        return torch.cat([*pixel_statistics(pixels.float()), *moments], 1).cpu()

    def _ready(self, pixels: Tensor) -> Tensor:
        return pixels.to(device_of(self.network), dtype_of(self.network))

    def _laid_out(self, pixels: Tensor) -> dict[str, Seen]:
        size = pixels.shape[1:]
        if size not in self._layouts:
            self._layouts[size] = find_layouts(self.network, pixels)
        return self._layouts[size]


def eyes_of(space: Space | None, classifier: Classifier | None) -> list[Eye]:
    """Whatever sees the pictures: the image tower of a space's CLIP, and the classifier; each once."""
    eyes = []
    try:
        tower, clip = tower_of(space) if space is not None else (None, None)
    except SaywhyError:  # it has no CLIP
        tower = clip = None
    if tower is not None and clip is not None:
        eyes.append(Eye(clip.name, tower, partial(_prepared, clip.transform), clip.transform))
    for one in (classifier, None if space is None else classifier_of(space)):
        if one is not None and all(eye.network is not one.network for eye in eyes):
            eyes.append(Eye(one.name, one.network, one.preprocess, one.transform))
    return eyes


def _prepared(transform: Callable[[Image.Image], Tensor], images: Sequence[Image.Image]) -> Tensor:
    return torch.stack([torch.as_tensor(transform(image)) for image in images])


def early_layers(seen: dict[str, Seen], network: nn.Module, pixels: Tensor) -> tuple[str, ...]:
    """The first of a network's stages, and the second where the maps shrink between them; () where it has none.

    seen: what ``find_layouts`` found for (N, C, h, w) pixels. The second stage of a transformer is too deep.
    """
    try:
        first, *others = (name for name in stages(network, pixels, seen=seen))
    except SaywhyError:  # no layer has positions
        return ()
    second = [name for name in others[:1] if seen[name].layout.grid != seen[first].layout.grid]
    return (first, *second)


def pixel_statistics(pixels: Tensor) -> list[Tensor]:
    """(N, ...) each, of (N, C, h, w): of the channels, of how neighbours differ, and of how channels differ in that."""
    found = _moments(pixels)
    for _ in range(SCALES):
        for axis in (2, 3):
            steps = pixels.diff(dim=axis).flatten(2)
            if not steps.shape[2]:  # a single row or column is left: as many numbers, so that sizes can be compared
                steps = steps.new_zeros(*steps.shape[:2], 1)
            found += [steps.std(2, correction=0), steps.abs().mean(2), steps.diff(dim=1).abs().mean(2)]
        pixels = F.avg_pool2d(pixels, 2, ceil_mode=True)
    return found


def _moments(maps: Tensor) -> list[Tensor]:
    """[(N, C) mean, (N, C) deviation] over the positions."""
    flat = maps.flatten(2)
    return [flat.mean(2), flat.std(2, correction=0)]


class _Enough(BaseException):
    """All layers have been seen: the rest of the network need not run. No network catches this by accident."""


def _responses(network: nn.Module, pixels: Tensor, layers: Sequence[str], seen: dict[str, Seen]) -> dict[str, Tensor]:
    """Layer -> its map (N, C, h, w); the network runs as far as the last of them."""
    maps: dict[str, Tensor] = {}

    def keeper(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            maps[name] = layer_view(first_tensor(output), name, seen).detach().clone()
            if len(maps) == len(layers):
                raise _Enough

        return hook

    if layers:
        with borrowed(network) as shadow, ExitStack() as stack, suppress(_Enough):
            for name in layers:
                stack.callback(shadow.get_submodule(name).register_forward_hook(keeper(name)).remove)
            shadow(pixels.clone())  # a network may work in place
    return maps
