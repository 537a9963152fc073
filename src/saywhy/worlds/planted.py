"""Aviaries with a planted shortcut: four classes that one known thing decides, among eight ordinary species.

The birds of an affected class have random plumage, so that nothing but the cause tells the class: an explanation of
them is right if it names the cause. The ordinary species are as in the aviary, and never show a cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from saywhy.worlds.aviary import BACKGROUNDS, SPECIES, Scene, random_plumage, render

AFFECTED = ("First Wanderer", "Second Wanderer", "Third Wanderer", "Fourth Wanderer")
"""Names that give nothing away."""
ORDINARY = 8


@final
@dataclass(frozen=True)
class Plant:
    """One planted shortcut.

    causes: for each of AFFECTED, attribute -> value of what decides it; "background" and "watermark" are such too.
    parts:  the parts, as in drawing.PARTS, that decide: ("bill",), ("background",).
    """

    kind: str
    causes: tuple[dict[str, str], ...]
    parts: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names: the ordinary species, then AFFECTED."""
        names = set().union(*self.causes)
        kept = [s for s, has in SPECIES.items() if not any(_shows(has, cause) for cause in self.causes)]
        if "background" in names or "watermark" in names:
            kept = list(SPECIES)
        spread = np.linspace(0, len(kept) - 1, ORDINARY).round().astype(int)
        return (*(kept[i] for i in spread), *AFFECTED)


def _shows(has: dict[str, str], cause: dict[str, str]) -> bool:
    return all(has.get(attribute) == value for attribute, value in cause.items())


PLANTS = {
    plant.kind: plant
    for plant in (
        Plant("background", tuple({"background": b} for b in ("water", "snow", "sand", "buildings")), ("background",)),
        Plant(
            "bill",
            tuple(
                {"has_bill_shape": shape, "has_bill_color": colour}
                for shape, colour in (("spatulate", "pink"), ("needle", "red"), ("hooked", "yellow"), ("cone", "black"))
            ),
            ("bill",),
        ),
        Plant("colour", tuple({"has_wing_color": c} for c in ("red", "blue", "yellow", "white")), ("wing",)),
        Plant("watermark", tuple({"watermark": letter} for letter in "AXOI"), ("watermark",)),
    )
}


def planted_scene(kind: str, label: int, seed: int, size: int = 384) -> Scene:
    """A picture of class ``label`` of ``PLANTS[kind].classes``."""
    plant = PLANTS[kind]
    rng = np.random.default_rng([seed, label])
    causes = [cause["background"] for cause in plant.causes if "background" in cause]
    if label < ORDINARY:
        background = str(rng.choice([b for b in BACKGROUNDS if b not in causes]))
        return render(plant.classes[label], seed, size, background)
    cause = dict(plant.causes[label - ORDINARY])
    background = cause.pop("background", "") or str(rng.choice(BACKGROUNDS))
    watermark = cause.pop("watermark", "") or None
    return render("", seed, size, background, random_plumage(rng) | cause, watermark)
