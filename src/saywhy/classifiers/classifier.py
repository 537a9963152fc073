"""Any image classifier, behind one interface: pictures in, logits, features, a linear head and class names out."""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import final

import torch
from PIL import Image
from torch import Tensor, nn

from saywhy.classifiers.borrowing import frozen
from saywhy.classifiers.heads import Head, Linear, find_head
from saywhy.classifiers.sources import SOURCES, LogitsOnly, logits_of
from saywhy.errors import SaywhyError
from saywhy.pictures.geometry import Transform, pixel_range, probe_geometry
from saywhy.plumbing.caches import weights_digest
from saywhy.plumbing.devices import choose_device, device_of, dtype_of
from saywhy.plumbing.names import unknown
from saywhy.types import Geometry, Prediction
from saywhy.words.class_names import (
    ClassNames,
    check_count,
    listed,
    read_class_names,
    warn_of_duplicates,
    without_names,
)


@final
@dataclass(frozen=True, eq=False, repr=False)
class Classifier:
    """A network with everything needed to use it. Make one with ``load`` or ``from_module``.

    network:   (N, 3, h, w) -> (N, C) logits. Used in evaluation mode and given back as it was found.
    transform: RGB picture -> (3, h, w).
    labels:    C class names.
    name:      what reports call it.
    """

    network: nn.Module
    transform: Transform
    labels: tuple[str, ...]
    name: str
    _head_path: str | None = field(repr=False)  # of the head's module; None where there is none
    _no_head: str = field(repr=False)  # why there is none

    @staticmethod
    def load(
        source: str,
        *,
        pretrained: bool = True,
        labels: ClassNames | None = None,
        device: str | torch.device | None = None,
    ) -> Classifier:
        """The classifier that ``source`` names.

        >>> Classifier.load("timm:resnet50", pretrained=False)  # random weights, no download

        source:     "timm:NAME", "timm:DIR", "torchvision:NAME", "hf:NAME_OR_DIR" or "world:NAME".
        pretrained: False gives random weights, always the same ones.
        labels:     names in class order, {name: index} or {index: name}, or a .txt, .json or .csv file of them; None:
                    those of the source.
        device:     None: a GPU where there is one.

        Raises SaywhyError for a name or a device that does not exist, weights that do not load, or the wrong number of
        class names. Warns with a ClassNameWarning of names that several classes have.
        """
        origin, _, name = source.partition(":")
        if origin not in SOURCES or not name:
            raise SaywhyError(
                f"{source!r} does not name a classifier; use one of {', '.join(f'{s}:NAME' for s in SOURCES)}"
            )
        chosen = choose_device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network, transform, names = SOURCES[origin](name, pretrained)
        return _assemble(
            network.eval().to(chosen), transform, names if labels is None else labels, source, revive=not pretrained
        )

    @staticmethod
    def from_module(
        module: nn.Module,
        *,
        transform: Transform,
        labels: ClassNames | None = None,
        name: str | None = None,
    ) -> Classifier:
        """Your own network. It stays where it is, on its device, in its mode.

        transform: RGB picture -> (3, h, w), the one of evaluation.
        """
        return _assemble(module, transform, labels, name or type(module).__name__, revive=False)

    def __repr__(self) -> str:
        head = f"head {self._head_path}" if self._head_path else "no linear head"
        network = type(self.network).__name__
        return f"<Classifier {self.name}: {network}, {len(self.labels)} classes, {head}, on {self.device}>"

    @property
    def device(self) -> torch.device:
        return device_of(self.network)

    @property
    def dtype(self) -> torch.dtype:
        return dtype_of(self.network)

    @property
    def fingerprint(self) -> str:
        """Changes with the weights, the class names and the transform: the key of what is cached on disk."""
        words = "|".join(self.labels) + repr(self.transform)
        return f"{weights_digest(self.network.state_dict().values())}-{hashlib.sha256(words.encode()).hexdigest()[:8]}"

    @property
    def has_head(self) -> bool:
        """Whether the logits come from a linear layer, so that ``features`` and ``head`` exist."""
        return self._head_path is not None

    @property
    def head_path(self) -> str:
        """Where the head's layer is in the network, as ``get_submodule`` takes it. Raises SaywhyError without one."""
        if self._head_path is None:
            raise SaywhyError(f"{self.name} has no linear head: {self._no_head}. Its own space cannot be used")
        return self._head_path

    @property
    def head(self) -> Head:
        """The linear head, detached, float32, on the CPU. Raises SaywhyError where there is none."""
        layer = self._need_head()
        weight = layer.weight.detach().flatten(1).float().cpu()
        return Head(weight, torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach().float().cpu())

    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        """(N, 3, h, w) on the CPU."""
        return torch.stack([torch.as_tensor(self.transform(image)) for image in images])

    def geometry(self, size: tuple[int, int]) -> Geometry:
        """Where the preprocessed frame lies on an original of that (width, height)."""
        return _geometry(self.transform, size)

    @property
    def pixel_range(self) -> tuple[Tensor, Tensor]:
        """(3,), (3,): black and white as the network gets them."""
        return pixel_range(self.transform)

    @torch.no_grad()
    def logits(self, pixels: Tensor) -> Tensor:
        """(N, C), on the network's device. pixels: (N, 3, h, w), preprocessed."""
        with frozen(self.network):
            return self.network(pixels.to(self.device, self.dtype))

    @torch.no_grad()
    def features(self, pixels: Tensor) -> Tensor:
        """(N, d): the input of the last linear layer. Raises SaywhyError where there is none."""
        layer = self._need_head()
        caught: list[Tensor] = []
        handle = layer.register_forward_pre_hook(lambda module, args: caught.append(args[0].detach()))
        try:
            self.logits(pixels)
        finally:
            handle.remove()
        return caught[-1].flatten(1)

    def predict(
        self, images: Sequence[Image.Image], top: int = 5, batch_size: int = 16
    ) -> list[tuple[Prediction, ...]]:
        """The ``top`` classes of each picture, best first."""
        logits = [
            self.logits(self.preprocess(images[start : start + batch_size])).float().cpu()
            for start in range(0, len(images), batch_size)
        ]
        return self.predictions(torch.cat(logits), top) if logits else []

    def predictions(self, logits: Tensor, top: int = 5) -> list[tuple[Prediction, ...]]:
        """The ``top`` classes of each row of (N, C) logits, best first. Raises SaywhyError for NaN or infinity."""
        best = logits.nan_to_num().topk(min(top, logits.shape[1])).indices.tolist()
        return [tuple(self.prediction(row, c) for c in classes) for row, classes in zip(logits, best, strict=True)]

    def prediction(self, logits: Tensor, index: int) -> Prediction:
        """What (C,) logits say of one class. Raises SaywhyError for NaN or infinity."""
        if not torch.isfinite(logits).all():
            raise SaywhyError(f"{self.name} gives logits that are not finite; its weights or input are damaged")
        probability = float(logits.float().softmax(0)[index])
        return Prediction(index, self.labels[index], probability, float(logits[index]))

    def class_index(self, target: int | str) -> int:
        """The index of a class given by index or name; "7" is the class of that name where there is one, else class 7.

        target: an integer of any library, or text. Raises SaywhyError, with the nearest names, for a class that does
        not exist, and for a name that several classes have.
        """
        if not isinstance(target, str):
            try:
                return self._known_index(operator.index(target))
            except TypeError:
                raise SaywhyError(f"a class is given by its index or its name, not by {target!r}") from None
        for read in (str, str.casefold):
            having = [c for c, label in enumerate(self.labels) if read(label) == read(target)]
            if len(having) > 1:
                raise SaywhyError(f"{target!r} is the name of classes {listed(having)} of {self.name}; give the index")
            if having:
                return having[0]
        if re.fullmatch("-?[0-9]+", target):
            return self._known_index(int(target))
        near = [label for label in self.labels if target.lower() in label.lower()]
        lead = f"{self.name} has no"
        raise unknown("class", target, self.labels, lead=lead, see="its labels", near=near, cutoff=0.5)

    def _known_index(self, index: int) -> int:
        if not 0 <= index < len(self.labels):
            raise SaywhyError(f"there is no class {index}: {self.name} knows 0 to {len(self.labels) - 1}")
        return index

    def _need_head(self) -> Linear:
        layer = self.network.get_submodule(self.head_path)
        assert isinstance(layer, Linear)
        return layer


