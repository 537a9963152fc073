"""Draws the aviary: backgrounds, birds and what stands in front of them, with a map of which pixel shows what."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (34, 34, 40),
    "white": (244, 243, 238),
    "grey": (138, 142, 148),
    "red": (205, 42, 44),
    "orange": (238, 130, 32),
    "yellow": (246, 208, 50),
    "green": (66, 148, 74),
    "blue": (48, 104, 190),
    "purple": (126, 62, 158),
    "brown": (126, 84, 50),
    "pink": (240, 150, 176),
}
"""CUB's names of colours, those that can be told apart at a glance -> RGB."""
PARTS = (
    "background", "tail", "leg", "belly", "back", "breast", "wing", "nape", "throat", "crown", "forehead", "eye",
    "bill", "watermark",
)  # fmt: skip
"""Values of a part map, in drawing order."""
_FAR = {"water": (196, 220, 236), "sky": (126, 182, 232), "grass": (186, 216, 236), "sand": (206, 224, 236),
        "snow": (198, 210, 226), "branch": (206, 222, 200), "buildings": (200, 208, 220)}  # fmt: skip
_NEAR = {"water": (40, 108, 140), "sky": (214, 232, 246), "grass": (96, 148, 62), "sand": (222, 196, 142),
         "snow": (246, 248, 252), "branch": (152, 184, 140), "buildings": (124, 122, 124)}  # fmt: skip
_NECK = (0.38, -0.3)  # about which the head turns
_RUMP = (-0.42, 0.16)  # about which the tail turns


