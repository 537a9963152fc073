"""Which maps are faithful? Every method, every composite and three controls, against the network and against the truth.

Controls know nothing of the network: random numbers, the edges of the picture (Sobel), and a hill in its centre. A
score in which one of them does well is weak. Scores that compare a map with the network fill what they take out, and
the network has never seen such pictures; so there is a second kind, for which nothing is filled: the scene is rendered
again without a part, and the cause of a planted shortcut is known.

Falls are in shares of the picture's margin: how far the explained logit lies above the mean of all logits.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, final

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from rich.progress import track
from scipy.ndimage import binary_dilation
from torch import Tensor

from saywhy.attribution import COMPOSITES, METHODS, Composite, MapWarning, attribute
from saywhy.attribution.composites import DEFAULT_COMPOSITE
from saywhy.attribution.lrp import default_composite
from saywhy.bench import Report
from saywhy.checks import faithfulness as scores
from saywhy.checks import sanity
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.intervals import difference, interval
from saywhy.plumbing.names import unknown
from saywhy.types import MapCheck
from saywhy.worlds import TOWERS
from saywhy.worlds.aviary import Scene, render
from saywhy.worlds.drawing import PARTS
from saywhy.worlds.planted import AFFECTED, PLANTS, planted_scene
from saywhy.worlds.scenes import SIDE, class_names, draw

PICTURES = 24  # of the aviary, a network
PHOTOGRAPHS = 20
PLANTED = 24  # of each planted aviary
CHECKED = 12  # for the sanity checks: of the same
HALVES = {"choose": 9_000_000, "report": 9_500_000}
"""Half -> first seed of its scenes. Settings and defaults are chosen on the one, and reported on the other."""
FLIPS = (("mean", 4), ("mean", 8), ("mean", 16), ("blur", 8))  # filling, and pixels of 128 that a patch is wide
STEPS = 10
KEPT = 0.2  # of the picture, for sufficiency
SETS = 64  # of pixels, for infidelity, and for sensitivity-n at each n
SHARES = (0.1, 0.25, 0.5)  # of the patches that are n
MARGIN = 2  # pixels of a scene around a cause: relevance of an edge lies on both of its sides
VISIBLE = 12  # pixels of the network's input from which a part counts as visible
BATCH = 8

Explain = sanity.Explain
BETTER = {
    "deletion": -1, "insertion": 1, **{f"flip {side} {fill}": 1 for fill, side in FLIPS}, "keeps": 1, "infidelity": -1,
    "sensitivity-n": 1, "parts": 1, "bird mass": 1, "bird rank": 1, "pointing": 1,
}  # fmt: skip
"""Score -> whether more of it is better (1), or less (-1)."""
SHAPE = ("entropy", "gini")


@final
@dataclass(frozen=True, eq=False)
class _Case:
    """N pictures that a network gets, the classes that are explained, and what is true of them.

    parts:   (N, h, w) index into PARTS; None of photographs.
    falls:   for each picture, part -> how far the logit falls when the scene is rendered without it.
    """

    name: str
    classifier: Classifier
    pixels: Tensor
    targets: Tensor
    parts: Tensor | None = None
    falls: Sequence[Mapping[str, float]] = ()


def run(
    limit: int | None = None,
    model: Annotated[
        str | None, "resnet or vit of the aviary, or any classifier with --images (default: both)."
    ] = None,
    images: Annotated[str | None, "A folder of pictures, or photos:all, for --model."] = None,
    half: Annotated[str, "report, or choose: other scenes, to choose settings on."] = "report",
) -> Report:
    """One row a network and method; further tables of the planted aviaries, and of the sanity checks.

    limit: pictures of the aviary per network, at most (default 24); fewer than 24 or 12 shorten the other tables too.
    """
    if half not in HALVES:
        raise unknown("half", half, HALVES)
    if model not in (None, *TOWERS) and images is None:
        raise SaywhyError(f"--model {model} needs pictures: say --images FOLDER, or take {' or '.join(TOWERS)}")
    if images is not None and model in (None, *TOWERS):
        raise SaywhyError("--images are for a classifier of your own: say which with --model timm:NAME")
    count = limit or (PICTURES if images is None else PHOTOGRAPHS)
    more: list[tuple[str, Sequence[str], Sequence[dict[str, Any]]]] = []
    if images is not None and model is not None:
        cases = [_photographs(model, images, count, half)]
    else:
        towers = [model] if model else TOWERS
        cases = [_aviary(tower, count, HALVES[half]) for tower in towers]
    rows, details = [], dict[str, Any]()
    for case in cases:
        found, details[case.name] = _faithful(case)
        rows += found
    if images is None:
        planted = [row for tower in towers for row in _planted(tower, min(count, PLANTED), HALVES[half])]
        more.append(
            ("relevance on the planted cause, % of the positive (by chance: its area)", _columns(planted), planted)
        )
    checked = [row for case in cases for row in _sane(case, min(count, CHECKED))]
    more.append(("sanity: likeness to the maps of a network that forgets, and under noise", _columns(checked), checked))
    if images is None:
        labels = _labels()
        more.append(("sanity: maps of a network trained on shuffled labels", _columns(labels), labels))
    return Report(
        "faithfulness",
        "faithfulness of maps (95 % intervals over pictures; falls in shares of the margin)",
        _columns(rows),
        rows,
        {"half": half, "pictures": {case.name: len(case.pixels) for case in cases}, "against the default": details},
        more,
    )


def _columns(rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key for row in rows for key in row))


# -- what is asked ----------------------------------------------------------------------------------------------------


def _contenders(case: _Case) -> dict[str, Explain]:
    """Name -> method. Composites that differ in nothing, as the network attends or does not, are one."""
    attends = default_composite(case.classifier.network, case.pixels[:1]) == DEFAULT_COMPOSITE["attention"]
    alike: dict[Composite, list[str]] = {}
    for name, composite in COMPOSITES.items():
        alike.setdefault(composite if attends else replace(composite, attention="cp"), []).append(name)
    composites = {f"lrp {', '.join(names)}": sanity.by("lrp", names[0]) for names in alike.values()}
    others = {name: sanity.by(name) for name in METHODS if name != "lrp"}
    return composites | others | CONTROLS


def _random(classifier: Classifier, pixels: Tensor, targets: Tensor) -> Tensor:
    return torch.randn(len(pixels), *pixels.shape[2:], generator=torch.Generator().manual_seed(len(pixels)))


def _edges(classifier: Classifier, pixels: Tensor, targets: Tensor) -> Tensor:
    from skimage.filters import sobel

    return torch.stack([torch.as_tensor(sobel(one.mean(0).numpy())) for one in pixels]).float()


def _centre(classifier: Classifier, pixels: Tensor, targets: Tensor) -> Tensor:
    height, width = pixels.shape[2:]
    down, across = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    return torch.exp(-2 * (down**2 + across**2)).expand(len(pixels), height, width)


CONTROLS: dict[str, Explain] = {"random": _random, "edges": _edges, "centre": _centre}


def _maps(case: _Case, explain: Explain) -> Tensor:
    """(N, h, w), a few pictures at a time; NaN of a picture of which there is no finite map."""
    parts = zip(case.pixels.split(BATCH), case.targets.split(BATCH), strict=True)
    return torch.cat([sanity.where_there_are_maps(explain, case.classifier, *part) for part in parts])


def _default(case: _Case, names: Sequence[str]) -> str:
    """Which of the contenders is what the classifier gets where nobody chooses."""
    composite = default_composite(case.classifier.network, case.pixels[:1])
    return next(name for name in names if composite in name.removeprefix("lrp ").split(", "))


# -- pictures ---------------------------------------------------------------------------------------------------------


def _logits(classifier: Classifier, pixels: Tensor) -> Tensor:
    parts = pixels.contiguous(memory_format=torch.channels_last).split(2 * BATCH)
    return torch.cat([classifier.logits(part).float().cpu() for part in parts])


def _aviary(tower: str, count: int, first: int) -> _Case:
    """Scenes that the classifier gets right, with what becomes of the logit when each visible part is left out."""
    classifier = Classifier.load(f"world:aviary/{tower}")
    kept: list[tuple[Tensor, int, Tensor, dict[str, float]]] = []
    for seed in track(range(first, first + 2 * count), f"rendering for {tower}", transient=True):
        if len(kept) == count:
            break
        scene, label = draw("species", seed)
        pixels = classifier.preprocess([scene.image])
        if int(_logits(classifier, pixels).argmax()) != label:
            continue
        parts = _placed(scene.parts, pixels.shape[-1])
        visible = [
            part
            for n, part in enumerate(PARTS)
            if part not in ("background", "watermark") and (parts == n).sum() >= VISIBLE
        ]
        without = classifier.preprocess([render(scene.species, seed, SIDE, without=(part,)).image for part in visible])
        logits = _logits(classifier, torch.cat([pixels, without]))[:, label]
        effects = dict(zip(visible, (logits[0] - logits[1:]).tolist(), strict=True))
        kept.append((pixels[0], label, parts, effects))
    pictures, labels, where, fallen = zip(*kept, strict=True)
    return _Case(f"aviary/{tower}", classifier, torch.stack(pictures), torch.tensor(labels), torch.stack(where), fallen)


def _placed(parts: np.ndarray, side: int) -> Tensor:
    """(side, side) the part map of a scene in the network's frame, which shows all of it."""
    return torch.as_tensor(np.array(Image.fromarray(parts).resize((side, side), Image.Resampling.NEAREST)))


