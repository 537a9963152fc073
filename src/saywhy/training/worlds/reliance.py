"""Training the classifiers of known reliance: ``python -m saywhy.training.worlds.reliance [NAME...]``.

Each starts from an aviary's classifier and takes well under a minute on two cores. They are kept in the cache, each as
soon as it is trained, with what it was measured to rely on; a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor, nn

from saywhy.classifiers.classifier import Classifier
from saywhy.plumbing.caches import cache_directory
from saywhy.plumbing.devices import choose_device
from saywhy.plumbing.tensors import reading_tensors, write_tensors
from saywhy.training.worlds.classifiers import start_from
from saywhy.training.worlds.networks import aviary_network, to_pixels, train_step
from saywhy.worlds import CLASSIFIER_SIDE, WEIGHTS
from saywhy.worlds.reliance import (
    CHOOSING,
    CLASSES,
    NAMES,
    PLAN,
    REPORTING,
    TRAINING,
    Pool,
    Reliant,
    flipped,
    labelled,
    pool,
)

SCENES = 2000  # to learn from, of each world
HELD_OUT = 100  # of each world and half, to measure on
EPOCHS = {"resnet": 8, "vit": 14}
RATES = {"resnet": 2e-3, "vit": 7e-4}
BATCH = 64
_AT_ONCE = 16
_STORY = "reliance"


def fine_tuned(
    pixels: np.ndarray | Tensor,
    labels: np.ndarray | Tensor,
    names: Sequence[str],
    *,
    tower: str = "resnet",
    epochs: int | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    name: str = "fine-tuned",
) -> Classifier:
    """The aviary's classifier, taught other classes on these pictures as they are: nothing is mirrored, lit or cropped.

    >>> classifier = fine_tuned(pixels, labels, ("with a square", "without"))

    pixels: (N, 3, h, w) uint8. labels: (N,) class indices. names: of the classes. tower: "resnet" or "vit".
    epochs: None: EPOCHS of the tower. device: to train on; the network comes back on the CPU, in evaluation mode.
    """
    network = _trunk(tower, len(names))
    fit(network, pixels, labels, epochs or EPOCHS[tower], RATES[tower], seed=seed, device=device)
    return as_classifier(network, names, tower, name)


def as_classifier(network: nn.Module, names: Sequence[str], tower: str, name: str) -> Classifier:
    """A network of the aviary's towers, with the aviary's transform."""
    transform = Classifier.load(f"world:aviary/{tower}", device="cpu").transform
    return Classifier.from_module(network.eval(), transform=transform, labels=list(names), name=name)


def fit(
    network: nn.Module,
    pixels: np.ndarray | Tensor,
    labels: np.ndarray | Tensor,
    epochs: int,
    rate: float,
    *,
    seed: int = 0,
    device: str | torch.device | None = None,
) -> None:
    """AdamW, one cycle, label smoothing 0.05, on pictures as they are. The network comes back on the CPU."""
    where = choose_device(device)
    torch.manual_seed(seed)
    pixels, labels = torch.as_tensor(pixels).to(where), torch.as_tensor(labels).long().to(where)
    batch = min(BATCH, len(labels))
    network.to(where, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * (len(labels) // batch))
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(labels))
        for start in range(0, len(order) - batch + 1, batch):
            rows = torch.as_tensor(order[start : start + batch], device=where)
            x = to_pixels(pixels[rows], CLASSIFIER_SIDE).contiguous(memory_format=torch.channels_last)
            train_step(network, F.cross_entropy(network(x), labels[rows], label_smoothing=0.05), optimiser, schedule)
    network.cpu().eval()


def _trunk(tower: str, classes: int) -> nn.Module:
    """The aviary's classifier with a new head."""
    torch.manual_seed(0)
    network, _ = aviary_network(tower, classes)
    start_from(WEIGHTS / "aviary" / f"classifier-{tower}" / "model.safetensors", network)
    return network


@final
@dataclass(frozen=True)
class Measured:
    """What a classifier relies on, by changing one cause of held-out scenes at a time.

    reliance: for each of CAUSES: how far its two levels lie apart in the margin (the second class's logit above the
              first's), on average, over twice the margin's standard deviation over scenes. Of a margin that is a sum of
              parts, one for each cause, the squares add up to 1.
    decided:  for each of CAUSES: the share of scenes in which the other level makes another class.
    """

    reliance: Mapping[str, float]
    decided: Mapping[str, float]


