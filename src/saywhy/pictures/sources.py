"""Pictures and what is known about them: files, folders, patterns, lists of names, and the data of the embedded worlds.

They are listed at once and opened one by one, so that memory stays flat however many there are.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import final

import numpy as np
from PIL import Image

from saywhy.errors import SaywhyError
from saywhy.pictures.in_batches import Failure
from saywhy.pictures.photos import PHOTOS
from saywhy.pictures.reading import ENDINGS, read_picture
from saywhy.plumbing.names import meant, shown, unknown
from saywhy.plumbing.texts import read_table, whole_number
from saywhy.words.class_names import folder_names, plain

WORLD_PICTURES = 300  # of a world's data, where no number is given
TABLE = "labels.csv"
ALL = "all"  # of the photographs: photos:all
PREFIXES = ("world:", "photos:")
STANDARD_INPUT = "-"
LIST = "@"
"""Before the name of a file that lists names."""
MOST_NAMES = 256 << 20  # bytes of a list of names
EMPTY_FOLDER = "there are no pictures in this folder, nor in its subfolders"
NO_PICTURES = "no pictures; name files, folders, photos:all, or a world's data such as world:digits"


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


@final
@dataclass(frozen=True, eq=False)
class Found:
    """What the names that a user gave stand for.

    pictures: in order of the names, and those of a folder in order of theirs.
    failures: names that stand for no picture, and folders that cannot be read.
    others:   how many files of folders and patterns are no pictures, by their ending, and were passed over.
    again:    how many pictures were named again, and are there once.
    """

    pictures: list[LabelledImage]
    failures: list[Failure]
    others: int
    again: int


def is_source(word: str) -> bool:
    """Whether a word names pictures rather than being a caption: a path or something like one, a list, a prefix."""
    likely = word.startswith(PREFIXES) or "/" in word or "\\" in word or Path(word).suffix.lower() in ENDINGS
    listed = word == STANDARD_INPUT or (word.startswith(LIST) and os.path.exists(word[1:]))
    return bool(word.strip()) and (likely or listed or os.path.exists(word))


def find_pictures(sources: Iterable[str], limit: int | None = None, seed: int = 0) -> Found:
    """The pictures that names stand for, unopened; whether a file can be read is seen when it is opened.

    sources: each is a file; a folder, with all below it (see ``list_pictures``); a pattern ("photos/**/*.jpg"); a
             world's data ("world:digits"); "@FILE", a list of such names; or "-", the same from standard input. A list
             has a name a line, or names that end in NUL. What exists is taken as it is called, "photo[1].jpg" too.
    limit:   at most so many, an equal number of each class as far as there are; the same ones for the same ``seed``.

    Hidden files and folders are left out of folders and patterns. Links are followed; no folder is read twice.
    """
    pictures: dict[str, LabelledImage] = {}
    failures: list[Failure] = []
    others = again = 0
    for item in (item for source in sources for item in _named(source, limit)):
        if isinstance(item, Failure):
            failures.append(item)
        elif isinstance(item, Path):
            others += 1
        elif (key := _identity(item)) in pictures:
            again += 1
        else:
            pictures[key] = item
    found = list(pictures.values())
    if limit is not None:
        found = [found[n] for n in evenly([str(picture.label) for picture in found], limit, seed)]
    return Found(found, failures, others, again)


def read_sources(sources: Sequence[str], limit: int | None = None, seed: int = 0) -> list[LabelledImage]:
    """The pictures that ``find_pictures`` finds.

    Raises SaywhyError where nothing is named, for a path, world or photograph that does not exist, and a folder without
    pictures.
    """
    if not sources:
        raise SaywhyError(NO_PICTURES)
    found = find_pictures(sources, limit, seed)
    if found.failures:
        raise SaywhyError(found.failures[0].reason)
    return found.pictures


def list_pictures(folder: Path) -> list[tuple[Path, str | int | None]]:
    """(file, class) of the pictures in a folder and all below it, in order of name.

    With a labels.csv (columns file and class_index; the files there, or in "images") the class is an index. Without, it
    is the name of the first subfolder on the way to the picture, and None for pictures in the folder itself. [] where
    there is no such folder.

    Raises SaywhyError for a table without these columns, or with a class_index that is not a number.
    """
    return [item for item in _listed(folder) if isinstance(item, tuple)]


def each_picture(folder: Path) -> Iterator[tuple[Path, str | int | None]]:
    """What ``list_pictures`` lists, as it is found.

    Raises SaywhyError as it does, for a folder below that cannot be read, and where there are no pictures.
    """
    empty = True
    for item in _listed(folder):
        if isinstance(item, Failure):
            raise SaywhyError(item.reason)
        if isinstance(item, tuple):
            empty = False
            yield item
    if empty:
        raise SaywhyError(f"{shown(folder)}: {EMPTY_FOLDER}")


def named(pictures: Sequence[LabelledImage], labels: Sequence[str]) -> tuple[list[LabelledImage], list[str]]:
    """The pictures with their classes renamed to the classifier's names, and the classes that it does not have.

    labels: of the classifier. "001.Black_footed_Albatross" is "Black-footed Albatross"; see ``folder_names``.
    """
    known = folder_names(labels, {str(p.label) for p in pictures if isinstance(p.label, str)})
    indices = {label: _index(label, known, len(labels)) for label in {p.label for p in pictures} if label is not None}
    unknown = [str(label) for label, index in indices.items() if index is None]
    names = {label: str(label) if index is None else labels[index] for label, index in indices.items()}
    return [replace(p, label=None if p.label is None else names[p.label]) for p in pictures], sorted(unknown)


def known(pictures: Sequence[LabelledImage], labels: Sequence[str]) -> list[LabelledImage]:
    """The pictures with their classes as ``named`` gives them; without any where one of them is not the classifier's.

    Folders of photographs need not be named after what they show: "2" is no goldfish.
    """
    if all(picture.label is None for picture in pictures):
        return list(pictures)
    renamed, strangers = named(pictures, labels)
    return [replace(picture, label=None) for picture in pictures] if strangers else renamed


def evenly(classes: Sequence[str], limit: int, seed: int) -> list[int]:
    """Which ``limit`` of pictures of these classes are taken, in their order: from each class in turn, by chance."""
    codes = np.unique(np.asarray(classes, object), return_inverse=True)[1] if classes else np.empty(0, int)
    rank = np.empty(len(codes))
    order = np.random.default_rng(seed).permutation(len(codes))
    grouped = order[np.argsort(codes[order], kind="stable")]
    starts = np.searchsorted(codes[grouped], np.arange(codes.max(initial=-1) + 1))
    rank[grouped] = np.arange(len(codes)) - starts[codes[grouped]]
    return sorted(order[np.argsort(rank[order], kind="stable")][:limit].tolist())


def _index(label: str | int, known: dict[str, int], classes: int) -> int | None:
    if isinstance(label, int):
        return label if 0 <= label < classes else None
    return known.get(plain(label))


def _named(source: str, limit: int | None) -> Iterator[LabelledImage | Failure | Path]:
    """What one name stands for. A Path is a file that was passed over."""
    try:
        names = _names(source)
    except SaywhyError as error:
        yield Failure(source, str(error))
        return
    for name in [source] if names is None else names:
        try:
            yield from _read(name, limit)
        except SaywhyError as error:
            yield Failure(name, str(error))


def _names(source: str) -> list[str] | None:
    """The names in a list; None where it is no list. Raises SaywhyError for a list that cannot be read or is empty."""
    if (source != STANDARD_INPUT and not source.startswith(LIST)) or os.path.exists(source):
        return None
    where = "standard input" if source == STANDARD_INPUT else shown(source[1:])
    try:
        if source == STANDARD_INPUT:
            text = sys.stdin.buffer.read(MOST_NAMES + 1)
        else:
            with open(source[1:], "rb") as file:
                text = file.read(MOST_NAMES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SaywhyError(f"{where}: the list of names cannot be read ({reason})") from None
    if len(text) > MOST_NAMES:
        raise SaywhyError(f"{where}: a list of names has at most {MOST_NAMES >> 20} MiB")
    lines = text.split(b"\0") if b"\0" in text else text.removeprefix(b"\xef\xbb\xbf").splitlines()
    names = [os.fsdecode(line) for line in lines if line.strip()]
    if not names:
        raise SaywhyError(f"{where}: the list of names is empty")
    return names


def _read(source: str, limit: int | None) -> Iterator[LabelledImage | Failure | Path]:
    """The pictures of a name that is no list. Raises SaywhyError where it stands for none."""
    if source.startswith("world:"):
        yield from _world(source, limit or WORLD_PICTURES)
        return
    if source.startswith("photos:"):
        yield from _photos(source.removeprefix("photos:"))
        return
    if os.path.isdir(source):
        items, none = _listed(Path(source)), EMPTY_FOLDER
    elif os.path.exists(source):
        yield LabelledImage(source, None, partial(read_picture, source))
        return
    elif glob.has_magic(source):
        items, none = _matching(source), "no picture matches this pattern"
    else:
        named = [f"{prefix}{source}" for prefix, known in _brought() if source in known]
        hint = f"; did you mean {named[0]}?" if named else meant(source)
        raise SaywhyError(f"{shown(source)}: no such picture or folder{hint}")
    empty = True
    for item in items:
        empty = empty and isinstance(item, Path)
        if isinstance(item, tuple):
            file, label = item
            yield LabelledImage(str(file), label, partial(read_picture, file))
        else:
            yield item
    if empty:
        raise SaywhyError(f"{shown(source)}: {none}")


def _brought() -> Iterator[tuple[str, Collection[str]]]:
    """Prefixes, and what they stand before."""
    from saywhy.worlds import WORLDS

    yield "photos:", (*PHOTOS, ALL)
    yield "world:", WORLDS


_Item = tuple[Path, str | int | None] | Path | Failure
"""A picture with its class; a file that is none; a folder that cannot be read."""


def _listed(folder: Path) -> Iterator[_Item]:
    """What is in a folder."""
    if (folder / TABLE).is_file():
        yield from _tabled(folder)
        return
    for file in _walk(folder):
        if isinstance(file, Failure) or file.suffix.lower() not in ENDINGS:
            yield file
        else:
            inner = file.relative_to(folder).parts
            yield file, inner[0] if len(inner) > 1 else None


def _matching(pattern: str) -> Iterator[_Item]:
    """What a pattern matches, and all below the folders among it, each once."""
    seen = set[Path | Failure]()
    for match in map(Path, sorted(glob.iglob(pattern, recursive=True))):
        for file in _walk(match) if match.is_dir() else [match]:
            if file not in seen:
                seen.add(file)
                yield (file, None) if isinstance(file, Path) and file.suffix.lower() in ENDINGS else file


def _walk(folder: Path) -> Iterator[Path | Failure]:
    """The files in a folder and all below it, in order of name, and the folders that cannot be read."""
    entered = set[str]()
    closed: list[OSError] = []
    for place, folders, files in os.walk(folder, followlinks=True, onerror=closed.append):
        if (real := os.path.realpath(place)) in entered:  # a link that leads back
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(files) if not name.startswith("."))
    for error in closed:
        name = str(error.filename)
        yield Failure(name, f"{shown(name)}: the folder cannot be read ({error.strerror})")


def _identity(picture: LabelledImage) -> str:
    """The same for the same file, however it is named."""
    return os.path.realpath(picture.name)


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
    from saywhy.worlds.scenes import HELD_OUT_SEED, class_names

    kind = world.replace("aviary", "planted") if "-" in world else "species"
    names = class_names(kind)

    seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + count)  # classes take turns, as ``draw`` says
    return [
        LabelledImage(f"{source} {n}", names[seed % len(names)], partial(_scene, kind, seed))
        for n, seed in enumerate(seeds)
    ]


def _scene(kind: str, seed: int) -> Image.Image:
    from saywhy.worlds.scenes import draw

    return draw(kind, seed)[0].image


def _photos(name: str) -> list[LabelledImage]:
    if name not in (ALL, *PHOTOS):
        raise unknown("photograph", name, (*PHOTOS, ALL))
    paths = [photo.path for one, photo in PHOTOS.items() if name in (one, ALL)]
    return [LabelledImage(str(path), None, partial(read_picture, path)) for path in paths]