def _photographs(model: str, images: str, count: int, half: str) -> _Case:
    """Every other picture: the halves share none."""
    from saywhy.pictures.sources import read_sources

    classifier = Classifier.load(model)
    pictures = [picture.open() for picture in read_sources([images], 2 * count)][list(HALVES).index(half) :: 2]
    if not pictures:
        raise SaywhyError(f"{images} has too few pictures; the two halves take every other one")
    pixels = classifier.preprocess(pictures)
    return _Case(model, classifier, pixels, _logits(classifier, pixels).argmax(1))


# -- the first table --------------------------------------------------------------------------------------------------


def _faithful(case: _Case) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A row a method, and (paired) how far each is from the default."""
    contenders = _contenders(case)
    maps = {
        name: _maps(case, explain) for name, explain in track(contenders.items(), f"maps, {case.name}", transient=True)
    }
    found: dict[str, dict[str, list[float]]] = {name: {} for name in maps}
    for n in track(range(len(case.pixels)), f"changing pictures, {case.name}", transient=True):
        several = torch.stack([values[n] for values in maps.values()])
        for score, each in _of_picture(case, n, several).items():
            for name, value in zip(maps, each.tolist(), strict=True):
                found[name].setdefault(score, []).append(value)
    values = {name: {score: np.array(some) for score, some in of.items()} for name, of in found.items()}
    default = _default(case, list(values))
    rows, details = [], dict[str, Any]()
    for name, own in values.items():
        row: dict[str, Any] = {"network": case.name, "method": f"{name} (default)" if name == default else name}
        row |= {score: _shown(some) for score, some in own.items()}
        if name != default:
            apart = {score: _apart(some, values[default][score]) for score, some in own.items() if score in BETTER}
            better = [score for score, (low, high) in apart.items() if (low if BETTER[score] > 0 else -high) > 0]
            worse = [score for score, (low, high) in apart.items() if (high if BETTER[score] > 0 else -low) < 0]
            row["better / worse than the default"] = f"{len(better)} / {len(worse)}"
            details[name] = {"better": better, "worse": worse, "difference": apart}
        else:
            row["better / worse than the default"] = ""
        rows.append(row)
    return rows, details


def _apart(values: np.ndarray, default: np.ndarray) -> tuple[float, float]:
    """The interval of the paired difference."""
    known = ~(np.isnan(values) | np.isnan(default))
    if known.sum() < 2:
        return (-np.inf, np.inf)
    found = difference(values[known], default[known])
    return round(found.low, 4), round(found.high, 4)


def _shown(values: np.ndarray, scale: float = 1) -> str | None:
    """A mean with its interval; what is unknown of some pictures is left out."""
    known = scale * values[~np.isnan(values)]
    if not len(known):
        return None
    if scale == 100:
        return f"{interval(known):.0f}"
    return f"{interval(known):.2f}"


def _of_picture(case: _Case, n: int, maps: Tensor) -> dict[str, Tensor]:
    """Score -> (M,) of the maps of one picture."""
    classifier, pixels, target = case.classifier, case.pixels[n], int(case.targets[n])
    there = maps.flatten(1).isfinite().all(1)
    maps = torch.where(there[:, None, None], maps, 0)
    height, width = pixels.shape[1:]
    logits = _logits(classifier, pixels[None])[0].double()
    margin = float(logits[target] - logits.mean())

    def score(pictures: Tensor) -> Tensor:
        return (classifier.logits(pictures)[:, target] - logits.mean()) / margin

    fillings = {
        "mean": pixels.mean((1, 2), keepdim=True).expand_as(pixels),
        "blur": F.interpolate(F.adaptive_avg_pool2d(pixels[None], 4), (height, width), mode="bilinear")[0],
    }
    found: dict[str, Tensor] = {}
    for filling, of_128 in FLIPS:
        side = max(1, round(of_128 * min(height, width) / 128))
        curves = scores.flip(score, pixels, maps, fillings[filling], side=side, steps=STEPS, seed=n)
        if (filling, of_128) == ("mean", 8):
            found |= {"deletion": curves.deletion, "insertion": curves.insertion, "keeps": curves.sufficiency(KEPT)}
        found[f"flip {of_128} {filling}"] = curves.between
    sides = (height // 16, height // 4)
    squares = scores.random_squares(height, width, sides, SETS, seed=n)
    fallen = scores.falls(score, pixels, squares, fillings["mean"])
    found["infidelity"] = scores.infidelity(scores.inside(maps, squares), fallen)
    grid = scores.cells(height, width, max(1, height // 16))
    correlations = []
    for share in SHARES:
        sets = scores.random_sets(grid, share, SETS, seed=n)
        fallen = scores.falls(score, pixels, sets, fillings["mean"])
        correlations.append(scores.sensitivity_n(scores.inside(maps, sets), fallen))
    found["sensitivity-n"] = torch.stack(correlations).mean(0)
    if case.parts is not None:
        found |= _of_truth(case.parts[n], case.falls[n], maps)
    found |= {"entropy": scores.entropy(maps), "gini": scores.gini(maps)}
    return {name: torch.where(there, found[name], torch.nan) for name in (*BETTER, *SHAPE) if name in found}


def _of_truth(parts: Tensor, effects: Mapping[str, float], maps: Tensor) -> dict[str, Tensor]:
    masks = torch.stack([parts == PARTS.index(part) for part in effects])
    bird = (parts != 0).expand(len(maps), *parts.shape)
    return {
        "parts": scores.rank_correlation(
            scores.inside(maps, masks), torch.tensor(list(effects.values())).expand(len(maps), len(effects))
        ),
        "bird mass": scores.relevance_mass(maps, bird),
        "bird rank": scores.relevance_rank(maps, bird),
        "pointing": scores.pointing_game(maps, bird),
    }


# -- planted causes ---------------------------------------------------------------------------------------------------


def _planted(tower: str, count: int, first: int) -> list[dict[str, Any]]:
    """A row a method: how much of its positive relevance lies on what is known to decide; then the pointing game."""
    rows: dict[str, dict[str, Any]] = {}
    for kind, plant in track(PLANTS.items(), f"planted causes, {tower}", transient=True):
        classifier = Classifier.load(f"world:aviary-{kind}/{tower}")
        names = class_names(f"planted-{kind}")
        pictures, targets, masks = list[Tensor](), list[int](), list[Tensor]()
        seed = first + 200_000
        while len(pictures) < count and seed < first + 200_000 + 20 * count:
            label = len(names) - len(AFFECTED) + seed % len(AFFECTED)
            scene = planted_scene(kind, label, seed, SIDE)
            seed += 1
            pixels = classifier.preprocess([scene.image])
            mask = _cause(scene, plant.parts)
            if int(_logits(classifier, pixels).argmax()) != label or not mask.any():
                continue
            pictures.append(pixels[0])
            targets.append(label)
            masks.append(_placed(mask.astype(np.uint8), pixels.shape[-1]).bool())
        case = _Case(f"aviary-{kind}/{tower}", classifier, torch.stack(pictures), torch.tensor(targets))
        where = torch.stack(masks)
        area = where.flatten(1).double().mean(1).numpy()
        for name, explain in _contenders(case).items():
            maps = _maps(case, explain)
            row = rows.setdefault(name, {"tower": tower, "method": name})
            row[kind] = _shown(scores.relevance_mass(maps, where).numpy(), 100)
            row[f"{kind}, pointing"] = _shown(scores.pointing_game(maps, where).numpy(), 100)
        row = rows.setdefault("chance", {"tower": tower, "method": "chance (area)"})
        row |= {kind: _shown(area, 100), f"{kind}, pointing": _shown(area, 100)}
    return list(rows.values())


def _cause(scene: Scene, parts: Sequence[str]) -> np.ndarray:
    mask = np.isin(scene.parts, [PARTS.index(part) for part in parts])
    return mask if "background" in parts else binary_dilation(mask, iterations=MARGIN)


# -- sanity -----------------------------------------------------------------------------------------------------------


def _sane(case: _Case, count: int) -> list[dict[str, Any]]:
    few = replace(case, pixels=case.pixels[:count], targets=case.targets[:count])
    rows = []
    for name, method in track(_contenders(case).items(), f"sanity, {case.name}", transient=True):
        explain = partial(sanity.where_there_are_maps, method)
        found = sanity.parameter_randomisation(few.classifier, few.pixels, few.targets, explain)
        still = sanity.noise_stability(few.classifier, few.pixels, few.targets, explain)
        middle = found.steps[len(found.steps) // 2]
        rows.append({
            "network": case.name, "method": name,
            "head": _shown(found.steps[0].signed.numpy()),
            "half": _shown(middle.signed.numpy()),
            "all": _shown(found.steps[-1].signed.numpy()),
            "all, no signs": _shown(found.steps[-1].absolute.numpy()),
            "all, SSIM": _shown(found.steps[-1].ssim.numpy()),
            "complexity": _shown(found.complexity.numpy()),
            "noise, alike": _shown(still.alike.numpy()),
            "noise, moved": _shown(still.moved.numpy()),
            "sum / logit": _shown(_sums(name, few).numpy()),
        })  # fmt: skip
    return rows


def _sums(name: str, case: _Case) -> Tensor:
    """(N,) what each map adds up to over what it has to account for; NaN of controls, and where there is no map."""
    if name in CONTROLS:
        return torch.full((len(case.pixels),), torch.nan)
    method, _, composite = name.partition(",")[0].partition(" ")
    found: list[MapCheck] = []
    for pixels, target in zip(case.pixels.split(1), case.targets.tolist(), strict=True):
        with warnings.catch_warnings(), suppress(SaywhyError):
            warnings.simplefilter("ignore", MapWarning)
            found += attribute(case.classifier, pixels, target, method, composite or None).checks
    return sanity.completeness(found)


LABELLED = 256  # digits that a network learns by heart
EPOCHS = 25
RATE = 3e-3


def _labels() -> list[dict[str, Any]]:
    """A row a method: maps of a network trained on true labels beside those of one trained on true labels from another
    start, and of one trained on shuffled ones; of pictures that all three have learned.

    A small ResNet learns 256 digits by heart in seconds. A ViT of that size takes minutes, and comes to 61 %.
    """
    from saywhy.worlds.digits import WORDS, coloured_digits

    data = coloured_digits("train", LABELLED, HALVES["report"])
    pixels = (torch.as_tensor(data.pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    true = torch.as_tensor(data.labels).long()
    shuffled = true[torch.randperm(len(true), generator=torch.Generator().manual_seed(0))]
    learned = {
        what: _trained(pixels, labels, seed)
        for seed, (what, labels) in enumerate(
            track(
                {"true": true, "again": true, "shuffled": shuffled}.items(), "learning shuffled labels", transient=True
            )
        )
    }
    networks = {
        what: Classifier.from_module(network, transform=_as_is, labels=WORDS, name=f"digits, {what} labels")
        for what, network in learned.items()
    }
    said = {what: _logits(network, pixels).argmax(1) for what, network in networks.items()}
    accuracy = {
        what: float((said[what] == (shuffled if what == "shuffled" else true)).double().mean()) for what in networks
    }
    right = (said["true"] == true) & (said["again"] == true) & (said["shuffled"] == shuffled)
    chosen = right.nonzero()[: 2 * CHECKED, 0]
    rows = []
    first = _Case("true", networks["true"], pixels[chosen], said["true"][chosen])
    for name, explain in _contenders(first).items():
        maps = {
            what: _maps(_Case(what, network, pixels[chosen], said[what][chosen]), explain)
            for what, network in networks.items()
        }
        same, other = (sanity.alike(maps["true"], maps[what]) for what in ("again", "shuffled"))
        rows.append({
            "network": "digits/resnet", "method": name,
            "learned (true / shuffled)": f"{accuracy['true']:.2f} / {accuracy['shuffled']:.2f}",
            "same labels": _shown(same.signed.numpy()), "shuffled": _shown(other.signed.numpy()),
            "same labels, no signs": _shown(same.absolute.numpy()),
            "shuffled, no signs": _shown(other.absolute.numpy()),
        })  # fmt: skip
    return rows


def _trained(pixels: Tensor, labels: Tensor, seed: int) -> torch.nn.Module:
    """A small network that has learned these pictures by heart, or as far as it comes in some seconds."""
    from saywhy.training.worlds.networks import aviary_network

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, _ = aviary_network("resnet", int(labels.max()) + 1, pixels.shape[-1])
        steps = EPOCHS * len(labels) // 32
        optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
        network.train()
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(labels)).split(32):
                loss = F.cross_entropy(network(pixels[rows]), labels[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
    return network.eval()


def _as_is(image: Image.Image) -> Tensor:
    """A picture of a digit as these networks get it."""
    return torch.as_tensor(np.array(image.convert("RGB").resize((64, 64)))).permute(2, 0, 1).float() / 127.5 - 1
