"""CUB-200-2011 (Wah et al. 2011) and whatever is in its layout: birds with their boxes, parts and attributes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from saywhy.errors import SaywhyError
from saywhy.plumbing.names import shown
from saywhy.plumbing.texts import finite_number, read_lines, whole_number
from saywhy.types import Box
from saywhy.words.cub_names import bundled_attributes, numbered_names

HAS = 50.0
"""Percent of annotators from which a class is said to have an attribute, where pictures have no labels of their own."""
LACKS = 10.0
"""Percent of annotators below which a class is said not to have an attribute; between the two nobody knows."""
_GUESSES = ("1", "2")  # CUB's certainty of a label: 1 not visible, 2 guessing, 3 probably, 4 definitely


@final
@dataclass(frozen=True)
class Bird:
    """One picture.

    label:      zero-based index into CubData.classes.
    box:        around the bird, pixels.
    parts:      CUB's name of each visible part -> (x, y), pixels.
    attributes: indices into CubData.attributes of what the picture, or else its class, has.
    unknown:    those of which nobody knows: not visible or guessed, or the annotators of the class do not agree; all
                where there are no labels.
    mask:       a part map beside the picture (as our worlds write), or None.
    split:      "train" or "test"; "" where nobody says.
    """

    path: Path
    label: int
    box: Box
    parts: dict[str, tuple[float, float]]
    attributes: frozenset[int]
    mask: Path | None
    unknown: frozenset[int] = frozenset()
    split: str = ""


@final
@dataclass(frozen=True, eq=False)
class CubData:
    """A folder in CUB's layout.

    attributes: CUB's names ("has_bill_shape::hooked").
    skipped:    (file, why) of pictures that are listed and cannot be used.
    percent:    (classes, attributes) of annotators who say that a class has an attribute, where that is what the birds'
                attributes are made from; else None.
    """

    root: Path
    classes: tuple[str, ...]
    attributes: tuple[str, ...]
    birds: tuple[Bird, ...]
    skipped: tuple[tuple[str, str], ...]
    percent: np.ndarray | None = None


def read_cub(root: str | Path, split: str | None = None) -> CubData:
    """All pictures of the data set, or one half of them.

    split: "train", "test" or None.

    Absent pictures are listed in ``skipped``. Raises SaywhyError where the folder is not in CUB's layout: it needs
    images.txt, image_class_labels.txt and classes.txt; the rest may be missing. So it does for words that should be
    numbers, and for tables of classes and attributes that do not fit each other.
    """
    root = cub_root(Path(root))
    for needed in ("images.txt", "classes.txt", "image_class_labels.txt"):
        if not os.path.exists(root / needed):
            raise SaywhyError(f"{root}: no {needed} here, so it is not a folder in the layout of CUB-200-2011")
    names = _table(root / "images.txt")
    labels = {
        n: whole_number(label, f"{root / 'image_class_labels.txt'}: picture {n}") - 1
        for n, label in _table(root / "image_class_labels.txt").items()
    }
    halves = _table(root / "train_test_split.txt")
    if split:
        names = {n: name for n, name in names.items() if halves.get(n) == str(int(split == "train"))}
    classes = tuple(
        (name.partition(".")[2] or name).replace("_", " ") for name in _table(root / "classes.txt").values()
    )
    attributes = _attribute_names(root)
    boxes, parts = _table(root / "bounding_boxes.txt"), _parts(root)
    of_pictures = _picture_attributes(root, len(attributes))
    of_classes = _class_attributes(root, len(classes), len(attributes))

    everything = frozenset(range(len(attributes)))
    birds, skipped = [], []
    for n, name in names.items():
        path = root / "images" / name
        if not os.path.isfile(path):
            skipped.append((name, "listed in images.txt and not in images/"))
            continue
        if n not in labels or not 0 <= labels[n] < len(classes):
            skipped.append((name, "has no class in image_class_labels.txt"))
            continue
        if of_pictures is not None:
            has, unknown = of_pictures.get(n, (frozenset(), everything))
        elif of_classes is not None:
            percent = of_classes[labels[n]]
            has = frozenset(np.flatnonzero(percent > HAS).tolist())
            unknown = frozenset(np.flatnonzero((percent >= LACKS) & (percent <= HAS)).tolist())
        else:
            has, unknown = frozenset(), everything
        mask = root / "part_masks" / Path(name).with_suffix(".png")
        map_beside = mask if os.path.exists(mask) else None
        box = _box(boxes.get(n), f"{root / 'bounding_boxes.txt'}: picture {n}")
        half = {"1": "train", "0": "test"}.get(halves.get(n, ""), "")
        birds.append(Bird(path, labels[n], box, parts.get(n, {}), has, map_beside, unknown, half))
    return CubData(
        root, classes, attributes, tuple(birds), tuple(skipped), None if of_pictures is not None else of_classes
    )


def cub_root(folder: Path) -> Path:
    """Where images.txt is: in the folder, or, as the archive has it, in CUB_200_2011 below."""
    below = folder / "CUB_200_2011"
    return below if not os.path.exists(folder / "images.txt") and os.path.exists(below / "images.txt") else folder


def _table(path: Path) -> dict[str, str]:
    """First word -> the rest of each line; nothing where there is no such file."""
    return numbered_names(read_lines(path)) if path.exists() else {}


def _attribute_names(root: Path) -> tuple[str, ...]:
    """CUB's archive has attributes.txt beside the folder; copies have it inside, or under attributes/."""
    for path in (root / "attributes" / "attributes.txt", root / "attributes.txt", root.parent / "attributes.txt"):
        if path.exists():
            return tuple(_table(path).values())
    return bundled_attributes()


