"""Regions in ``saywhy bench ecor``: what is blurred in photographs, and whether a method looks at the right place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saywhy.attribution.regions import top_area
from saywhy.checks.masking import Trial, trial
from saywhy.intervals import Interval, bootstrap, interval_of
from saywhy.pictures.reading import read_picture
from saywhy.pictures.truth import evenly
from saywhy.spaces.seeing import BATCH, SHARE, Seeing, as_seen, rationale_masks
from saywhy.spaces.text_heat import METHODS
from saywhy.spaces.traits import tower_of
from saywhy.words.rationale_words import spoken
from saywhy.worlds.closeups import PART_OF, Closeup, attributes_said
from saywhy.worlds.drawing import PARTS

LOOKED = 32  # close-ups that are looked at, at most
CHANNELS = 30  # that gScoreCAM tries of the aviary's 96; the paper tries 300, of a ViT-B's 768 say
COLUMNS = ("method", "pictures", *(f"{m}{end}" for m in METHODS for end in ("", " low", " high")),
           "lrp, another text", "another low", "another high")  # fmt: skip
BLIND = "the middle, blindly"


def seen_trials(
    space: Seeing, paths: Sequence[Path], texts: Tensor, draws: int, seeds: Sequence[int]
) -> Iterator[Trial]:
    """Photographs without the region where the space itself sees the text, (N, d), of each; made a batch at a time.

    Only what lies in the frame is in the pictures, so that areas elsewhere can be seen as the region can. A text that
    nothing in the picture speaks for has no region: nothing is changed then, and it is not used.
    seeds: of the areas elsewhere, one for each picture.
    """
    _, clip = tower_of(space)
    for start in range(0, len(paths), BATCH):
        batch = slice(start, start + BATCH)
        pictures = [as_seen(read_picture(path), clip.transform) for path in paths[batch]]
        masks = rationale_masks(space, pictures, texts[batch])
        for picture, mask, seed in zip(pictures, masks, seeds[batch], strict=True):
            yield trial(picture, mask, draws, np.random.default_rng(seed))


def where_rows(
    spaces: Mapping[str, Seeing], scenes: Sequence[Closeup], said: Sequence[Sequence[str]], texts: Mapping[str, Tensor]
) -> list[dict[str, Any]]:
    """How much more of each method's regions than of the whole picture lies on the part that the text is about.

    Asked for a rationale in view, not on the part that the picture was taken for: that is in the middle, where a region
    that knows nothing would find it. The last row is such a region. Where another picture's text is looked for, what
    remains is that regions lie on birds.

    scenes: of each picture, with what is said that is in view, ``said``. texts: what can be said -> (d,) unit vector.
    """
    away = [_off_centre(scene, phrases) for scene, phrases in zip(scenes, said, strict=True)]
    looked_for = [(scenes[n], phrases[n % len(phrases)]) for n, phrases in enumerate(away) if phrases]
    looked_for = [looked_for[n] for n in evenly(len(looked_for), LOOKED)]
    if not looked_for:
        return []
    pictures = [scene.image for scene, _ in looked_for]
    parts = [part_map(scene) == PARTS.index(parts_said()[phrase]) for scene, phrase in looked_for]
    own = torch.stack([texts[phrase] for _, phrase in looked_for])
    rows = []
    for name, space in spaces.items():
        row: dict[str, Any] = {"method": name, "pictures": len(looked_for)}
        for method in METHODS:
            row |= _named(method, method, times_chance(
                rationale_masks(space, pictures, own, method=method, channels=CHANNELS), parts
            ))  # fmt: skip
        other = rationale_masks(space, pictures, own.roll(1, 0))
        rows.append(row | _named("lrp, another text", "another", times_chance(other, parts)))
    blind = times_chance([middle(picture) for picture in pictures], parts)
    return [*rows, {"method": BLIND, "pictures": len(looked_for)} | _named("lrp", "lrp", blind)]


def times_chance(masks: Sequence[np.ndarray], parts: Sequence[np.ndarray]) -> Interval:
    """The mean share of the masks' areas that lies on the parts, over the parts' mean share of the pictures.

    masks, parts: (H, W) bool, one of each for a picture. 1 for masks drawn at random; an empty mask lies on nothing.
    NaN where there is no part.
    """
    on = [float((mask & part).sum() / max(mask.sum(), 1)) for mask, part in zip(masks, parts, strict=True)]
    chance = [float(part.mean()) for part in parts]
    if not sum(chance):
        return Interval(*[float("nan")] * 3)
    drawn = bootstrap(np.array([[on], [chance]]))
    drawn = drawn[drawn[:, 1] > 0]
    return interval_of(sum(on) / sum(chance), drawn[:, 0] / drawn[:, 1])


def middle(picture: Image.Image) -> np.ndarray:
    """(H, W) bool: a disc in the middle with the area that a region has."""
    y, x = np.mgrid[: picture.height, : picture.width]
    off = np.hypot(y - (picture.height - 1) / 2, x - (picture.width - 1) / 2)
    return top_area(-off, SHARE)


def _off_centre(scene: Closeup, said: Sequence[str]) -> list[str]:
    return [phrase for phrase in said if parts_said()[phrase] != PART_OF[scene.attribute]]


def _named(value: str, ends: str, of: Interval) -> dict[str, float]:
    return {value: of.value, f"{ends} low": of.low, f"{ends} high": of.high}


@lru_cache(maxsize=1)
def parts_said() -> dict[str, str]:
    """What can be said of a bird -> the part, as in PARTS, that it is about."""
    return {spoken(said): PART_OF[attribute] for said, (attribute, _) in attributes_said().items()}


@lru_cache(maxsize=1000)
def part_map(scene: Closeup) -> np.ndarray:
    """``scene.parts()``, kept: the scene is drawn for it."""
    return scene.parts()
