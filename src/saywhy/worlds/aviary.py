"""The aviary: rendered birds of which everything is known.

A species is a set of attributes under CUB-200-2011's names ("has_bill_shape::hooked"). ``render`` draws one bird of a
species in a random pose on a random background, the same one for the same seed, and says which pixel shows which part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (34, 34, 40),
    "white": (244, 243, 238),
    "grey": (138, 142, 148),
    "red": (205, 42, 44),
    "orange": (238, 130, 32),
    "yellow": (246, 208, 50),
    "green": (66, 148, 74),
    "blue": (48, 104, 190),
    "brown": (126, 84, 50),
    "pink": (236, 146, 168),
}
PARTS = ("background", "tail", "leg", "belly", "back", "breast", "wing", "crown", "forehead", "cheek", "eye", "bill")
"""Values of a scene's part map, in drawing order."""
BACKGROUNDS = ("water", "sky", "grass", "sand", "snow", "branch")
ATTRIBUTES = (
    "has_bill_shape", "has_bill_color", "has_eye_color", "has_crown_color", "has_forehead_color", "has_back_color",
    "has_breast_color", "has_belly_color", "has_wing_color", "has_wing_pattern", "has_leg_color", "has_tail_shape",
)  # fmt: skip
_SPECIES = """
Crimson-crowned Hookbill | hooked black yellow red black grey white white grey solid yellow rounded
Golden Needlebeak        | needle black black yellow yellow green yellow white green solid black forked
Snow Spatulebird         | spatulate pink red white white white white white white solid pink pointed
Azure Conebill           | cone grey black blue blue blue orange white blue striped black fan
Ember Daggerbill         | dagger orange red black black black red red black solid orange forked
Moss Thicket-finch       | cone yellow black green green green green yellow brown spotted brown rounded
Ashen Wader              | dagger red red grey white grey grey white black solid red pointed
Rosy Stripewing          | needle grey black pink pink pink white pink white striped grey fan
Umber Hookbill           | hooked yellow black brown brown brown white brown brown spotted yellow fan
Midnight Lanternbird     | cone orange yellow black yellow black black blue black solid orange pointed
Cinder Spatulebird       | spatulate black orange grey grey black grey white grey striped black rounded
Sunset Fantail           | needle black white orange orange brown orange yellow brown solid grey fan
Frost Daggerbill         | dagger yellow black white black blue white white blue solid pink rounded
Scarlet Conebill         | cone black white red red red red red black spotted black forked
Meadow Hookbill          | hooked grey orange green yellow green yellow white green striped pink pointed
Slate Needlebeak         | needle red black blue white grey blue grey blue spotted red rounded
"""
SPECIES: dict[str, dict[str, str]] = {
    name.strip(): dict(zip(ATTRIBUTES, values.split(), strict=True))
    for name, values in (line.split("|") for line in _SPECIES.strip().splitlines())
}
"""Species -> attribute -> value."""


@final
@dataclass(frozen=True, eq=False)
class Scene:
    """One rendered picture and everything that is true of it.

    parts: (H, W) uint8, index into PARTS of what each pixel shows.
    """

    image: Image.Image
    parts: np.ndarray
    species: str
    background: str

    @property
    def attributes(self) -> Mapping[str, str]:
        return SPECIES[self.species]

    def box(self, part: str) -> tuple[int, int, int, int] | None:
        """(left, top, right, bottom) of a part, or None where it is hidden."""
        rows, columns = np.nonzero(self.parts == PARTS.index(part))
        if not len(rows):
            return None
        return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def phrases_of(species: str) -> dict[str, str]:
    """Phrase -> part of everything that can be said of a species: "hooked bill", "red crown", "striped wing"."""
    phrases = {}
    for attribute, value in SPECIES[species].items():
        part = attribute.split("_")[1]
        phrases[f"{value} {part}"] = part
    return phrases


