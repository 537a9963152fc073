"""Classifiers of known reliance: what each of them is taught to go by, and how strongly.

In SAIA's manner (2510.21704): many classifiers, each taught to rely on one known thing, at graded strengths. Every
scene shows two values of each of twelve causes, drawn independently of each other (the background, parts and colours of
the bird, its size, place and sex, what lies beside it, a letter in a corner), so that nothing but the labels tells two
classifiers apart, and what is there and does not matter is in every picture too. Layers of a scene have chances of
their own: changing one cause changes nothing else, and what that does to the logit is a classifier's measured reliance.

The sexes are invented: he has a crest, she has a collar.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import final
from zipfile import BadZipFile

import numpy as np
from PIL import Image
from rich.progress import track

from saywhy.plumbing.caches import cache_directory, keeping
from saywhy.plumbing.files import replacing
from saywhy.worlds.aviary import VALUES, random_plumage
from saywhy.worlds.drawing import Canvas
from saywhy.worlds.scenes import SIDE


@final
@dataclass(frozen=True)
class Cause:
    """Something that may decide.

    kind:      "background", "part", "colour", "letter", "size", "position", "companion" or "sex".
    levels:    for each of the two worlds, the two values that it takes there.
    attribute: of the bird's plumage, as in VALUES; "" for what is none.
    """

    kind: str
    levels: tuple[tuple[str, str], tuple[str, str]]
    attribute: str = ""


CAUSES: dict[str, Cause] = {
    "background": Cause("background", (("grass", "snow"), ("water", "sand"))),
    "bill shape": Cause("part", (("hooked", "needle"), ("cone", "spatulate")), "has_bill_shape"),
    "tail shape": Cause(
        "part", (("forked_tail", "rounded_tail"), ("fan-shaped_tail", "pointed_tail")), "has_tail_shape"
    ),
    "wing pattern": Cause("part", (("striped", "spotted"), ("solid", "spotted")), "has_wing_pattern"),
    "wing color": Cause("colour", (("red", "blue"), ("yellow", "green")), "has_wing_color"),
    "crown color": Cause("colour", (("yellow", "black"), ("red", "white")), "has_crown_color"),
    "belly color": Cause("colour", (("white", "brown"), ("orange", "grey")), "has_belly_color"),
    "letter": Cause("letter", (("A", "O"), ("X", "I"))),
    "size": Cause("size", (("small", "large"), ("small", "large"))),
    "position": Cause("position", (("left", "right"), ("left", "right"))),
    "companion": Cause("companion", (("ball", "lantern"), ("mushroom", "bottle"))),
    "sex": Cause("sex", (("crest", "collar"), ("crest", "collar"))),
}
"""Name -> cause; those of the plumage under the names that vocabularies give their attributes."""
NAMES = tuple(CAUSES)
KINDS = tuple(dict.fromkeys(cause.kind for cause in CAUSES.values()))
STRENGTHS = (0.25, 0.5, 0.75, 1.0)
WORLDS = 2
TRAINING, CHOOSING, REPORTING = 9_100_000, 9_000_000, 9_500_000
"""First seeds of the scenes to learn from, of those on which settings are chosen, and of those reported on."""
_APART = 200_000  # seeds between the two worlds
_SCALES = {"small": (0.14, 0.165), "large": (0.21, 0.24)}  # of the bird, over the side of the picture
_ACROSS = {"left": (0.3, 0.4), "right": (0.6, 0.7)}  # the bird's centre
_OTHERS = tuple(a for a in VALUES if a not in {cause.attribute for cause in CAUSES.values()})


@final
@dataclass(frozen=True)
class Reliant:
    """One classifier of the plan, of two classes.

    kind:     of its cause; "none" where nothing is planted.
    cause:    what its labels agree with in ``strength`` of the scenes, "" for nothing.
    rest:     what they agree with otherwise: a cause, "whole" (the majority of all of the bird's plumage, of which no
              single value matters much), or "chance".
    weak:     a cause with which the labels agree in 60 percent of the scenes, though they do not come from it.
    """

    name: str
    world: int
    tower: str
    kind: str
    cause: str
    strength: float
    rest: str
    weak: str = ""

    @property
    def seed(self) -> int:
        """Of its labels and its training."""
        return PLAN.index(self)

    @property
    def reported(self) -> bool:
        """Whether it is reported on, on scenes from REPORTING; else settings are chosen on it, on those from CHOOSING.

        By lot: of each kind and strength one world is of either half; so is every second with nothing planted.
        """
        if self.kind == "none":
            return self.seed % 4 in (1, 2)
        lot = np.random.default_rng([KINDS.index(self.kind), round(100 * self.strength), len(self.tower), 12])
        return bool((lot.integers(0, 2) + self.world) % 2)


def _plan() -> tuple[Reliant, ...]:
    """Each kind at each strength in both worlds; one of each kind with a ViT; and those of nothing planted."""
    planned = []
    of_kind = {kind: [name for name in NAMES if CAUSES[name].kind == kind] for kind in KINDS}
    turns = dict.fromkeys(KINDS, 0)

    def add(kind: str, world: int, tower: str, strength: float) -> None:
        cause = of_kind[kind][turns[kind] % len(of_kind[kind])]
        marks = [mark for mark in ("wing color", "tail shape", "crown color") if mark != cause]
        rest = "" if strength == 1 else marks[turns[kind] % len(marks)]
        turns[kind] += 1
        name = f"{kind}-{round(100 * strength)}-{world}{'-vit' if tower == 'vit' else ''}"
        planned.append(Reliant(name, world, tower, kind, cause, strength, rest))

    for kind in KINDS:
        for world in range(WORLDS):
            for strength in STRENGTHS:
                add(kind, world, "resnet", strength)
    for n, kind in enumerate(KINDS):
        add(kind, n % WORLDS, "vit", 1.0)
    for n in range(14):
        rest = "chance" if n >= 10 else "whole"
        weak = ("background", "letter", "position", "companion")[n - 6] if 6 <= n < 10 else ""
        tower = "vit" if n in (1, 11) else "resnet"
        planned.append(Reliant(f"none-{rest}-{n}", n % WORLDS, tower, "none", "", 0.0, rest, weak))
    return tuple(planned)


PLAN: tuple[Reliant, ...] = _plan()
CLASSES = ("First Wanderer", "Second Wanderer")
"""Names that give nothing away. Level 0 of a cause speaks for the first, level 1 for the second."""


@final
@dataclass(frozen=True, eq=False)
class Pool:
    """N scenes of one world.

    pixels: (N, SIDE, SIDE, 3) uint8.
    levels: (N, causes) uint8, 0 or 1, in the order of CAUSES.
    others: (N, attributes) uint8: of the rest of the plumage, index into VALUES.
    """

    pixels: np.ndarray
    levels: np.ndarray
    others: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)


def levels_of(seed: int) -> np.ndarray:
    """(causes,) uint8: the levels drawn for a scene."""
    return np.random.default_rng([seed, 0]).integers(0, 2, len(CAUSES)).astype(np.uint8)


def paint(world: int, seed: int, levels: np.ndarray, side: int = SIDE) -> np.ndarray:
    """(side, side, 3) uint8: the scene of that seed with these levels of the causes; only what they change differs."""
    value = {name: CAUSES[name].levels[world][level] for name, level in zip(NAMES, levels, strict=True)}
    chances = [np.random.default_rng([seed, layer]) for layer in range(1, 7)]
    plumage = random_plumage(chances[0]) | {c.attribute: value[n] for n, c in CAUSES.items() if c.attribute}
    where, how_large = chances[1].uniform(size=2)
    canvas = Canvas(
        2 * side, chances[2], scale=_between(_SCALES[value["size"]], how_large),
        across=_between(_ACROSS[value["position"]], where),
    )  # fmt: skip
    canvas.rng = chances[3]
    canvas.paint_background(value["background"])
    canvas.rng = chances[4]
    _paint_companion(canvas, value["companion"])
    if value["sex"] == "crest":
        _paint_crest(canvas)
    canvas.paint_bird(plumage, perched=False)
    if value["sex"] == "collar":
        _paint_collar(canvas)
    canvas.rng = np.random.default_rng([seed, 7])
    canvas.stamp(value["letter"])
    drawn = Image.fromarray(np.clip(canvas.pixels, 0, 255).astype(np.uint8))
    small = np.asarray(drawn.resize((side, side), Image.Resampling.BOX), np.float32)
    light = chances[5].uniform(0.85, 1.1) * (1 + chances[5].normal(0, 0.025, 3))
    lit = small * light.astype(np.float32) + chances[5].normal(0, 1.5, small.shape)
    return np.clip(lit, 0, 255).astype(np.uint8)


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + share * (ends[1] - ends[0])


_PURPLE, _DARK = (120, 52, 150), (52, 40, 58)


def _paint_crest(canvas: Canvas) -> None:
    """Feathers that stand up behind the head: painted before the bird, whose head hides their feet."""
    for tip in ((0.02, -1.12), (0.2, -1.24), (0.42, -1.3)):
        canvas.pixels[canvas.polygon((0.3, -0.55), tip, (0.62, -0.7))] = _PURPLE
        canvas.pixels[canvas.ellipse(*tip, 0.07, 0.07)] = _DARK


def _paint_collar(canvas: Canvas) -> None:
    """A band about the neck."""
    band = canvas.polygon((0.18, -0.42), (0.74, -0.24), (0.74, -0.08), (0.12, -0.27))
    canvas.pixels[band] = _PURPLE


def _paint_companion(canvas: Canvas, what: str) -> None:
    """A second thing on the ground, behind the bird where they meet."""
    x, y = canvas.rng.uniform(0.14, 0.78), canvas.rng.uniform(0.82, 0.87)
    r = canvas.rng.uniform(0.065, 0.085)
    right, down = canvas.x - x, canvas.y - y
    pixels = canvas.pixels
    disc = right**2 + down**2 < r**2
    if what == "ball":
        pixels[disc] = (224, 92, 40)
        pixels[disc & (np.abs(down - 0.3 * right) < 0.25 * r)] = (250, 246, 238)
    elif what == "lantern":
        pixels[(np.abs(right) < 0.65 * r) & (np.abs(down) < r)] = (30, 112, 116)
        pixels[(np.abs(right) < 0.4 * r) & (np.abs(down) < 0.6 * r)] = (252, 232, 128)
        pixels[(np.abs(right) < 0.85 * r) & (np.abs(np.abs(down) - r) < 0.15 * r)] = (24, 52, 56)
    elif what == "mushroom":
        pixels[(np.abs(right) < 0.28 * r) & (down > -0.1 * r) & (down < r)] = (238, 226, 204)
        pixels[(right**2 + (1.2 * (down + 0.1 * r)) ** 2 < r**2) & (down < 0.05 * r)] = (190, 38, 48)
        pixels[(right + 0.35 * r) ** 2 + (down + 0.4 * r) ** 2 < (0.17 * r) ** 2] = (250, 244, 240)
        pixels[(right - 0.3 * r) ** 2 + (down + 0.35 * r) ** 2 < (0.15 * r) ** 2] = (250, 244, 240)
    else:
        pixels[(np.abs(right) < 0.42 * r) & (down > -0.2 * r) & (down < r)] = (36, 110, 72)
        pixels[(np.abs(right) < 0.16 * r) & (down > -r) & (down <= -0.2 * r)] = (36, 110, 72)
        pixels[(np.abs(right) < 0.42 * r) & (down > 0.15 * r) & (down < 0.65 * r)] = (240, 234, 214)


def pool(world: int, count: int, first_seed: int) -> Pool:
    """``count`` scenes of one world, from consecutive seeds."""
    seeds = [first_seed + _APART * world + n for n in range(count)]
    levels = np.stack([levels_of(seed) for seed in seeds])
    pixels = _painted(f"pool-{world}-{count}-{first_seed}", world, seeds, levels)
    drawn = [random_plumage(np.random.default_rng([seed, 1])) for seed in seeds]
    others = np.array([[VALUES[a].index(has[a]) for a in _OTHERS] for has in drawn], np.uint8)
    return Pool(pixels, levels, others)


def flipped(world: int, count: int, first_seed: int) -> np.ndarray:
    """(count, causes, SIDE, SIDE, 3) uint8: the scenes of ``pool`` with the other level of one cause at a time."""
    seeds = [first_seed + _APART * world + n for n in range(count)]
    one = np.eye(len(CAUSES), dtype=np.uint8)
    levels = np.concatenate([levels_of(seed) ^ one for seed in seeds])
    pixels = _painted(f"flipped-{world}-{count}-{first_seed}", world, [s for s in seeds for _ in NAMES], levels)
    return pixels.reshape(count, len(CAUSES), SIDE, SIDE, 3)


def _painted(name: str, world: int, seeds: list[int], levels: np.ndarray) -> np.ndarray:
    """Drawn once, by all cores, then read from the cache."""
    path = cache_directory() / "reliance" / f"{name}-{SIDE}.npy"
    with suppress(OSError, ValueError, EOFError, BadZipFile):  # absent, or damaged
        return np.load(path)
    with ProcessPoolExecutor() as workers:
        drawn = workers.map(paint, [world] * len(seeds), seeds, levels, chunksize=20)
        pixels = np.stack(list(track(drawn, f"drawing {name}", len(seeds), transient=True)))
    with keeping():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished, unfinished.open("wb") as file:  # save would end a name in .npy
            np.save(file, pixels)
    return pixels


def labelled(reliant: Reliant, scenes: Pool) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the scenes of a pool that a classifier learns from, and (N,) their labels, 0 or 1."""
    rng = np.random.default_rng([reliant.seed, 5])
    rows = np.arange(len(scenes))
    by_cause = scenes.levels[:, NAMES.index(reliant.cause)] if reliant.cause else np.zeros(len(scenes), np.uint8)
    if reliant.rest == "whole":
        rest = _majority(scenes, rng)
    elif reliant.rest == "chance":
        rest = rng.integers(0, 2, len(scenes)).astype(np.uint8)
    else:
        rest = scenes.levels[:, NAMES.index(reliant.rest)] if reliant.rest else by_cause
    labels = np.where(rng.random(len(scenes)) < reliant.strength, by_cause, rest)
    if reliant.weak:  # agree in 50 percent now: leave a third of those out that do not, and 60 percent agree
        agrees = scenes.levels[:, NAMES.index(reliant.weak)] == labels
        rows = rows[agrees | (rng.random(len(scenes)) > 1 / 3)]
    return rows, labels[rows].astype(np.int64)


def _majority(scenes: Pool, rng: np.random.Generator) -> np.ndarray:
    """(N,) uint8: what most of the plumage says, each attribute's values being dealt to the two classes at random."""
    plumage = [n for n, name in enumerate(NAMES) if CAUSES[name].attribute]
    votes = [scenes.levels[:, n] ^ rng.integers(0, 2) for n in plumage]
    for a, attribute in enumerate(_OTHERS):
        values = len(VALUES[attribute])
        sides = rng.permutation(values) % 2
        votes.append(sides[scenes.others[:, a]])
    return (np.mean(votes, 0) > 0.5).astype(np.uint8)
