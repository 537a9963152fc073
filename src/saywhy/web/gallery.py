"""Pictures that everybody has: photographs that installed packages bring and whose licence is free, and drawn birds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import final

from PIL.Image import Image

from saywhy.pictures.photos import PHOTOS
from saywhy.pictures.reading import display_copy, read_picture
from saywhy.worlds import SAMPLES

WORLD = "world:aviary"


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


@cache
def thumbnail(id: str) -> bytes:
    """A JPEG of a picture of the gallery. Raises KeyError for an id that it has not."""
    example = gallery()[id]
    return display_copy(example.open(), example.id).jpeg
