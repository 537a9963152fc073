"""Where does it see that? Maps of true phrases ("a red crown") on fresh scenes, held against the part they are about.

Counted is the share of a map's positive relevance in the box of the phrase's part; beside it that in a box of its size
anywhere (the mean over all places), and that of the predicted class's map in the part's box.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from PIL import Image
from rich.progress import track

from saywhy.attribution import LooksForTexts, attribute
from saywhy.bench import Report
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.intervals import interval
from saywhy.questions.names_and_defaults import resolve_space
from saywhy.types import Box, Geometry
from saywhy.words.rationale_words import with_article
from saywhy.worlds import TOWERS
from saywhy.worlds.aviary import Scene, phrases_of
from saywhy.worlds.scenes import SIDE, draw

SCENES = 80
FRESH = 9_000_000  # seeds from here on: of no training and no other measurement
LOOKED_FOR = ("crown", "bill", "throat", "breast", "wing", "tail", "leg")
MARGIN = 2  # pixels of a scene around a part: relevance of an edge lies on both of its sides
BATCH = 16


def run(
    limit: int | None = None,
    model: Annotated[str | None, "resnet or vit (default: both)."] = None,
    space: Annotated[str | None, "Whose view (default: the classifier's own, then world:aviary's CLIP)."] = None,
) -> Report:
    """One row per model, space and part. limit: scenes at most."""
    if model not in (None, *TOWERS):
        raise SaywhyError(f"--model here is {' or '.join(TOWERS)}: the world's own classifiers are asked")
    count = min(limit or SCENES, SCENES)
    scenes = [draw("species", FRESH + n)[0] for n in range(count)]
    rows = []
    for tower in [model] if model else TOWERS:
        classifier = Classifier.load(f"world:aviary/{tower}")
        for name in [space] if space else ("own", "world:aviary"):
            rows += _rows(scenes, classifier, name)
    return Report(
        "phrases",
        f"percent of positive relevance in the box of the part that a true phrase is about, {count} fresh scenes",
        ("model", "space", "part", "maps", "on the part", "a box anywhere", "the class's map", "more than the class's"),
        rows,
        {"scenes": count, "seeds from": FRESH},
    )


def _rows(scenes: list[Scene], classifier: Classifier, name: str) -> list[dict[str, Any]]:
    space = resolve_space(name, classifier)
    if not isinstance(space, LooksForTexts):
        raise SaywhyError(f"{space.name} cannot say where a phrase is; --space takes own and CLIPs")
    frames = classifier.geometry((SIDE, SIDE)), space.text_frame(scenes[0].image)
    found: list[tuple[int, str, np.ndarray]] = []  # scene, part, the three shares
    for start in track(range(0, len(scenes), BATCH), f"{classifier.name}, {name}", transient=True):
        batch = scenes[start : start + BATCH]
        of_class = attribute(classifier, [scene.image for scene in batch], batch_size=BATCH).positive.numpy()
        asked = [
            (n, with_article(phrase), part, box)
            for n, scene in enumerate(batch)
            for phrase, part in phrases_of(scene.attributes).items()
            if part in LOOKED_FOR and (box := scene.box(part)) is not None
        ]
        images: list[Image.Image] = [batch[n].image for n, *_ in asked]
        maps = attribute(classifier, images, [text for _, text, *_ in asked], space=space, batch_size=BATCH).positive
        for heat, (n, _, part, box) in zip(maps.numpy(), asked, strict=True):
            shares = (*_shares(heat, box, frames[1]), _shares(of_class[n], box, frames[0])[0])
            found.append((start + n, part, np.array(shares)))
    asked_of = {part: [(scene, shares) for scene, other, shares in found if other == part] for part in LOOKED_FOR}
    asked_of["all"] = [(scene, shares) for scene, _, shares in found]
    return [_row(classifier, name, part, maps) for part, maps in asked_of.items() if maps]


def _row(classifier: Classifier, space: str, part: str, maps: list[tuple[int, np.ndarray]]) -> dict[str, Any]:
    """Means over scenes of the mean over a scene's maps."""
    by_scene = [np.mean([shares for n, shares in maps if n == scene], 0) for scene in dict(maps)]
    on, anywhere, of_class = 100 * np.array(by_scene).T
    return {
        "model": classifier.name.removeprefix("world:"), "space": space, "part": part, "maps": len(maps),
        "on the part": f"{interval(on):.1f}", "a box anywhere": round(float(anywhere.mean()), 1),
        "the class's map": round(float(of_class.mean()), 1),
        "more than the class's": round(100 * float(np.mean([shares[0] > shares[2] for _, shares in maps]))),
    }  # fmt: skip


def _shares(positive: np.ndarray, box: Box, frame: Geometry) -> tuple[float, float]:
    """The share of (H, W) relevance in the box of a part, with its margin, and the mean share in boxes of its size."""
    height, width = positive.shape
    corners = [edge + (MARGIN if n > 1 else -MARGIN) for n, edge in enumerate(box)]
    left, top, right, bottom = ((edge - frame.offset[n % 2]) / frame.scale[n % 2] for n, edge in enumerate(corners))
    x0, y0 = max(0, round(left)), max(0, round(top))
    x1, y1 = max(x0 + 1, min(width, round(right))), max(y0 + 1, min(height, round(bottom)))
    total = float(positive.sum())
    if not total > 0:
        return 0.0, 0.0
    sums = np.pad(positive.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    down, across = y1 - y0, x1 - x0
    boxes = sums[down:, across:] - sums[:-down, across:] - sums[down:, :-across] + sums[:-down, :-across]
    return float(boxes[y0, x0]) / total, float(boxes.mean()) / total
