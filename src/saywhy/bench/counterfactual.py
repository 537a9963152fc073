"""Why this and not that: how often is a change found that makes another class, how large is it, is it the cause?

The explained class is the one that is said, the other one the runner-up. Places are filled with the colours around
them, or from the nearest of other pictures that the classifier calls by the other class. Beside it, whether as large an
area elsewhere does the same (``random_masks_like``). In planted worlds the cause is known: counted is how often the
change covers at least a quarter of it, beside equal areas elsewhere, in pictures of the classes that it decides.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from PIL import Image
from rich.progress import track

from saywhy.bench import Report
from saywhy.checks.masking import random_masks_like
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.intervals import proportion
from saywhy.questions.options import RUNNER_UP
from saywhy.questions.why_not import Called, called_by, counterfactual
from saywhy.types import Counterfactual
from saywhy.worlds import TOWERS
from saywhy.worlds.drawing import PARTS
from saywhy.worlds.planted import AFFECTED, PLANTS
from saywhy.worlds.scenes import class_names, scenes

PICTURES, LENDING = 60, 240
SEED, LENDING_SEED = 9_510_000, 9_520_000  # the settings were chosen on scenes from 9,010,000 on
COVERED = 0.25  # of the cause
DRAWS = 19


def run(
    limit: int | None = None,
    model: Annotated[str, "resnet or vit."] = TOWERS[0],
    world: Annotated[str | None, "aviary, or a planted one: aviary-bill, ... (default: all)."] = None,
) -> Report:
    """A row for each world and way to fill. limit: pictures of each."""
    if model not in TOWERS:
        raise SaywhyError(f"--model here is {' or '.join(TOWERS)}: the world's own classifiers are explained")
    worlds = ["aviary", *(f"aviary-{kind}" for kind in PLANTS)]
    if world is not None and world not in worlds:
        raise SaywhyError(f"--world here is {', '.join(worlds)}; it is {world!r}")
    rows: list[dict[str, Any]] = []
    for name in [world] if world else worlds:
        kind = name.partition("-")[2]
        classifier = Classifier.load(f"world:{name}/{model}")
        drawn = f"planted-{kind}" if kind else "species"
        data = scenes(drawn, min(limit or PICTURES, PICTURES), SEED)
        lent = called_by([Image.fromarray(one) for one in scenes(drawn, LENDING, LENDING_SEED).pixels], classifier)
        images = [Image.fromarray(one) for one in data.pixels]
        for filled, lenders in (("with the colours around", None), ("from the other class", lent)):
            shown = track(images, f"{name}, {filled}", transient=True)
            found = [_ask(image, classifier, lenders) for image in shown]
            row = _row(found)
            if kind:
                row |= _cause(found, data.parts, data.labels, kind)
            rows.append({"world": name, "filled": filled} | row)
    return Report(
        "counterfactual",
        "what turns the class that is said into the runner-up, percent of pictures; area: of those with a change",
        ("world", "filled", "pictures", "turned", "low", "high", "ahead", "area, median", "pieces", "minimal",
         "equal areas elsewhere", "none of 19 does", "passes", "most passes", "cause asked", "cause in it",
         "elsewhere"),
        rows,
    )  # fmt: skip


def _ask(image: Image.Image, classifier: Classifier, called: Called | None) -> Counterfactual:
    pixels = classifier.preprocess([image])
    logits = classifier.logits(pixels).float().cpu()[0]
    said = int(logits.argmax())
    return counterfactual(image, "", pixels[0], classifier, logits, said, RUNNER_UP, (), None, called)


def _row(found: list[Counterfactual]) -> dict[str, Any]:
    changed = [one for one in found if one.regions]
    turned = proportion(sum(one.turned for one in found), len(found))
    same = [one.elsewhere[0] / max(one.elsewhere[1], 1) for one in changed]
    return {
        "pictures": len(found), "turned": 100 * turned.value, "low": 100 * turned.low, "high": 100 * turned.high,
        "ahead": _percent([one.ahead for one in found]), "area, median": _percent([one.area for one in changed], True),
        "pieces": float(np.mean([len(one.regions) for one in changed])) if changed else None,
        "minimal": _percent([one.minimal for one in changed]), "equal areas elsewhere": _percent(same),
        "none of 19 does": _percent([share == 0 for share in same]),
        "passes": float(np.mean([one.passes for one in found])), "most passes": max(one.passes for one in found),
    }  # fmt: skip


def _cause(found: list[Counterfactual], parts: np.ndarray, labels: np.ndarray, kind: str) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    hits, beside = [], list[float]()
    for one, drawn, label in zip(found, parts, labels, strict=True):
        if not one.regions or class_names(f"planted-{kind}")[label] not in AFFECTED:
            continue
        mask = np.any([region.mask for region in one.regions], 0)
        cause = np.isin(drawn, [PARTS.index(part) for part in PLANTS[kind].parts])
        where = np.asarray(Image.fromarray(cause).resize(mask.shape[::-1], Image.Resampling.NEAREST))
        if where.any():
            hits.append(mask[where].mean() >= COVERED)
            beside.append(
                float(np.mean([area[where].mean() >= COVERED for area in random_masks_like(mask, DRAWS, rng)]))
            )
    return {"cause asked": len(hits), "cause in it": _percent(hits), "elsewhere": _percent(beside)}


def _percent(values: list[Any], median: bool = False) -> float | None:
    return round(100 * float((np.median if median else np.mean)(values)), 1) if values else None
