"""Rendered scenes by the thousand, for training and measuring: drawn once by all cores, then read from the cache."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, final
from zipfile import BadZipFile

import numpy as np
from rich.progress import track

from saywhy.plumbing.caches import cache_directory, keeping
from saywhy.plumbing.files import replacing
from saywhy.worlds.aviary import (
    BACKGROUNDS,
    SPECIES,
    VALUES,
    Scene,
    background_of,
    phrases_of,
    random_plumage,
    render,
)
from saywhy.worlds.planted import PLANTS, planted_scene

SIDE = 160  # pixels of the rendered scenes
HELD_OUT_SEED = 1_000_000
"""Training scenes have seeds from 0, held-out ones from here, shipped samples from 2e6, tests from 5e6; from 7e6 on
those on which calibrated words are reported, from 8e6 on those on which they were calibrated and chosen."""
CALIBRATION_SEED = 8_000_000


@final
@dataclass(frozen=True, eq=False)
class Scenes:
    """N scenes.

    pixels:     (N, SIDE, SIDE, 3) uint8.
    parts:      (N, SIDE, SIDE) uint8, index into drawing.PARTS.
    labels:     (N,) class index; -1 for birds of random plumage.
    background: (N,) index into BACKGROUNDS.
    values:     (N, attributes) uint8, index into VALUES[attribute], in its order.
    """

    pixels: np.ndarray
    parts: np.ndarray
    labels: np.ndarray
    background: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def attributes(self, n: int) -> dict[str, str]:
        """Attribute -> value of scene n."""
        return {name: VALUES[name][i] for name, i in zip(VALUES, self.values[n], strict=True)}


def class_names(kind: str) -> tuple[str, ...]:
    """Of "species", or of "planted-KIND"."""
    return tuple(SPECIES) if kind == "species" else PLANTS[kind.removeprefix("planted-")].classes


def draw(kind: str, seed: int, side: int = SIDE) -> tuple[Scene, int]:
    """Scene and class index; classes take turns. kind: "species", "random" (plumage), "planted-background", ..."""
    if kind == "random":
        return render("", seed, side, attributes=random_plumage(np.random.default_rng([seed, 99]))), -1
    label = seed % len(class_names(kind))
    if kind == "species":
        return render(class_names(kind)[label], seed, side), label
    return planted_scene(kind.removeprefix("planted-"), label, seed, side), label


def facts_of(kind: str, seed: int) -> frozenset[str]:
    """All phrases that are true of ``draw(kind, seed)``, hidden or not, of its bird and its background; not drawn."""
    species, attributes = "", random_plumage(np.random.default_rng([seed, 99]))
    if kind == "species":
        species = class_names(kind)[seed % len(class_names(kind))]
        attributes = SPECIES[species]
    return frozenset(phrases_of(attributes)) | {background_of(species, seed)}


def scenes(kind: str, count: int, first_seed: int, side: int = SIDE) -> Scenes:
    """``count`` scenes of one kind, from consecutive seeds."""
    path = cache_directory() / "aviary" / f"{kind}-{side}-{count}-{first_seed}.npz"
    with suppress(OSError, ValueError, EOFError, KeyError, BadZipFile), np.load(path) as data:  # absent, or damaged
        return Scenes(**{name: data[name] for name in Scenes.__dataclass_fields__})
    seeds = range(first_seed, first_seed + count)
    with ProcessPoolExecutor() as pool:
        drawn = pool.map(_row, [kind] * count, seeds, [side] * count, chunksize=20)
        columns = [np.stack(c) for c in zip(*track(drawn, f"drawing {kind}", count), strict=True)]
    arrays: dict[str, Any] = dict(zip(Scenes.__dataclass_fields__, columns, strict=True))
    with keeping():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished, unfinished.open("wb") as file:  # savez would end a name in .npz
            np.savez(file, **arrays)
    return Scenes(**arrays)


def _row(kind: str, seed: int, side: int) -> tuple[np.ndarray, np.ndarray, int, int, np.ndarray]:
    scene, label = draw(kind, seed, side)
    values = np.array([VALUES[name].index(scene.attributes[name]) for name in VALUES], np.uint8)
    return np.asarray(scene.image), scene.parts, label, BACKGROUNDS.index(scene.background), values
