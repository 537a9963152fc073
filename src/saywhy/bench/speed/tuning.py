"""What does tuning visual prompts against a whole bank cost beside the image tower itself?

A training step is the forward and backward pass of the tower with prompts, and ECOR's two cross-entropies over all
rationales and all pairs. It is held against the plain tower, forward and backward, with as many tokens: as many of its
patches stand twice as there are prompts. The weights are frozen in both, and in both the gradient goes through every
block down to the tokens, as prompts need it even where they are shallow. What the optimiser does to a few thousand
numbers is left out. Both run in turn, round after round in one process, and the times of one round are divided.
Weights, pictures and bank are random, but for the aviary's CLIP: times do not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saywhy.bench import Report
from saywhy.bench.speed.measuring import MB, forget_peak, in_fresh_process, in_turn, peak, timed
from saywhy.plumbing.devices import choose_device
from saywhy.spaces.clip import load_clip
from saywhy.spaces.pairs.in_memory import ResidentBank
from saywhy.spaces.visual_prompts import PromptedTower, draw_prompts, vision_transformer
from saywhy.training.prompts.losses import objective_loss, streamed_cross_entropy
from saywhy.words.rationale_words import RationaleWords

ROUNDS = 5
SCALE = 100.0
PLAIN = "plain tower, as many tokens"


def _random_tower(name: str) -> nn.Module:
    import open_clip

    return open_clip.CLIP(**open_clip.get_model_config(name)).visual


def _aviary_tower() -> nn.Module:
    return vision_transformer(load_clip("world:aviary/vit", "cpu").image_tower)


@final
@dataclass(frozen=True)
class Case:
    """prompts: of each layer. batch: device -> pictures."""

    make: Callable[[], nn.Module]
    prompts: int
    deep: bool
    categories: int
    rationales: int
    batch: dict[str, int]


CASES = {
    "the aviary's CLIP, 3 shallow": Case(_aviary_tower, 3, False, 40, 110, {"cpu": 32, "cuda": 256}),
    "ViT-B-32, 30 deep": Case(partial(_random_tower, "ViT-B-32"), 30, True, 100, 100, {"cpu": 4, "cuda": 256}),
    "ViT-B-16, 3 shallow": Case(partial(_random_tower, "ViT-B-16"), 3, False, 100, 461, {"cpu": 2, "cuda": 128}),
}
"""The aviary's sizes; about CIFAR-10's and CIFAR-100's banks."""
LOSSES = {"cpu": (256, 46_100, 512), "cuda": (256, 674_900, 512)}
"""Device -> pictures, texts, width: the banks of CIFAR-100 and of SUN."""


def run(limit: int | None = None) -> Report:
    """Medians over ROUNDS rounds (or ``limit`` rounds). GPU where there is one."""
    device = choose_device(None).type
    rounds = limit or ROUNDS
    rows = [{"case": name, **row} for name, case in CASES.items() for row in _steps(case, rounds, device)]
    pictures, texts, width = LOSSES[device]
    return Report(
        "tuning-speed",
        f"a training step over the plain tower's forward and backward pass with as many tokens, {device}",
        ("case", "what", "ratio", "lowest", "highest", "seconds"),
        rows,
        {"rounds": rounds, "device": device, "batches": {name: case.batch[device] for name, case in CASES.items()}},
        more=[
            (
                f"cross-entropy of {pictures} pictures over {texts} texts of width {width}, forward and backward; "
                "memory in MB beside pictures and texts",
                ("loss", "ratio", "lowest", "highest", "seconds", "memory"),
                _losses(rounds, device),
            )
        ],
    )


# -- a step -----------------------------------------------------------------------------------------------------------


