"""Any image classifier, seen uniformly: pictures in, logits, features, a linear head and class names out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from saywhy.classifiers.borrowing import frozen
from saywhy.errors import SaywhyError
from saywhy.pictures.geometry import Transform, pixel_range, probe_geometry
from saywhy.plumbing.caches import weights_digest
from saywhy.plumbing.hub import patience
from saywhy.types import Geometry, Prediction
from saywhy.words.class_names import check_count, read_class_names

Linear = nn.Linear | nn.Conv2d
"""What a head can be made of; of convolutions, those of one pixel on one position."""


@final
@dataclass(frozen=True, eq=False)
class Head:
    """The linear layer that makes the logits: ``logits = features @ weight.T + bias``. weight (C, d), bias (C,)."""

    weight: Tensor
    bias: Tensor


@final
@dataclass(frozen=True, eq=False)
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
        labels: str | Path | Sequence[str] | None = None,
        device: str | torch.device | None = None,
    ) -> Classifier:
        """The classifier that ``source`` names.

        >>> Classifier.load("timm:resnet50", pretrained=False)  # random weights, no download

        source:     "timm:NAME", "timm:DIR", "torchvision:NAME", "hf:NAME_OR_DIR" or "world:NAME".
        pretrained: False gives random weights, always the same ones.
        labels:     names in class order, or a .txt, .json or .csv file of them; None: those of the source.
        device:     None: a GPU where there is one.

        Raises SaywhyError for a name that does not exist, weights that cannot be had, or names that do not fit.
        """
        origin, _, name = source.partition(":")
        if origin not in SOURCES or not name:
            raise SaywhyError(f"{source!r} names no classifier; use one of {', '.join(f'{s}:NAME' for s in SOURCES)}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network, transform, names = SOURCES[origin](name, pretrained)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return _assemble(network.eval().to(device), transform, labels or names, source, revive=not pretrained)

    @staticmethod
    def from_module(
        module: nn.Module,
        *,
        transform: Transform,
        labels: str | Path | Sequence[str] | None = None,
        name: str | None = None,
    ) -> Classifier:
        """Your own network. It stays where it is, on its device, in its mode.

        transform: RGB picture -> (3, h, w), the one of evaluation.
        """
        return _assemble(module, transform, labels, name or type(module).__name__, revive=False)

    @property
    def device(self) -> torch.device:
        return next((p.device for p in self.network.parameters()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        return next((p.dtype for p in self.network.parameters()), torch.float32)

    @property
    def fingerprint(self) -> str:
        """Differs for other weights, other class names and another transform: what is kept on disk is known by it."""
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
        """The index of a class given by index or name. Raises SaywhyError, with the nearest names, where it is none."""
        if isinstance(target, int) or target.lstrip("-").isdigit():
            index = int(target)
            if not 0 <= index < len(self.labels):
                raise SaywhyError(f"there is no class {index}: {self.name} knows 0 to {len(self.labels) - 1}")
            return index
        lowered = [label.lower() for label in self.labels]
        if target.lower() in lowered:
            return lowered.index(target.lower())
        near = [label for label in self.labels if target.lower() in label.lower()][:3]
        near = near or get_close_matches(target, self.labels, n=3, cutoff=0.5)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise SaywhyError(f"{self.name} has no class {target!r}{hint}")

    def _need_head(self) -> Linear:
        layer = self.network.get_submodule(self.head_path)
        assert isinstance(layer, Linear)
        return layer


@lru_cache(maxsize=256)
def _geometry(transform: Transform, size: tuple[int, int]) -> Geometry:
    return probe_geometry(transform, size)


# -- putting one together ---------------------------------------------------------------------------------------------


class _Logits(nn.Module):
    """A network that returns an object, a dict or a tuple, returning its logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        return _logits_of(self.network(pixels))


