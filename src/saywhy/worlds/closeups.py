"""The aviary as a doubly-right data set: close-ups of birds, each with its species and the rationales that are in view.

Every species lists its sixteen attributes as rationales. A picture is taken because of one of them (its part is in the
middle, as a search for "a red-crowned finch because there is a hooked bill" would find it); the others that happen to
be in view are known too, which no published set of this kind knows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np
from PIL import Image
from rich.progress import track

from saywhy.types import Box
from saywhy.words.cub_names import cub_phrase
from saywhy.words.rationale_words import with_article
from saywhy.worlds.aviary import SPECIES, VALUES, part_of, render
from saywhy.worlds.drawing import PARTS
from saywhy.worlds.scenes import SIDE

SEEDS = {"train": 3_000_000, "validation": 3_500_000, "test": 4_000_000}
"""First seed of each part; pictures that the worlds' models were trained on have others (see scenes.py)."""
PART_OF = {attribute: part_of(f"{attribute}::{values[0]}") for attribute, values in VALUES.items()}
"""Attribute -> the part, as in PARTS, that it is about."""
SMALLEST = 12  # pixels of a part, at SIDE, that can be seen
_SEARCHES = 40  # scenes that are tried for one that shows the part


@final
@dataclass(frozen=True, eq=False)
class Closeup:
    """One picture of the data set.

    species, attribute: what it was taken for. seed, box: how to draw it again: a window of a scene of SIDE pixels.
    rationales: the attributes in view, the one it was taken for first.
    """

    image: Image.Image
    species: str
    attribute: str
    seed: int
    box: Box
    rationales: tuple[str, ...]

    def redrawn(self, without: Collection[str] = (), attributes: Mapping[str, str] | None = None) -> Image.Image:
        """The same window of the same scene with parts left out, or with other attributes ("" keeps the species')."""
        has = SPECIES[self.species] | dict(attributes or {})
        return render(self.species, self.seed, SIDE, attributes=has, without=without).image.crop(self.box)

    def parts(self) -> np.ndarray:
        """(h, w) uint8: index into PARTS of what each pixel of the picture shows."""
        left, top, right, bottom = self.box
        return render(self.species, self.seed, SIDE).parts[top:bottom, left:right]


def rationale_lists(species: Sequence[str] = tuple(SPECIES)) -> dict[str, tuple[str, ...]]:
    """Species -> its rationales, as they are said: "a hooked bill", "an orange back"."""
    return {name: tuple(said(attribute, value) for attribute, value in SPECIES[name].items()) for name in species}


def said(attribute: str, value: str) -> str:
    """ "an orange back" of "has_back_color", "orange"."""
    return with_article(cub_phrase(f"{attribute}::{value}")[1])


def attributes_said() -> dict[str, tuple[str, str]]:
    """Rationale -> (attribute, value), of all that can be said in the aviary."""
    return {said(attribute, value): (attribute, value) for attribute, values in VALUES.items() for value in values}


def closeups(species: Sequence[str], count: int, split: str, seed: int = 0) -> list[Closeup]:
    """``count`` pictures, species and attributes taking turns; the same for the same arguments.

    split: "train", "validation" or "test"; seed: another draw of the same split, to 99.
    """
    pairs = [(name, attribute) for name in species for attribute in VALUES]
    order = np.random.default_rng([seed, 7]).permutation(len(pairs))
    jobs = [(*pairs[order[n % len(pairs)]], SEEDS[split] + 200_000 * seed + n) for n in range(count)]
    with ProcessPoolExecutor() as pool:
        drawn = pool.map(partial(_closeup, step=count), *zip(*jobs, strict=True), chunksize=20)
        return list(track(drawn, f"drawing close-ups ({split})", count))


def _closeup(species: str, attribute: str, seed: int, step: int) -> Closeup:
    """A window around a part, wide enough to show it and narrow enough to be about it."""
    rng = np.random.default_rng([seed, 11])
    part = PART_OF[attribute]
    for _ in range(_SEARCHES):  # another scene where the part is hidden
        scene = render(species, seed, SIDE)
        rows, columns = np.nonzero(scene.parts == PARTS.index(part))
        if len(rows) >= SMALLEST:
            break
        seed += step
    extent = max(np.ptp(rows), np.ptp(columns)) + 1
    side = float(np.clip(extent * rng.uniform(1.1, 1.8), 0.2 * SIDE, SIDE))
    centre = np.array([columns.mean(), rows.mean()]) + rng.normal(0, 0.08 * side, 2)
    left, top = np.clip(np.round(centre - side / 2), 0, SIDE - side).astype(int).tolist()
    box = (left, top, left + int(side), top + int(side))
    seen = visible_parts(scene.parts, box) | {part}
    others = tuple(a for a in VALUES if PART_OF[a] in seen and a != attribute)
    return Closeup(scene.image.crop(box), species, attribute, seed, box, (attribute, *others))


def visible_parts(parts: np.ndarray, box: Box) -> set[str]:
    """Parts of which the window shows more than half, and enough pixels to tell."""
    left, top, right, bottom = box
    inside = np.bincount(parts[top:bottom, left:right].ravel(), minlength=len(PARTS))
    whole = np.bincount(parts.ravel(), minlength=len(PARTS))
    return {part for p, part in enumerate(PARTS) if inside[p] >= SMALLEST and inside[p] > 0.5 * whole[p]}


def rows(pictures: Sequence[Closeup], split: str) -> Iterator[tuple[str, str, list[str], Image.Image]]:
    """(split, species, rationales as they are said, picture), as ``write_doubly_right`` takes them."""
    for closeup in pictures:
        has = SPECIES[closeup.species]
        yield split, closeup.species, [said(a, has[a]) for a in closeup.rationales], closeup.image
