"""Training the aviary's CLIPs: on crops against every phrase, or against whole captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from saywhy.training.worlds.networks import (
    CLIP_SIDE,
    HELD_OUT,
    PLANTED_SCENES,
    RANDOM_SCENES,
    SPECIES_SCENES,
    TEXT_TOWER,
    augmented,
    resumable_epochs,
    to_pixels,
    train_step,
    write_clip,
)
from saywhy.worlds import TEMPLATES, aviary_facts
from saywhy.worlds.aviary import BACKGROUNDS, SPECIES, VALUES, phrases_of
from saywhy.worlds.drawing import PARTS
from saywhy.worlds.scenes import HELD_OUT_SEED, SIDE, Scenes, class_names, scenes
from saywhy.worlds.sentences import caption_of

CLIP_TOWERS: dict[str, dict[str, Any]] = {
    "resnet": {"image_size": CLIP_SIDE, "layers": [1, 1, 1, 1], "width": 24, "patch_size": None},
    "vit": {"image_size": CLIP_SIDE, "layers": 6, "width": 96, "head_width": 32, "patch_size": 8, "mlp_ratio": 3.0},
}
CLIP_PHASES = {"resnet": ((12, 2e-3, False), (8, 1.2e-3, True)), "vit": ((10, 1e-3, False), (6, 8e-4, True))}
"""Tower -> epochs, highest learning rate, and whether small parts are shown more often, for each phase."""
_HARD = {"bill": 4.0, "tail": 3.0, "eye": 3.0, "belly": 3.0, "nape": 2.0, "back": 2.0, "forehead": 2.0}


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
        for rendered in self.scenes:
            if row < len(rendered):
                return rendered.pixels[row], rendered.parts[row], self.truth[n]
            row -= len(rendered)
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
    for kind, rendered in kinds:
        names = () if kind == "random" else class_names(kind)
        for n in range(len(rendered)):
            row = np.zeros(len(facts), bool)
            row[[said[a, v] for a, v in enumerate(rendered.values[n])]] = True
            row[place[BACKGROUNDS[rendered.background[n]]]] = True
            row[place["a letter in the corner"]] = (rendered.parts[n] == PARTS.index("watermark")).any()
            if rendered.labels[n] >= 0 and names[rendered.labels[n]] in SPECIES:
                row[place[names[rendered.labels[n]]]] = True
            rows.append(row)
    parts = np.array([-1 if p == "species" else PARTS.index(p) for p in facts.values()])
    return Captioned([rendered for _, rendered in kinds], np.array(rows), parts)


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
        crops.append(to_pixels(pixels[box[1] : box[3], box[0] : box[2]].transpose(2, 0, 1)[None], CLIP_SIDE))
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
        for epoch in resumable_epochs(name, length, resume, network, optimiser, schedule):
            rng = np.random.default_rng([phase, epoch])
            network.train()
            order = rng.permutation(len(data))
            for start in range(0, len(order) - batch + 1, batch):
                x, truth = _crop_batch(data, order[start : start + batch], rng, hard)
                loss = _contrast(network, x, truth, tokens[rng.integers(len(tokens))], rng)
                train_step(network, loss, optimiser, schedule)
    write_clip(out, network, model)
    return clip_accuracy(
        network.eval(), tokenizer, captioned([("species", scenes("species", HELD_OUT, HELD_OUT_SEED))])
    )


def _contrast(network: Any, x: Tensor, truth: Tensor, tokens: Tensor, rng: np.random.Generator) -> Tensor:
    """Contrastive loss of crops against all phrases, and of phrases against the crops."""
    described = truth.sum(1) > 0
    images = network.encode_image(augmented(x[described], rng), normalize=True)
    return _phrase_contrast(network, images, truth[described], tokens)


def _phrase_contrast(network: Any, images: Tensor, truth: Tensor, tokens: Tensor) -> Tensor:
    """Unit vectors of crops against all phrases; a crop that none is true of is left out."""
    described = truth.sum(1) > 0
    texts = network.encode_text(tokens, normalize=True)
    return agreement_loss(network.logit_scale.exp().clamp(max=60) * images[described] @ texts.T, truth[described])


def agreement_loss(scores: Tensor, truth: Tensor) -> Tensor:
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
        for epoch in resumable_epochs(name, length, resume, network, optimiser, schedule):
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
                images = network.encode_image(augmented(x, rng), normalize=True)
                loss = _phrase_contrast(network, images, truth, tokens[rng.integers(len(tokens))])
                loss = loss + _caption_contrast(network, images, tokenizer(captions), true, said)
                train_step(network, loss, optimiser, schedule)
    write_clip(out, network, model)
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
        chosen = rng.permutation(things)[: rng.integers(0 if len(names) else 1, 4)]
        name = names[:1] if len(names) and (not len(chosen) or rng.random() < 0.6) else names[:0]
        if not len(chosen) and not len(name):
            continue
        captions.append(caption_of(facts[name[0]] if len(name) else "", [facts[i] for i in chosen], rng))
        said.append(np.isin(np.arange(len(facts)), [*name, *chosen]))
    return captions, torch.as_tensor(np.array(said))


def _caption_contrast(network: Any, images: Tensor, tokens: Tensor, true: Tensor, said: Tensor) -> Tensor:
    """Pictures against captions both ways; a caption belongs to every picture of which all that it says is true."""
    texts = network.encode_text(tokens, normalize=True)
    fits = (true.float() @ said.float().T == said.sum(1)).float()
    matched = fits.sum(1) > 0
    scores = network.logit_scale.exp().clamp(max=60) * images[matched] @ texts.T
    return agreement_loss(scores, fits[matched])


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
        crop = to_pixels(pixels[top : top + width, left : left + width].transpose(2, 0, 1)[None], CLIP_SIDE)
        scores = (network.encode_image(crop, normalize=True) @ texts.T)[0]
        right.append(bool(truth[rivals[int(scores[rivals].argmax())]]))
        any_true.append(bool(crop_facts(data, n, (left, top, left + width, top + width))[int(scores.argmax())] > 0))
        chance.append(1 / len(rivals))
    return {
        "phrase of the part, among all of its kind": float(np.mean(right)),
        "chance": float(np.mean(chance)),
        "best of all phrases is true of the crop": float(np.mean(any_true)),
    }