def _logits_of(output: Any) -> Tensor:
    if hasattr(output, "logits"):
        return output.logits
    if isinstance(output, dict) and isinstance(output.get("logits"), Tensor):
        return output["logits"]
    if isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
        return output[0]
    raise SaywhyError(f"the network returns {type(output).__name__}; expected (N, classes) logits")


def _assemble(
    network: nn.Module,
    transform: Transform,
    labels: str | Path | Sequence[str] | None,
    name: str,
    *,
    revive: bool,
) -> Classifier:
    """Run the network once on noise: see what it returns, find its head, fit the names."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    dtype = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
    shape = transform(Image.new("RGB", (256, 256))).shape
    noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    try:
        with torch.no_grad(), frozen(network):
            output = network(noise)
            if not isinstance(output, Tensor):
                network = _Logits(network)
                output = _logits_of(output)
    except RuntimeError as error:
        raise SaywhyError(f"{name} cannot run on what its transform makes, {tuple(noise.shape)}: {error}") from None
    if output.dim() != 2:
        raise SaywhyError(f"{name} returns {tuple(output.shape)}; expected (N, classes) logits")
    layer, reason = _find_head(network, noise, revive)
    head_path = next((path for path, module in network.named_modules() if module is layer), None)
    names = read_class_names(labels) if labels is not None else tuple(f"class {c}" for c in range(output.shape[1]))
    check_count(names, output.shape[1], str(labels) if isinstance(labels, str | Path) else name)
    return Classifier(network, transform, names, name, head_path, reason)


def _find_head(network: nn.Module, noise: Tensor, revive: bool) -> tuple[Linear | None, str]:
    """The linear layer whose output is the logits, found by a hook on every linear layer; or why there is none.

    revive: some libraries start a head at zero; give random weights to such a head, or nothing could be checked.
    """
    calls: list[tuple[Linear, Tensor, Tensor]] = []

    def note(module: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
        calls.append((module, args[0], output))

    def run() -> Tensor:
        calls.clear()
        with torch.no_grad(), frozen(network):
            return network(noise)

    linear = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d) and _is_pointwise(m)]
    handles = [module.register_forward_hook(note) for module in linear]
    try:
        logits = run()
        if revive and calls and not calls[-1][0].weight.any():
            nn.init.trunc_normal_(calls[-1][0].weight, std=0.02)
            logits = run()
    finally:
        for handle in handles:
            handle.remove()
    for module, features, output in reversed(calls):
        if output.numel() != logits.numel() or not torch.equal(output.reshape_as(logits), logits):
            continue
        if features.numel() != len(logits) * features.shape[1]:  # positions: pooled after, or not at all
            return None, "its last linear layer works on positions, not on one feature vector"
        weight = module.weight.flatten(1)
        again = F.linear(features.flatten(1), weight, module.bias)
        tolerance = 1e-3 if logits.dtype == torch.float32 else 5e-2
        if (again - logits).abs().max() > tolerance * logits.abs().max().clamp(min=1e-6):
            return None, "f @ W.T + b differs from its logits"
        return module, ""
    return None, "no linear layer's output is its logits"


def _is_pointwise(module: Linear) -> bool:
    return isinstance(module, nn.Linear) or (module.kernel_size == (1, 1) and module.groups == 1)


# -- where networks come from -----------------------------------------------------------------------------------------

_Loaded = tuple[nn.Module, Transform, Sequence[str] | None]


def _from_timm(name: str, pretrained: bool) -> _Loaded:
    import timm

    directory = Path(name)
    network: Any
    if directory.is_dir():
        if not (directory / "config.json").is_file():
            raise SaywhyError(f"timm:{name}: the folder has no config.json; see timm's local-dir format")
        config = json.loads((directory / "config.json").read_text())
        try:
            network = timm.create_model(f"local-dir:{directory}", pretrained=pretrained)
        except Exception as error:
            raise SaywhyError(f"timm:{name}: the weights do not load ({_first_line(error)})") from None
        names = _timm_names(config, network.num_classes)
    else:
        if not timm.is_model(name):
            raise SaywhyError(_unknown("timm", name, timm.list_models()))
        try:
            with patience():
                network = timm.create_model(name, pretrained=pretrained)
        except Exception as error:
            raise _unreachable(f"timm:{name}", error) from None
        names = _timm_names(dict(network.pretrained_cfg), network.num_classes)
    data = timm.data.resolve_model_data_config(network)
    return network, timm.data.create_transform(**data, is_training=False), names


def _timm_names(config: dict[str, Any], classes: int) -> list[str] | None:
    names = config.get("label_names") or config.get("pretrained_cfg", {}).get("label_names")
    described = config.get("label_descriptions") or config.get("pretrained_cfg", {}).get("label_descriptions")
    if names and isinstance(described, dict) and any(str(n).startswith("n0") for n in names):  # WordNet ids
        names = [described.get(n, n) for n in names]
    return [str(n) for n in names] if names else _imagenet_names(classes)


def _imagenet_names(classes: int) -> list[str] | None:
    """ImageNet-1k's class names as torchvision ships them, where the number of classes is that of ImageNet."""
    if classes != 1000:
        return None
    from torchvision.models import ResNet50_Weights

    return list(ResNet50_Weights.DEFAULT.meta["categories"])


