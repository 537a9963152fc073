"""The networks of the embedded worlds, how their pictures are varied, and how their weights are written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor, nn

from saywhy.plumbing.caches import cache_directory, keeping
from saywhy.plumbing.files import write_whole
from saywhy.plumbing.tensors import write_checkpoint, write_tensors, writing_model
from saywhy.worlds import CLASSIFIER_SIDE

SPECIES_SCENES, RANDOM_SCENES, PLANTED_SCENES, HELD_OUT = 4800, 3000, 1440, 800
CLIP_SIDE = 64
MEAN = STD = (0.5, 0.5, 0.5)
VIT: dict[str, Any] = {"embed_dim": 96, "depth": 6, "num_heads": 3, "mlp_ratio": 3, "class_token": True}
TEXT_TOWER = {"context_length": 20, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 3}


def aviary_network(
    tower: str, classes: int, side: int = CLASSIFIER_SIDE, patch: int | None = None
) -> tuple[nn.Module, dict[str, Any]]:
    """A small timm network at random weights, and the arguments it was made with.

    patch: side of a ViT's patches, pixels; None: an eighth of the picture's.
    """
    import timm

    arguments: dict[str, Any] = {}
    if tower != "resnet":
        arguments = VIT | {"img_size": side, "patch_size": patch or side // 8, "dynamic_img_size": False}
    network: Any = timm.create_model(f"test_{tower}", num_classes=classes, **arguments)
    return network, arguments


def to_pixels(pictures: np.ndarray | Tensor, side: int) -> Tensor:
    """(N, 3, h, w) uint8 -> (N, 3, side, side) as the networks get them."""
    x = torch.as_tensor(pictures).float() / 255
    return (F.interpolate(x, (side, side), mode="bilinear", antialias=True, align_corners=False) - 0.5) / 0.5


def cropped(pictures: Tensor, side: int, rng: np.random.Generator) -> Tensor:
    """A window of 80 to 100 percent of the side, the same for a batch: cheap, and enough."""
    full = pictures.shape[-1]
    window = int(full * rng.uniform(0.8, 1.0)) if rng.random() < 0.7 else full
    top, left = rng.integers(0, full - window + 1, 2)
    return to_pixels(pictures[..., top : top + window, left : left + window], side)


def augmented(x: Tensor, rng: np.random.Generator, mirror: bool = True) -> Tensor:
    """Mirror, shift brightness and contrast, blank a square: the bird must be known by more than one part."""
    if mirror and rng.random() < 0.5:
        x = x.flip(-1)
    n, _, side, _ = x.shape
    gain = torch.as_tensor(rng.uniform(0.8, 1.2, (n, 1, 1, 1)), dtype=x.dtype)
    x = x * gain + torch.as_tensor(rng.uniform(-0.15, 0.15, (n, 1, 1, 1)), dtype=x.dtype)
    for i in range(n):
        if rng.random() < 0.5:
            size = int(rng.uniform(0.1, 0.3) * side)
            top, left = rng.integers(0, side - size, 2)
            x[i, :, top : top + size, left : left + size] = float(rng.uniform(-1, 1))
    return x


def write_timm(out: Path, network: nn.Module, arguments: dict[str, Any], names: Sequence[str], side: int) -> None:
    """A timm local directory in float16; ``arguments``: what the network was made with."""
    import timm

    half: Any = deepcopy(network).half()
    keep = ("architecture", "fixed_input_size", "first_conv", "classifier")
    half.pretrained_cfg = {k: half.pretrained_cfg[k] for k in keep} | {
        "input_size": (3, side, side), "mean": MEAN, "std": STD, "crop_pct": 1.0, "interpolation": "bilinear",
    }  # fmt: skip
    with writing_model(out) as folder:
        timm.models.save_for_hf(
            half, str(folder), model_config={"label_names": list(names)}, model_args=arguments, safe_serialization=True
        )


def resumable_epochs(
    name: str, epochs: int, resume: bool, network: nn.Module, optimiser: Any, schedule: Any
) -> Iterator[int]:
    """Counts epochs with a progress bar, saving after each; ``resume`` goes on from the last one saved."""
    checkpoint = cache_directory() / "training" / f"{name}.pt"
    first = 0
    if resume and checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        first = state["epoch"] + 1
    for epoch in track(range(first, epochs), f"training {name}"):
        yield epoch
        state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "epoch": epoch}
        with keeping():
            write_checkpoint(checkpoint, state | {"schedule": schedule.state_dict()})


def train_step(network: nn.Module, loss: Tensor, optimiser: Any, schedule: Any) -> None:
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    schedule.step()


def write_clip(out: Path, network: nn.Module, model: dict[str, Any]) -> None:
    """An open_clip local directory in float16; ``model``: what the network was made with."""
    out.mkdir(parents=True, exist_ok=True)
    _save_half(network, out / "open_clip_model.safetensors")
    config = {"model_cfg": model, "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bilinear"}}
    write_whole(out / "open_clip_config.json", json.dumps(config, indent=1))


def _save_half(network: nn.Module, path: Path) -> None:
    tensors = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    write_tensors(path, tensors, texts={"format": "pt"})
