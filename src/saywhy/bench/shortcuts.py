"""Planted shortcuts: does an explanation name the cause that is known to decide?

In each planted aviary four classes are decided by one thing alone (worlds/planted.py). Held-out pictures of those
classes that the model gets right are explained; counted is how often the cause holds most of the positive relevance,
and how often a word for it is among the first three labels of the first region (by the aviary's CLIP, over all that
can be said of a picture). The unbiased aviary is asked the same about its background.

A word for the cause may come of itself. So beside it stand the words for a random box of the region's size, for the
first region in pictures of classes that the cause does not decide, those nearest to the predicted class's name, and
those said most often, for every picture (metrics/word_controls.py; dealing words to other pictures would tell nothing,
as all these pictures have the one cause).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from PIL import Image
from rich.progress import track
from scipy.ndimage import binary_dilation

from saywhy.attribution import METHODS, attribute
from saywhy.attribution.regions import find_regions
from saywhy.bench import Report
from saywhy.bench.class_words import name_scores
from saywhy.bench.lrp_clip import CROPS, moved
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.metrics.word_controls import controls
from saywhy.questions.labels import encode_vocabulary, label_images
from saywhy.questions.names_and_defaults import resolve_space
from saywhy.types import Space, Vocabulary
from saywhy.worlds import TOWERS, world_vocabulary
from saywhy.worlds.drawing import PARTS
from saywhy.worlds.planted import AFFECTED, PLANTS
from saywhy.worlds.scenes import HELD_OUT_SEED, Scenes, class_names, scenes

PICTURES = 240
WORDS = 3
MARGIN = 2  # pixels of a 160-pixel scene around a part: relevance of an edge lies on both of its sides
BATCH = 16


def run(
    limit: int | None = None,
    model: Annotated[str | None, "resnet or vit (default: both)."] = None,
    space: Annotated[str, "Whose words."] = "world:aviary",
) -> Report:
    """One row per world and method.

    limit: pictures per world, at most. model: "resnet" or "vit"; None: both. space: whose words.
    """
    if model not in (None, *TOWERS):
        raise SaywhyError(f"--model here is {' or '.join(TOWERS)}: the world's own classifiers are explained")
    rows: list[dict[str, Any]] = []
    vocabulary = world_vocabulary("aviary")
    asked = [(kind, tower) for tower in ([model] if model else TOWERS) for kind in ("", *PLANTS)]
    for kind, tower in track(asked, "explaining", transient=True):
        name = f"world:aviary{'-' if kind else ''}{kind}/{tower}"
        classifier = Classifier.load(name)
        label_space = resolve_space(space, classifier)
        data = scenes(f"planted-{kind}" if kind else "species", PICTURES, HELD_OUT_SEED)
        rows += _world(name, kind, classifier, label_space, vocabulary, data, min(limit or PICTURES, PICTURES))
    return Report(
        "shortcuts",
        "planted causes: percent of rightly classified pictures of the classes that the cause decides "
        "(world:aviary: of all classes, asked about the background, where nothing is planted)",
        (
            "world",
            "accuracy",
            "pictures",
            "method",
            "most relevance on it",
            "a word for it",
            "both",
            "a word: random box",
            "other classes",
            "class's name",
            "said most often",
            "mean share",
            "area",
        ),
        rows,
        {"space": space, "words": WORDS},
    )  # fmt: skip


def _world(
    name: str, kind: str, classifier: Classifier, space: Space, vocabulary: Vocabulary, data: Scenes, limit: int
) -> list[dict[str, Any]]:
    pictures = [Image.fromarray(pixels) for pixels in data.pixels[:limit]]
    predicted = [
        best[0].index
        for start in range(0, len(pictures), BATCH)
        for best in classifier.predict(pictures[start : start + BATCH])
    ]
    right = np.array(predicted) == data.labels[:limit]
    affected = (
        np.array([class_names(f"planted-{kind}")[label] in AFFECTED for label in data.labels[:limit]])
        if kind
        else right
    )
    chosen = np.flatnonzero(right & affected)
    causes = set(PLANTS[kind].parts) if kind else {"background"}
    words = {m for m, group in enumerate(vocabulary.groups) if group in causes}
    if kind == "colour":  # of the wing, and not its pattern
        words = {m for m in words if not vocabulary.phrases[m].startswith(("solid", "spotted", "striped"))}
    beside = np.flatnonzero(right & ~affected)[: len(chosen)]
    texts = encode_vocabulary(vocabulary, space)
    by_name = name_scores(vocabulary.phrases, texts, space, classifier.labels)
    rng = np.random.default_rng(0)

    def first_words(crops: list[Image.Image]) -> list[list[int]]:
        found = label_images(crops, vocabulary, space, regions=[0] * len(crops), top=WORDS)
        return [[vocabulary.phrases.index(label.text) for label in finding.labels] for finding in found]

    def share_of_causes(said: Sequence[Sequence[int]]) -> float | None:
        return _percent([not words.isdisjoint(some) for some in said])

    masks = np.stack([_mask(data.parts[n], causes) for n in chosen]) if len(chosen) else np.zeros((0, 1, 1), bool)
    rows = []
    for method in METHODS:
        shares: list[float] = []
        said, at_random, elsewhere = list[list[int]](), list[list[int]](), list[list[int]]()
        for start in range(0, len(chosen), BATCH):
            indices = chosen[start : start + BATCH]
            batch = [pictures[n] for n in indices]
            heat = attribute(classifier, batch, method=method, batch_size=BATCH).positive.numpy()
            crops, boxes = [], []
            for n, (image, relevance) in enumerate(zip(batch, heat, strict=True)):
                shares.append(_share(relevance, masks[start + n]))
                regions = find_regions(relevance, classifier.geometry(image.size), count=CROPS)
                crops.append(image.crop(regions[0].box) if regions else image)
                boxes.append(image.crop(moved(regions[0].box, image.size, rng)) if regions else image)
            said += first_words(crops)
            at_random += first_words(boxes)
        for start in range(0, len(beside), BATCH):
            batch = [pictures[n] for n in beside[start : start + BATCH]]
            heat = attribute(classifier, batch, method=method, batch_size=BATCH).positive.numpy()
            crops = []
            for image, relevance in zip(batch, heat, strict=True):
                regions = find_regions(relevance, classifier.geometry(image.size), count=CROPS)
                crops.append(image.crop(regions[0].box) if regions else image)
            elsewhere += first_words(crops)
        most, named = np.array(shares) > 0.5, np.array([not words.isdisjoint(some) for some in said])
        blind = controls(said, [predicted[n] for n in chosen], by_name=by_name)
        rows.append({
            "world": name.removeprefix("world:"), "accuracy": round(float(right.mean()), 3), "pictures": len(chosen),
            "method": method, "most relevance on it": _percent(most), "a word for it": _percent(named),
            "both": _percent(most & named), "a word: random box": share_of_causes(at_random),
            "other classes": share_of_causes(elsewhere), "class's name": share_of_causes(blind["name"]),
            "said most often": share_of_causes(blind["constant"]),
            "mean share": _percent(shares), "area": _percent(masks.mean((1, 2))),
        })  # fmt: skip
    return rows


def _mask(parts: np.ndarray, causes: set[str]) -> np.ndarray:
    """Where the cause is, with a margin; the background without."""
    mask = np.isin(parts, [PARTS.index(cause) for cause in causes])
    return mask if "background" in causes else binary_dilation(mask, iterations=MARGIN)


def _share(relevance: np.ndarray, mask: np.ndarray) -> float:
    """Share of positive relevance under a mask; both cover the same square."""
    height, width = relevance.shape
    placed = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    return float(relevance[placed].sum() / max(relevance.sum(), 1e-12))


def _percent(values: Any) -> float | None:
    return round(100 * float(np.mean(values)), 1) if len(values) else None