def _box(line: str | None, where: str) -> Box:
    words = (line or "0 0 0 0").split()
    if len(words) != 4:
        raise SaywhyError(f"{where}: expected x, y, width and height, and not {shown(line, 40)!r}")
    x, y, width, height = (finite_number(word, where) for word in words)
    return round(x), round(y), round(x + width), round(y + height)


def _parts(root: Path) -> dict[str, dict[str, tuple[float, float]]]:
    names = _table(root / "parts" / "parts.txt")
    locations: dict[str, dict[str, tuple[float, float]]] = {}
    for where, words in _lines(root / "parts" / "part_locs.txt", 5):
        if words[4] == "1" and words[1] in names:
            place = finite_number(words[2], where), finite_number(words[3], where)
            locations.setdefault(words[0], {})[names[words[1]]] = place
    return locations


def _picture_attributes(root: Path, count: int) -> dict[str, tuple[frozenset[int], frozenset[int]]] | None:
    """What each picture has, and of what nobody is sure.

    Some lines of CUB's file have extra words: only the first four of each are read, the last of them where it is there.
    """
    path = root / "attributes" / "image_attribute_labels.txt"
    if not path.exists():
        return None
    attributes: dict[str, set[int]] = {}
    unsure: dict[str, set[int]] = {}
    for where, words in _lines(path, 3):
        doubted = len(words) > 3 and words[3] in _GUESSES
        kept = attributes.setdefault(words[0], set())
        if words[2] == "1" or doubted:
            attribute = whole_number(words[1], where)
            if not 1 <= attribute <= count:
                raise SaywhyError(f"{where}: there is no attribute {attribute}; there are {count}")
            if words[2] == "1":
                kept.add(attribute - 1)
            if doubted:
                unsure.setdefault(words[0], set()).add(attribute - 1)
    return {n: (frozenset(has), frozenset(unsure.get(n, ()))) for n, has in attributes.items()}


def _class_attributes(root: Path, classes: int, attributes: int) -> np.ndarray | None:
    """(classes, attributes) percent, or more rows or fewer columns; None where there is no such file."""
    path = root / "attributes" / "class_attribute_labels_continuous.txt"
    if not path.exists():
        return None
    rows = [[finite_number(word, where) for word in words] for where, words in _lines(path, 1)]
    if len(rows) < classes or len(set(map(len, rows))) > 1 or any(len(row) > attributes for row in rows[:1]):
        raise SaywhyError(f"{path}: expected {classes} rows of at most {attributes} numbers, all of the same length")
    return np.array(rows)


def _lines(path: Path, words: int) -> Iterator[tuple[str, list[str]]]:
    """Where it stands, and its words, of each line that has enough of them."""
    if path.exists():
        for number, line in enumerate(read_lines(path), start=1):
            split = line.split()
            if len(split) >= words:
                yield f"{path}: line {number}", split