def _steps(case: Case, rounds: int, device: str) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    visual: Any = case.make().eval().to(device)
    tower = PromptedTower(visual, draw_prompts(visual, case.prompts, case.deep, seed=0)).eval()
    batch = case.batch[device]
    pixels = torch.randn(batch, 3, *visual.image_size, device=device)
    bank = _bank(case, tower(pixels[:1]).shape[1], device)
    categories = torch.randint(case.categories, (batch,))
    gold = [(r,) for r in torch.randint(case.rationales, (batch,)).tolist()]
    direction = torch.randn(batch, bank.rationales.shape[1], device=device)

    def plain() -> None:
        (_plain(visual, pixels, case.prompts) * direction).sum().backward()

    def tower_alone() -> None:
        (tower(pixels) * direction).sum().backward()
        tower.prompts.grad = None

    def step() -> None:
        objective_loss(F.normalize(tower(pixels), dim=1), categories, gold, bank, "ecor", SCALE)[0].backward()
        tower.prompts.grad = None

    works = {PLAIN: plain, "prompted tower": tower_alone, "training step": step}
    return _compared(works, "what", rounds)


def _plain(visual: Any, pixels: Tensor, more: int) -> Tensor:
    """(N, d) of the tower as it is, with ``more`` of its patches twice; the tokens take the gradient."""
    patches = visual.conv1(pixels).flatten(2).transpose(1, 2)
    first = visual.class_embedding.expand(len(pixels), 1, -1)
    tokens = torch.cat([first, patches], 1) + visual.positional_embedding
    tokens = torch.cat([tokens, tokens[:, 1 : 1 + more]], 1).requires_grad_()
    pooled: Tensor = visual.ln_post(visual.transformer(visual.ln_pre(tokens)))[:, 0] @ visual.proj
    return pooled


def _bank(case: Case, width: int, device: str) -> ResidentBank:
    words = RationaleWords(
        tuple(f"category {n}" for n in range(case.categories)),
        tuple(f"rationale {n}" for n in range(case.rationales)),
        ((),) * case.categories,
    )
    pairs = _unit(case.categories * case.rationales, width, device)
    return ResidentBank(
        words,
        _unit(case.rationales, width, device),
        _unit(case.categories, width, device),
        pairs.reshape(case.categories, case.rationales, width),
    )


def _unit(rows: int, width: int, device: str, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=1).to(device)


def _compared(works: dict[str, Callable[[], None]], heading: str, rounds: int) -> list[dict[str, Any]]:
    """Times over that of the first."""
    times = in_turn({what: partial(timed, work) for what, work in works.items()}, rounds)
    base, rows = next(iter(times.values())), []
    for what, spent in times.items():
        ratios = [one / other for one, other in zip(spent, base, strict=True)]
        spread = {"ratio": median(ratios), "lowest": min(ratios), "highest": max(ratios)}
        rows.append({heading: what, **spread, "seconds": median(spent)})
    return rows


# -- a loss -----------------------------------------------------------------------------------------------------------


def _dense(images: Tensor, texts: Tensor, right: Tensor) -> None:
    leaf = images.clone().requires_grad_()
    F.cross_entropy(SCALE * leaf @ texts.T, right).backward()


def _streamed(images: Tensor, texts: Tensor, right: Tensor) -> None:
    leaf = images.clone().requires_grad_()
    owner = torch.arange(len(leaf), device=leaf.device)
    streamed_cross_entropy(leaf, [texts], texts[right], owner, SCALE).mean().backward()


WAYS = {"dense, torch's cross_entropy": _dense, "streamed": _streamed}


def _losses(rounds: int, device: str) -> list[dict[str, Any]]:
    given = _given(device)
    rows = _compared({name: partial(way, *given) for name, way in WAYS.items()}, "loss", rounds)
    return [row | {"memory": in_fresh_process(_memory, row["loss"], device)} for row in rows]


def _given(device: str, texts: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    pictures, all_texts, width = LOSSES[device]
    bank = _unit(texts or all_texts, width, device)
    right = torch.randint(len(bank), (pictures,), generator=torch.Generator().manual_seed(0)).to(device)
    return _unit(pictures, width, device, seed=1), bank, right  # a cosine of 1 would make numbers too small to be fast


def _memory(loss: str, device: str) -> float:
    """MB by which the peak grows while the loss and its gradient are computed."""
    WAYS[loss](*_given(device, texts=100))  # what the libraries set up once is not counted
    given = _given(device)
    forget_peak()
    start = peak()
    WAYS[loss](*given)
    return (peak() - start) / MB