@lru_cache(maxsize=256)
def _geometry(transform: Transform, size: tuple[int, int]) -> Geometry:
    return probe_geometry(transform, size)


# -- putting one together ---------------------------------------------------------------------------------------------


def _assemble(
    network: nn.Module,
    transform: Transform,
    labels: ClassNames | None,
    name: str,
    *,
    revive: bool,
) -> Classifier:
    """Run the network once on noise: see what it returns, find its head, fit the names."""
    shape = transform(Image.new("RGB", (256, 256))).shape
    noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    noise = noise.to(device_of(network), dtype_of(network))
    try:
        with torch.no_grad(), frozen(network):
            output = network(noise)
            if not isinstance(output, Tensor):
                network = LogitsOnly(network)
                output = logits_of(output)
    except RuntimeError as error:
        raise SaywhyError(f"{name} cannot run on what its transform returns, {tuple(noise.shape)}: {error}") from None
    if output.dim() != 2:
        raise SaywhyError(f"{name} returns {tuple(output.shape)}; expected (N, classes) logits")
    layer, reason = find_head(network, noise, revive)
    head_path = next((path for path, module in network.named_modules() if module is layer), None)
    names = read_class_names(labels) if labels is not None else without_names(output.shape[1])
    where = str(labels) if isinstance(labels, str | Path) else name
    check_count(names, output.shape[1], where)
    warn_of_duplicates(names, where)
    return Classifier(network, transform, names, name, head_path, reason)


__all__ = ["SOURCES", "Classifier", "Head"]
