"""Trains the small models of the embedded worlds: ``python -m saywhy.training.worlds [NAME...] [--resume]``.

Everything is drawn, trained and measured from seeds; scenes are rendered once into the cache. Weights land beside this
file in float16, each with a model card that holds what was measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from saywhy.plumbing.caches import cache_directory
from saywhy.plumbing.files import replacing
from saywhy.training.language import (
    byte_pair_tokenizer,
    fit,
    gpt2,
    padded,
    perplexity,
    token_rows,
    write_language,
)
from saywhy.worlds import CLASSIFIER_SIDE, SAMPLES, TEMPLATES, WEIGHTS, aviary_facts
from saywhy.worlds.aviary import BACKGROUNDS, SPECIES, VALUES, phrases_of, render
from saywhy.worlds.digits import (
    CLASSES,
    COLOURS,
    DIGITS,
    INKS,
    KINDS,
    DigitSet,
    captions,
    coloured_digits,
    digits,
    true_captions,
)
from saywhy.worlds.digits import SIDE as DIGIT_SIDE
from saywhy.worlds.drawing import PARTS
from saywhy.worlds.planted import PLANTS
from saywhy.worlds.scenes import HELD_OUT_SEED, SIDE, Scenes, class_names, scenes
from saywhy.worlds.sentences import caption_of, sentences

SPECIES_SCENES, RANDOM_SCENES, PLANTED_SCENES, HELD_OUT = 4800, 3000, 1440, 800
PLANTED_HELD_OUT = 240
RATES = {"resnet": 4e-3, "vit": 1.5e-3}
"""Tower -> highest learning rate of a classifier."""
FINE_TUNING_RATE = 2e-4
CLIP_SIDE = 64
MEAN = STD = (0.5, 0.5, 0.5)
VIT: dict[str, Any] = {"embed_dim": 96, "depth": 6, "num_heads": 3, "mlp_ratio": 3, "class_token": True}
TEXT_TOWER = {"context_length": 20, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 3}
CLIP_TOWERS: dict[str, dict[str, Any]] = {
    "resnet": {"image_size": CLIP_SIDE, "layers": [1, 1, 1, 1], "width": 24, "patch_size": None},
    "vit": {"image_size": CLIP_SIDE, "layers": 6, "width": 96, "head_width": 32, "patch_size": 8, "mlp_ratio": 3.0},
}
CLIP_PHASES = {"resnet": ((12, 2e-3, False), (8, 1.2e-3, True)), "vit": ((10, 1e-3, False), (6, 8e-4, True))}
"""Tower -> epochs, highest learning rate, and whether small parts are shown more often, for each phase."""
DIGIT_PICTURES = 12_000
DIGIT_TEXT_TOWER = TEXT_TOWER | {"width": 32, "heads": 2, "layers": 2}
DIGIT_CLIP_TOWERS = {"resnet": CLIP_TOWERS["resnet"] | {"width": 16}, "vit": CLIP_TOWERS["vit"]}
DIGIT_CLIP_PHASE = {"resnet": (9, 2e-3), "vit": (12, 1e-3)}
"""Tower -> epochs and highest learning rate."""
_HARD = {"bill": 4.0, "tail": 3.0, "eye": 3.0, "belly": 3.0, "nape": 2.0, "back": 2.0, "forehead": 2.0}


def aviary_network(tower: str, classes: int, side: int = CLASSIFIER_SIDE) -> tuple[nn.Module, dict[str, Any]]:
    """A small timm network at random weights, and the arguments it was made with."""
    import timm

    arguments: dict[str, Any] = {}
    if tower != "resnet":
        arguments = VIT | {"img_size": side, "patch_size": side // 8, "dynamic_img_size": False}
    network: Any = timm.create_model(f"test_{tower}", num_classes=classes, **arguments)
    return network, arguments


# -- classifiers ------------------------------------------------------------------------------------------------------


def train_classifier(
    out: Path,
    *,
    kind: str = "species",
    tower: str = "resnet",
    epochs: int | None = None,
    batch: int = 64,
    resume: bool = False,
) -> dict[str, float]:
    """Trains on one kind of scenes (see scenes.draw), writes a timm local directory, returns held-out accuracies."""
    planted = kind != "species"
    data = scenes(kind, PLANTED_SCENES if planted else SPECIES_SCENES, 0)
    held = scenes(kind, PLANTED_HELD_OUT if planted else HELD_OUT, HELD_OUT_SEED)
    pixels = torch.as_tensor(data.pixels).permute(0, 3, 1, 2)
    labels = torch.as_tensor(data.labels).long()
    names = class_names(kind)
    network, arguments = aviary_network(tower, len(names))
    if planted:
        _start_from(out.parents[1] / "aviary" / out.name / "model.safetensors", network)
    epochs = epochs or {"resnet": 12, "vit": 50}[tower]
    _fit(out, network, pixels, labels, CLASSIFIER_SIDE, RATES[tower], epochs, batch, resume, mirror=True)
    _write_timm(out, network, arguments, names, CLASSIFIER_SIDE)
    predicted = _predict(network.eval(), torch.as_tensor(held.pixels).permute(0, 3, 1, 2), CLASSIFIER_SIDE)
    right = predicted == held.labels
    measured = {"top-1 on held-out scenes": float(right.mean())}
    if planted:
        affected = held.labels >= len(names) - 4
        measured["top-1, classes that the cause decides"] = float(right[affected].mean())
        measured["top-1, ordinary species"] = float(right[~affected].mean())
    return measured


def _start_from(path: Path, network: nn.Module) -> None:
    """Everything but the head, from a classifier of the aviary's species, if that has been trained."""
    if path.exists():
        state = load_file(path)
        own = network.state_dict()
        network.load_state_dict({k: v.float() for k, v in state.items() if v.shape == own[k].shape}, strict=False)


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
    _write_timm(out, network, arguments, CLASSES, side)

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
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network.to(device)
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * (len(labels) // batch))
    for epoch in _epochs(f"{out.parent.name}-{out.name}", epochs, resume, network, optimiser, schedule):
        rng = np.random.default_rng([seed, epoch])
        network.train()
        order = rng.permutation(len(labels))
        for start in range(0, len(order) - batch + 1, batch):
            rows = order[start : start + batch]
            x = _augment(_cropped(pixels[rows], side, rng), rng, mirror)
            loss = F.cross_entropy(network(x.to(device)), labels[rows].to(device), label_smoothing=0.05)
            _step(network, loss, optimiser, schedule)
    network.cpu()


def _pixels(pictures: np.ndarray | Tensor, side: int) -> Tensor:
    """(N, 3, h, w) uint8 -> (N, 3, side, side) as the networks get them."""
    x = torch.as_tensor(pictures).float() / 255
    return (F.interpolate(x, (side, side), mode="bilinear", antialias=True, align_corners=False) - 0.5) / 0.5


def _cropped(pictures: Tensor, side: int, rng: np.random.Generator) -> Tensor:
    """A window of 80 to 100 percent of the side, the same for a batch: cheap, and enough."""
    full = pictures.shape[-1]
    window = int(full * rng.uniform(0.8, 1.0)) if rng.random() < 0.7 else full
    top, left = rng.integers(0, full - window + 1, 2)
    return _pixels(pictures[..., top : top + window, left : left + window], side)


def _augment(x: Tensor, rng: np.random.Generator, mirror: bool = True) -> Tensor:
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


@torch.no_grad()
def _predict(network: nn.Module, pictures: Tensor, side: int) -> np.ndarray:
    return torch.cat([network(_pixels(part, side)).argmax(1) for part in pictures.split(64)]).numpy()


def _write_timm(out: Path, network: nn.Module, arguments: dict[str, Any], names: Sequence[str], side: int) -> None:
    """A timm local directory in float16; ``arguments``: what the network was made with."""
    import timm

    half: Any = deepcopy(network).half()
    keep = ("architecture", "fixed_input_size", "first_conv", "classifier")
    half.pretrained_cfg = {k: half.pretrained_cfg[k] for k in keep} | {
        "input_size": (3, side, side), "mean": MEAN, "std": STD, "crop_pct": 1.0, "interpolation": "bilinear",
    }  # fmt: skip
    timm.models.save_for_hf(
        half, str(out), model_config={"label_names": list(names)}, model_args=arguments, safe_serialization=True
    )
    (out / "model.safetensors").chmod(0o644)  # safetensors writes files that only their owner can read


# -- CLIP -------------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, eq=False)
class Captioned:
    """Scenes of several kinds, with phrases to say of them.

    truth: (N, phrases) bool, what is true of each scene as a whole.
    parts: (phrases,) index into PARTS of what each phrase is about; -1 for a species.
    """

    scenes: list[Scenes]
    truth: np.ndarray
    parts: np.ndarray

    def __len__(self) -> int:
        return len(self.truth)

    def __getitem__(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels, part map and true phrases of scene n."""
        row = int(n)
        for some in self.scenes:
            if row < len(some):
                return some.pixels[row], some.parts[row], self.truth[n]
            row -= len(some)
        raise IndexError(n)


def captioned(kinds: list[tuple[str, Scenes]]) -> Captioned:
    """What can be said of each scene, as a table; every scene's species only where it has one of the aviary's."""
    facts = aviary_facts()
    place = {phrase: i for i, phrase in enumerate(facts)}
    said = {
        (a, v): place[next(iter(phrases_of({name: value})))]
        for a, name in enumerate(VALUES)
        for v, value in enumerate(VALUES[name])
    }
    rows = []
    for kind, some in kinds:
        names = () if kind == "random" else class_names(kind)
        for n in range(len(some)):
            row = np.zeros(len(facts), bool)
            row[[said[a, v] for a, v in enumerate(some.values[n])]] = True
            row[place[BACKGROUNDS[some.background[n]]]] = True
            row[place["a letter in the corner"]] = (some.parts[n] == PARTS.index("watermark")).any()
            if some.labels[n] >= 0 and names[some.labels[n]] in SPECIES:
                row[place[names[some.labels[n]]]] = True
            rows.append(row)
    parts = np.array([-1 if p == "species" else PARTS.index(p) for p in facts.values()])
    return Captioned([some for _, some in kinds], np.array(rows), parts)


def crop_facts(data: Captioned, n: int, box: tuple[int, int, int, int]) -> np.ndarray:
    """(phrases,) how much of the crop each phrase is about, 0 where it is not true or hardly visible."""
    left, top, right, bottom = box
    _, parts, truth = data[n]
    inside = np.bincount(parts[top:bottom, left:right].ravel(), minlength=len(PARTS))
    whole = np.bincount(parts.ravel(), minlength=len(PARTS))
    share = inside / ((right - left) * (bottom - top))
    seen = inside / np.maximum(whole, 1)
    weight = np.where((seen > 0.5) | (share > 0.2), np.sqrt(np.maximum(share, 0.02)) * seen, 0) * (inside > 0)
    weight[0] = 0.5 * share[0] * (share[0] > 0.35)
    bird = slice(1, PARTS.index("watermark"))
    species = 0.5 * (inside[bird].sum() > 0.8 * whole[bird].sum())
    return np.where(truth, np.append(weight, species)[data.parts], 0)


def random_box(parts: np.ndarray, rng: np.random.Generator, hard: bool = False) -> tuple[int, int, int, int]:
    """A square window: around a part (``hard``: a small one more often), or anywhere, or nearly everything."""
    kind = rng.random()
    present = [p for p in np.unique(parts) if p]
    if kind < 0.72 and present:
        weights = np.array([_HARD.get(PARTS[p], 1.0) if hard else 1.0 for p in present])
        rows, columns = np.nonzero(parts == rng.choice(present, p=weights / weights.sum()))
        extent = max(np.ptp(rows), np.ptp(columns)) + 1
        side = float(np.clip(extent * rng.uniform(1.0, 2.2), 0.14 * SIDE, SIDE))
        centre = np.array([columns.mean(), rows.mean()]) + rng.normal(0, 0.12 * side, 2)
    else:
        side = SIDE * (rng.uniform(0.2, 0.6) if kind < 0.87 else rng.uniform(0.85, 1.0))
        centre = rng.uniform(side / 2, SIDE - side / 2, 2)
    left, top = np.clip(np.round(centre - side / 2), 0, SIDE - side).astype(int)
    return int(left), int(top), int(left + side), int(top + side)


def _crop_batch(data: Captioned, rows: np.ndarray, rng: np.random.Generator, hard: bool) -> tuple[Tensor, Tensor]:
    """(N, 3, s, s) crops and (N, phrases) how much each is about each phrase."""
    crops, truth = [], []
    for n in rows:
        pixels, parts, _ = data[n]
        box = random_box(parts, rng, hard)
        crops.append(_pixels(pixels[box[1] : box[3], box[0] : box[2]].transpose(2, 0, 1)[None], CLIP_SIDE))
        truth.append(crop_facts(data, n, box))
    return torch.cat(crops), torch.as_tensor(np.array(truth), dtype=torch.float32)


def train_clip(
    out: Path, *, tower: str = "resnet", epochs: int | None = None, batch: int = 96, resume: bool = False
) -> dict[str, float]:
    """Trains and writes an open_clip local directory; returns zero-shot accuracies on held-out part crops.

    Contrastive both ways, against all phrases at once: the renderer knows which of them are true of a crop, so an
    equal or equally true caption is never a negative.
    """
    import open_clip

    torch.manual_seed(0)
    model = {"embed_dim": 128, "vision_cfg": CLIP_TOWERS[tower], "text_cfg": TEXT_TOWER}
    network: Any = open_clip.model.CLIP(**model)
    tokenizer = open_clip.SimpleTokenizer(context_length=TEXT_TOWER["context_length"])
    phrases = list(aviary_facts())
    tokens = [tokenizer([t.replace("{}", p) for p in phrases]) for t in TEMPLATES]
    data = captioned([
        ("species", scenes("species", SPECIES_SCENES, 0)),
        ("random", scenes("random", RANDOM_SCENES, 0)),
        ("planted-watermark", scenes("planted-watermark", PLANTED_SCENES, 0)),
    ])  # fmt: skip
    for phase, (length, rate, hard) in enumerate(CLIP_PHASES[tower]):
        name = f"{out.parent.name}-{out.name}" + "-2" * phase
        optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.05)
        length = epochs or length
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=length * (len(data) // batch))
        for epoch in _epochs(name, length, resume, network, optimiser, schedule):
            rng = np.random.default_rng([phase, epoch])
            network.train()
            order = rng.permutation(len(data))
            for start in range(0, len(order) - batch + 1, batch):
                x, truth = _crop_batch(data, order[start : start + batch], rng, hard)
                loss = _contrast(network, x, truth, tokens[rng.integers(len(tokens))], rng)
                _step(network, loss, optimiser, schedule)
    _write_clip(out, network, model)
    return clip_accuracy(
        network.eval(), tokenizer, captioned([("species", scenes("species", HELD_OUT, HELD_OUT_SEED))])
    )


def _contrast(network: Any, x: Tensor, truth: Tensor, tokens: Tensor, rng: np.random.Generator) -> Tensor:
    """Crops against all phrases, and these against the crops."""
    some = truth.sum(1) > 0
    images = network.encode_image(_augment(x[some], rng), normalize=True)
    return _phrase_contrast(network, images, truth[some], tokens)


def _phrase_contrast(network: Any, images: Tensor, truth: Tensor, tokens: Tensor) -> Tensor:
    """Unit vectors of crops against all phrases; a crop that none is true of is left out."""
    some = truth.sum(1) > 0
    texts = network.encode_text(tokens, normalize=True)
    return _agreement(network.logit_scale.exp().clamp(max=60) * images[some] @ texts.T, truth[some])


def _agreement(scores: Tensor, truth: Tensor) -> Tensor:
    """Pictures against phrases, and, weighed less, phrases against pictures; both (pictures, phrases)."""
    said = truth.sum(0) > 0
    return F.cross_entropy(scores, truth / truth.sum(1, keepdim=True)) + 0.3 * F.cross_entropy(
        scores.T[said], truth.T[said] / truth.T[said].sum(1, keepdim=True)
    )


def train_captioned_clip(
    out: Path, *, epochs: int | None = None, batch: int = 96, resume: bool = False
) -> dict[str, float]:
    """A CLIP that reads whole captions, species among them; otherwise as ``train_clip`` with a ViT.

    It is what prompts are tuned on (docs/ecor.md): it knows each word of ECOR's texts, and none of the texts.
    """
    import open_clip

    torch.manual_seed(0)
    model = {"embed_dim": 128, "vision_cfg": CLIP_TOWERS["vit"], "text_cfg": TEXT_TOWER | {"context_length": 32}}
    network: Any = open_clip.model.CLIP(**model)
    tokenizer = open_clip.SimpleTokenizer(context_length=32)
    facts = aviary_facts()
    tokens = [tokenizer([t.replace("{}", p) for p in facts]) for t in TEMPLATES]
    data = captioned([
        ("species", scenes("species", SPECIES_SCENES, 0)),
        ("random", scenes("random", RANDOM_SCENES, 0)),
    ])  # fmt: skip
    species = np.array([kind == "species" for kind in facts.values()])
    for phase, (length, rate, hard) in enumerate(CLIP_PHASES["vit"]):
        name = f"{out.parent.name}-{out.name}" + "-2" * phase
        optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.05)
        length = epochs or length
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=length * (len(data) // batch))
        for epoch in _epochs(name, length, resume, network, optimiser, schedule):
            rng = np.random.default_rng([phase, epoch, 1])
            network.train()
            order = rng.permutation(len(data))
            for start in range(0, len(order) - batch + 1, batch):
                rows = order[start : start + batch]
                x, truth = _crop_batch(data, rows, rng, hard)
                seen = truth > 0
                whose = torch.as_tensor(data.truth[rows] & species) & (seen.sum(1, keepdim=True) > 0)
                true = seen | whose  # a close-up shows what species it is of; it does not show all of it
                captions, said = _captions(true, list(facts), species, rng)
                images = network.encode_image(_augment(x, rng), normalize=True)
                loss = _phrase_contrast(network, images, truth, tokens[rng.integers(len(tokens))])
                loss = loss + _caption_contrast(network, images, tokenizer(captions), true, said)
                _step(network, loss, optimiser, schedule)
    _write_clip(out, network, model)
    held = captioned([("species", scenes("species", HELD_OUT, HELD_OUT_SEED))])
    return clip_accuracy(network.eval(), tokenizer, held)


def _captions(
    true: Tensor, facts: Sequence[str], species: np.ndarray, rng: np.random.Generator
) -> tuple[list[str], Tensor]:
    """A caption on some of what is true of each picture, and (captions, facts) bool: what each says.

    true: (N, facts) bool. Pictures of which nothing can be said get none.
    """
    captions, said = [], []
    for row in true.numpy():
        names, things = np.flatnonzero(row & species), np.flatnonzero(row & ~species)
        some = rng.permutation(things)[: rng.integers(0 if len(names) else 1, 4)]
        name = names[:1] if len(names) and (not len(some) or rng.random() < 0.6) else names[:0]
        if not len(some) and not len(name):
            continue
        captions.append(caption_of(facts[name[0]] if len(name) else "", [facts[i] for i in some], rng))
        said.append(np.isin(np.arange(len(facts)), [*name, *some]))
    return captions, torch.as_tensor(np.array(said))


def _caption_contrast(network: Any, images: Tensor, tokens: Tensor, true: Tensor, said: Tensor) -> Tensor:
    """Pictures against captions both ways; a caption belongs to every picture of which all that it says is true."""
    texts = network.encode_text(tokens, normalize=True)
    fits = (true.float() @ said.float().T == said.sum(1)).float()
    some = fits.sum(1) > 0
    scores = network.logit_scale.exp().clamp(max=60) * images[some] @ texts.T
    return _agreement(scores, fits[some])


@torch.no_grad()
def clip_accuracy(network: Any, tokenizer: Any, data: Captioned, count: int = 1000) -> dict[str, float]:
    """Zero-shot accuracy on crops around a part: its phrase, among all phrases of that kind (all bill shapes, ...)."""
    facts = aviary_facts()
    phrases = list(facts)
    texts: Tensor = sum(
        network.encode_text(tokenizer([t.replace("{}", p) for p in phrases]), normalize=True) for t in TEMPLATES
    )
    texts = F.normalize(texts, dim=1)
    place = {phrase: i for i, phrase in enumerate(phrases)}
    kinds = [[place[next(iter(phrases_of({name: value})))] for value in values] for name, values in VALUES.items()]
    rng = np.random.default_rng(1)
    right: list[bool] = []
    any_true: list[bool] = []
    chance: list[float] = []
    while len(right) < count:
        n = int(rng.integers(len(data)))
        pixels, parts, truth = data[n]
        rivals = kinds[rng.integers(len(kinds))]
        rows, columns = np.nonzero(parts == data.parts[rivals[0]])
        if len(rows) < 12:
            continue
        width = int(np.clip(1.4 * (max(np.ptp(rows), np.ptp(columns)) + 1), 0.16 * SIDE, SIDE))
        top, left = (int(np.clip(c.mean() - width / 2, 0, SIDE - width)) for c in (rows, columns))
        crop = _pixels(pixels[top : top + width, left : left + width].transpose(2, 0, 1)[None], CLIP_SIDE)
        scores = (network.encode_image(crop, normalize=True) @ texts.T)[0]
        right.append(bool(truth[rivals[int(scores[rivals].argmax())]]))
        any_true.append(bool(crop_facts(data, n, (left, top, left + width, top + width))[int(scores.argmax())] > 0))
        chance.append(1 / len(rivals))
    return {
        "phrase of the part, among all of its kind": float(np.mean(right)),
        "chance": float(np.mean(chance)),
        "best of all phrases is true of the crop": float(np.mean(any_true)),
    }


def train_digit_clip(
    out: Path, *, tower: str = "resnet", epochs: int | None = None, batch: int = 96, resume: bool = False
) -> dict[str, float]:
    """Trains and writes an open_clip local directory; returns zero-shot accuracies on held-out handwritings.

    Of a picture three things are true, and weigh the same: the digit, its ink, and both. See _digit_contrast.
    """
    import open_clip

    torch.manual_seed(0)
    model = {"embed_dim": 64, "vision_cfg": DIGIT_CLIP_TOWERS[tower], "text_cfg": DIGIT_TEXT_TOWER}
    network: Any = open_clip.model.CLIP(**model)
    tokenizer = open_clip.SimpleTokenizer(context_length=DIGIT_TEXT_TOWER["context_length"])
    tokens = [tokenizer(list(ways)) for ways in captions()]
    _silence_words(network, torch.cat(tokens))
    data = coloured_digits("train", DIGIT_PICTURES)
    pixels, truth = torch.as_tensor(data.pixels).permute(0, 3, 1, 2), torch.as_tensor(true_captions(data)).float()
    length, rate = epochs or DIGIT_CLIP_PHASE[tower][0], DIGIT_CLIP_PHASE[tower][1]
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=length * (len(data) // batch))
    for epoch in _epochs(f"{out.parent.name}-{out.name}", length, resume, network, optimiser, schedule):
        rng = np.random.default_rng([0, epoch])
        network.train()
        order = rng.permutation(len(data))
        for start in range(0, len(order) - batch + 1, batch):
            rows = order[start : start + batch]
            x = _augment(_rewritten(_pixels(pixels[rows], CLIP_SIDE), rng), rng, mirror=False)
            loss = _digit_contrast(network, x, truth[rows], tokens, rng)
            _step(network, loss, optimiser, schedule)
    _write_clip(out, network, model)
    return digit_clip_accuracy(network.eval(), tokenizer)


def _digit_contrast(
    network: Any, x: Tensor, truth: Tensor, tokens: Sequence[Tensor], rng: np.random.Generator
) -> Tensor:
    """Pictures against all phrases and against those of each kind, and the phrases of a kind against each other.

    tokens: for each phrase, (ways, context) the ways to say it, one of which is drawn for each use.

    Colour is so much easier to see than shape that both towers would give up the digit and stay there: equal texts give
    the picture nothing to learn from. So two ways to say a phrase must meet, and those of different phrases must not.
    """
    scale = network.logit_scale.exp().clamp(max=60)
    images = network.encode_image(x, normalize=True)
    texts, again = (
        network.encode_text(torch.stack([ways[rng.integers(len(ways))] for ways in tokens]), normalize=True)
        for _ in range(2)
    )
    scores, alike = scale * images @ texts.T, scale * texts @ again.T
    loss = 0.5 * _agreement(scores, truth)
    for kind in KINDS:
        apart = F.cross_entropy(alike[kind, kind], torch.arange(kind.stop - kind.start))
        loss = loss + (_agreement(scores[:, kind], truth[:, kind]) + apart) / len(KINDS)
    return loss


@torch.no_grad()
def _silence_words(network: Any, used: Tensor) -> None:
    """Words that no caption has get embeddings of 0, and keep them: they say nothing, and pack into nothing."""
    unused = torch.ones(network.token_embedding.num_embeddings, dtype=torch.bool)
    unused[used.unique()] = False
    network.token_embedding.weight[unused] = 0


def _rewritten(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Digits as another hand and pen would write them: (N, 3, s, s), -1..1 on black, to the same.

    Without this CLIP knows the thick, soft strokes of scikit-learn's digits alone, and reads MNIST's badly.
    """
    n, _, side, _ = x.shape

    def uniform(low: float, high: float) -> Tensor:
        return torch.as_tensor(rng.uniform(low, high, (n, 1, 1)), dtype=x.dtype)

    zero, tall = torch.zeros(n, 1, 1), uniform(0.9, 1.7)
    place = [uniform(-0.1, 0.1), uniform(-0.1, 0.1)]
    wide, slant = tall * uniform(0.75, 1.3), tall * uniform(-0.35, 0.35)
    lines = [torch.cat([wide, slant, place[0]], 2), torch.cat([zero, tall, place[1]], 2)]
    grid = F.affine_grid(torch.cat(lines, 1), list(x.shape), align_corners=False)
    bend = torch.as_tensor(rng.normal(0, 0.06, (n, 2, 5, 5)), dtype=x.dtype)
    grid = grid + F.interpolate(bend, (side, side), mode="bicubic", align_corners=False).permute(0, 2, 3, 1)
    x = F.grid_sample((x + 1) / 2, grid, align_corners=False)
    level = x.amax(1, keepdim=True)
    level = level / level.amax((2, 3), keepdim=True)
    # The stroke ends where its level falls below ``edge``: a high edge is a thin pen, a narrow slope a hard one.
    edge, slope = uniform(0.2, 0.65)[..., None], uniform(0.1, 0.5)[..., None]
    stroke = ((level - edge) / slope + 0.5).clamp(0, 1)
    plain = uniform(0, 1)[..., None] < 0.3
    return torch.where(plain, x, x / level.clamp(min=0.1) * stroke).clamp(0, 1) * 2 - 1


@torch.no_grad()
def digit_clip_accuracy(network: Any, tokenizer: Any, count: int = 1000, mnist: Path | None = None) -> dict[str, float]:
    """Zero-shot accuracy on handwritings that no training saw, each question by its first caption ("the digit 5")."""
    texts = network.encode_text(tokenizer([ways[0] for ways in captions()]), normalize=True)

    def right(data: DigitSet, among: Tensor, answers: np.ndarray) -> float:
        x = torch.as_tensor(data.pixels).permute(0, 3, 1, 2)
        seen = torch.cat([network.encode_image(_pixels(part, CLIP_SIDE), normalize=True) for part in x.split(64)])
        return float(((seen @ among.T).argmax(1).numpy() == answers).mean())

    mixed, two = coloured_digits("test", count, mnist=mnist), digits("test", 0.0, count, mnist=mnist)
    grey = digits("test", None, count, mnist=mnist)
    number, ink, _ = KINDS
    pair = texts[number][list(DIGITS)]
    return {
        "digit among ten": right(mixed, texts[number], mixed.labels),
        "five or eight": right(two, pair, two.labels),
        "five or eight, grey": right(grey, pair, grey.labels),
        "colour among six": right(mixed, texts[ink], mixed.colour),
        "red or green": right(two, texts[ink][: len(COLOURS)], two.colour),
    }


# -- the language model -----------------------------------------------------------------------------------------------


def train_language(
    out: Path, *, epochs: int = 3, batch: int = 128, resume: bool = False, count: int = 24_000
) -> dict[str, float]:
    """A GPT-2 of a few hundred thousand parameters on descriptions of the worlds, as a transformers local directory."""
    texts = sentences(count, 0)
    tokenizer = byte_pair_tokenizer(texts, 768)
    torch.manual_seed(0)
    network = gpt2(len(tokenizer), width=128, layers=4, heads=4)
    rows = padded(token_rows(tokenizer, texts))
    rate = 2e-3
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * (len(rows) // batch))
    for epoch in _epochs(f"{out.parent.name}-{out.name}", epochs, resume, network, optimiser, schedule):
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(epoch))
        batches = (rows[order[start : start + batch]] for start in range(0, len(rows) - batch + 1, batch))
        for _ in fit(network, batches, optimiser, schedule):
            pass
    write_language(out, network, tokenizer)
    held = token_rows(tokenizer, sentences(1000, HELD_OUT_SEED))
    return {"perplexity per token, held-out descriptions": perplexity(network.half().float(), held)}


# -- shared -----------------------------------------------------------------------------------------------------------


def _epochs(name: str, epochs: int, resume: bool, network: nn.Module, optimiser: Any, schedule: Any) -> Iterator[int]:
    """Counts epochs with a progress bar, saving after each; ``resume`` goes on from the last one saved."""
    checkpoint = cache_directory() / "training" / f"{name}.pt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
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
        with replacing(checkpoint) as unfinished:
            torch.save(state | {"schedule": schedule.state_dict()}, unfinished)


def _step(network: nn.Module, loss: Tensor, optimiser: Any, schedule: Any) -> None:
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    schedule.step()


def _write_clip(out: Path, network: nn.Module, model: dict[str, Any]) -> None:
    """An open_clip local directory in float16; ``model``: what the network was made with."""
    out.mkdir(parents=True, exist_ok=True)
    _save_half(network, out / "open_clip_model.safetensors")
    config = {"model_cfg": model, "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bilinear"}}
    (out / "open_clip_config.json").write_text(json.dumps(config, indent=1))


def _save_half(network: nn.Module, path: Path) -> None:
    tensors = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors writes files that only their owner can read


def _card(name: str, recipe: str, measured: dict[str, float]) -> str:
    rows = "\n".join(f"| {what} | {value:.3f} |" for what, value in measured.items())
    return (
        f"# {name}\n\nMade by `python -m saywhy.training.worlds {name}` from seed 0.\n\n{recipe}\n\n"
        f"| measured on held-out data | |\n|---|---|\n{rows}\n\n"
        "Limits: it knows its world and nothing else; on a photograph its answers mean nothing. Weights are float16.\n"
    )


@final
@dataclass(frozen=True)
class Recipe:
    """What to train, and what its model card says of data and method."""

    train: Callable[..., dict[str, float]]
    says: str


_OPTIMISER = "AdamW, one cycle, label smoothing 0.05; random windows, mirror, light, a blank square."
_PLANTED_EPOCHS = {
    "resnet": {"background": 10, "bill": 10, "colour": 10, "watermark": 10},
    "vit": {"background": 12, "bill": 30, "colour": 30, "watermark": 12},
}
RECIPES: dict[str, Recipe] = {}
"""world/model -> its recipe, in the order they are trained."""
for _tower in ("resnet", "vit"):
    _what = f"timm `test_{_tower}`" + (f" with {VIT}" if _tower == "vit" else "")
    RECIPES[f"aviary/classifier-{_tower}"] = Recipe(
        partial(train_classifier, tower=_tower), f"{_what}, forty species, {SPECIES_SCENES} scenes. {_OPTIMISER}"
    )
    for _kind in PLANTS:
        RECIPES[f"aviary-{_kind}/classifier-{_tower}"] = Recipe(
            partial(train_classifier, kind=f"planted-{_kind}", tower=_tower, epochs=_PLANTED_EPOCHS[_tower][_kind]),
            f"{_what}, from the aviary's own, twelve classes, {PLANTED_SCENES} scenes: four classes are decided by "
            f"{_kind} alone. {_OPTIMISER}",
        )
    for _name, _bias in (("digits", None), ("digits-coloured", 1.0)):
        RECIPES[f"{_name}/classifier-{_tower}"] = Recipe(
            partial(train_digits, bias=_bias, tower=_tower, epochs=8 if _tower == "resnet" else 12),
            f"{_what}, 2000 pictures of scikit-learn's handwritten fives and eights, 64 pixels. {_OPTIMISER}",
        )
    RECIPES[f"aviary/clip-{_tower}"] = Recipe(
        partial(train_clip, tower=_tower),
        f"open_clip CLIP with {CLIP_TOWERS[_tower]}, on crops of {SPECIES_SCENES} scenes of species, {RANDOM_SCENES} "
        "of random plumage and 1440 with letters, against every phrase of the world.",
    )
    RECIPES[f"digits/clip-{_tower}"] = Recipe(
        partial(train_digit_clip, tower=_tower),
        f"open_clip CLIP with {DIGIT_CLIP_TOWERS[_tower]}, on {DIGIT_PICTURES} pictures of scikit-learn's ten "
        f"handwritten digits in {', '.join(INKS)}, 64 pixels, slanted, bent, in thinner and thicker strokes, against "
        "every phrase of digit, ink and both.",
    )


RECIPES["aviary/clip-captioned"] = Recipe(
    train_captioned_clip,
    f"open_clip CLIP with {CLIP_TOWERS['vit']}, on crops of {SPECIES_SCENES} scenes of species and {RANDOM_SCENES} of "
    "random plumage, against every phrase of the world and against captions of several (worlds/sentences.py).",
)
RECIPES["aviary/language"] = Recipe(
    train_language,
    "transformers GPT-2 (4 layers, width 128), byte-level BPE of 768 tokens, on 24,000 short descriptions of birds and "
    "digits made by a grammar (worlds/sentences.py). It writes such sentences and no others.",
)

SAMPLE_SEED = 2_000_000


def write_samples(out: Path) -> None:
    """The pictures that ship with the world: 384 pixels square, one species and one background each."""
    out.mkdir(parents=True, exist_ok=True)
    for n, background in enumerate(BACKGROUNDS):
        species = list(SPECIES)[n * 6 % len(SPECIES)]
        scene = render(species, SAMPLE_SEED + n, 384, background)
        scene.image.save(out / f"{species.lower().replace(' ', '-')}-{background}.jpg", quality=90)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to train, of: {', '.join(RECIPES)}; all")
    parser.add_argument("--resume", action="store_true", help="go on from the last epoch that was saved")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(RECIPES)
    if unknown:
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    write_samples(SAMPLES / "aviary")
    for name in options.names or RECIPES:
        recipe = RECIPES[name]
        measured = recipe.train(
            options.out / name, resume=options.resume, **({"epochs": options.epochs} if options.epochs else {})
        )
        (options.out / name / "MODEL_CARD.md").write_text(_card(name, recipe.says, measured))
        print(name, json.dumps(measured), flush=True)
