"""Names of what is inside a model: are they what channels, head rows and sparse latents really go with?

The scenes of the aviary are known down to each attribute. What a component goes with best is the phrase whose truth its
activation tells best (AUROC); a name is right where it is that phrase. Beside it stand the names of other components.
Settings were chosen on other scenes, of world:aviary and world:aviary-background alone; docs/audit-inside.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, final

import numpy as np
import torch
from rich.progress import track

from saywhy.audits.finding import LEVEL
from saywhy.audits.inside import CHANNEL, LATENT, ROW, Component, Inside, components, dealt_phrases, parts_of
from saywhy.audits.knowledge import compare
from saywhy.bench import Report
from saywhy.bench.pack import find_pack
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.intervals import interval, proportion
from saywhy.questions.labels import encode_vocabulary
from saywhy.questions.names_and_defaults import load_vocabulary, resolve_space
from saywhy.spaces.traits import KnowsFeatures
from saywhy.training.sae import SaeSettings, train_sae
from saywhy.types import Space, Vocabulary
from saywhy.worlds import world_vocabulary
from saywhy.worlds.aviary import BACKGROUNDS, VALUES, phrases_of
from saywhy.worlds.planted import AFFECTED, PLANTS
from saywhy.worlds.scenes import Scenes, class_names, scenes

MODELS = ("world:aviary", *(f"world:aviary-{kind}" for kind in PLANTS))
SPACES = ("world:aviary", "own")
PICTURES, TAUGHT = 480, 1600  # of each model: on which names are chosen and measured, and that teach sparse latents
SEED = 6_100_000  # of the first scene; those that teach latents follow 100,000 later
FEWEST = 8  # scenes with a phrase, and without it, for its truth to be counted
_BATCH = 16
_REAL = {
    "photographs": ("mobilenetv2_imagenet", "imagenet-samples/**/*.jpg", "concepts", 1),
    "birds": ("mobilenetv2_inat_bird", "cub-crops/CUB_200_2011/images/**/*.jpg", "birds", 2),
}
"""Name -> model, pictures, vocabulary, every so many-th picture."""
_VOCABULARY = world_vocabulary("aviary")


@final
@dataclass(frozen=True, eq=False)
class _World:
    """A classifier's scenes: (N, d) features, (N, M) which phrases are true, and their pictures."""

    classifier: Classifier
    seen: Scenes
    features: torch.Tensor
    truth: np.ndarray


def run(
    limit: int | None = None,
    model: Annotated[str | None, "One of the aviary's classifiers (default: all five)."] = None,
    sae: Annotated[str, "yes or no: sparse latents too, which takes most of the time."] = "yes",
    data: Annotated[str, "scenes; photographs or birds: real ones, in the classifier's own space (pack)."] = "scenes",
) -> Report:
    """A row for each classifier, space and kind of component.

    limit: scenes of each classifier, at most 480; of real pictures as many.

    Raises SaywhyError for a classifier of another world, and where real pictures are asked for and are not there.
    """
    if data in _REAL:
        return _real(data, limit)
    if data != "scenes":
        raise SaywhyError(f"--data is scenes, {' or '.join(_REAL)}; it is {data}")
    if model not in (None, *MODELS):
        raise SaywhyError(f"--model here is one of {', '.join(MODELS)}")
    if sae not in ("yes", "no"):
        raise SaywhyError(f"--sae is yes or no; it is {sae}")
    rows: list[dict[str, Any]] = []
    causes: list[dict[str, Any]] = []
    selective: list[dict[str, Any]] = []
    compared: list[dict[str, Any]] = []
    for name in [model] if model else MODELS:
        world = _world(name, min(limit or PICTURES, PICTURES), SEED)
        made = None
        if sae == "yes":
            taught = _world(name, TAUGHT if limit is None else min(TAUGHT, 4 * limit), SEED + 100_000)
            made = train_sae(taught.features, SaeSettings(), world.classifier.fingerprint)
        for space in SPACES:
            inside = _inside(world, resolve_space(space, world.classifier))
            kinds = (CHANNEL, ROW) if made is None else (CHANNEL, ROW, LATENT)
            found = components(None, sae=made, inside=inside, kinds=kinds)
            for kind in kinds:
                these = [one for one in found if one.kind == kind]
                active, _ = parts_of(inside, kind, made)
                rows.append({"model": name, "space": space, "components": f"{kind}s"} | _right(these, active, world))
                causes.append({"model": name, "space": space, "components": f"{kind}s"} | _causes(name, these))
        if name != MODELS[0]:
            compared.append({"model": name} | _compared(name, world))
        for kind in kinds:
            active, _ = parts_of(inside, kind, made)
            story = made.story if made is not None and kind == LATENT else None
            selective.append({"model": name, "components": f"{kind}s"} | _selective(active, world, dict(story or {})))
    columns = (
        "model",
        "space",
        "components",
        "number",
        "said",
        "right",
        "right, dealt",
        "AUROC",
        "AUROC, dealt",
        "best",
    )
    other = ("model", "space", "components", "for the affected", "named by the cause", "for others", "by a cause")
    third = ("model", "components", "active", "AUPRC", "R2", "dead")
    fourth = ("model", "told", "causes told", "first", "difference", "others told")
    return Report(
        "audit-inside", "names of what is inside, held against the truth of the scenes", columns, rows,
        more=(
            ("Components that speak for an affected class, and the others", other, causes),
            ("The best AUPRC of any phrase's truth, by component", third, selective),
            ("What it holds more of than world:aviary does, on the same pictures", fourth, compared),
        ),
    )  # fmt: skip


