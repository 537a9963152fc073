"""Trains the small models of the embedded world: ``python -m saywhy.worlds.train [--part classifier|clip] [--resume]``.

Everything is drawn, trained and measured from seeds. On two CPU cores it takes about half an hour; scenes are rendered
once into the cache. Weights land beside this file in float16, each with a model card that holds what was measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor, nn

from saywhy.text_cache import cache_directory
from saywhy.worlds import CLASSIFIER_SIDE, SAMPLES, TEMPLATES, WEIGHTS
from saywhy.worlds.aviary import BACKGROUNDS, PARTS, SPECIES, phrases_of, render

SIDE = 160  # pixels of the rendered training scenes
TRAIN, HELD_OUT = 3200, 480  # scenes
HELD_OUT_SEED = 1_000_000  # training scenes have seeds from 0, held-out ones from here, the shipped samples from 2e6

CLASSIFIER_ARCHITECTURE = "test_resnet"
CLIP_CONFIG: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 96, "layers": [1, 1, 1, 1], "width": 24, "patch_size": None},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 96, "heads": 4, "layers": 3},
}
MEAN = STD = (0.5, 0.5, 0.5)


@final
@dataclass(frozen=True, eq=False)
class Scenes:
    """Rendered scenes: pixels (N, SIDE, SIDE, 3) uint8, parts (N, SIDE, SIDE) uint8, species and background indices."""

    pixels: np.ndarray
    parts: np.ndarray
    species: np.ndarray
    background: np.ndarray

    def __len__(self) -> int:
        return len(self.species)


def scenes(count: int, first_seed: int) -> Scenes:
    """``count`` scenes, species in turn; rendered once, then read from the cache."""
    path = cache_directory() / "aviary" / f"scenes-{SIDE}-{count}-{first_seed}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor() as pool:
            drawn = pool.map(_draw, range(first_seed, first_seed + count), chunksize=20)
            columns = [np.stack(c) for c in zip(*track(drawn, f"rendering {count} scenes", count), strict=True)]
        np.savez(path, pixels=columns[0], parts=columns[1], species=columns[2], background=columns[3])
    with np.load(path) as data:
        return Scenes(data["pixels"], data["parts"], data["species"], data["background"])


def _draw(seed: int) -> tuple[np.ndarray, np.ndarray, int, int]:
    scene = render(list(SPECIES)[seed % len(SPECIES)], seed, SIDE)
    return np.asarray(scene.image), scene.parts, seed % len(SPECIES), BACKGROUNDS.index(scene.background)


def _pixels(crops: np.ndarray | Tensor, side: int) -> Tensor:
    """(N, h, w, 3) uint8 -> (N, 3, side, side) as the networks get them."""
    x = torch.as_tensor(crops).permute(0, 3, 1, 2).float() / 255
    return (F.interpolate(x, (side, side), mode="bilinear", antialias=True, align_corners=False) - 0.5) / 0.5


# -- the classifier ---------------------------------------------------------------------------------------------------


def train_classifier(out: Path, epochs: int = 24, batch: int = 64, resume: bool = False) -> dict[str, float]:
    """Trains and writes a timm local directory; returns the held-out accuracy."""
    import timm

    torch.manual_seed(0)
    network = timm.create_model(CLASSIFIER_ARCHITECTURE, num_classes=len(SPECIES))
    data = scenes(TRAIN, 0)
    steps = epochs * (len(data) // batch)
    optimiser = torch.optim.AdamW(network.parameters(), 4e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    rng = np.random.default_rng(0)
    for _ in _epochs(out, epochs, "classifier", resume, network, optimiser, schedule):
        network.train()
        order = rng.permutation(len(data))
        for start in range(0, len(order) - batch + 1, batch):
            rows = order[start : start + batch]
            x = _augment(_pixels(data.pixels[rows], CLASSIFIER_SIDE), rng)
            loss = F.cross_entropy(network(x), torch.as_tensor(data.species[rows]).long(), label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    out.mkdir(parents=True, exist_ok=True)
    _save_half(network, out / "model.safetensors")
    config = {
        "architecture": CLASSIFIER_ARCHITECTURE,
        "num_classes": len(SPECIES),
        "num_features": network.num_features,
        "pretrained_cfg": {
            "input_size": [3, CLASSIFIER_SIDE, CLASSIFIER_SIDE], "mean": MEAN, "std": STD, "crop_pct": 1.0,
            "interpolation": "bilinear", "fixed_input_size": False, "num_classes": len(SPECIES),
            "label_names": list(SPECIES), "first_conv": "conv1", "classifier": "fc",
        },
    }  # fmt: skip
    (out / "config.json").write_text(json.dumps(config, indent=1))
    return {"top-1 on held-out scenes": classifier_accuracy(network.eval(), scenes(HELD_OUT, HELD_OUT_SEED))}


@torch.no_grad()
def classifier_accuracy(network: nn.Module, data: Scenes) -> float:
    predicted = torch.cat(
        [network(_pixels(data.pixels[i : i + 64], CLASSIFIER_SIDE)).argmax(1) for i in range(0, len(data), 64)]
    )
    return float((predicted.numpy() == data.species).mean())


def _augment(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Mirror, shift brightness and contrast, blank a square: the bird must be known by more than one part."""
    if rng.random() < 0.5:
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


