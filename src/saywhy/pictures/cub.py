"""CUB-200-2011 (Wah et al. 2011) and whatever is in its layout: birds with their boxes, parts and attributes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from saywhy.errors import SaywhyError
from saywhy.types import Box
from saywhy.words.cub_names import bundled_attributes, numbered_names

HAS = 50.0
"""Percent of annotators from which a class is said to have an attribute, where pictures have no labels of their own."""


@final
@dataclass(frozen=True)
class Bird:
    """One picture.

    label:      zero-based index into CubData.classes.
    box:        around the bird, pixels.
    parts:      CUB's name of each visible part -> (x, y), pixels.
    attributes: indices into CubData.attributes of what the picture, or else its class, has.
    mask:       a part map beside the picture (as our worlds write), or None.
    """

    path: Path
    label: int
    box: Box
    parts: dict[str, tuple[float, float]]
    attributes: frozenset[int]
    mask: Path | None


@final
@dataclass(frozen=True, eq=False)
class CubData:
    """A folder in CUB's layout.

    attributes: CUB's names ("has_bill_shape::hooked").
    skipped:    (file, why) of pictures that are listed and cannot be used.
    """

    root: Path
    classes: tuple[str, ...]
    attributes: tuple[str, ...]
    birds: tuple[Bird, ...]
    skipped: tuple[tuple[str, str], ...]


def read_cub(root: str | Path, split: str | None = None) -> CubData:
    """All pictures of the data set, or one half of them.

    split: "train", "test" or None.

    Absent pictures and broken lines are listed in ``skipped``. Raises SaywhyError where the folder is not in CUB's
    layout: it needs images.txt, image_class_labels.txt and classes.txt; the rest may be missing.
    """
    root = Path(root)
    if not (root / "images.txt").exists() and (root / "CUB_200_2011" / "images.txt").exists():
        root = root / "CUB_200_2011"
    for needed in ("images.txt", "classes.txt", "image_class_labels.txt"):
        if not (root / needed).exists():
            raise SaywhyError(f"{root}: no {needed} here, so it is not a folder in the layout of CUB-200-2011")
    names = _table(root / "images.txt")
    labels = {n: int(label) - 1 for n, label in _table(root / "image_class_labels.txt").items()}
    halves = _table(root / "train_test_split.txt")
    if split:
        names = {n: name for n, name in names.items() if halves.get(n) == str(int(split == "train"))}
    classes = tuple(
        (name.partition(".")[2] or name).replace("_", " ") for name in _table(root / "classes.txt").values()
    )
    attributes = _attribute_names(root)
    boxes, parts = _table(root / "bounding_boxes.txt"), _parts(root)
    of_pictures, of_classes = _picture_attributes(root), _class_attributes(root)

    birds, skipped = [], []
    for n, name in names.items():
        path = root / "images" / name
        if not path.is_file():
            skipped.append((name, "listed in images.txt and not in images/"))
            continue
        if n not in labels or not 0 <= labels[n] < len(classes):
            skipped.append((name, "has no class in image_class_labels.txt"))
            continue
        if of_pictures is None:
            has = frozenset(np.flatnonzero(of_classes[labels[n]] > HAS).tolist()) if of_classes is not None else None
        else:
            has = of_pictures.get(n)
        mask = root / "part_masks" / Path(name).with_suffix(".png")
        map_beside = mask if mask.exists() else None
        birds.append(Bird(path, labels[n], _box(boxes.get(n)), parts.get(n, {}), has or frozenset(), map_beside))
    return CubData(root, classes, attributes, tuple(birds), tuple(skipped))


def _table(path: Path) -> dict[str, str]:
    """First word -> the rest of each line; nothing where there is no such file."""
    return numbered_names(path.read_text(encoding="utf-8").splitlines()) if path.exists() else {}


def _attribute_names(root: Path) -> tuple[str, ...]:
    """CUB's archive has attributes.txt beside the folder; copies have it inside, or under attributes/."""
    for path in (root / "attributes" / "attributes.txt", root / "attributes.txt", root.parent / "attributes.txt"):
        if path.exists():
            return tuple(_table(path).values())
    return bundled_attributes()


def _box(line: str | None) -> Box:
    x, y, width, height = (float(v) for v in (line or "0 0 0 0").split())
    return round(x), round(y), round(x + width), round(y + height)


def _parts(root: Path) -> dict[str, dict[str, tuple[float, float]]]:
    names = _table(root / "parts" / "parts.txt")
    locations: dict[str, dict[str, tuple[float, float]]] = {}
    for words in _lines(root / "parts" / "part_locs.txt", 5):
        if words[4] == "1" and words[1] in names:
            locations.setdefault(words[0], {})[names[words[1]]] = (float(words[2]), float(words[3]))
    return locations


def _picture_attributes(root: Path) -> dict[str, frozenset[int]] | None:
    """Some lines of CUB's file have extra words: only the first three of each are read."""
    path = root / "attributes" / "image_attribute_labels.txt"
    if not path.exists():
        return None
    attributes: dict[str, set[int]] = {}
    for words in _lines(path, 3):
        if words[2] == "1":
            attributes.setdefault(words[0], set()).add(int(words[1]) - 1)
    return {n: frozenset(has) for n, has in attributes.items()}


def _class_attributes(root: Path) -> np.ndarray | None:
    path = root / "attributes" / "class_attribute_labels_continuous.txt"
    return np.loadtxt(path, ndmin=2) if path.exists() else None


def _lines(path: Path, words: int) -> Iterator[list[str]]:
    """The words of each line that has enough of them."""
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                split = line.split()
                if len(split) >= words:
                    yield split
