"""Is it used? What the check of the surroundings calls borne out, held against the truth of the aviary.

The truth: all that is around the bird is replaced by what other scenes, with other backgrounds, show there; it is used
where that takes at least a tenth of the explained class's margin. A letter in the corner is around the bird too; beside
that stands, for the planted watermark, the truth of the background alone, the letter left where it is.

Two nulls: "its own", the picture itself in place of the others, so that p should be uniform; and "same kind", pictures
of the same background drawn anew, in another light, which a network may still mind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, final

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from scipy.ndimage import binary_dilation
from scipy.stats import kstest

from saywhy.bench import Report
from saywhy.checks.outcomes import of_logits, outcomes
from saywhy.checks.surroundings import FAST, FULL, check_surroundings, other_pictures
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.intervals import proportion
from saywhy.types import BORNE_OUT, Check
from saywhy.worlds import TOWERS
from saywhy.worlds.aviary import BACKGROUNDS, Scene, random_plumage, render
from saywhy.worlds.drawing import PARTS
from saywhy.worlds.planted import AFFECTED, ORDINARY, PLANTS, planted_scene

SEED = 9_550_000
"""The first scene; masks, fillings, SOFT, LEAST and LEVEL were chosen on those from 9,000,000."""
SCENES = 40  # of each world
SIDE = 160
REDRAWN = 8  # other scenes, for the truth
TRUE = 0.1  # of the margin
COLUMNS = (
    "world",
    "object",
    "passes",
    "pictures",
    "used",
    "borne out",
    "precision",
    "recall",
    "unused, but borne out",
    "p <= .05",
    "uniform",
)


def run(
    limit: int | None = None,
    model: Annotated[str | None, "resnet or vit: the worlds' classifiers (default: resnet)."] = None,
    seed: Annotated[str, "The first scene."] = str(SEED),
) -> Report:
    """A row for each world and way to the object.

    limit: scenes of each world, at most 40.
    """
    tower = model or TOWERS[0]
    if tower not in TOWERS:
        raise SaywhyError(f"--model here is {' or '.join(TOWERS)}: the world's own classifiers are asked")
    return Report(
        "used-surroundings",
        f"is it used? surroundings, in world:aviary and the planted worlds, {tower}, scenes from {seed} (in percent)",
        COLUMNS,
        rows(limit, int(seed), tower),
        {"true from": TRUE},
    )


def rows(limit: int | None = None, seed: int = SEED, tower: str = TOWERS[0]) -> list[dict[str, Any]]:
    """The rows of the table, by COLUMNS."""
    found: dict[tuple[str, str, int], list[tuple[bool, bool]]] = defaultdict(list)
    nulls: dict[str, list[tuple[bool, float]]] = defaultdict(list)
    for kind in track(("", *PLANTS), "testing surroundings", transient=True):
        classifier = Classifier.load(f"world:aviary{'-' if kind else ''}{kind}/{tower}")
        for one in _pictures(classifier, kind, seed, min(limit or SCENES, SCENES)):
            for name, passes, said in one.said:
                worlds = ["all", "planted" if one.decided else "not planted"]
                if (name, passes) == ("found", FAST):
                    worlds.append(kind or "aviary")
                for world in worlds:
                    found[world, name, passes].append((said, one.used))
                if kind == "watermark" and (name, passes) == ("found", FAST):
                    found["watermark, letter left", name, passes].append((said, one.used_without_letter))
            for name, check in one.nulls:
                if check.p is not None:
                    nulls[name].append((check.verdict == BORNE_OUT, check.p))
    table = [_row(*key, found[key]) for key in sorted(found, key=lambda key: (key[1:] != ("found", FAST), key[1:]))]
    return table + [_null(name, pairs) for name, pairs in nulls.items()]


def _row(world: str, name: str, passes: int, pairs: Sequence[tuple[bool, bool]]) -> dict[str, Any]:
    said, used = (np.array(column, bool) for column in zip(*pairs, strict=True))
    return {
        "world": world, "object": name, "passes": passes, "pictures": len(pairs),
        "used": round(100 * float(used.mean()), 1), "borne out": _share(said), "precision": _share(used[said]),
        "recall": _share(said[used]), "unused, but borne out": _share(said[~used]),
    }  # fmt: skip


def _null(name: str, pairs: Sequence[tuple[bool, float]]) -> dict[str, Any]:
    said, p = (np.array(column) for column in zip(*pairs, strict=True))
    return {
        "world": f"null: {name}", "object": "found", "passes": FAST, "pictures": len(pairs), "borne out": _share(said),
        "p <= .05": _share(p <= 0.05), "uniform": round(float(kstest(p, "uniform").pvalue), 3),
    }  # fmt: skip


def _share(hits: np.ndarray) -> str:
    found = proportion(int(hits.sum()), len(hits))
    return "-" if not len(hits) else f"{100 * found.value:.1f} ({100 * found.low:.0f} to {100 * found.high:.0f})"


@final
@dataclass(frozen=True)
class _Picture:
    """said: (way to the object, passes, borne out). decided: the planted background decides this class."""

    said: tuple[tuple[str, int, bool], ...]
    used: bool
    used_without_letter: bool
    decided: bool
    nulls: tuple[tuple[str, Check], ...]


def _pictures(classifier: Classifier, kind: str, first: int, count: int) -> list[_Picture]:
    """What is said of each scene whose class is right; the others lend their surroundings to it."""
    scenes, labels = zip(*(_scene(classifier, kind, seed) for seed in range(first, first + count)), strict=True)
    pixels = classifier.preprocess([scene.image for scene in scenes])
    logits = torch.cat([classifier.logits(part) for part in pixels.split(16)])
    predicted = logits.argmax(1).tolist()
    pictures = []
    for n, (scene, label) in enumerate(zip(scenes, labels, strict=True)):
        if predicted[n] != label:
            continue
        rng = np.random.default_rng([first + n, 4])
        before = of_logits(classifier, logits[n : n + 1], [label])
        lent = pixels[other_pictures(predicted, n, FULL // 2, rng)]
        bird = _shown(scene.parts, letter=False)
        small = np.array(Image.fromarray(bird).resize((pixels.shape[3], pixels.shape[2])))
        middle = np.zeros_like(small)
        middle[len(small) // 8 : -len(small) // 8, len(small) // 8 : -len(small) // 8] = True
        said = [
            (
                name,
                passes,
                check_surroundings(classifier, pixels[n], label, lent, mask=mask, before=before, passes=passes).verdict
                == BORNE_OUT,
            )
            for name, passes, mask in (
                ("found", FAST, None), ("found", FULL, None), ("true", FAST, small), ("middle", FAST, middle)
            )
        ]  # fmt: skip
        kinds = [b for b in BACKGROUNDS if b != scene.background]
        others = [_bird(first + n, j, kinds[(n + j) % len(kinds)], rng) for j in range(REDRAWN)]
        alike = classifier.preprocess(
            [_bird(first + n, j, scene.background, rng).image for j in range(REDRAWN, REDRAWN + FAST // 2)]
        )
        nulls = tuple(
            (name, check_surroundings(classifier, pixels[n], label, lenders, before=before))
            for name, lenders in (("its own", pixels[n : n + 1].expand(FAST // 2, -1, -1, -1)), ("same kind", alike))
        )

        def used(letter: bool, scene: Scene = scene, others: Sequence[Scene] = others, label: int = label) -> bool:
            swapped = classifier.preprocess([_around(scene, other, letter) for other in others])
            own = classifier.logits(classifier.preprocess([scene.image]))
            before = of_logits(classifier, own, [label])
            falls = before.logits - outcomes(classifier, swapped, [label] * len(others)).logits
            return bool(falls.mean() >= TRUE * before.margins[0])

        with_letter = used(letter=False)
        pictures.append(
            _Picture(
                tuple(said),
                with_letter,
                used(letter=True) if kind == "watermark" else with_letter,
                kind == "background" and label >= ORDINARY,
                nulls,
            )
        )
    return pictures


def _scene(classifier: Classifier, kind: str, seed: int) -> tuple[Scene, int]:
    """Two of three scenes of a planted world are of the classes that it decides."""
    n = seed % 1000
    if kind:
        label = ORDINARY + n % len(AFFECTED) if n % 3 else n % len(classifier.labels)
        return planted_scene(kind, label, seed, SIDE), label
    label = n % len(classifier.labels)
    background = str(np.random.default_rng([seed, 7]).choice(BACKGROUNDS))
    return render(classifier.labels[label], seed, SIDE, background), label


def _bird(seed: int, number: int, background: str, rng: np.random.Generator) -> Scene:
    return render("", 100 * seed + number, SIDE, background, random_plumage(rng))


def _shown(parts: np.ndarray, letter: bool) -> np.ndarray:
    """(H, W) bool: the bird, and the letter or not, with the pixels at its rim that show both."""
    here = (parts > 0) if letter else (parts > 0) & (parts != PARTS.index("watermark"))
    return binary_dilation(here)


def _around(scene: Scene, other: Scene, letter: bool) -> Image.Image:
    """The scene with the other's surroundings, where neither shows a bird; with its letter or without."""
    kept = _shown(scene.parts, letter) | _shown(other.parts, letter=False)
    return Image.fromarray(np.where(kept[..., None], np.asarray(scene.image), np.asarray(other.image)))