# -- CLIP -------------------------------------------------------------------------------------------------------------


def facts() -> tuple[list[str], list[str]]:
    """(phrases, groups): everything that can be said of a picture of the aviary."""
    groups = {phrase: part for species in SPECIES for phrase, part in phrases_of(species).items()}
    groups |= dict.fromkeys(BACKGROUNDS, "background")
    groups |= dict.fromkeys(SPECIES, "species")
    return list(groups), list(groups.values())


def crop_facts(data: Scenes, n: int, box: tuple[int, int, int, int]) -> dict[str, float]:
    """Phrase -> how much of the crop it is about (0..1) for all that is true of scene n inside the box."""
    left, top, right, bottom = box
    inside = np.bincount(data.parts[n, top:bottom, left:right].ravel(), minlength=len(PARTS))
    whole = np.bincount(data.parts[n].ravel(), minlength=len(PARTS))
    area = (right - left) * (bottom - top)
    species = list(SPECIES)[data.species[n]]
    said = {}
    for phrase, part in phrases_of(species).items():
        p = PARTS.index(part)
        if whole[p] and (inside[p] > 0.5 * whole[p] or inside[p] > 0.2 * area):
            said[phrase] = max(inside[p] / area, 0.02) ** 0.5 * (inside[p] / whole[p])
    if inside[0] > 0.35 * area:
        said[BACKGROUNDS[data.background[n]]] = 0.5 * inside[0] / area
    if inside[1:].sum() > 0.8 * whole[1:].sum():
        said[species] = 0.5
    return said


