"""CLIP with visual prompts as a space, and as an adapter: a few hundred kB that record which CLIP they belong to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from math import inf, isfinite
from pathlib import Path
from typing import Any, final

import torch
from PIL import Image
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.plumbing.devices import choose_device
from saywhy.plumbing.records import typed
from saywhy.plumbing.tensors import reading_tensors, write_tensors
from saywhy.spaces.clip import ClipSpace, load_clip
from saywhy.spaces.objectives import objective_named
from saywhy.spaces.pairs.beliefs import FEATURES, ReasonChance
from saywhy.spaces.similarity import Usual
from saywhy.spaces.visual_prompts import PromptedTower, activation
from saywhy.types import Geometry, Heatmap
from saywhy.words.rationale_words import RationaleWords, Templates

ADAPTER = "adapter.safetensors"
_HOLDS = {"rationale": "r", "rationales": "r", "category": "c", "pair": "cr", "inverse": "cr"}
"""Template -> what is filled into it."""


@final
@dataclass(frozen=True, eq=False)
class TunedSpace:
    """A Space: pictures are encoded by CLIP's image tower with learned prompts in it, texts by CLIP.

    clip:         the base.
    prompts:      (D, K, width) float32 on the CPU, see PromptedTower.
    objective:    one of OBJECTIVES: what it was tuned for, and whose score it is asked for.
    words:        the categories and rationales that it was tuned on.
    bank_key:     of the bank of prompts that it was tuned on; says nothing of what it may be asked.
    temperatures: term -> what its scores are divided by; empty where nothing was calibrated.
    usual:        what the words' rationales score on pictures in general; None where that is not known.
    chance:       how probable it is that a rationale which ``why`` gives is there; None where that is not known.

    Raises SaywhyError for an unknown objective.
    """

    clip: ClipSpace
    prompts: Tensor
    objective: str
    words: RationaleWords
    bank_key: str
    temperatures: Mapping[str, float] = field(default_factory=dict)
    usual: Usual | None = None
    chance: ReasonChance | None = None

    def __post_init__(self) -> None:
        objective_named(self.objective)

    @property
    def name(self) -> str:
        return f"{self.clip.name} tuned for rationales ({self.objective})"

    @property
    def scale(self) -> float:
        return self.clip.scale

    @cached_property
    def tower(self) -> PromptedTower:
        """On CLIP's device. Raises SaywhyError where the prompts do not fit CLIP."""
        return PromptedTower(self.clip.image_tower, self.prompts).eval()

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """(N, d) unit vectors."""
        return replace(self.clip, image_tower=self.tower).encode_images(images)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """(M, d) unit vectors, CLIP's own: prompts are in the image tower alone."""
        return self.clip.encode_texts(texts)

    def encode_texts_once(self, texts: Sequence[str]) -> Tensor:
        return self.clip.encode_texts_once(texts)

    def text_maps(self, images: Sequence[Image.Image], texts: Sequence[str], **options: Any) -> Heatmap:
        """As ``ClipSpace.text_maps``, through the tower with its prompts."""
        return replace(self.clip, image_tower=self.tower).text_maps(images, texts, **options)

    def text_frame(self, image: Image.Image) -> Geometry:
        return self.clip.text_frame(image)

    def save(self, directory: str | Path) -> Path:
        """Write the adapter into a folder, which is made where there is none; returns its path.

        Raises SaywhyError where it cannot be written.
        """
        from importlib.metadata import version

        about = {
            "clip": self.clip.source,
            "weights": _digest(self.clip),
            "activation": activation(self.clip.image_tower),
            "objective": self.objective,
            "bank": self.bank_key,
            "temperatures": dict(self.temperatures),
            "visible from": None if self.usual is None else self.usual.visible_from,
            "visible basis": None if self.usual is None else self.usual.basis,
            "chance": None
            if self.chance is None
            else asdict(self.chance) | {"threshold": _json(self.chance.threshold)},
            "words": asdict(self.words),
            "saywhy": version("saywhy"),
        }
        tensors = {"prompts": self.prompts.detach().float().cpu()}
        if self.usual is not None:
            tensors["usual"] = torch.stack([self.usual.mean, self.usual.std])
        return write_tensors(Path(directory) / ADAPTER, tensors, about, make_folder=True)


