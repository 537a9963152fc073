"""Is it used? What checks call borne out, held against the truth of the worlds; and how much of it on photographs.

In the aviary the truth of a region is known: what it shows is replaced by what it would show of other birds in the same
pose, before other backgrounds and without a letter; it is used where that takes at least a tenth of the explained
class's margin. Regions of planted and unplanted classifiers are asked, and false claims: the same shapes at random
places, and the regions of another picture. On photographs nobody knows the truth: beside the regions of each method
stand superpixels and random places, which nobody chose.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from scipy.stats import kstest
from torch import Tensor

from saywhy.attribution import attribute
from saywhy.attribution.regions import find_regions
from saywhy.bench import Report, used_words
from saywhy.bench.pack import find_pack
from saywhy.checks.elsewhere import equal_areas
from saywhy.checks.outcomes import of_logits, outcomes
from saywhy.checks.where import CONTROLS, check_masks
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.intervals import proportion
from saywhy.pictures.reading import read_picture
from saywhy.pictures.sources import list_pictures
from saywhy.types import BORNE_OUT, Check
from saywhy.worlds import TOWERS
from saywhy.worlds.aviary import BACKGROUNDS, Scene, random_plumage, render
from saywhy.worlds.planted import AFFECTED, ORDINARY, PLANTS, planted_scene

SEED = 9_500_000
"""The first scene; what was chosen (LEAST, LEVEL, CONTROLS, where controls lie) was chosen on those from 9,000,000."""
SCENES, WORD_SCENES, PHOTOGRAPHS = 48, 16, 60
SIDE = 160
REDRAWN = 8  # other birds and backgrounds, for the truth of a region
TRUE = 0.1  # of the margin
RANDOM = 4  # random places asked of a picture, and regions of another one
METHODS = ("lrp", "grad-cam", "integrated-gradients", "gradient-x-input", "superpixels", "random places")
PIECES = 60  # superpixels of a photograph


def run(
    limit: int | None = None,
    on: Annotated[str, "worlds, words, photographs (needs shared/pack), or all."] = "all",
    model: Annotated[str | None, "resnet or vit: the worlds' classifiers (default: resnet)."] = None,
    seed: Annotated[str, "The first scene."] = str(SEED),
) -> Report:
    """A row for each world, for each world's words, and for each method on photographs.

    limit: scenes of each world, at most 48 (for words 16), and photographs, at most 60.
    """
    if on not in ("worlds", "words", "photographs", "all"):
        raise SaywhyError(f"--on is worlds, words, photographs or all; it is {on!r}")
    tower = model or TOWERS[0]
    if tower not in TOWERS:
        raise SaywhyError(f"--model here is {' or '.join(TOWERS)}: the world's own classifiers are explained")
    rows, even = (
        _worlds(tower, int(seed), min(limit or SCENES, SCENES))
        if on in ("worlds", "all")
        else (list[dict[str, Any]](), {})
    )
    photographs = _photographs(min(limit or PHOTOGRAPHS, PHOTOGRAPHS)) if on in ("photographs", "all") else []
    columns = ("world", "claims", "regions", "used", "borne out", "precision", "recall")
    more: list[tuple[str, Sequence[str], list[dict[str, Any]]]] = [
        ("region claims borne out, in percent: MobileNetV2 on photographs, where nothing is known",
         ("method", "regions", "borne out", "mean area", "mean fall, of the margin"), photographs),
    ] if photographs else []  # fmt: skip
    if on in ("words", "all"):
        words = used_words.rows(min(limit or WORD_SCENES, WORD_SCENES), tower=tower)
        more = [("is a word used? those that are said, and false ones (in percent)", tuple(words[0]), words), *more]
    return Report(
        "used",
        f"is it used? region claims of world:aviary and the planted worlds, {tower}, scenes from {seed} (in percent)",
        columns,
        rows,
        {"controls": CONTROLS, "true from": TRUE, **even},
        more,
    )


# -- worlds -----------------------------------------------------------------------------------------------------------


def _worlds(tower: str, first: int, count: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    asked: dict[tuple[str, str], list[tuple[bool, bool]]] = defaultdict(list)
    p: list[float] = []
    for kind in track(("", *PLANTS), "testing regions", transient=True):
        classifier = Classifier.load(f"world:aviary{'-' if kind else ''}{kind}/{tower}")
        before: np.ndarray | None = None
        for seed in range(first, first + count):
            found = scene_regions(classifier, kind, seed)
            if found is None:
                continue
            scene, pixels, target, masks = found
            rng = np.random.default_rng([seed, 1])
            moved = np.stack([equal_areas(mask, 1, rng)[0] for mask in masks[:RANDOM]])
            claims = {"its regions": masks, "random places": moved}
            if before is not None:
                claims["another picture's regions"] = before[:RANDOM]
            before = masks
            for claim, areas in claims.items():
                (checks,) = check_masks(classifier, pixels, [target], [areas], always=claim == "random places")
                used = truly_used(classifier, scene, pixels, target, areas, seed)
                pairs = [(check.verdict == BORNE_OUT, bool(true)) for check, true in zip(checks, used, strict=True)]
                asked[kind or "aviary", claim] += pairs
                asked["all", claim] += pairs
                if claim == "random places":
                    p += [check.p for check in checks if check.p is not None]
    rows = [_row(world, claim, pairs) for (world, claim), pairs in asked.items()]
    spread = np.array(p) - np.random.default_rng(0).random(len(p)) / (1 + CONTROLS)  # even within their steps
    return rows, {
        "p of random places": len(p),
        "uniform, by Kolmogorov-Smirnov": float(kstest(spread, "uniform").pvalue),
    }


def _row(world: str, claim: str, pairs: Sequence[tuple[bool, bool]]) -> dict[str, Any]:
    said, true = (np.array(column, bool) for column in zip(*pairs, strict=True))
    return {
        "world": world, "claims": claim, "regions": len(pairs), "used": round(100 * float(true.mean()), 1),
        "borne out": _share(said), "precision": _share(true[said]), "recall": _share(said[true]),
    }  # fmt: skip


def _share(hits: np.ndarray) -> str:
    found = proportion(int(hits.sum()), len(hits))
    return "-" if not len(hits) else f"{100 * found.value:.1f} ({100 * found.low:.0f} to {100 * found.high:.0f})"


def scene_regions(classifier: Classifier, kind: str, seed: int) -> tuple[Scene, Tensor, int, np.ndarray] | None:
    """A scene, its pixels (1, C, h, w), its class and its regions' masks (R, h, w); None where it is not known right.

    kind: of PLANTS, or "" for the aviary; two of three scenes of a planted world are of the classes that it decides.
    """
    n = seed % 1000
    if kind:
        label = ORDINARY + n % len(AFFECTED) if n % 3 else n % len(classifier.labels)
        scene = planted_scene(kind, label, seed, SIDE)
    else:
        label = n % len(classifier.labels)
        background = str(np.random.default_rng([seed, 7]).choice(BACKGROUNDS))
        scene = render(classifier.labels[label], seed, SIDE, background)
    pixels = classifier.preprocess([scene.image])
    if int(classifier.logits(pixels).argmax()) != label:
        return None
    heat = attribute(classifier, pixels, [label])
    regions = find_regions(heat.values[0].numpy(), classifier.frame_on(scene.image))
    return (scene, pixels, label, np.stack([region.mask for region in regions])) if regions else None


def truly_used(
    classifier: Classifier, scene: Scene, pixels: Tensor, target: int, masks: np.ndarray, seed: int
) -> np.ndarray:
    """(R,) bool: whether what each area shows, replaced by what other scenes show there, takes TRUE of the margin."""
    rng = np.random.default_rng([seed, 2])
    others = [
        render(
            scene.species, seed, SIDE, str(rng.choice([b for b in BACKGROUNDS if b != scene.background])),
            random_plumage(rng),
        ).image
        for _ in range(REDRAWN)
    ]  # fmt: skip
    redrawn = classifier.preprocess(others)
    before = of_logits(classifier, classifier.logits(pixels), [target])
    changed = (torch.where(torch.as_tensor(mask), other, pixels[0]) for mask in masks for other in redrawn)
    logits = outcomes(classifier, changed, [target] * REDRAWN * len(masks)).logits.view(len(masks), REDRAWN)
    return ((before.logits - logits.mean(1)) >= TRUE * before.margins).numpy()


# -- photographs ------------------------------------------------------------------------------------------------------


def _photographs(count: int) -> list[dict[str, Any]]:
    pack = find_pack()
    classifier = Classifier.load(f"timm:{pack / 'models' / 'mobilenetv2_imagenet'}")
    files = sorted(file for file, _ in list_pictures(pack / "imagenet-samples"))
    files = [files[n] for n in np.random.default_rng(0).permutation(len(files))[:count]]
    found: dict[str, list[Check]] = defaultdict(list)
    areas: dict[str, list[float]] = defaultdict(list)
    for number, file in enumerate(track(files, "testing photographs", transient=True)):
        image = read_picture(file)
        pixels = classifier.preprocess([image])
        target = int(classifier.logits(pixels).argmax())
        for method, masks in _claimed(classifier, image, pixels, target, number).items():
            if len(masks):
                found[method] += check_masks(classifier, pixels, [target], [masks])[0]
                areas[method] += masks.mean((1, 2)).tolist()
    return [
        {
            "method": method, "regions": len(found[method]),
            "borne out": _share(np.array([check.verdict == BORNE_OUT for check in found[method]])),
            "mean area": round(100 * float(np.mean(areas[method])), 1),
            "mean fall, of the margin": round(float(np.nanmean([check.share for check in found[method]])), 3),
        }
        for method in METHODS
    ]  # fmt: skip


def _claimed(
    classifier: Classifier, image: Image.Image, pixels: Tensor, target: int, number: int
) -> dict[str, np.ndarray]:
    """The areas (R, h, w) that each method claims."""
    from skimage.segmentation import slic

    rng, claimed = np.random.default_rng([number, 3]), dict[str, np.ndarray]()
    for method in METHODS[:4]:
        heat = attribute(classifier, pixels, [target], method=method).values[0].numpy()
        regions = find_regions(heat, classifier.frame_on(image))
        claimed[method] = np.array([region.mask for region in regions], bool).reshape(-1, *heat.shape)
    shown = pixels[0].permute(1, 2, 0).numpy()
    pieces = slic(shown, PIECES, channel_axis=-1, start_label=0)
    chosen = rng.permutation(np.unique(pieces))[: len(claimed["lrp"])]
    claimed["superpixels"] = np.stack([pieces == one for one in chosen]) if len(chosen) else np.zeros((0, 1, 1), bool)
    claimed["random places"] = np.array([equal_areas(m, 1, rng)[0] for m in claimed["lrp"]]).reshape(-1, *heat.shape)
    return claimed