def _real(data: str, limit: int | None) -> Report:
    """Names in the own space of a classifier of many classes, beside those where its class names are dealt."""
    from saywhy.classifiers.feature_cache import cached_features

    pack = find_pack()
    model, pattern, words, step = _REAL[data]
    classifier, vocabulary = Classifier.load(f"timm:{pack / 'models' / model}"), load_vocabulary(words)
    features = cached_features(classifier, sorted(pack.glob(pattern))[::step][:limit], batch_size=_BATCH)
    space = resolve_space("own", classifier)
    assert isinstance(space, KnowsFeatures)
    vectors, rows = space.encode_features(features), list[dict[str, Any]]()
    inside = _sampled(classifier, features, vectors, space, vocabulary)
    for kind in (CHANNEL, ROW):
        found = sorted(components(None, inside=inside, kinds=(kind,)), key=lambda one: one.p)
        p = np.array([one.p for one in found])
        rows.append({
            "components": f"{kind}s", "number": len(found), "said": sum(one.said for one in found),
            "p < .05": str(proportion(int((p < 0.05).sum()), len(p))),
            "correlation": f"{np.mean([one.fit.value for one in found]):.2f}",
            "class names dealt": f"{np.mean([one.control for one in found]):.2f}",
            "foremost": "; ".join(f"{one.called}: {one.words[0]}" for one in found[:8]),
        })  # fmt: skip
    title = f"names of what is inside {model}, in its own space, {len(features)} pictures"
    return Report("audit-inside", title, tuple(rows[0]), rows)


def _world(name: str, count: int, first: int) -> _World:
    kind = "species" if name == "world:aviary" else f"planted-{name.removeprefix('world:aviary-')}"
    seen, classifier = scenes(kind, count, first), Classifier.load(name)
    found = [
        classifier.features(classifier.preprocess(_images(seen, start))).float().cpu()
        for start in track(range(0, count, _BATCH), f"looking at {kind}", transient=True)
    ]
    return _World(classifier, seen, torch.cat(found), truth_of(seen, kind))


def truth_of(seen: Scenes, kind: str) -> np.ndarray:
    """(N, M) bool, whether each phrase of the aviary's vocabulary is true of each scene."""
    columns = {phrase: np.zeros(len(seen), bool) for phrase in _VOCABULARY.phrases}
    for a, (name, values) in enumerate(VALUES.items()):
        for v, value in enumerate(values):
            for phrase in phrases_of({name: value}):
                columns[phrase] |= seen.values[:, a] == v
    for b, background in enumerate(BACKGROUNDS):
        columns[background] |= seen.background == b
    if kind == "planted-watermark":
        columns["a letter in the corner"] = np.array([class_names(kind)[n] in AFFECTED for n in seen.labels])
    return np.stack(list(columns.values()), 1)


def _images(seen: Scenes, start: int) -> list[Any]:
    from PIL import Image

    return [Image.fromarray(pixels) for pixels in seen.pixels[start : start + _BATCH]]


def _inside(world: _World, space: Space) -> Inside:
    if isinstance(space, KnowsFeatures):
        vectors = space.encode_features(world.features)
    else:
        vectors = torch.cat(
            [space.encode_images(_images(world.seen, start)) for start in range(0, len(world.seen), _BATCH)]
        )
    return _sampled(world.classifier, world.features, vectors, space, _VOCABULARY)


def _sampled(
    classifier: Classifier, features: torch.Tensor, vectors: torch.Tensor, space: Space, words: Vocabulary
) -> Inside:
    head, count = classifier.head, len(features)
    logits = features @ head.weight.T + head.bias
    return Inside(
        np.arange(count), features.numpy(), vectors.numpy(), logits.argmax(1).numpy(), head.weight.numpy(),
        head.bias.numpy(), tuple(classifier.labels), words.phrases, encode_vocabulary(words, space).numpy(),
        dealt_phrases(space, words).numpy(), np.random.default_rng(0).permutation(count) < count // 2, count,
    )  # fmt: skip


