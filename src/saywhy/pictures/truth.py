"""Pictures with their true categories and rationales, and how truth is written as tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import final

import numpy as np

from saywhy.errors import SaywhyError
from saywhy.words.rationale_lists import Oddity
from saywhy.words.rationale_words import RationaleWords


@final
@dataclass(frozen=True, eq=False)
class Gold:
    """What is true of N pictures. categories: (N,) int. rationales: N sets of indices, none of them empty."""

    categories: np.ndarray
    rationales: tuple[frozenset[int], ...]

    def __post_init__(self) -> None:
        if not len(self.rationales):
            raise SaywhyError("there is no picture to evaluate; give at least one")
        if len(self.categories) != len(self.rationales):
            raise SaywhyError(f"{len(self.categories)} true categories for {len(self.rationales)} sets of rationales")
        if not all(self.rationales):
            empty = next(n for n, names in enumerate(self.rationales) if not names)
            raise SaywhyError(f"picture {empty} has no true rationale; leave it out, it can be neither right nor wrong")

    @cached_property
    def table(self) -> np.ndarray:
        """(N, G) int: the true rationales, filled up with -1."""
        return padded(self.rationales)

    def pairs(self, width: int) -> np.ndarray:
        """(N, G) int: the true pairs as places among categories x ``width`` rationales, filled up with -1."""
        return np.where(self.table < 0, ABSENT, self.categories[:, None] * width + self.table)


ABSENT = -1  # fills up true rationales


def padded(rows: Sequence[Collection[int]]) -> np.ndarray:
    """(N, L) int, the longest of the rows has L (at least 1); filled up with ABSENT."""
    table = np.full((len(rows), max(1, *map(len, rows))), ABSENT)
    for filled, row in zip(table, rows, strict=True):
        filled[: len(row)] = list(row)
    return table


@final
@dataclass(frozen=True)
class RationaleImage:
    """One picture.

    category:   index into the words' categories.
    rationales: what is true of it: indices into the words' rationales, sorted, at least one.
    known:      all that is in it, where somebody noted that; () where nobody did.
    """

    path: Path
    category: int
    rationales: tuple[int, ...]
    known: tuple[int, ...] = ()


@final
@dataclass(frozen=True, eq=False)
class RationaleData:
    """One split of a data set. images: sorted by path."""

    root: Path
    words: RationaleWords
    images: tuple[RationaleImage, ...]
    oddities: tuple[Oddity, ...]


def gold_of(images: Sequence[RationaleImage]) -> Gold:
    """What is true of pictures, in the form of the evaluator."""
    return Gold(np.array([i.category for i in images], int), tuple(frozenset(i.rationales) for i in images))


def evenly(count: int, most: int) -> np.ndarray:
    """Up to ``most`` indices of ``count`` things, spread evenly over them, with the first and the last."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(int)


def joined(data: RationaleData, others: Sequence[RationaleData] = ()) -> RationaleData:
    """The data with one rationale to a picture: a set of several becomes a rationale, "a red bill and a long tail".

    This is the paper's general m (ECOR, section III-C): "There are {r1} and {r2} in the photo." Rationales keep their
    indices, sets come after them; the list of a category is its rationales, then the sets that pictures of it have.

    others: further splits, read with the same lists: their sets count too, so that all splits have the same words.

    Raises SaywhyError where the others have different words.
    """
    words = data.words
    if any(other.words != words for other in others):
        raise SaywhyError("splits can be joined only if they were read with the same lists of rationales")
    pictures = [image for part in (data, *others) for image in part.images]
    sets = sorted(
        {i.rationales for i in pictures if len(i.rationales) > 1}, key=lambda members: (len(members), members)
    )
    indices = {name: r for r, name in enumerate(words.rationales)}
    several = dict(words.several or {})
    places: dict[tuple[int, ...], int] = {}
    for members in sets:
        names = [words.rationales[r] for r in members]
        name = " and ".join(names)
        if name not in indices:  # "bread and butter" may be listed as one thing: the same words, the same rationale
            indices[name] = len(indices)
            several[indices[name]] = tuple(names)
        places[members] = indices[name]
    seen = sorted({(i.category, places[i.rationales]) for i in pictures if len(i.rationales) > 1})
    lists = [dict.fromkeys(listed) for listed in words.lists]
    for category, place in seen:
        lists[category][place] = None
    images = tuple(replace(i, rationales=(places.get(i.rationales, i.rationales[0]),), known=()) for i in data.images)
    together = replace(words, rationales=tuple(indices), lists=tuple(map(tuple, lists)), several=several or None)
    return replace(data, words=together, images=images)