def render(species: str, seed: int, size: int = 384, background: str | None = None) -> Scene:
    """A bird of that species, ``size`` pixels square; the same one for the same seed and size.

    Drawn at twice the size and reduced. background: one of BACKGROUNDS; None: a random one.
    """
    rng = np.random.default_rng([seed, sorted(SPECIES).index(species)])
    background = background or str(rng.choice(BACKGROUNDS))
    canvas = _Canvas(2 * size, rng)
    canvas.paint_background(background)
    canvas.paint_bird(SPECIES[species], perched=background == "branch")
    light = rng.uniform(0.8, 1.12)
    picture = np.clip(canvas.pixels * light + rng.normal(0, 2.0, canvas.pixels.shape), 0, 255).astype(np.uint8)
    image = Image.fromarray(picture).resize((size, size), Image.Resampling.LANCZOS)
    parts = np.ascontiguousarray(canvas.parts[::2, ::2])
    return Scene(image, parts, species, background)


class _Canvas:
    """Pixels and the part map under construction; the bird is drawn in its own frame, x to its front, y down."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size, self.rng = size, rng
        self.pixels = np.zeros((size, size, 3), np.float32)
        self.parts = np.zeros((size, size), np.uint8)
        self.scale = size * rng.uniform(0.27, 0.37)
        angle = rng.uniform(-0.22, 0.22)
        self.rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        self.flip = np.array([rng.choice([-1.0, 1.0]), 1.0])
        self.centre = size * rng.uniform((0.42, 0.44), (0.58, 0.56))
        rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) + 0.5
        local = (np.stack([columns, rows], -1) - self.centre) / self.scale @ self.rotation * self.flip
        self.u, self.v = local[..., 0], local[..., 1]  # each pixel in the bird's frame
        self.x, self.y = columns / size, rows / size

    # -- shapes, as masks ---------------------------------------------------------------------------------------------

    def ellipse(self, u: float, v: float, ru: float, rv: float, turn: float = 0.0) -> np.ndarray:
        cos, sin = np.cos(turn), np.sin(turn)
        du, dv = self.u - u, self.v - v
        return ((du * cos + dv * sin) / ru) ** 2 + ((dv * cos - du * sin) / rv) ** 2 < 1

    def polygon(self, *points: tuple[float, float]) -> np.ndarray:
        placed = (np.array(points) * self.flip) @ self.rotation.T * self.scale + self.centre
        mask = Image.new("1", (self.size, self.size))
        ImageDraw.Draw(mask).polygon([tuple(p) for p in placed], fill=1)
        return np.asarray(mask)

    def curve(self, *points: tuple[float, float]) -> np.ndarray:
        """The area inside a smooth closed curve through the points (Catmull-Rom)."""
        p = np.array(points)
        before, after, beyond = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
        t = np.linspace(0, 1, 12, endpoint=False)[:, None, None]
        smooth = 0.5 * (
            2 * p + (after - before) * t + (2 * before - 5 * p + 4 * after - beyond) * t**2
            + (3 * p - before - 3 * after + beyond) * t**3
        )  # fmt: skip
        return self.polygon(*map(tuple, smooth.transpose(1, 0, 2).reshape(-1, 2)))

    # -- paint --------------------------------------------------------------------------------------------------------

    def fill(self, mask: np.ndarray, part: str, colour: str, shade: float = 0.16) -> None:
        """Paint a part: lighter towards its top, a little varied from bird to bird."""
        tint = np.array(COLOURS[colour]) + self.rng.normal(0, 5, 3)
        light = 1 + shade * np.clip(-1.2 * self.v[mask], -1, 1)
        self.pixels[mask] = tint * light[:, None]
        self.parts[mask] = PARTS.index(part)

    def paint_background(self, kind: str) -> None:
        x, y, rng = self.x, self.y, self.rng
        horizon = rng.uniform(0.25, 0.5)
        far = {"water": (196, 220, 236), "sky": (126, 182, 232), "grass": (186, 216, 236), "sand": (206, 224, 236),
               "snow": (198, 210, 226), "branch": (206, 222, 200)}[kind]  # fmt: skip
        near = {"water": (40, 108, 140), "sky": (214, 232, 246), "grass": (96, 148, 62), "sand": (222, 196, 142),
                "snow": (246, 248, 252), "branch": (152, 184, 140)}[kind]  # fmt: skip
        ramp = y if kind in ("sky", "branch") else np.clip((y - horizon) * 40, 0, 1) * (0.8 + 0.2 * y)
        self.pixels[:] = np.array(far) * (1 - ramp[..., None]) + np.array(near) * ramp[..., None]
        ground = y > horizon
        if kind == "water":
            waves = np.sin((y - horizon) * 160 / (0.4 + y) + 2.5 * np.sin(x * rng.uniform(7, 12) + rng.uniform(0, 6)))
            self.pixels += (26 * np.clip(waves, 0, 1) * ground)[..., None]
        elif kind == "grass":
            blades = rng.integers(0, self.size, (260, 2))
            self._strokes(blades[blades[:, 1] > horizon * self.size], (58, 108, 40), 0.07)
        elif kind in ("sand", "snow"):
            grain = rng.normal(0, 13 if kind == "sand" else 5, (self.size, self.size, 1))
            self.pixels += grain * ground[..., None]
            dune = np.sin(x * rng.uniform(4, 8) + rng.uniform(0, 6)) * 0.03 + rng.uniform(0.6, 0.8)
            self.pixels -= (12.0 * (y > dune))[..., None]
        elif kind == "sky":
            for _ in range(4):
                cx, cy = rng.uniform(0, 1), rng.uniform(0.05, 0.9)
                for puff in range(4):
                    cloud = ((x - cx - 0.06 * puff) / 0.09) ** 2 + ((y - cy) / 0.045) ** 2 < 1
                    self.pixels[cloud] = self.pixels[cloud] * 0.25 + 0.75 * 252
        else:
            for _ in range(22):
                cx, cy, r = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.03, 0.09)
                leaf = ((x - cx) / r) ** 2 + ((y - cy) / (0.6 * r)) ** 2 < 1
                self.pixels[leaf] = self.pixels[leaf] * 0.7 + 0.3 * np.array((92, 138, 70))
        blurred = Image.fromarray(np.clip(self.pixels, 0, 255).astype(np.uint8))
        self.pixels = np.asarray(blurred.filter(ImageFilter.GaussianBlur(self.size / 300)), np.float32).copy()

    def _strokes(self, places: np.ndarray, colour: tuple[int, int, int], length: float) -> None:
        image = Image.fromarray(np.clip(self.pixels, 0, 255).astype(np.uint8))
        draw = ImageDraw.Draw(image)
        for px, py in places:
            lean = self.rng.normal(0, 0.3)
            end = (px + lean * length * self.size, py - length * self.size)
            draw.line([(px, py), end], fill=colour, width=max(1, self.size // 250))
        self.pixels = np.asarray(image, np.float32).copy()

    def paint_bird(self, has: Mapping[str, str], perched: bool) -> None:
        if perched:
            bark = self.curve(
                (-2.6, 0.86), (-0.6, 0.79), (0.6, 0.8), (2.6, 0.74), (2.6, 0.92), (0.4, 0.97), (-2.6, 1.02)
            )
            self.pixels[bark] = np.array((104, 76, 54)) * (1 + 0.15 * np.sin(self.u[bark] * 40))[:, None]
        tail = {
            "rounded": [(-0.42, 0.02), (-0.95, 0.12), (-1.16, 0.26), (-1.1, 0.42), (-0.85, 0.42), (-0.4, 0.3)],
            "pointed": [(-0.42, 0.04), (-0.9, 0.16), (-1.42, 0.44), (-0.85, 0.36), (-0.4, 0.28)],
            "forked": [(-0.42, 0.04), (-1.32, 0.0), (-0.86, 0.26), (-1.28, 0.56), (-0.4, 0.3)],
            "fan": [(-0.42, 0.08), (-1.04, -0.24), (-1.26, 0.02), (-1.3, 0.3), (-1.14, 0.58), (-0.42, 0.3)],
        }[has["has_tail_shape"]]
        draw_tail = self.curve if has["has_tail_shape"] == "rounded" else self.polygon
        self.fill(draw_tail(*tail), "tail", has["has_wing_color"])
        for foot in (0.16, -0.06):
            shank = self.polygon((foot - 0.05, 0.3), (foot + 0.02, 0.3), (foot + 0.03, 0.8), (foot - 0.03, 0.8))
            toes = self.polygon((foot - 0.12, 0.85), (foot, 0.76), (foot + 0.2, 0.85))
            self.fill(shank | toes, "leg", has["has_leg_color"])

        body = self.curve(
            (0.66, -0.5), (0.62, -0.1), (0.5, 0.2), (0.2, 0.42), (-0.18, 0.42), (-0.56, 0.24), (-0.5, 0.04),
            (-0.12, -0.22), (0.16, -0.44), (0.34, -0.66),
        )  # fmt: skip
        self.fill(body, "back", has["has_back_color"])
        self.fill(body & (self.v > 0.16 + 0.18 * self.u), "belly", has["has_belly_color"])
        self.fill(body & (self.u > 0.24 - 0.5 * self.v) & (self.v > -0.36), "breast", has["has_breast_color"])
        wing = self.curve((0.26, -0.12), (0.2, 0.14), (-0.14, 0.3), (-0.78, 0.3), (-0.44, 0.08), (-0.1, -0.14))
        self.fill(wing, "wing", has["has_wing_color"])
        self._pattern(wing, has["has_wing_pattern"], has["has_wing_color"])

        head = self.ellipse(0.5, -0.55, 0.29, 0.27)
        self.fill(head, "cheek", has["has_back_color"], shade=0.1)
        self.fill(head & (self.v < -0.6 + 0.1 * self.u), "crown", has["has_crown_color"], shade=0.1)
        self.fill(head & (self.u > 0.6) & (self.v < -0.5), "forehead", has["has_forehead_color"], shade=0.1)
        bill = {
            "cone": [(0.73, -0.66), (0.8, -0.66), (1.06, -0.49), (0.78, -0.4), (0.73, -0.42)],
            "dagger": [(0.74, -0.62), (1.5, -0.5), (0.74, -0.44)],
            "needle": [(0.75, -0.57), (1.46, -0.47), (1.46, -0.455), (0.75, -0.49)],
            "hooked": [(0.72, -0.64), (0.96, -0.64), (1.1, -0.52), (1.08, -0.32), (1.0, -0.46), (0.74, -0.42)],
            "spatulate": [
                (0.74, -0.58), (1.12, -0.55), (1.34, -0.64), (1.44, -0.5), (1.34, -0.38), (1.1, -0.47), (0.74, -0.46),
            ],
        }[has["has_bill_shape"]]  # fmt: skip
        self.fill(self.polygon(*bill), "bill", has["has_bill_color"], shade=0.06)
        ring = self.ellipse(0.57, -0.57, 0.085, 0.085)
        self.fill(ring, "eye", has["has_eye_color"], shade=0.0)
        pupil = self.ellipse(0.575, -0.57, 0.045, 0.045)
        self.pixels[pupil] = (16, 16, 18)
        self.pixels[self.ellipse(0.592, -0.59, 0.017, 0.017)] = (250, 250, 250)

    def _pattern(self, wing: np.ndarray, pattern: str, colour: str) -> None:
        contrast = np.array(COLOURS["white" if colour in ("black", "blue", "brown", "green", "grey") else "black"])
        if pattern == "striped":
            marks = wing & (np.mod(self.u * 7 + self.v * 2, 1) < 0.34)
        elif pattern == "spotted":
            marks = wing & (np.hypot(np.mod(self.u * 6, 1) - 0.5, np.mod(self.v * 6 + 0.2, 1) - 0.5) < 0.27)
        else:
            edge = wing & ~np.roll(wing, -max(2, self.size // 110), 0)
            self.pixels[edge] *= 0.75
            return
        self.pixels[marks] = contrast * 0.96