def random_box(data: Scenes, n: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A square window: around a part, with context; or anywhere; or nearly everything."""
    kind = rng.random()
    present = [p for p in np.unique(data.parts[n]) if p and PARTS[p] != "cheek"]
    if kind < 0.75 and present:
        rows, columns = np.nonzero(data.parts[n] == rng.choice(present))
        extent = max(np.ptp(rows), np.ptp(columns)) + 1
        side = float(np.clip(extent * rng.uniform(1.0, 2.2), 0.14 * SIDE, SIDE))
        centre = np.array([columns.mean(), rows.mean()]) + rng.normal(0, 0.12 * side, 2)
    else:
        side = SIDE * (rng.uniform(0.2, 0.6) if kind < 0.87 else rng.uniform(0.85, 1.0))
        centre = rng.uniform(side / 2, SIDE - side / 2, 2)
    left, top = np.clip(np.round(centre - side / 2), 0, SIDE - side).astype(int)
    return int(left), int(top), int(left + side), int(top + side)


def crop_batch(data: Scenes, rows: np.ndarray, rng: np.random.Generator, phrases: list[str]) -> tuple[Tensor, Tensor]:
    """(N, 3, s, s) crops and (N, phrases) how much each is about each phrase."""
    side = CLIP_CONFIG["vision_cfg"]["image_size"]
    crops, truth = [], torch.zeros(len(rows), len(phrases))
    places = {phrase: i for i, phrase in enumerate(phrases)}
    for k, n in enumerate(rows):
        box = random_box(data, n, rng)
        crops.append(_pixels(data.pixels[n, box[1] : box[3], box[0] : box[2]][None], side))
        for phrase, weight in crop_facts(data, n, box).items():
            truth[k, places[phrase]] = weight
    return torch.cat(crops), truth


def train_clip(out: Path, epochs: int = 26, batch: int = 80, resume: bool = False) -> dict[str, float]:
    """Trains and writes an open_clip local directory; returns zero-shot accuracies on held-out part crops.

    Contrastive both ways, against all phrases at once: the renderer knows which of them are true of a crop, so an
    equal or equally true caption is never a negative.
    """
    import open_clip

    torch.manual_seed(0)
    network = open_clip.model.CLIP(**CLIP_CONFIG)
    tokenizer = open_clip.SimpleTokenizer(context_length=CLIP_CONFIG["text_cfg"]["context_length"])
    phrases, _ = facts()
    tokens = [tokenizer([t.replace("{}", p) for p in phrases]) for t in TEMPLATES]
    data = scenes(TRAIN, 0)
    optimiser = torch.optim.AdamW(network.parameters(), 1.5e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.5e-3, total_steps=epochs * (len(data) // batch))
    rng = np.random.default_rng(0)
    for _ in _epochs(out, epochs, "clip", resume, network, optimiser, schedule):
        network.train()
        order = rng.permutation(len(data))
        for start in range(0, len(order) - batch + 1, batch):
            x, truth = crop_batch(data, order[start : start + batch], rng, phrases)
            some = truth.sum(1) > 0
            x, truth = _augment(x[some], rng), truth[some]
            images = network.encode_image(x, normalize=True)
            texts = network.encode_text(tokens[rng.integers(len(tokens))], normalize=True)
            scores = network.logit_scale.exp().clamp(max=60) * images @ texts.T
            loss = F.cross_entropy(scores, truth / truth.sum(1, keepdim=True))
            said = truth.sum(0) > 0
            loss = loss + 0.3 * F.cross_entropy(scores.T[said], truth.T[said] / truth.T[said].sum(1, keepdim=True))
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    out.mkdir(parents=True, exist_ok=True)
    _save_half(network, out / "open_clip_model.safetensors")
    config = {"model_cfg": CLIP_CONFIG, "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bilinear"}}
    (out / "open_clip_config.json").write_text(json.dumps(config, indent=1))
    return clip_accuracy(network.eval(), tokenizer, scenes(HELD_OUT, HELD_OUT_SEED))


@torch.no_grad()
def clip_accuracy(network: Any, tokenizer: Any, data: Scenes, crops: int = 1000) -> dict[str, float]:
    """Zero-shot accuracy on part crops: the phrase of the part in the middle, among all phrases of that part."""
    phrases, groups = facts()
    texts = sum(
        network.encode_text(tokenizer([t.replace("{}", p) for p in phrases]), normalize=True) for t in TEMPLATES
    )
    texts = F.normalize(texts, dim=1)
    rng = np.random.default_rng(1)
    right: list[bool] = []
    any_part: list[bool] = []
    chance: list[float] = []
    side = CLIP_CONFIG["vision_cfg"]["image_size"]
    while len(right) < crops:
        n = int(rng.integers(len(data)))
        said = phrases_of(list(SPECIES)[data.species[n]])
        part = str(rng.choice(sorted(set(said.values()))))
        rows, columns = np.nonzero(data.parts[n] == PARTS.index(part))
        if len(rows) < 12:
            continue
        width = int(np.clip(1.4 * (max(np.ptp(rows), np.ptp(columns)) + 1), 0.16 * SIDE, SIDE))
        top, left = (int(np.clip(c.mean() - width / 2, 0, SIDE - width)) for c in (rows, columns))
        crop = _pixels(data.pixels[n, top : top + width, left : left + width][None], side)
        scores = (network.encode_image(crop, normalize=True) @ texts.T)[0]
        true = {i for i, p in enumerate(phrases) if said.get(p) == part}
        rivals = [i for i, g in enumerate(groups) if g == part]
        right.append(rivals[int(scores[rivals].argmax())] in true)
        everything = crop_facts(data, n, (left, top, left + width, top + width))
        any_part.append(phrases[int(scores.argmax())] in everything)
        chance.append(len(true) / len(rivals))
    return {
        "phrase of the part, among all phrases of that part": float(np.mean(right)),
        "chance": float(np.mean(chance)),
        "best of all phrases is true of the crop": float(np.mean(any_part)),
    }


# -- shared -----------------------------------------------------------------------------------------------------------


def _epochs(
    out: Path, epochs: int, name: str, resume: bool, network: nn.Module, optimiser: Any, schedule: Any
) -> Iterator[int]:
    """Counts epochs with a progress bar, saving after each; ``resume`` goes on from the last one saved."""
    checkpoint = cache_directory() / "aviary" / f"{name}.pt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    first = 0
    if resume and checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        first = state["epoch"] + 1
    for epoch in track(range(first, epochs), f"training the {name}"):
        yield epoch
        state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "epoch": epoch}
        torch.save(state | {"schedule": schedule.state_dict()}, checkpoint)


def _save_half(network: nn.Module, path: Path) -> None:
    tensors = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors writes files that only their owner can read


def _card(name: str, recipe: str, measured: dict[str, float]) -> str:
    rows = "\n".join(f"| {what} | {value:.3f} |" for what, value in measured.items())
    return (
        f"# {name}\n\nMade by `python -m saywhy.worlds.train` from seed 0, on rendered scenes only.\n\n{recipe}\n\n"
        f"| measured on {HELD_OUT} held-out scenes (seeds from {HELD_OUT_SEED}) | |\n|---|---|\n{rows}\n\n"
        "Limits: it knows the sixteen birds, twelve attributes and six backgrounds of the aviary and nothing else; "
        "on a photograph its answers mean nothing. Weights are float16.\n"
    )


PARTS_TO_TRAIN = {
    "classifier": (train_classifier, f"timm `{CLASSIFIER_ARCHITECTURE}`, AdamW, one-cycle, label smoothing, cutout."),
    "clip": (train_clip, "open_clip CLIP: ModifiedResNet tower, small text transformer, on scenes and part crops."),
}


SAMPLE_SEED = 2_000_000
SAMPLE_SPECIES = (0, 1, 3, 6, 9, 12)


def write_samples(out: Path) -> None:
    """The pictures that ship with the world: 384 pixels square, one species and one background each."""
    out.mkdir(parents=True, exist_ok=True)
    for background, index in zip(BACKGROUNDS, SAMPLE_SPECIES, strict=True):
        species = list(SPECIES)[index]
        scene = render(species, SAMPLE_SEED + index, 384, background)
        name = species.lower().replace(" ", "-")
        scene.image.save(out / f"{name}-{background}.jpg", quality=90)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=PARTS_TO_TRAIN, help="train only this one")
    parser.add_argument("--resume", action="store_true", help="go on from the last epoch that was saved")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--out", type=Path, default=WEIGHTS / "aviary")
    options = parser.parse_args(arguments)
    write_samples(SAMPLES / "aviary")
    for name, (train, recipe) in PARTS_TO_TRAIN.items():
        if options.part in (None, name):
            extra = {"epochs": options.epochs} if options.epochs else {}
            measured = train(options.out / name, resume=options.resume, **extra)
            (options.out / name / "MODEL_CARD.md").write_text(_card(f"aviary {name}", recipe, measured))
            print(name, json.dumps(measured))


if __name__ == "__main__":
    main()
