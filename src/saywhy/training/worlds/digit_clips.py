"""Training the digits' CLIPs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from saywhy.training.worlds.aviary_clips import CLIP_TOWERS, agreement_loss
from saywhy.training.worlds.networks import (
    CLIP_SIDE,
    TEXT_TOWER,
    augmented,
    resumable_epochs,
    to_pixels,
    train_step,
    write_clip,
)
from saywhy.worlds.digits import COLOURS, DIGITS, KINDS, DigitSet, captions, coloured_digits, digits, true_captions

DIGIT_PICTURES = 12_000
DIGIT_TEXT_TOWER = TEXT_TOWER | {"width": 32, "heads": 2, "layers": 2}
DIGIT_CLIP_TOWERS = {"resnet": CLIP_TOWERS["resnet"] | {"width": 16}, "vit": CLIP_TOWERS["vit"]}
DIGIT_CLIP_PHASE = {"resnet": (9, 2e-3), "vit": (12, 1e-3)}
"""Tower -> epochs and highest learning rate."""


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
    for epoch in resumable_epochs(f"{out.parent.name}-{out.name}", length, resume, network, optimiser, schedule):
        rng = np.random.default_rng([0, epoch])
        network.train()
        order = rng.permutation(len(data))
        for start in range(0, len(order) - batch + 1, batch):
            rows = order[start : start + batch]
            x = augmented(_rewritten(to_pixels(pixels[rows], CLIP_SIDE), rng), rng, mirror=False)
            loss = _digit_contrast(network, x, truth[rows], tokens, rng)
            train_step(network, loss, optimiser, schedule)
    write_clip(out, network, model)
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
    loss = 0.5 * agreement_loss(scores, truth)
    for kind in KINDS:
        apart = F.cross_entropy(alike[kind, kind], torch.arange(kind.stop - kind.start))
        loss = loss + (agreement_loss(scores[:, kind], truth[:, kind]) + apart) / len(KINDS)
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
    shift = [uniform(-0.1, 0.1), uniform(-0.1, 0.1)]
    wide, slant = tall * uniform(0.75, 1.3), tall * uniform(-0.35, 0.35)
    lines = [torch.cat([wide, slant, shift[0]], 2), torch.cat([zero, tall, shift[1]], 2)]
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
        seen = torch.cat([network.encode_image(to_pixels(part, CLIP_SIDE), normalize=True) for part in x.split(64)])
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
