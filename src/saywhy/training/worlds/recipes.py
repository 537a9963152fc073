"""Trains the small models of the embedded worlds: ``python -m saywhy.training.worlds [NAME...] [--resume]``.

Everything is drawn, trained and measured from seeds; scenes are rendered once into the cache. Weights land beside this
file in float16, each with a model card that holds what was measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import torch

from saywhy.plumbing.files import replacing, write_whole
from saywhy.training.language import byte_pair_tokenizer, fit, gpt2, padded, perplexity, token_rows, write_language
from saywhy.training.worlds.aviary_clips import CLIP_TOWERS, train_captioned_clip, train_clip
from saywhy.training.worlds.classifiers import train_classifier, train_digits
from saywhy.training.worlds.digit_clips import DIGIT_CLIP_TOWERS, DIGIT_PICTURES, train_digit_clip
from saywhy.training.worlds.networks import PLANTED_SCENES, RANDOM_SCENES, SPECIES_SCENES, VIT, resumable_epochs
from saywhy.training.worlds.typical import write_typical
from saywhy.worlds import SAMPLES, WEIGHTS
from saywhy.worlds.aviary import BACKGROUNDS, SPECIES, render
from saywhy.worlds.digits import INKS
from saywhy.worlds.planted import PLANTS
from saywhy.worlds.scenes import HELD_OUT_SEED
from saywhy.worlds.sentences import sentences


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
    for epoch in resumable_epochs(f"{out.parent.name}-{out.name}", epochs, resume, network, optimiser, schedule):
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(epoch))
        batches = (rows[order[start : start + batch]] for start in range(0, len(rows) - batch + 1, batch))
        for _ in fit(network, batches, optimiser, schedule):
            pass
    write_language(out, network, tokenizer)
    held = token_rows(tokenizer, sentences(1000, HELD_OUT_SEED))
    return {"perplexity per token, held-out descriptions": perplexity(network.half().float(), held)}


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
    "vit": {"background": 12, "bill": 30, "colour": 30, "watermark": 14},
}
_FINER = ("bill", "colour", "watermark")  # ViTs to whom patches of 16 pixels do not show it
_FINE_PATCH, _FINE_SCENES = 8, 3 * PLANTED_SCENES
_LETTERS_FIRST = {"first": (60, 1.5e-3), "rate": 7e-4}  # in all twelve classes from the start they are never found
RECIPES: dict[str, Recipe] = {}
"""world/model -> its recipe, in the order they are trained."""
for _tower in ("resnet", "vit"):
    _what = f"timm `test_{_tower}`" + (f" with {VIT}" if _tower == "vit" else "")
    RECIPES[f"aviary/classifier-{_tower}"] = Recipe(
        partial(train_classifier, tower=_tower), f"{_what}, forty species, {SPECIES_SCENES} scenes. {_OPTIMISER}"
    )
    for _kind in PLANTS:
        _patch, _count, _says = None, PLANTED_SCENES, _what
        if _tower == "vit" and _kind in _FINER:
            _patch, _count, _says = _FINE_PATCH, _FINE_SCENES, f"{_what}, patches of {_FINE_PATCH} pixels"
        _more: dict[str, Any] = {}
        if _tower == "vit" and _kind == "watermark":
            _more = _LETTERS_FIRST
        _epochs = _PLANTED_EPOCHS[_tower][_kind]
        RECIPES[f"aviary-{_kind}/classifier-{_tower}"] = Recipe(
            partial(
                train_classifier,
                kind=f"planted-{_kind}",
                tower=_tower,
                epochs=_epochs,
                patch=_patch,
                count=_count,
                **_more,
            ),
            f"{_says}, from the aviary's own, twelve classes, {_count} scenes: four classes are decided by "
            f"{_kind} alone. {'These four by themselves first, for 60 epochs. ' if _more else ''}{_OPTIMISER}",
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
        with replacing(out / f"{species.lower().replace(' ', '-')}-{background}.jpg") as file:
            scene.image.save(file, "JPEG", quality=90)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"models to train (default: all): {', '.join(RECIPES)}"
    )
    parser.add_argument("--resume", action="store_true", help="continue after the last saved epoch")
    parser.add_argument("--epochs", type=int, help="number of epochs, instead of the recipe's")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument(
        "--typical", action="store_true", help="train nothing; make anew what the models know (typical.tensors)"
    )
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(RECIPES)
    if unknown:
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    if options.typical:
        for name in options.names or RECIPES:
            if "language" not in name:
                print(write_typical(options.out / name), flush=True)
        return
    write_samples(SAMPLES / "aviary")
    for name in options.names or RECIPES:
        recipe = RECIPES[name]
        measured = recipe.train(
            options.out / name, resume=options.resume, **({"epochs": options.epochs} if options.epochs else {})
        )
        write_whole(options.out / name / "MODEL_CARD.md", _card(name, recipe.says, measured))
        if "language" not in name:
            write_typical(options.out / name)
        print(name, json.dumps(measured), flush=True)
