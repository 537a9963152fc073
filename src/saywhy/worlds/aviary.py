"""The aviary: rendered birds with complete ground truth.

A species is a set of attributes under CUB-200-2011's names ("has_bill_shape::hooked"). ``render`` draws one bird of a
species in a random pose, light and place, the same one for the same seed, and says which pixel shows which part.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from PIL import Image

from saywhy.words.cub_names import cub_attribute, cub_phrase
from saywhy.worlds.drawing import COLOURS, PARTS, Canvas

BACKGROUNDS = ("water", "sky", "grass", "sand", "snow", "branch", "buildings")
VALUES: dict[str, tuple[str, ...]] = {
    "has_bill_shape": ("hooked", "cone", "dagger", "needle", "spatulate"),
    "has_bill_color": ("black", "grey", "orange", "yellow", "red", "pink"),
    "has_eye_color": ("black", "red", "yellow", "white", "blue", "orange"),
    "has_forehead_color": tuple(COLOURS),
    "has_crown_color": tuple(COLOURS),
    "has_nape_color": tuple(COLOURS),
    "has_throat_color": tuple(COLOURS),
    "has_back_color": tuple(COLOURS),
    "has_breast_color": tuple(COLOURS),
    "has_breast_pattern": ("solid", "spotted", "striped"),
    "has_belly_color": tuple(COLOURS),
    "has_wing_color": tuple(COLOURS),
    "has_wing_pattern": ("solid", "spotted", "striped"),
    "has_leg_color": ("black", "grey", "orange", "yellow", "red", "pink"),
    "has_tail_shape": ("forked_tail", "fan-shaped_tail", "rounded_tail", "pointed_tail"),
    "has_upper_tail_color": tuple(COLOURS),
}
"""Attribute -> the values it takes here, both under CUB's names."""
ATTRIBUTES = tuple(VALUES)
_CROWNS = ("black", "white", "red", "yellow", "green", "blue", "brown", "orange")
_KINDS = {
    "hooked": "Hookbill", "cone": "Finch", "dagger": "Kingfisher", "needle": "Sunbird", "spatulate": "Spoonbill",
}  # fmt: skip
_LEAST_DIFFERENCE = 9  # attributes in which any two species differ


def _species() -> dict[str, dict[str, str]]:
    """Forty species: each crown colour with each bill, and everything else drawn, far enough from all others."""
    rng = np.random.default_rng(2026)
    species: dict[str, dict[str, str]] = {}
    for shape, kind in _KINDS.items():
        for crown in _CROWNS:
            while True:
                has = random_plumage(rng) | {"has_bill_shape": shape, "has_crown_color": crown}
                if all(sum(has[a] != other[a] for a in ATTRIBUTES) >= _LEAST_DIFFERENCE for other in species.values()):
                    break
            species[f"{crown.capitalize()}-crowned {kind}"] = has
    return species


def random_plumage(rng: np.random.Generator) -> dict[str, str]:
    """An attribute -> value for every attribute, drawn evenly: a bird of no species."""
    return {attribute: str(rng.choice(values)) for attribute, values in VALUES.items()}


SPECIES: dict[str, dict[str, str]] = _species()
"""Species -> attribute -> value."""


@final
@dataclass(frozen=True, eq=False)
class Scene:
    """One rendered picture and everything that is true of it.

    parts:      (H, W) uint8, index into PARTS of what each pixel shows.
    species:    a name in SPECIES, or "" for a bird of random plumage.
    attributes: attribute -> value, as drawn.
    """

    image: Image.Image
    parts: np.ndarray
    species: str
    attributes: Mapping[str, str]
    background: str

    def box(self, part: str) -> tuple[int, int, int, int] | None:
        """(left, top, right, bottom) of a part, or None where it is hidden."""
        rows, columns = np.nonzero(self.parts == PARTS.index(part))
        if not len(rows):
            return None
        return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def part_of(attribute: str) -> str:
    """The part, as in PARTS, that an attribute is about: "tail" for "has_upper_tail_color::red"."""
    part, _, _ = cub_attribute(attribute)
    return part.removeprefix("upper_")


def phrases_of(attributes: Mapping[str, str]) -> dict[str, str]:
    """Phrase -> part of everything that can be said of a bird: "hooked bill", "red crown", "striped wing"."""
    named = [f"{name}::{value}" for name, value in attributes.items()]
    return {cub_phrase(attribute)[1]: part_of(attribute) for attribute in named}


def render(
    species: str,
    seed: int,
    size: int = 384,
    background: str | None = None,
    attributes: Mapping[str, str] | None = None,
    watermark: str | None = None,
    without: Collection[str] = (),
) -> Scene:
    """A bird of that species, ``size`` pixels square; the same one for the same arguments.

    Drawn at twice the size and reduced.

    background: one of BACKGROUNDS; None: a random one.
    attributes: draw these instead of the species'; "" as species is then fine.
    watermark:  a letter stamped into a corner; see planted.py.
    without:    parts, as in PARTS, that are left out of an otherwise equal picture.
    """
    rng = _chances(species, seed)
    background = background or str(rng.choice(BACKGROUNDS))
    has = dict(attributes or SPECIES[species])
    canvas = Canvas(2 * size, rng, without)
    canvas.paint_background(background)
    canvas.paint_bird(has, perched=background == "branch")
    if rng.random() < 0.35:
        canvas.paint_foreground(background)
    if watermark:
        canvas.stamp(watermark)
    drawn = Image.fromarray(np.clip(canvas.pixels, 0, 255).astype(np.uint8))
    small = np.asarray(drawn.resize((size, size), Image.Resampling.BOX), np.float32)
    light = rng.uniform(0.78, 1.12) * (1 + rng.normal(0, 0.025, 3))
    lit = small * light.astype(np.float32) + rng.normal(0, 1.5, small.shape)
    image = Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))
    return Scene(image, np.ascontiguousarray(canvas.parts[::2, ::2]), species, has, background)


def background_of(species: str, seed: int) -> str:
    """The background that ``render`` draws where it is left to chance."""
    return str(_chances(species, seed).choice(BACKGROUNDS))


def _chances(species: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, list(SPECIES).index(species) if species else len(SPECIES)])