def load_tuned(directory: str | Path, clip: str | None = None, device: str | None = None) -> TunedSpace:
    """The space that was saved there.

    clip:   where its CLIP is, as for ``load_clip``; None: where it was when it was tuned.
    device: of CLIP; None: a GPU where there is one.

    Raises SaywhyError where there is no adapter, or none that can be read, where CLIP does not load, and where it is
    not the same: other weights, or another activation function.
    """
    path = Path(directory) / ADAPTER
    prompts, usual, chance, about, words = _read(path)
    choose_device(device)  # what is wrong with it has nothing to do with where CLIP is
    try:
        base = load_clip(clip or about["clip"], device)
    except SaywhyError as error:
        raise SaywhyError(
            f"{path}: was tuned on CLIP {about['clip']}; say where it is now with --clip ({error})"
        ) from None
    if _digest(base) != about["weights"]:
        raise SaywhyError(
            f"{path}: was tuned on CLIP {about['clip']} with the weights {about['weights']}; {base.source} has "
            f"{_digest(base)}; give the CLIP that it was tuned on"
        )
    _check_activation(path, about, base)
    try:
        space = TunedSpace(
            base, prompts, about["objective"], words, about["bank"], about["temperatures"], usual, chance
        )
        _ = space.tower  # fails now if the prompts do not fit, not with the first picture
    except SaywhyError as error:
        raise SaywhyError(f"{path}: cannot be used with {base.name} ({error})") from None
    return space


def _read(path: Path) -> tuple[Tensor, Usual | None, ReasonChance | None, dict[str, Any], RationaleWords]:
    if not os.path.isfile(path):
        raise SaywhyError(f"{path.parent}: holds no tuned space (there is no {ADAPTER} in it)")
    with reading_tensors(path, "is damaged, or not an adapter of saywhy", "; train it again") as file:
        about: dict[str, Any] = file.story
        prompts = file.tensors["prompts"]
        usual = None
        if "usual" in file.tensors:
            mean, std = file.tensors["usual"]
            usual = Usual(mean, std, *_visibility(about))
        words = _words(about["words"])
        if usual is not None and not usual.mean.shape == usual.std.shape == (len(words.rationales),):
            raise ValueError("the usual scores are those of other rationales")
        if usual is not None and not (usual.mean.isfinite() & usual.std.isfinite()).all():
            raise ValueError("the usual scores are not finite")
        about["temperatures"] = {term: float(value) for term, value in about["temperatures"].items()}
        if not all(isfinite(value) and value > 0 for value in about["temperatures"].values()):
            raise ValueError("a temperature is not above 0")
        for key in ("clip", "weights", "activation", "objective", "bank"):
            if not isinstance(about[key], str):
                raise TypeError(f"{key} is not a string")
        if not torch.isfinite(prompts).all():
            raise ValueError("its prompts are not finite")
        chance = _chance(about.get("chance"))
    return prompts, usual, chance, about, words


def _json(threshold: float) -> float | None:
    """JSON has no infinity, from which no rationale is said."""
    return threshold if isfinite(threshold) else None


def _chance(saved: Mapping[str, Any] | None) -> ReasonChance | None:
    """Raises ValueError where it is none."""
    if saved is None:
        return None
    weights, threshold = tuple(map(float, saved["weights"])), saved["threshold"]
    if len(weights) != len(FEATURES) + 1 or not all(map(isfinite, weights)):
        raise ValueError("the calibration of rationales has other weights")
    return ReasonChance(
        weights, tuple(saved["terms"]), int(saved["k"]), inf if threshold is None else float(threshold),
        str(saved["basis"]),
    )  # fmt: skip


def _visibility(about: Mapping[str, Any]) -> tuple[float | None, str]:
    """From where a rationale is visible, and on what that rests. Of an earlier saywhy nobody tested it."""
    threshold, basis = about["visible from"], about.get("visible basis")
    if basis is None:
        return None, "an earlier saywhy tuned this, and did not test it: continue its run with --resume"
    return None if threshold is None else float(threshold), str(basis)


def _words(saved: Mapping[str, Any]) -> RationaleWords:
    """The words as they were saved: JSON has neither tuples nor integer keys."""
    several = saved["several"]
    words = RationaleWords(
        tuple(saved["categories"]),
        tuple(saved["rationales"]),
        tuple(tuple(listed) for listed in saved["lists"]),
        several and {int(r): tuple(members) for r, members in several.items()},
        Templates(**saved["templates"]),
    )
    if not typed(words).categories or not words.rationales:
        raise ValueError("there are no words")
    for name, holds in _HOLDS.items():
        if any(f"{{{letter}}}" not in getattr(words.templates, name) for letter in holds):
            raise ValueError(f"the template {name} lacks what is filled in")
    return words


def _digest(clip: ClipSpace) -> str:
    """Of the weights, wherever they are."""
    return clip.key.rpartition(":")[2]


def _check_activation(path: Path, about: Mapping[str, Any], clip: ClipSpace) -> None:
    """The same weights give other vectors with another activation function: open_clip #441, #771."""
    current = activation(clip.image_tower)
    if current == about["activation"]:
        return
    architecture, slash, tag = clip.source.partition("/")
    advice = "give the CLIP whose config says so (quick_gelu)"
    if slash and ":" not in architecture and not Path(clip.source).is_dir():
        if about["activation"] == "QuickGELU":
            advice = f"give clip={architecture}-quickgelu/{tag}, the variant with '-quickgelu'"
        else:
            advice = "these weights are now read with the activation function they were trained with: train it again"
    raise SaywhyError(
        f"{path}: was tuned with the activation function {about['activation']}, and {clip.source} runs with {current}; "
        f"{advice}"
    )
