"""Pictures and what is known about them: files, folders, folders of class folders, and the data of the embedded worlds.

They are listed at once and opened one by one, so that memory stays flat however many there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import final

import numpy as np
from PIL import Image

from saywhy.errors import SaywhyError
from saywhy.pictures.photos import PHOTOS
from saywhy.pictures.reading import ENDINGS, picture_files, read_picture
from saywhy.plumbing.names import shown, unknown
from saywhy.plumbing.texts import read_table, whole_number
from saywhy.words.class_names import folder_names, plain

WORLD_PICTURES = 300  # of a world's data, where no number is given
TABLE = "labels.csv"
ALL = "all"  # of the photographs: photos:all
PREFIXES = ("world:", "photos:")


@final
@dataclass(frozen=True, eq=False)
class LabelledImage:
    """One picture that has not been opened yet.

    label: its true class, by name, or by index where a table gives that; None where it is not known.
    open:  gives the upright RGB picture; raises SaywhyError, in one line with the name, where it cannot be read.
    """

    name: str
    label: str | int | None
    open: Callable[[], Image.Image]


def unopened(files: Sequence[str]) -> list[LabelledImage]:
    """Files as pictures that are not open yet, of unknown class; whether they can be read is seen when they are.

    Pictures of a world and installed photographs may stand among them. Raises SaywhyError for one that does not exist.
    """
    pictures = []
    for file in files:
        alone = LabelledImage(file, None, partial(read_picture, file))
        pictures += _read(file, None) if file.startswith(PREFIXES) else [alone]
    return pictures


def is_source(word: str) -> bool:
    """Whether a word names pictures rather than being a caption: a path, something like one, a world, or photos."""
    likely = word.startswith(PREFIXES) or "/" in word or "\\" in word or Path(word).suffix.lower() in ENDINGS
    return bool(word.strip()) and (likely or _exists(Path(word)))


def read_sources(sources: Sequence[str], limit: int | None = None) -> list[LabelledImage]:
    """The pictures of files, folders (with class folders in them, or a labels.csv), worlds ("world:digits"), and free
    photographs that are installed ("photos:coffee", "photos:all").

    limit: at most so many, an equal number of each class as far as there are; always the same ones.

    Raises SaywhyError where nothing is named, for a path, world or photograph that does not exist, and a folder without
    pictures.
    """
    if not sources:
        raise SaywhyError("no pictures; name files, folders, photos:all, or a world's data such as world:digits")
    pictures = [picture for source in sources for picture in _read(source, limit)]
    return pictures if limit is None else _evenly(pictures, limit)


def list_pictures(folder: Path) -> list[tuple[Path, str | int | None]]:
    """(file, class) of the pictures in a folder.

    With a labels.csv (columns file and class_index; the files there, or in "images") the class is an index. Without, it
    is the name of the subfolder that a picture lies in, and None for pictures in the folder itself. Where there are no
    pictures so far up, those deeper down, as in the doubly-right layout, have the name of the first subfolder. [] where
    there is no such folder.

    Raises SaywhyError for a table without these columns, or with a class_index that is not a number.
    """
    if (folder / TABLE).is_file():
        return list(_tabled(folder))
    alone = picture_files(folder) if folder.is_dir() else []
    folders = sorted(path for path in folder.glob("*") if path.is_dir())
    classed = [(path, inner.name) for inner in folders for path in picture_files(inner)]
    if not alone and not classed:
        classed = [(path, inner.name) for inner in folders for path in _below(inner)]
    return [*((path, None) for path in alone), *classed]


def _below(folder: Path) -> list[Path]:
    """The pictures in all folders below it, in order."""
    return [path for inner in sorted(p for p in folder.rglob("*") if p.is_dir()) for path in picture_files(inner)]


def named(pictures: Sequence[LabelledImage], labels: Sequence[str]) -> tuple[list[LabelledImage], list[str]]:
    """The pictures with their classes renamed to the classifier's names, and the classes that it does not have.

    labels: of the classifier. "001.Black_footed_Albatross" is "Black-footed Albatross"; see ``folder_names``.
    """
    known = folder_names(labels, {str(p.label) for p in pictures if isinstance(p.label, str)})
    indices = {label: _index(label, known, len(labels)) for label in {p.label for p in pictures} if label is not None}
    unknown = [str(label) for label, index in indices.items() if index is None]
    names = {label: str(label) if index is None else labels[index] for label, index in indices.items()}
    return [replace(p, label=None if p.label is None else names[p.label]) for p in pictures], sorted(unknown)


def _index(label: str | int, known: dict[str, int], classes: int) -> int | None:
    if isinstance(label, int):
        return label if 0 <= label < classes else None
    return known.get(plain(label))


def _read(source: str, limit: int | None) -> list[LabelledImage]:
    if source.startswith("world:"):
        return _world(source, limit or WORLD_PICTURES)
    if source.startswith("photos:"):
        return _photos(source.removeprefix("photos:"))
    path = Path(source)
    if not _exists(path):
        raise SaywhyError(
            f"{shown(source)}: no such picture or folder"
            " (a caption may not contain a slash or end as a picture file does)"
        )
    if not path.is_dir():
        return [LabelledImage(source, None, partial(read_picture, path))]
    try:
        files = list_pictures(path)
    except OSError as error:
        raise SaywhyError(f"{shown(source)}: cannot be read ({error.strerror or error})") from None
    if not files:
        raise SaywhyError(f"{shown(source)}: there are no pictures in this folder, nor in its subfolders")
    return [LabelledImage(str(file), label, partial(read_picture, file)) for file, label in files]


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # where Path.exists raises for a caption, which may be longer than any file name


def _tabled(folder: Path) -> list[tuple[Path, int]]:
    table = folder / TABLE
    base = folder / "images" if (folder / "images").is_dir() else folder
    return [
        (base / row["file"], whole_number(row["class_index"], f"{table}: line {line}: class_index"))
        for line, row in read_table(table, ("file", "class_index"))
    ]


def _world(source: str, count: int) -> list[LabelledImage]:
    """Held-out pictures of a world: scenes of an aviary, or digits in red and green, which say nothing."""
    from saywhy.worlds import WORLDS

    world = source.removeprefix("world:").partition("/")[0]
    if world not in WORLDS:
        raise unknown("world", world, WORLDS)
    return _digits(source, count) if world.startswith("digits") else _scenes(source, world, count)


def _digits(source: str, count: int) -> list[LabelledImage]:
    from saywhy.worlds.digits import CLASSES, digits

    data = digits("test", 0.0, count)
    return [
        LabelledImage(f"{source} {n}", CLASSES[label], partial(Image.fromarray, pixels))
        for n, (pixels, label) in enumerate(zip(data.pixels, data.labels, strict=True))
    ]


def _scenes(source: str, world: str, count: int) -> list[LabelledImage]:
    from saywhy.worlds.scenes import HELD_OUT_SEED, class_names, draw

    kind = world.replace("aviary", "planted") if "-" in world else "species"
    names = class_names(kind)

    def scene(seed: int) -> Image.Image:
        return draw(kind, seed)[0].image

    seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + count)  # classes take turns, as ``draw`` says
    return [
        LabelledImage(f"{source} {n}", names[seed % len(names)], partial(scene, seed)) for n, seed in enumerate(seeds)
    ]


def _photos(name: str) -> list[LabelledImage]:
    if name not in (ALL, *PHOTOS):
        raise unknown("photograph", name, (*PHOTOS, ALL))
    paths = [photo.path for one, photo in PHOTOS.items() if name in (one, ALL)]
    return [LabelledImage(str(path), None, partial(read_picture, path)) for path in paths]


def _evenly(pictures: list[LabelledImage], limit: int) -> list[LabelledImage]:
    """``limit`` of them in their order: from each class in turn, drawn at random within it."""
    rank = np.empty(len(pictures))
    classes = np.array([str(picture.label) for picture in pictures])
    order = np.random.default_rng(0).permutation(len(pictures))
    for name in dict.fromkeys(classes):
        rows = order[classes[order] == name]
        rank[rows] = np.arange(len(rows))
    chosen = order[np.argsort(rank[order], kind="stable")][:limit]
    return [pictures[n] for n in sorted(chosen)]
