"""The settings of a run that tunes visual prompts, and recipes of them: the published runs as TOML files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import cos, isfinite, pi
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from saywhy.errors import SaywhyError
from saywhy.plumbing.names import shown, unknown
from saywhy.plumbing.texts import read_toml
from saywhy.spaces.clip import DEFAULT_CLIP
from saywhy.spaces.objectives import OBJECTIVES

if TYPE_CHECKING:
    import torch

RECIPES = Path(__file__).parent / "recipes"

CHOICES: dict[str, tuple[str, ...]] = {
    "objective": tuple(OBJECTIVES),
    "optimiser": ("sgd", "adam", "adamw"),
    "schedule": ("cosine", "constant"),
    "sampler": ("epoch", "pair-balanced"),
    "bank_mode": ("full", "batch"),
    "precision": ("fp32", "bf16", "fp16"),
    "transform": ("clip", "squash"),
    "gold": ("query", "all"),
    "sets": ("each", "joined"),
}
"""Setting -> its possible values."""


@final
@dataclass(frozen=True)
class TuningSettings:
    """The settings of one run. The defaults are DROR's for its small sets (DoubleRight's code, v2), but for epochs and
    precision.

    clip:       what ``load_clip`` is given.
    objective:  a name of OBJECTIVES: which terms are trained, and which are asked afterwards.
    prompts:    K, how many tokens are learned; deep: others before every layer, not only before the first.
    init_std:   of the normal distribution they begin from.
    optimiser:  sgd (with ``momentum``), adam or adamw; ``weight_decay`` for all three.
    rate:       highest learning rate: reached linearly over ``warmup`` steps, but at most half of the run, then, with
                the cosine schedule, led to 0 at the last step, step by step.
    epochs:     passes; ``steps``, where given, ends the schedule after so many steps instead.
    batch_size: pictures of one step, over all processes; taken in ``accumulate`` parts that add up to the same step.
    sampler:    epoch: each picture once a pass, in random order. pair-balanced: a category, one of its rationales, and
                one of their pictures, each with equal chances, as DROR draws.
    epoch_length: draws that pair-balanced calls a pass; None: as many as there are pictures.
    bank_mode:  full: against all texts of the bank. batch: against those of the categories and rationales of a batch,
                or of the part of it that goes through the tower at once.
    lambda_r:   weight of the rationale term; the others' is 1.
    mask_same_class: leave a category's other listed rationales out of its pictures' negatives: they may be true.
    precision:  of the image tower: fp32, bf16 or fp16 (with scaled gradients; on a CPU fp32 in its place). Losses are
                float32.
    transform:  clip: the CLIP's own. squash: the whole picture, forced into the square, as DROR trains (not evaluates).
    gold:       as for ``read_rationale_data``. query: the rationale that a picture was searched for is its only right
                one. all: all that it is known to show are.
    sets:       each: rationales one by one. joined: all of a picture's together are one ("a red bill and a long tail").
    validation: share of the pictures (0..1) that is held out; the prompts that do best on it are kept.
    seed:       of the prompts, the order of pictures, and the validation share.

    Raises SaywhyError for values that are not allowed.
    """

    clip: str = DEFAULT_CLIP
    objective: str = "ecor"
    prompts: int = 3
    deep: bool = False
    init_std: float = 1.0
    optimiser: str = "sgd"
    rate: float = 40.0
    momentum: float = 0.9
    weight_decay: float = 0.0
    warmup: int = 1000
    schedule: str = "cosine"
    epochs: int = 20
    steps: int | None = None
    batch_size: int = 32
    accumulate: int = 1
    sampler: str = "epoch"
    epoch_length: int | None = None
    bank_mode: str = "full"
    lambda_r: float = 1.0
    mask_same_class: bool = False
    precision: str = "fp32"
    transform: str = "clip"
    gold: str = "query"
    sets: str = "each"
    validation: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if (value := getattr(self, name)) not in allowed:
                raise SaywhyError(f"{name} cannot be {value!r}; it is one of {', '.join(allowed)}")
        if not OBJECTIVES[self.objective].trained:
            raise SaywhyError(f"the objective {self.objective!r} trains nothing; use {self.clip} as it is")
        for name in ("prompts", "epochs", "batch_size", "accumulate", "steps", "epoch_length"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise SaywhyError(f"{name} must be at least 1; it is {value}")
        for name in ("init_std", "rate", "momentum", "weight_decay", "warmup", "lambda_r", "seed"):
            if not (isfinite(value := getattr(self, name)) and value >= 0):
                raise SaywhyError(f"{name} must be a number, at least 0; it is {value}")
        if not 0 <= self.validation < 1:
            raise SaywhyError(
                f"validation is a share of the pictures, at least 0 and less than 1; it is {self.validation}"
            )
        if self.accumulate > self.batch_size:
            raise SaywhyError(f"a batch of {self.batch_size} cannot be split into {self.accumulate} parts")
        if self.epoch_length and self.sampler == "epoch":
            raise SaywhyError("epoch_length is for the sampler pair-balanced; the sampler epoch uses each picture once")

    def rate_at(self, step: int, total: int) -> float:
        """The learning rate of a step, counted from 0, out of ``total``."""
        warmup = self.warmup_of(total)
        if step < warmup:
            return self.rate * (step + 1) / warmup
        if self.schedule == "constant":
            return self.rate
        return self.rate * (1 + cos(pi * (step - warmup) / (total - warmup))) / 2

    def warmup_of(self, total: int) -> int:
        """Steps of warm-up in a run of ``total``: a longer one would end before its rate is reached."""
        return min(self.warmup, total // 2)


def runnable_on(settings: TuningSettings, device: torch.device) -> TuningSettings:
    """The settings with a precision that the device has: a CPU trains in fp32 where fp16 is asked for."""
    if device.type == "cpu" and settings.precision == "fp16":
        return replace(settings, precision="fp32")
    return settings


def recipe_names() -> list[str]:
    """The recipes that come with saywhy."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def read_recipe(name: str | Path) -> TuningSettings:
    """The settings of a recipe: one of ``recipe_names()``, or a TOML file whose keys are fields of ``TuningSettings``.

    What a file does not say is left at its default. Raises SaywhyError for an unknown recipe or a file that is not
    TOML, for unknown keys, and for values of the wrong type.
    """
    path = Path(name)
    if str(name) in recipe_names():
        path = RECIPES / f"{name}.toml"
    elif not os.path.exists(path):
        raise unknown("recipe", name, recipe_names(), also=", nor such a file")
    document = read_toml(path)
    try:
        return with_settings(TuningSettings(), document)
    except SaywhyError as error:
        raise SaywhyError(f"{path}: {error}") from None


def with_settings(settings: TuningSettings, changes: Mapping[str, Any]) -> TuningSettings:
    """The settings with some changed, by name. Raises SaywhyError for unknown names and values of the wrong type."""
    types = {field.name: str(field.type) for field in fields(TuningSettings)}
    checked = {}
    for key, value in changes.items():
        if key not in types:
            raise unknown("setting", key, types)
        wanted = types[key].removesuffix(" | None")
        if wanted == "float" and type(value) is int:
            value = float(value)
        if type(value).__name__ != wanted and not (value is None and types[key] != wanted):
            kind = {"str": "a string", "int": "a whole number", "float": "a number", "bool": "true or false"}[wanted]
            raise SaywhyError(f"{key} must be {kind}; it is {shown(repr(value), 80)}")
        checked[key] = value
    return replace(settings, **checked)