def areas(active: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(K, M) AUROC of each component's activation for each phrase's truth; NaN for a phrase of too few scenes."""
    from scipy.stats import rankdata

    there = truth.sum(0)
    without = len(truth) - there
    found = rankdata(active, axis=0).T @ truth - there * (there + 1) / 2
    counted = np.minimum(there, without) >= FEWEST
    area: np.ndarray = np.where(counted, found / np.maximum(there * without, 1), np.nan)
    return area


def _right(found: Sequence[Component], active: np.ndarray, world: _World) -> dict[str, Any]:
    """Of the components whose name is said: whether it is what they go with best, and how well it tells its truth."""
    area = areas(active, world.truth)
    best = np.nanargmax(area, 1)
    row_of = {phrase: m for m, phrase in enumerate(_VOCABULARY.phrases)}
    said = [one for one in found if one.said]
    names = np.array([row_of[one.words[0]] for one in said], int)
    places = np.array([one.index for one in said], int)
    if not len(said):
        return {
            "number": len(found),
            "said": "0.00",
            "right": "",
            "AUROC": "",
            "best": f"{np.nanmax(area, 1).mean():.2f}",
        }
    dealt = [(k, m) for k, name in zip(places, names, strict=True) for m in names if m != name]
    by_chance = np.array([area[k, m] for k, m in dealt])
    mine = area[places, names]
    return {
        "number": len(found), "said": f"{len(said) / len(found):.2f}",
        "right": str(proportion(int((names == best[places]).sum()), len(said))),
        "right, dealt": f"{np.mean([m == best[k] for k, m in dealt]):.2f}" if dealt else "",
        "AUROC": str(interval(mine[np.isfinite(mine)])) if np.isfinite(mine).any() else "",
        "AUROC, dealt": f"{np.nanmean(by_chance):.2f}" if dealt else "",
        "best": f"{area[places, best[places]].mean():.2f}",
    }  # fmt: skip


def _causes(name: str, found: Sequence[Component]) -> dict[str, Any]:
    """Whether components that speak most for an affected class are named by its cause; and others by any cause."""
    plant = PLANTS.get(name.removeprefix("world:aviary-"))
    words = {label: _words(cause) for label, cause in zip(AFFECTED, plant.causes, strict=True)} if plant else {}
    every = set().union(*words.values()) if words else set(BACKGROUNDS)
    named = [one for one in found if one.said and one.speaks_for]
    mine = [one for one in named if one.speaks_for[0][0] in words]
    others = [one for one in named if one.speaks_for[0][0] not in words]
    return {
        "for the affected": len(mine),
        "named by the cause": str(proportion(sum(o.name in words[o.speaks_for[0][0]] for o in mine), len(mine)))
        if mine else "",
        "for others": len(others),
        "by a cause": str(proportion(sum(one.name in every for one in others), len(others))) if others else "",
    }  # fmt: skip


def _compared(name: str, world: _World) -> dict[str, Any]:
    """Phrases that a planted classifier holds more of than the unplanted one: how many of them its causes are."""
    plain = Classifier.load(MODELS[0])
    features = torch.cat(
        [
            plain.features(plain.preprocess(_images(world.seen, start))).float().cpu()
            for start in range(0, len(world.seen), _BATCH)
        ]
    )
    space = resolve_space(SPACES[0], plain)
    other = replace(world, classifier=plain, features=features)
    found = compare(_inside(world, space), _inside(other, space), same=True)
    more = [one for one in found.phrases if one.q <= LEVEL and one.more.value > 0]
    causes = set().union(*(_words(cause) for cause in PLANTS[name.removeprefix("world:aviary-")].causes))
    told = [one for one in more if one.phrase in causes]
    return {
        "told": len(more), "causes told": f"{len(told)} of {len(causes)}",
        "first": ", ".join(one.phrase for one in more[:4]), "difference": str(more[0].more) if more else "",
        "others told": ", ".join(f"{one.phrase} {one.more.value:+.2f}" for one in more if one not in told)[:80],
    }  # fmt: skip


def _words(cause: dict[str, str]) -> set[str]:
    given = dict(cause)
    scene = {given.pop("background", "")} - {""}
    if given.pop("watermark", ""):
        return {"a letter in the corner"}
    return set(phrases_of(given)) | scene


def _selective(active: np.ndarray, world: _World, story: dict[str, Any]) -> dict[str, Any]:
    """How well a component tells one phrase: the largest average precision, of the phrases with the largest AUROC."""
    from sklearn.metrics import average_precision_score

    used = np.flatnonzero((active > active.mean(0)).sum(0) >= FEWEST)
    area = np.nan_to_num(areas(active, world.truth))
    best = [
        max(average_precision_score(world.truth[:, m], active[:, k]) for m in np.argsort(-area[k])[:4]) for k in used
    ]
    return {
        "active": len(used), "AUPRC": str(interval(np.array(best))),
        "R2": f"{story['R2']:.2f}" if story else "", "dead": f"{story['dead']:.2f}" if story else "",
    }  # fmt: skip
