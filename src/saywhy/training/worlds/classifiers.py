"""Training the worlds' classifiers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from torch import Tensor, nn

from saywhy.plumbing.devices import choose_device
from saywhy.training.worlds.networks import (
    HELD_OUT,
    PLANTED_SCENES,
    SPECIES_SCENES,
    augmented,
    aviary_network,
    cropped,
    resumable_epochs,
    to_pixels,
    train_step,
    write_timm,
)
from saywhy.worlds import CLASSIFIER_SIDE
from saywhy.worlds.digits import CLASSES, DigitSet, digits
from saywhy.worlds.digits import SIDE as DIGIT_SIDE
from saywhy.worlds.planted import AFFECTED
from saywhy.worlds.scenes import HELD_OUT_SEED, class_names, scenes

PLANTED_HELD_OUT = 240
RATES = {"resnet": 4e-3, "vit": 1.5e-3}
"""Tower -> highest learning rate of a classifier."""
FINE_TUNING_RATE = 2e-4


def train_classifier(
    out: Path,
    *,
    kind: str = "species",
    tower: str = "resnet",
    epochs: int | None = None,
    batch: int = 64,
    resume: bool = False,
    count: int | None = None,
    patch: int | None = None,
    first: tuple[int, float] | None = None,
    rate: float | None = None,
) -> dict[str, float]:
    """Trains on one kind of scenes (see scenes.draw), writes a timm local directory, returns held-out accuracies.

    count: of scenes; None: SPECIES_SCENES or PLANTED_SCENES. patch: see ``aviary_network``.
    first: epochs and highest learning rate of a start on the classes that the cause decides, alone: beside species that
           are told apart at a glance, a small cause may never be found. rate: the highest afterwards; None: RATES.
    """
    planted = kind != "species"
    data = scenes(kind, count or (PLANTED_SCENES if planted else SPECIES_SCENES), 0)
    held = scenes(kind, PLANTED_HELD_OUT if planted else HELD_OUT, HELD_OUT_SEED)
    pixels = torch.as_tensor(data.pixels).permute(0, 3, 1, 2)
    labels = torch.as_tensor(data.labels).long()
    names = class_names(kind)
    network, arguments = aviary_network(tower, len(names), patch=patch)
    if planted:
        start_from(out.parents[1] / "aviary" / out.name / "model.safetensors", network)
    epochs = epochs or {"resnet": 12, "vit": 50}[tower]
    if first is not None:
        rare = labels >= len(names) - len(AFFECTED)
        started = out.with_name(f"{out.name}-first")
        _fit(started, network, pixels[rare], labels[rare], CLASSIFIER_SIDE, first[1], first[0], batch, resume,
             mirror=True)  # fmt: skip
    _fit(out, network, pixels, labels, CLASSIFIER_SIDE, rate or RATES[tower], epochs, batch, resume, mirror=True)
    write_timm(out, network, arguments, names, CLASSIFIER_SIDE)
    predicted = _predict(network.eval(), torch.as_tensor(held.pixels).permute(0, 3, 1, 2), CLASSIFIER_SIDE)
    right = predicted == held.labels
    measured = {"top-1 on held-out scenes": float(right.mean())}
    if planted:
        affected = held.labels >= len(names) - len(AFFECTED)
        measured["top-1, classes that the cause decides"] = float(right[affected].mean())
        measured["top-1, ordinary species"] = float(right[~affected].mean())
    return measured


def start_from(path: Path, network: nn.Module) -> None:
    """Everything but the head, from a classifier of the aviary's species, if that has been trained.

    Where the network's patches are of another size, kernels and positions of a ViT are resampled.
    """
    if path.exists():
        own = network.state_dict()
        state = {k: v.float() for k, v in load_file(path).items()}
        kernel, places = "patch_embed.proj.weight", "pos_embed"
        if kernel in own and own[kernel].shape != state[kernel].shape:
            size: Any = own[kernel].shape[-2:]
            state[kernel] = resample_patch_embed(state[kernel], list(size))
            grid = [round((own[places].shape[1] - 1) ** 0.5)] * 2  # the first is the class token's
            state[places] = resample_abs_pos_embed(state[places], grid)
        network.load_state_dict({k: v for k, v in state.items() if v.shape == own[k].shape}, strict=False)


def train_digits(
    out: Path,
    *,
    bias: float | None = 1.0,
    tower: str = "resnet",
    epochs: int = 12,
    batch: int = 64,
    resume: bool = False,
    seed: int = 0,
    doubt: float = 0.0,
    mnist: str | Path | None = None,
    ready: Any = None,
) -> dict[str, float]:
    """A digit classifier on coloured (``bias``) or grey (None) training pictures, measured on all three test halves.

    tower:  "resnet" or "vit", small, from random weights.
    seed:   of the pictures and of training. doubt, mnist: see ``digits``.
    ready:  a timm network to fine-tune instead, at its own size; it gets a head of two classes.
    """
    data = digits("train", bias, 2000, seed, mnist, doubt=doubt)
    torch.manual_seed(seed)
    if ready is None:
        network, arguments = aviary_network(tower, len(CLASSES), DIGIT_SIDE)
        side, rate = DIGIT_SIDE, RATES[tower]
    else:
        ready.reset_classifier(len(CLASSES))
        network, arguments = ready, {}
        side, rate = ready.pretrained_cfg["input_size"][-1], FINE_TUNING_RATE
    pixels, labels = torch.as_tensor(data.pixels).permute(0, 3, 1, 2), torch.as_tensor(data.labels).long()
    _fit(out, network, pixels, labels, side, rate, epochs, batch, resume, mirror=False, seed=seed)
    write_timm(out, network, arguments, CLASSES, side)

    def accuracy(test: DigitSet) -> float:
        predicted = _predict(network.eval(), torch.as_tensor(test.pixels).permute(0, 3, 1, 2), side)
        return float((predicted == test.labels).mean())

    return {
        "top-1, test digits coloured as in biased training": accuracy(digits("test", 1.0, 600, mnist=mnist)),
        "top-1, test digits whose colour says nothing": accuracy(digits("test", 0.0, 600, mnist=mnist)),
        "top-1, grey test digits": accuracy(digits("test", None, 600, mnist=mnist)),
    }


def _fit(
    out: Path, network: nn.Module, pixels: Tensor, labels: Tensor, side: int, rate: float, epochs: int, batch: int,
    resume: bool, *, mirror: bool, seed: int = 0,
) -> None:  # fmt: skip
    """AdamW, one cycle, label smoothing; crops, mirrored where ``mirror``, lit anew, with a blank square.

    rate: the highest learning rate. On a GPU where there is one; the network comes back on the CPU.
    """
    torch.manual_seed(seed)
    device = choose_device(None)
    network.to(device)
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * (len(labels) // batch))
    for epoch in resumable_epochs(f"{out.parent.name}-{out.name}", epochs, resume, network, optimiser, schedule):
        rng = np.random.default_rng([seed, epoch])
        network.train()
        order = rng.permutation(len(labels))
        for start in range(0, len(order) - batch + 1, batch):
            rows = order[start : start + batch]
            x = augmented(cropped(pixels[rows], side, rng), rng, mirror)
            loss = F.cross_entropy(network(x.to(device)), labels[rows].to(device), label_smoothing=0.05)
            train_step(network, loss, optimiser, schedule)
    network.cpu()


@torch.no_grad()
def _predict(network: nn.Module, pictures: Tensor, side: int) -> np.ndarray:
    return torch.cat([network(to_pixels(part, side)).argmax(1) for part in pictures.split(64)]).numpy()