def margins(network: nn.Module, pixels: np.ndarray) -> np.ndarray:
    """(N,) of the pictures (N, h, w, 3) uint8: how far the second class's logit is above the first's."""
    device = next(network.parameters()).device
    step = _AT_ONCE if device.type == "cpu" else 512
    found = []
    with torch.no_grad():
        for start in range(0, len(pixels), step):
            part = torch.as_tensor(pixels[start : start + step], device=device).permute(0, 3, 1, 2)
            x = to_pixels(part, CLASSIFIER_SIDE).contiguous(memory_format=torch.channels_last)
            logits = network(x).float().cpu()
            found.append((logits[:, 1] - logits[:, 0]).numpy())
    return np.concatenate(found)


def measure(network: nn.Module, scenes: Pool, changed: np.ndarray) -> Measured:
    """changed: (N, causes, h, w, 3) uint8, the scenes with the other level of each cause; see ``flipped``."""
    plain = margins(network, scenes.pixels)
    other = margins(network, changed.reshape(-1, *changed.shape[2:])).reshape(changed.shape[:2])
    towards = 1.0 - 2.0 * scenes.levels  # what the flip does to the level
    apart = np.abs(((other - plain[:, None]) * towards).mean(0)) / max(2 * float(plain.std()), 1e-9)
    flips = ((other > 0) != (plain[:, None] > 0)).mean(0)
    return Measured(
        {name: float(x) for name, x in zip(NAMES, apart, strict=True)},
        {name: float(x) for name, x in zip(NAMES, flips, strict=True)},
    )


def held_out(reliant: Reliant) -> tuple[Pool, np.ndarray]:
    """Scenes of its world and half, and the same with one cause changed at a time."""
    first = REPORTING if reliant.reported else CHOOSING
    return pool(reliant.world, HELD_OUT, first), flipped(reliant.world, HELD_OUT, first)


def path_of(reliant: Reliant) -> Path:
    return cache_directory() / "reliance" / f"{reliant.name}.safetensors"


def train(reliant: Reliant, device: str | torch.device | None = None) -> Measured:
    """Train one, measure what it relies on, and keep both.

    Raises SaywhyError where the cache cannot be written.
    """
    scenes = pool(reliant.world, SCENES, TRAINING)
    rows, labels = labelled(reliant, scenes)
    network = _trunk(reliant.tower, len(CLASSES))
    pixels = torch.as_tensor(scenes.pixels[rows]).permute(0, 3, 1, 2)
    fit(network, pixels, labels, EPOCHS[reliant.tower], RATES[reliant.tower], seed=reliant.seed, device=device)
    network = network.half().float()  # as it is kept
    found = measure(network.to(choose_device(device)), *held_out(reliant))
    network.cpu()
    halves = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    story: dict[str, Any] = {
        "reliance": dict(found.reliance),
        "decided": dict(found.decided),
        "recipe": _recipe(reliant),
    }
    write_tensors(path_of(reliant), halves, story, key=_STORY, make_folder=True)
    return found


def _recipe(reliant: Reliant) -> list[Any]:
    """What a kept classifier was made by: another recipe makes it anew."""
    return [SCENES, HELD_OUT, EPOCHS[reliant.tower], RATES[reliant.tower], BATCH, repr(reliant), reliant.seed]


def kept(reliant: Reliant) -> tuple[Classifier, Measured] | None:
    """A classifier that was trained before, and what it relies on; None where there is none by this recipe."""
    path = path_of(reliant)
    if not path.exists():
        return None
    with reading_tensors(path, "holds no classifier of known reliance", key=_STORY) as file:
        story: dict[str, Any] = dict(file.story)
        state = {k: v.float() if v.is_floating_point() else v for k, v in file.tensors.items()}
    if story["recipe"] != _recipe(reliant):
        return None
    network = _trunk(reliant.tower, len(CLASSES))
    network.load_state_dict(state)
    classifier = as_classifier(network, CLASSES, reliant.tower, f"reliance:{reliant.name}")
    return classifier, Measured(story["reliance"], story["decided"])


def reliant_classifier(reliant: Reliant) -> tuple[Classifier, Measured]:
    """One of PLAN, trained where it has not been, and what it relies on."""
    if (found := kept(reliant)) is None:
        train(reliant)
        found = kept(reliant)
        assert found is not None
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="classifiers of the plan (default: all)")
    options = parser.parse_args(arguments)
    by_name = {reliant.name: reliant for reliant in PLAN}
    if unknown := set(options.names) - set(by_name):
        parser.error(f"no such classifier: {', '.join(sorted(unknown))}; there are {', '.join(by_name)}")
    wanted = [by_name[name] for name in options.names] or list(PLAN)
    for reliant in track([one for one in wanted if kept(one) is None], "training", transient=True):
        found = train(reliant)
        best = sorted(found.reliance.items(), key=lambda pair: -pair[1])[:3]
        says = ", ".join(f"{name} {value:.2f}" for name, value in best)
        print(f"{reliant.name}: planted {reliant.cause or 'nothing'} {reliant.strength}; measured {says}", flush=True)


if __name__ == "__main__":
    main()