class Canvas:
    """Pixels and the part map under construction; the bird is drawn in its own frame, x to its front, y down.

    without: parts that are left out; all else is as it would be with them.
    scale, across: the bird's scale and the place of its centre from left to right, both over the side; None: drawn.
    """

    def __init__(
        self,
        size: int,
        rng: np.random.Generator,
        without: Collection[str] = (),
        scale: float | None = None,
        across: float | None = None,
    ) -> None:
        self.size, self.rng, self.without = size, rng, without
        self.pixels = np.zeros((size, size, 3), np.float32)
        self.parts = np.zeros((size, size), np.uint8)
        drawn = rng.uniform(0.15, 0.27)
        self.scale = size * (drawn if scale is None else scale)
        angle = rng.uniform(-0.25, 0.25)
        self.rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        self.flip = np.array([rng.choice([-1.0, 1.0]), 1.0])
        self.centre = size * rng.uniform((0.35, 0.35), (0.65, 0.65))
        if across is not None:
            self.centre[0] = size * across
        rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) + 0.5
        right, down = (columns - self.centre[0]) / self.scale, (rows - self.centre[1]) / self.scale
        self.u, self.v = _rotated(right, down, self.rotation)  # each pixel in the bird's frame
        self.u *= self.flip[0]
        self.x, self.y = columns / size, rows / size

    # -- shapes, as masks ---------------------------------------------------------------------------------------------

    def ellipse(self, u: float, v: float, ru: float, rv: float) -> np.ndarray:
        return ((self.u - u) / ru) ** 2 + ((self.v - v) / rv) ** 2 < 1

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

    # -- backgrounds --------------------------------------------------------------------------------------------------

    def paint_background(self, kind: str) -> None:
        x, y, rng = self.x, self.y, self.rng
        horizon = rng.uniform(0.25, 0.5)
        ramp = y if kind in ("sky", "branch") else np.clip((y - horizon) * 40, 0, 1) * (0.8 + 0.2 * y)
        far, near = (np.array(colour[kind], np.float32) for colour in (_FAR, _NEAR))
        self.pixels[:] = far + (near - far) * ramp[..., None].astype(np.float32)
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
        elif kind == "buildings":
            self._houses(horizon)
        else:
            for _ in range(22):
                cx, cy, r = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.03, 0.09)
                leaf = ((x - cx) / r) ** 2 + ((y - cy) / (0.6 * r)) ** 2 < 1
                self.pixels[leaf] = self.pixels[leaf] * 0.7 + 0.3 * np.array((92, 138, 70))
        blurred = Image.fromarray(np.clip(self.pixels, 0, 255).astype(np.uint8))
        self.pixels = np.asarray(blurred.filter(ImageFilter.GaussianBlur(self.size / 300)), np.float32).copy()

    def _houses(self, horizon: float) -> None:
        """A row of house fronts with windows, down to the street."""
        left, foot = -self.rng.uniform(0, 0.1), horizon + 0.35
        image = Image.fromarray(np.clip(self.pixels, 0, 255).astype(np.uint8))
        draw = ImageDraw.Draw(image)
        while left < 1:
            width, top = self.rng.uniform(0.16, 0.3), self.rng.uniform(0.02, horizon)
            wall = np.array((168, 112, 92)) if self.rng.random() < 0.5 else np.array((176, 170, 158))
            paint = tuple((wall + self.rng.normal(0, 10, 3)).astype(int).tolist())
            draw.rectangle(self._box(left, top, left + width, foot), fill=paint, outline=(84, 76, 74))
            for i in range(3):
                for row in np.arange(top + 0.05, foot - 0.08, 0.11):
                    at = left + width * (0.14 + 0.28 * i)
                    pane = (74, 88, 110) if self.rng.random() < 0.7 else (238, 214, 138)
                    draw.rectangle(self._box(at, row, at + width * 0.17, row + 0.06), fill=pane)
            left += width
        self.pixels = np.asarray(image, np.float32).copy()

    def _box(self, *edges: float) -> list[float]:
        return [edge * self.size for edge in edges]

    def _strokes(self, places: np.ndarray, colour: tuple[int, int, int], length: float, width: int = 1) -> np.ndarray:
        """Paints upward strokes from the places (pixels); returns where."""
        image = Image.fromarray(np.clip(self.pixels, 0, 255).astype(np.uint8))
        mask = Image.new("1", image.size)
        for px, py in places:
            lean = self.rng.normal(0, 0.3)
            line = [(px, py), (px + lean * length * self.size, py - length * self.size)]
            for target, fill in ((image, colour), (mask, 1)):
                ImageDraw.Draw(target).line(line, fill=fill, width=max(1, width * self.size // 250))
        self.pixels = np.asarray(image, np.float32).copy()
        return np.asarray(mask)

    # -- the bird -----------------------------------------------------------------------------------------------------

    def paint_bird(self, has: Mapping[str, str], perched: bool) -> None:
        if perched:
            bark = self.curve((-6, 0.88), (-0.6, 0.79), (0.6, 0.8), (6, 0.72), (6, 0.86), (0.4, 0.97), (-6, 1.04))
            self.pixels[bark] = np.array((104, 76, 54)) * (1 + 0.15 * np.sin(self.u[bark] * 40))[:, None]
        self._tail(has)
        for foot in (0.16, -0.06):
            shank = self.polygon((foot - 0.05, 0.3), (foot + 0.02, 0.3), (foot + 0.035, 0.8), (foot - 0.035, 0.8))
            toes = self.polygon((foot - 0.12, 0.86), (foot, 0.76), (foot + 0.2, 0.86))
            self._fill(shank | toes, "leg", has["has_leg_color"])
        body = self.curve(
            (0.66, -0.5), (0.62, -0.1), (0.5, 0.2), (0.2, 0.42), (-0.18, 0.42), (-0.56, 0.24), (-0.5, 0.04),
            (-0.12, -0.22), (0.16, -0.44), (0.34, -0.66),
        )  # fmt: skip
        self._fill(body, "back", has["has_back_color"])
        self._fill(body & (self.v > 0.16 + 0.18 * self.u), "belly", has["has_belly_color"])
        breast = body & (self.u > 0.24 - 0.5 * self.v) & (self.v > -0.36)
        self._fill(breast, "breast", has["has_breast_color"])
        if "breast" not in self.without:
            self._pattern(breast, has["has_breast_pattern"], has["has_breast_color"])
        wing = self.curve((0.26, -0.12), (0.2, 0.14), (-0.14, 0.3), (-0.78, 0.3), (-0.44, 0.08), (-0.1, -0.14))
        self._fill(wing, "wing", has["has_wing_color"])
        if "wing" not in self.without:
            self._pattern(wing, has["has_wing_pattern"], has["has_wing_color"])
            edge = wing & ~np.roll(wing, -max(2, self.size // 110), 0)
            self.pixels[edge] *= 0.75
        self._head(has)

    def _tail(self, has: Mapping[str, str]) -> None:
        shape = has["has_tail_shape"]
        tail = {
            "rounded_tail": [(-0.42, 0.02), (-0.95, 0.12), (-1.16, 0.26), (-1.1, 0.42), (-0.85, 0.42), (-0.4, 0.3)],
            "pointed_tail": [(-0.42, 0.04), (-0.9, 0.16), (-1.42, 0.44), (-0.85, 0.36), (-0.4, 0.28)],
            "forked_tail": [(-0.42, 0.04), (-1.32, 0.0), (-0.86, 0.26), (-1.28, 0.56), (-0.4, 0.3)],
            "fan-shaped_tail": [(-0.42, 0.08), (-1.04, -0.24), (-1.26, 0.02), (-1.3, 0.3), (-1.14, 0.58), (-0.42, 0.3)],
        }[shape]
        raised = _turned(tail, _RUMP, self.rng.uniform(-0.3, 0.3))
        draw = self.curve if shape == "rounded_tail" else self.polygon
        self._fill(draw(*raised), "tail", has["has_upper_tail_color"])

    def _head(self, has: Mapping[str, str]) -> None:
        """The head turns about the neck: everything of it is drawn in a frame of its own."""
        u, v, rotation, centre = self.u, self.v, self.rotation, self.centre
        nod = self.rng.uniform(-0.3, 0.3)
        turn = np.array([[np.cos(nod), -np.sin(nod)], [np.sin(nod), np.cos(nod)]])
        neck = np.array(_NECK)
        self.u, self.v = _rotated(u - neck[0], v - neck[1], turn)
        self.u += neck[0]
        self.v += neck[1]
        flipped = np.diag(self.flip)
        self.rotation = rotation @ flipped @ turn @ flipped
        shift = (neck - turn @ neck) * self.flip  # of the head's origin, in the bird's frame
        self.centre = centre + (rotation @ shift) * self.scale

        head = self.ellipse(0.5, -0.55, 0.29, 0.27)
        self._fill(head, "nape", has["has_nape_color"], shade=0.1)
        self._fill(head & (self.u > 0.46) & (self.v > -0.52), "throat", has["has_throat_color"], shade=0.1)
        self._fill(head & (self.v < -0.6 + 0.1 * self.u), "crown", has["has_crown_color"], shade=0.1)
        self._fill(head & (self.u > 0.58) & (self.v < -0.54), "forehead", has["has_forehead_color"], shade=0.1)
        bill = {
            "cone": [(0.73, -0.68), (0.8, -0.68), (1.08, -0.49), (0.78, -0.38), (0.73, -0.4)],
            "dagger": [(0.74, -0.62), (1.5, -0.5), (0.74, -0.44)],
            "needle": [(0.75, -0.575), (1.48, -0.475), (1.48, -0.45), (0.75, -0.485)],
            "hooked": [(0.72, -0.65), (0.96, -0.65), (1.12, -0.52), (1.1, -0.3), (1.0, -0.45), (0.74, -0.41)],
            "spatulate": [
                (0.74, -0.58), (1.12, -0.55), (1.34, -0.66), (1.46, -0.5), (1.34, -0.36), (1.1, -0.47), (0.74, -0.46),
            ],
        }[has["has_bill_shape"]]  # fmt: skip
        self._fill(self.polygon(*bill), "bill", has["has_bill_color"], shade=0.06)
        self._fill(self.ellipse(0.55, -0.55, 0.09, 0.09), "eye", has["has_eye_color"], shade=0.0)
        if "eye" not in self.without:
            self.pixels[self.ellipse(0.555, -0.55, 0.042, 0.042)] = (16, 16, 18)
            self.pixels[self.ellipse(0.572, -0.568, 0.016, 0.016)] = (250, 250, 250)
        self.u, self.v, self.rotation, self.centre = u, v, rotation, centre

    def _fill(self, mask: np.ndarray, part: str, colour: str, shade: float = 0.16) -> None:
        """Paint a part: lighter towards its top, a little varied from bird to bird."""
        tint = np.array(COLOURS[colour]) + self.rng.normal(0, 5, 3)
        if part in self.without:
            return
        light = 1 + shade * np.clip(-1.2 * self.v[mask], -1, 1)
        self.pixels[mask] = tint * light[:, None]
        self.parts[mask] = PARTS.index(part)

    def _pattern(self, area: np.ndarray, pattern: str, colour: str) -> None:
        dark = colour in ("black", "blue", "brown", "green", "grey", "purple", "red")
        u, v = self.u[area], self.v[area]
        if pattern == "striped":
            marked = np.mod(u * 7 + v * 2, 1) < 0.34
        elif pattern == "spotted":
            marked = np.hypot(np.mod(u * 6, 1) - 0.5, np.mod(v * 6 + 0.2, 1) - 0.5) < 0.27
        else:
            return
        marks = tuple(where[marked] for where in np.nonzero(area))
        self.pixels[marks] = np.array(COLOURS["white" if dark else "black"]) * 0.96

    # -- in front of the bird -----------------------------------------------------------------------------------------

    def paint_foreground(self, background: str) -> None:
        """Something of the background stands in front of a part of the bird: blades, leaves, a post, a heap."""
        rng = self.rng
        at = np.clip(self.centre / self.size + rng.uniform(-0.3, 0.3, 2), 0.1, 0.95)
        if background == "grass":
            feet = np.stack([rng.normal(at[0], 0.06, 14), np.full(14, at[1] + 0.1)], 1) * self.size
            hidden = self._strokes(feet, (70, 126, 48), 0.26, width=2)
        elif background == "branch":
            hidden = np.zeros_like(self.parts, bool)
            for cx, cy in rng.normal(at, 0.05, (4, 2)):
                leaf = ((self.x - cx) / 0.055) ** 2 + ((self.y - cy) / 0.03) ** 2 < 1
                self.pixels[leaf] = np.array((84, 140, 62)) + rng.normal(0, 8, 3)
                hidden |= leaf
        elif background in ("sand", "snow", "water"):
            top = at[1] + 0.18 + 0.03 * np.sin(self.x * rng.uniform(8, 14) + rng.uniform(0, 6))
            hidden = self.y > top
            self.pixels[hidden] = np.array(_NEAR[background]) + rng.normal(0, 5, (int(hidden.sum()), 1))
        else:
            hidden = np.abs(self.x - at[0]) < 0.022
            self.pixels[hidden] = (96, 92, 92)
        self.parts[hidden] = 0

    def stamp(self, letter: str) -> None:
        """A letter in a corner, as photographers sign."""
        font = ImageFont.load_default(self.size * 0.13)
        mask = Image.new("1", (self.size, self.size))
        across, down = self.rng.choice([0.04, 0.85]), self.rng.choice([0.03, 0.8])
        ImageDraw.Draw(mask).text((across * self.size, down * self.size), letter, fill=1, font=font, stroke_width=1)
        marked = np.asarray(mask)
        self.pixels[marked] = (250, 250, 250)
        self.pixels[np.roll(marked, (2, 2), (0, 1)) & ~marked] = (20, 20, 20)
        self.parts[marked] = PARTS.index("watermark")


def _rotated(x: np.ndarray, y: np.ndarray, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row vectors (x, y) times ``turn``, in single precision."""
    (a, b), (c, d) = turn.astype(np.float32)
    return (x * a + y * c).astype(np.float32), (x * b + y * d).astype(np.float32)


def _turned(points: list[tuple[float, float]], about: tuple[float, float], angle: float) -> list[tuple[float, float]]:
    cos, sin = np.cos(angle), np.sin(angle)
    return [
        (about[0] + cos * (u - about[0]) - sin * (v - about[1]), about[1] + sin * (u - about[0]) + cos * (v - about[1]))
        for u, v in points
    ]
