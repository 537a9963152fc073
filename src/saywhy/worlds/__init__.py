"""Embedded worlds: rendered data of which everything is known, and small models trained on them, in the package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from saywhy.errors import SaywhyError
from saywhy.types import Vocabulary

WEIGHTS = Path(__file__).parent / "weights"
SAMPLES = Path(__file__).parent / "samples"
CLASSIFIER_SIDE = 128  # pixels of the classifier's input
TEMPLATES = ("{}", "a photo: {}", "a close-up: {}", "a bird with {}")
"""Prompts that the world's CLIP was trained with."""

WORLDS = {"aviary": "rendered birds of sixteen invented species, with known parts, attributes and backgrounds"}


def load_world_classifier(name: str, pretrained: bool = True) -> tuple[Any, Callable[..., Any], Sequence[str]]:
    """(network, transform, class names) of a world's classifier. Raises SaywhyError for an unknown world."""
    import timm

    directory = _known(name) / "classifier"
    network: Any = timm.create_model(f"local-dir:{directory}", pretrained=pretrained)
    data = timm.data.resolve_model_data_config(network)
    return network, timm.data.create_transform(**data, is_training=False), network.pretrained_cfg["label_names"]


def clip_directory(name: str) -> Path:
    """The open_clip local directory of a world's CLIP. Raises SaywhyError for an unknown world."""
    return _known(name) / "clip"


def world_vocabulary(name: str) -> Vocabulary:
    """All that can be said of a world's pictures, grouped by part, with the prompts its CLIP knows."""
    _known(name)
    from saywhy.worlds.aviary import BACKGROUNDS, SPECIES, phrases_of

    groups = {phrase: part for species in SPECIES for phrase, part in phrases_of(species).items()}
    groups |= dict.fromkeys(BACKGROUNDS, "background")
    return Vocabulary(tuple(groups), tuple(groups.values()), {"": TEMPLATES}, f"world:{name}")


def sample_images(name: str) -> list[Path]:
    """The pictures that ship with a world, none of them seen in training."""
    _known(name)
    return sorted((SAMPLES / name).glob("*.jpg"))


def _known(name: str) -> Path:
    if name not in WORLDS:
        raise SaywhyError(f"there is no world {name!r}; there is {', '.join(WORLDS)}")
    return WEIGHTS / name
