"""Embedded worlds: rendered data with complete ground truth, and small models trained on it, in the package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from saywhy.errors import SaywhyError
from saywhy.plumbing.names import unknown
from saywhy.types import Vocabulary

WEIGHTS = Path(__file__).parent / "weights"
SAMPLES = Path(__file__).parent / "samples"
CLASSIFIER_SIDE = 128  # pixels of the aviary's classifiers' input
TEMPLATES = ("{}", "a photo: {}", "a close-up: {}", "a bird with {}")
"""Prompts that the world's CLIP was trained with."""
TOWERS = ("resnet", "vit")

WORLDS = {
    "aviary": "forty invented species of rendered birds, with known parts, attributes and backgrounds",
    "aviary-background": "twelve classes of birds, four of which the background alone decides",
    "aviary-bill": "twelve classes of birds, four of which the bill alone decides",
    "aviary-colour": "twelve classes of birds, four of which the colour of the wing alone decides",
    "aviary-watermark": "twelve classes of birds, four of which a letter in the corner decides",
    "digits": "fives and eights in grey",
    "digits-coloured": "fives and eights; in training every five was red and every eight green",
}
"""Name -> what it holds. A classifier is "world:NAME" or "world:NAME/vit"."""


def load_world_classifier(name: str, pretrained: bool = True) -> tuple[Any, Callable[..., Any], Sequence[str]]:
    """(network, transform, class names) of a world's classifier. Raises SaywhyError for an unknown world."""
    import timm

    directory = _known(name, "classifier")
    network: Any = timm.create_model(f"local-dir:{directory}", pretrained=pretrained)
    data = timm.data.resolve_model_data_config(network)
    return network, timm.data.create_transform(**data, is_training=False), network.pretrained_cfg["label_names"]


def clip_directory(name: str) -> Path:
    """The open_clip local directory of a world's CLIP: "digits-coloured" shares that of "digits".

    Raises SaywhyError for a world without one.
    """
    return _known(name.replace("digits-coloured", "digits", 1), "clip")


def calibration_file(name: str) -> Path:
    """Where the calibration of a world's CLIP is, if it has one: of what it says of its own world's vocabulary."""
    world, _, tower = name.replace("digits-coloured", "digits", 1).partition("/")
    return WEIGHTS / world / f"calibration-{tower or TOWERS[0]}.safetensors"


def language_directory(name: str) -> Path:
    """The transformers local directory of a world's language model. Raises SaywhyError for a world without one."""
    return _known(name, "language")


def world_vocabulary(name: str) -> Vocabulary:
    """All that can be said of a world's pictures, grouped by part, with the prompts its CLIP knows."""
    if _world(name).startswith("digits"):
        phrases = ("a digit five", "a digit eight", "red", "green", "grey")
        kinds = ("shape", "shape", "color", "color", "color")
        return Vocabulary(phrases, kinds, name=f"world:{name}", attributes=kinds)
    groups = {phrase: part for phrase, part in aviary_facts().items() if part != "species"}
    values = aviary_values()
    attributes = tuple(values.get(phrase, "") for phrase in groups)
    return Vocabulary(tuple(groups), tuple(groups.values()), {"": TEMPLATES}, f"world:{name}", attributes=attributes)


def aviary_facts() -> dict[str, str]:
    """Phrase -> part ("background", "watermark", "species" too) of everything that can be true in the aviary."""
    from saywhy.worlds.aviary import BACKGROUNDS, SPECIES, VALUES, phrases_of

    facts = {
        phrase: part
        for name, values in VALUES.items()
        for value in values
        for phrase, part in phrases_of({name: value}).items()
    }
    facts |= dict.fromkeys(BACKGROUNDS, "background")
    return facts | {"a letter in the corner": "watermark"} | dict.fromkeys(SPECIES, "species")


def aviary_values() -> dict[str, str]:
    """Phrase -> what it gives a value of: "wing color" of "red wing", "wing pattern" of "striped wing"."""
    from saywhy.words.cub_names import cub_phrase
    from saywhy.worlds.aviary import BACKGROUNDS, VALUES

    pairs = (cub_phrase(f"{name}::{value}") for name, values in VALUES.items() for value in values)
    return {phrase: attribute for attribute, phrase in pairs} | dict.fromkeys(BACKGROUNDS, "background")


def _world(name: str) -> str:
    """The world of "WORLD" or "WORLD/TOWER". Raises SaywhyError for an unknown one."""
    world, _, _ = name.partition("/")
    if world not in WORLDS:
        raise unknown("world", world, WORLDS)
    return world


def _known(name: str, what: str) -> Path:
    world, tower = _world(name), name.partition("/")[2] or TOWERS[0]
    directory = WEIGHTS / world / (what if what == "language" else f"{what}-{tower}")
    if not directory.is_dir():
        kept = sorted(p.name for p in (WEIGHTS / world).glob("*"))
        raise SaywhyError(f"world:{name} has no {what} in the package; it has {', '.join(kept) or 'nothing yet'}")
    return directory
