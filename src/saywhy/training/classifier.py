"""``saywhy train classifier``: fine-tunes any timm network on birds in CUB's layout, as LRP-CLIP did with a ViT-L."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F
from rich.progress import Progress
from timm.utils import random_seed
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from saywhy.errors import SaywhyError
from saywhy.pictures.cub import Bird, CubData, read_cub
from saywhy.pictures.reading import read_picture
from saywhy.plumbing.devices import choose_device
from saywhy.plumbing.files import write_whole
from saywhy.plumbing.hub import patience
from saywhy.plumbing.tensors import reading_checkpoint, write_checkpoint, writing_model


@final
@dataclass(frozen=True)
class FineTuningSettings:
    """The settings of one training run. The defaults are for fine-tuning an ImageNet-pretrained ViT-L on CUB.

    rate:   highest learning rate (AdamW; one cycle: up over the first tenth, then down to almost nothing, both along a
            cosine).
    steps:  stop after this many, for a trial; None: all epochs.
    size:   side of the input, pixels; None: the network's own.
    """

    arch: str = "timm:vit_large_patch16_224"
    pretrained: bool = True
    epochs: int = 20
    batch_size: int = 32
    rate: float = 2e-5
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    steps: int | None = None
    size: int | None = None
    seed: int = 0


@final
class Pictures(Dataset[tuple[Tensor, int]]):
    """Birds with a transform, for a DataLoader."""

    def __init__(self, birds: tuple[Bird, ...], transform: Any) -> None:
        self.birds, self.transform = birds, transform

    def __len__(self) -> int:
        return len(self.birds)

    def __getitem__(self, n: int) -> tuple[Tensor, int]:
        return self.transform(read_picture(self.birds[n].path)), self.birds[n].label


def train_classifier(
    data: str | Path, out: str | Path, settings: FineTuningSettings, *, resume: bool = False, workers: int = 2
) -> dict[str, Any]:
    """Trains on the training half, measures on the test half after each epoch, and writes a timm local directory.

    The best weights so far are always in ``out`` (``saywhy explain --model timm:OUT``); the state to go on from is
    beside them in training.pt. Mixed precision on a GPU (bfloat16 where it has it). Returns what was measured.

    Raises SaywhyError for a folder without both halves, an unknown architecture, a hub that cannot be reached, or a
    run to be resumed that had other settings.
    """
    out = Path(out)
    halves = {split: read_cub(data, split) for split in ("train", "test")}
    for split, half in halves.items():
        if not half.birds:
            raise SaywhyError(f"{data}: no picture of the {split} half can be used (train_test_split.txt)")
    torch.manual_seed(settings.seed)
    network = _network(settings, len(halves["train"].classes))
    device = choose_device(None)
    network.to(device)
    loaders = _loaders(network, halves, settings, workers)
    total = settings.epochs * len(loaders["train"])
    optimiser = torch.optim.AdamW(_groups(network, settings.weight_decay), settings.rate)
    warm = 0.2 if total == 10 else 0.1  # a tenth of ten steps: OneCycleLR divides by the length of a phase of none
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, total_steps=total, pct_start=warm)
    half_type = torch.bfloat16 if device.type == "cpu" or torch.cuda.is_bf16_supported() else torch.float16
    scaler = torch.amp.GradScaler(device.type, enabled=half_type is torch.float16)
    parts = {"network": network, "optimiser": optimiser, "schedule": schedule, "scaler": scaler}
    out.mkdir(parents=True, exist_ok=True)
    done: dict[str, Any] = {"epoch": -1, "best": -1.0, "history": []}
    if resume:
        done = _resume(out / "training.pt", parts, settings)

    with Progress(transient=True) as progress:
        for epoch in range(done["epoch"] + 1, settings.epochs):
            random_seed(settings.seed * 10_000 + epoch)  # torch, NumPy, random: resuming changes no epoch
            network.train()
            bar = progress.add_task(f"epoch {epoch + 1} of {settings.epochs}", total=len(loaders["train"]))
            losses = []
            for step, (x, y) in enumerate(loaders["train"]):
                with torch.autocast(device.type, half_type, enabled=device.type == "cuda"):
                    loss = F.cross_entropy(
                        network(x.to(device)), y.to(device), label_smoothing=settings.label_smoothing
                    )
                if not torch.isfinite(loss):
                    raise SaywhyError(f"the loss is no longer finite (epoch {epoch + 1}); try a lower --rate")
                optimiser.zero_grad(set_to_none=True)
                scaler.scale(loss).backward()
                scaler.unscale_(optimiser)
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                scaler.step(optimiser)
                scaler.update()
                schedule.step()
                losses.append(loss.item())
                progress.advance(bar)
                if settings.steps and epoch * len(loaders["train"]) + step + 1 >= settings.steps:
                    return {"steps": settings.steps, "losses": losses, "device": str(device)}
            accuracy = _accuracy(network, loaders["test"], device)
            done["history"].append({"epoch": epoch + 1, "loss": sum(losses) / len(losses), "accuracy": accuracy})
            progress.console.print(f"epoch {epoch + 1}: loss {done['history'][-1]['loss']:.3f}, top-1 {accuracy:.3f}")
            done["epoch"] = epoch
            if accuracy > done["best"]:
                done["best"] = accuracy
                _write(out, network, halves["train"], settings)
            _save(out / "training.pt", {name: part.state_dict() for name, part in parts.items()}, done, settings)
    measured = {"best": done["best"], "history": done["history"], "device": str(device), "settings": asdict(settings)}
    write_whole(out / "training.json", json.dumps(measured, indent=1))
    return measured


def _network(settings: FineTuningSettings, classes: int) -> Any:
    import timm

    source, _, name = settings.arch.partition(":")
    if source != "timm" or not timm.is_model(name):
        raise SaywhyError(f"--arch {settings.arch!r} is not timm:NAME with a model that timm knows")
    try:
        with patience():
            return timm.create_model(name, pretrained=settings.pretrained, num_classes=classes, **_sized(settings))
    except (OSError, RuntimeError) as error:
        raise SaywhyError(
            f"the pretrained weights of {name} could not be loaded ({type(error).__name__}); --no-pretrained starts "
            "from random ones"
        ) from error


def _sized(settings: FineTuningSettings) -> dict[str, Any]:
    """Transformers are built for one size; convolutional networks take any, and no such argument."""
    import timm

    config = timm.get_pretrained_cfg(settings.arch.partition(":")[2])
    patches = config is not None and "patch_embed" in str(config.first_conv)
    return {"img_size": settings.size} if settings.size and patches else {}


def _loaders(network: Any, halves: dict[str, CubData], settings: FineTuningSettings, workers: int) -> dict[str, Any]:
    import timm

    config = timm.data.resolve_model_data_config(network)
    if settings.size:
        config["input_size"] = (3, settings.size, settings.size)
    loaders = {}
    for split, half in halves.items():
        # Colours tell birds apart: the hue is left alone.
        transform = timm.data.create_transform(
            **config, is_training=split == "train", scale=(0.5, 1.0), color_jitter=(0.2, 0.2, 0.1, 0.0)
        )
        loaders[split] = DataLoader(
            Pictures(half.birds, transform), settings.batch_size, shuffle=split == "train", num_workers=workers,
            drop_last=split == "train" and len(half.birds) > settings.batch_size, pin_memory=torch.cuda.is_available(),
        )  # fmt: skip
    return loaders


def _groups(network: nn.Module, decay: float) -> Iterator[dict[str, Any]]:
    """Biases and norms are not decayed."""
    named = [p for p in network.parameters() if p.requires_grad]
    yield {"params": [p for p in named if p.ndim > 1], "weight_decay": decay}
    yield {"params": [p for p in named if p.ndim <= 1], "weight_decay": 0.0}


@torch.no_grad()
def _accuracy(network: nn.Module, loader: Any, device: torch.device) -> float:
    network.eval()
    hits = [network(x.to(device)).argmax(1).cpu() == y for x, y in loader]
    return float(torch.cat(hits).float().mean())


def _write(out: Path, network: Any, cub: CubData, settings: FineTuningSettings) -> None:
    """A timm local directory, with the class names in it."""
    import timm

    # Not its tag, licence and test sizes: they are of the weights that training began with.
    keep = (
        "architecture", "mean", "std", "crop_pct", "crop_mode", "interpolation", "fixed_input_size", "first_conv",
        "classifier",
    )  # fmt: skip
    side = (3, settings.size, settings.size) if settings.size else network.pretrained_cfg["input_size"]
    network.pretrained_cfg = {k: v for k, v in network.pretrained_cfg.items() if k in keep} | {"input_size": side}
    with writing_model(out) as folder:
        timm.models.save_for_hf(
            network, str(folder), model_config={"label_names": list(cub.classes)}, model_args=_sized(settings),
            safe_serialization=True,
        )  # fmt: skip


def _save(path: Path, states: dict[str, Any], done: dict[str, Any], settings: FineTuningSettings) -> None:
    write_checkpoint(path, {"states": states, "done": done, "settings": asdict(settings)})


def _resume(path: Path, parts: dict[str, Any], settings: FineTuningSettings) -> dict[str, Any]:
    with reading_checkpoint(path) as state:
        if state["settings"] != asdict(settings):
            changed = [k for k, v in asdict(settings).items() if state["settings"].get(k) != v]
            said = f"other settings ({', '.join(changed)})"
            raise SaywhyError(f"{path}: that run had {said}; give the same, or a new --out")
        for name, part in parts.items():
            part.load_state_dict(state["states"][name])
        done: dict[str, Any] = state["done"]
        return done
