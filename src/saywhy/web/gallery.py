"""Pictures that everybody has: photographs that installed packages bring and whose licence is free, and drawn birds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import final

from PIL.Image import Image

from saywhy.pictures.photos import PHOTOS
from saywhy.pictures.reading import display_copy, read_picture
from saywhy.worlds import SAMPLES

WORLD = "world:aviary"
_IMAGENET = 1000, "tench", "toilet tissue"
"""How many classes ImageNet has, and how the names of the first and of the last one begin."""


@final
@dataclass(frozen=True)
class Example:
    """A picture of the gallery. world: of which rendered world; "" for a photograph."""

    id: str
    name: str
    credit: str
    path: Path
    world: str = ""

    def open(self) -> Image:
        """RGB, of its true size."""
        return read_picture(self.path)

    def suits(self, model: str) -> bool:
        """Whether a model knows such pictures: those of a world know no photographs, and others no drawn birds."""
        return model.startswith(self.world) if self.world else not model.startswith("world:")


@cache
def gallery() -> Mapping[str, Example]:
    """Id -> what is there."""
    found = [
        Example(name, photo.shows, photo.credit, photo.path)
        for name, photo in PHOTOS.items()
        if photo.licensed and photo.path.is_file()
    ]
    for path in sorted((SAMPLES / "aviary").glob("*.jpg")):
        found.append(Example(path.stem, path.stem.replace("-", " "), "rendered, Apache-2.0", path, WORLD))
    return {one.id: one for one in found}


def lenders(model: str, labels: Sequence[str]) -> list[Image]:
    """Pictures of the gallery that may lend their surroundings to what a model is asked about; [] for most models.

    A world's lend to the models of that world, photographs to those that know ImageNet's classes. For any other it is
    not known whether such surroundings are anything that it knows: what is strange would count as what decides.
    """
    count, first, last = _IMAGENET
    photographs = len(labels) == count and labels[0].startswith(first) and labels[-1].startswith(last)
    return [one.open() for one in gallery().values() if one.suits(model) and (one.world or photographs)]


@cache
def thumbnail(id: str) -> bytes:
    """A JPEG of a picture of the gallery. Raises KeyError for an id that it has not."""
    example = gallery()[id]
    return display_copy(example.open(), example.id).jpeg