def _from_torchvision(name: str, pretrained: bool) -> _Loaded:
    from torchvision import models

    if name not in models.list_models(models):
        raise SaywhyError(_unknown("torchvision", name, models.list_models(models)))
    weights = models.get_model_weights(name).DEFAULT
    extra = {"init_weights": True} if name in ("googlenet", "inception_v3") and not pretrained else {}
    try:
        network = models.get_model(name, weights=weights if pretrained else None, **extra)
    except Exception as error:
        raise _unreachable(f"torchvision:{name}", error) from None
    return network, weights.transforms(), weights.meta.get("categories")


def _from_huggingface(name: str, pretrained: bool) -> _Loaded:
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

    try:
        with patience():
            config = AutoConfig.from_pretrained(name)
            processor = AutoImageProcessor.from_pretrained(name)
            make = AutoModelForImageClassification
            network = make.from_pretrained(name) if pretrained else make.from_config(config)
    except Exception as error:
        if Path(name).is_dir():
            raise SaywhyError(f"hf:{name}: the folder does not load ({_first_line(error)})") from None
        raise _unreachable(f"hf:{name}", error) from None
    names: list[str] | None = [config.id2label[c] for c in range(config.num_labels)]
    if names and all(n == f"LABEL_{c}" for c, n in enumerate(names)):
        names = _imagenet_names(len(names))
    return _Logits(network), _ProcessorTransform(processor), names


@dataclass(frozen=True, eq=False)
class _ProcessorTransform:
    """A transformers image processor as a transform."""

    processor: Any

    def __call__(self, image: Image.Image) -> Tensor:
        return self.processor(images=image, return_tensors="pt")["pixel_values"][0]


def _from_world(name: str, pretrained: bool) -> _Loaded:
    from saywhy.worlds import load_world_classifier

    return load_world_classifier(name, pretrained=pretrained)


SOURCES: dict[str, Callable[[str, bool], _Loaded]] = {
    "timm": _from_timm,
    "torchvision": _from_torchvision,
    "hf": _from_huggingface,
    "world": _from_world,
}
"""Prefix of a source -> loader: (name, pretrained) -> network, transform, class names or None."""


def _unknown(library: str, name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, n=3)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    return f"{library} has no model {name!r}{hint} (for a local folder: is the path right?)"


def _unreachable(source: str, error: Exception) -> SaywhyError:
    return SaywhyError(
        f"{source}: its weights cannot be had ({_first_line(error)}). Without a hub: use timm:DIR or hf:DIR with a "
        "local folder, world:aviary, or pretrained=False for random weights"
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:160]}" if text else type(error).__name__


__all__ = ["SOURCES", "Classifier", "Head"]
