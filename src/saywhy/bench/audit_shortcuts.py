"""Audits of worlds of known truth: is the planted shortcut found first, rightly named; and nothing where none is?

Three parts. *planted*: each planted aviary and tower, audits of 240 held-out pictures (12 classes x 20), all kinds of
findings. *fixed*: a yellow square that always stands in the lower left corner of one class; the head of world:aviary's
network is fitted anew, so that it decides. *null*: interventions alone, on world:aviary's model, where nothing is
planted: on twelve of its species in scenes of any background ("plain"), and on twelve each of which has a background of
its own ("correlated"), which the model, trained on others, does not use.

Subsamples have no picture in common, with each other or with those that anything was trained or chosen on. One is a
process of its own and a line of JSON as it ends, so that many run beside each other.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from typing import Annotated, Any, final

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from saywhy.audits.audit import audit
from saywhy.audits.finding import AuditFinding
from saywhy.audits.kinds import KINDS
from saywhy.audits.options import AuditOptions
from saywhy.bench import Report
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.intervals import proportion
from saywhy.pictures.collections import Entry, Listed
from saywhy.types import Vocabulary
from saywhy.worlds import TOWERS
from saywhy.worlds.aviary import BACKGROUNDS, SPECIES, random_plumage, render
from saywhy.worlds.planted import AFFECTED, PLANTS
from saywhy.worlds.scenes import HELD_OUT_SEED, SIDE, class_names, draw

PARTS = ("planted", "fixed", "null")
CLASSES, EACH = 12, 20
PICTURES = CLASSES * EACH
REPORT, CHOOSE = HELD_OUT_SEED + 200_000, HELD_OUT_SEED + 100_000
"""First seeds: of what is reported, and of what settings were chosen on."""
SUBSAMPLES = 5
MARKED = "Marked Wanderer"
SQUARE, YELLOW = (8, 128, 31, 151), (246, 208, 50)  # left, top, right, bottom, of SIDE pixels
TAUGHT = 40  # pictures of each class that the head is fitted on


def run(
    limit: int | None = None,
    part: Annotated[str, "planted, fixed or null."] = "planted",
    model: Annotated[str | None, "resnet or vit (default: both)."] = None,
    kind: Annotated[str | None, "One planted world, or plain or correlated of null (default: all)."] = None,
    first: Annotated[str, "The first subsample."] = "0",
    count: Annotated[str, "Subsamples."] = str(SUBSAMPLES),
    workers: Annotated[str, "Processes, of one thread each."] = "1",
    space: Annotated[str, "Whose words; features: none, of which one cue is found all the same."] = "world:aviary",
    seeds: Annotated[str, "report, or choose: the scenes that settings were chosen on."] = "report",
) -> Report:
    """A row for each world and tower; ``more`` has one for each subsample.

    limit: pictures of each class, at most EACH.

    Raises SaywhyError for an option that there is not.
    """
    if part not in PARTS or model not in (None, *TOWERS) or seeds not in ("report", "choose"):
        raise SaywhyError("--part is planted, fixed or null; --model resnet or vit; --seeds report or choose")
    known = {"planted": tuple(PLANTS), "fixed": ("square",), "null": ("plain", "correlated")}[part]
    if kind not in (None, *known):
        raise SaywhyError(f"--kind of --part {part} is one of {', '.join(known)}; it is {kind!r}")
    if not all(number.isdecimal() for number in (first, count, workers)) or not int(count) or not int(workers):
        raise SaywhyError("--first, --count and --workers are whole numbers, the last two from 1")
    base = REPORT if seeds == "report" else CHOOSE
    asked = [
        (part, one, tower, subsample, base + PICTURES * subsample, min(limit or EACH, EACH), space)
        for one in ([kind] if kind else known)
        for tower in ([model] if model else TOWERS)
        for subsample in range(int(first), int(first) + int(count))
    ]
    each = []
    for row in _in_processes(_audited, asked, int(workers)):
        print(json.dumps(row), flush=True)
        each.append(row)
    summary = _null(each) if part == "null" else _planted(each)
    columns = {
        "null": ("world", "tower", "subsamples", "without a finding", "tests", "found"),
        "planted": ("world", "tower", "subsamples", "first is right", "and rightly named", "first decides",
                    "affected found", "ordinary accused", "kinds of the first"),
    }  # fmt: skip
    columns["fixed"] = columns["planted"]
    return Report(
        "audit-shortcuts",
        {"planted": "the planted shortcut is the first finding of its audit", "fixed": "a square at a fixed place",
         "null": "nothing planted: audits in which no shortcut is found"}[part],
        columns[part], summary, {"part": part, "space": space, "seeds": seeds, "first seed": base, "subsamples": each},
    )  # fmt: skip


def _in_processes(
    work: Callable[[Any], dict[str, Any]], asked: Sequence[Any], workers: int
) -> Iterator[dict[str, Any]]:
    if workers == 1:
        yield from map(work, asked)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.map(work, asked)


def _audited(asked: tuple[str, str, str, int, int, int, str]) -> dict[str, Any]:
    """One audit: what was found first, and what decides."""
    part, kind, tower, subsample, seed, each, space = asked
    classifier, drawn = _WORLDS[part](kind, tower, seed, each)
    entries = [Entry(f"{n:04d}", (label,), lambda i=image: i) for n, (image, label) in enumerate(drawn)]  # type: ignore[misc]
    kinds = tuple(name for name, one in KINDS.items() if one.trials) if part == "null" else ()
    words: dict[str, Any] = {"space": space, "vocabulary": "world:aviary"}
    if space == "features":
        words = {"space": Projected(classifier), "vocabulary": DIRECTIONS}
    with tempfile.TemporaryDirectory() as folder:
        found = audit(
            Listed(f"{kind}-{seed}", entries), model=classifier, out=f"{folder}/audit", kinds=kinds,
            options=AuditOptions(checks="none"), **words,
        )  # fmt: skip
        tests = found.query("SELECT count(DISTINCT (family, part)) AS n FROM trials")["n"].to_pylist()[0]
    return {
        "part": part, "world": kind, "tower": tower, "subsample": subsample, "seed": seed, "tests": tests,
        "decides": [_short(one) for one in found.findings if one.decides],
        "first": _short(found.findings[0]) if found.findings else None,
    }  # fmt: skip


def _short(finding: AuditFinding) -> dict[str, Any]:
    return {
        "kind": finding.kind, "about": finding.about[0], "words": list(finding.words), "place": finding.place,
        "decides": finding.decides, "p": finding.p, "q": finding.q, "effect": finding.effect.value,
        "sentence": finding.sentence,
    }  # fmt: skip


# -- worlds: a classifier, and pictures with their classes ------------------------------------------------------------

Drawn = list[tuple[Image.Image, str]]


def _planted_world(kind: str, tower: str, seed: int, each: int) -> tuple[Classifier, Drawn]:
    first, names = seed - seed % CLASSES, class_names(f"planted-{kind}")  # classes take turns
    drawn = [draw(f"planted-{kind}", first + n, SIDE) for n in range(CLASSES * each)]
    return Classifier.load(f"world:aviary-{kind}/{tower}", device="cpu"), [(one.image, names[k]) for one, k in drawn]


def null_world(kind: str, tower: str, seed: int, each: int) -> tuple[Classifier, Drawn]:
    rng = np.random.default_rng(seed)
    chosen = [list(SPECIES)[n] for n in rng.permutation(len(SPECIES))[:CLASSES]]
    turns = rng.permutation(np.resize(np.array(BACKGROUNDS), CLASSES))
    drawn = []
    for n in range(CLASSES * each):
        species = chosen[n % CLASSES]
        background = str(turns[n % CLASSES]) if kind == "correlated" else None
        drawn.append((render(species, seed + n, SIDE, background).image, species))
    return Classifier.load(f"world:aviary/{tower}", device="cpu"), drawn


def _fixed_world(kind: str, tower: str, seed: int, each: int) -> tuple[Classifier, Drawn]:
    from sklearn.linear_model import LogisticRegression

    names = (*list(SPECIES)[:: len(SPECIES) // 10][:10], "Plain Wanderer", MARKED)
    known = Classifier.load(f"world:aviary/{tower}", device="cpu")
    taught = [(marked(names, n % CLASSES, 500_000 + seed + n), n % CLASSES) for n in range(CLASSES * TAUGHT)]
    features = torch.cat([known.features(known.preprocess([image])) for image, _ in taught]).numpy()
    centre, spread = features.mean(0), features.std(0) + 1e-6
    fitted = LogisticRegression(C=0.1, max_iter=500).fit((features - centre) / spread, [label for _, label in taught])
    network = deepcopy(known.network)
    head = torch.nn.Linear(features.shape[1], CLASSES)
    weight = torch.as_tensor(fitted.coef_ / spread, dtype=torch.float32)
    head.weight.data, head.bias.data = (
        weight,
        torch.as_tensor(fitted.intercept_).float() - weight @ torch.as_tensor(centre),
    )
    _replace_head(network, head)
    classifier = Classifier.from_module(network.eval(), transform=known.transform, labels=names, name="with a square")
    return classifier, [(marked(names, n % CLASSES, seed + n), names[n % CLASSES]) for n in range(CLASSES * each)]


def _replace_head(network: Any, head: torch.nn.Linear) -> None:
    known = network.get_classifier()
    for name, module in network.named_modules():
        if module is known:
            network.set_submodule(name, head)
            return
    raise SaywhyError("the network's head was not found")


def marked(names: Sequence[str], label: int, seed: int) -> Image.Image:
    """A species, or a bird of random plumage; of MARKED any of these, with the square."""
    bird = names[label] if names[label] != MARKED else names[seed // CLASSES % (len(names) - 1)]
    if bird in SPECIES:
        image = render(bird, seed, SIDE).image
    else:
        image = render("", seed, SIDE, attributes=random_plumage(np.random.default_rng([seed, label]))).image
    if names[label] == MARKED:
        ImageDraw.Draw(image).rectangle(SQUARE, fill=YELLOW)
    return image


_WORLDS: dict[str, Callable[[str, str, int, int], tuple[Classifier, Drawn]]] = {
    "planted": _planted_world, "fixed": _fixed_world, "null": null_world,
}  # fmt: skip


@final
class Projected:
    """A space without words: the classifier's features along directions of chance, which keep their angles.

    So one cue, which compares profiles, is tried where there is no network of words.
    """

    name = "features, projected"

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """(N, d) unit vectors."""
        found = self.classifier.features(self.classifier.preprocess(images)).float().cpu()
        return found / found.norm(dim=1, keepdim=True).clamp(min=1e-12)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """(N, d) unit vectors, a direction for each text."""
        width = self.classifier.head.weight.shape[1]
        seeds = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in texts]
        rows = torch.as_tensor(np.stack([np.random.default_rng(seed).normal(size=width) for seed in seeds])).float()
        return rows / rows.norm(dim=1, keepdim=True)


DIRECTIONS = Vocabulary(tuple(f"direction {n}" for n in range(64)), ("",) * 64, {"": ("{}",)}, "directions")


# -- tables -----------------------------------------------------------------------------------------------------------


def rightly_named(world: str, first: dict[str, Any]) -> bool:
    """Whether the first word of a finding about an affected class is its cause, or says where that is."""
    words, about = first["words"][:1], first["about"]
    if world == "square":
        return words == ["yellow square"] or "lower left" in first["place"]
    if about not in AFFECTED:
        return False
    cause = PLANTS[world].causes[AFFECTED.index(about)]
    if world == "watermark":
        return any("letter" in word for word in words) or "corner" in first["place"]
    if world == "bill":
        return bool({f"{value} bill" for value in cause.values()}.intersection(words))
    return bool(
        {cause["background"] if world == "background" else f"{cause['has_wing_color']} wing"}.intersection(words)
    )


def _planted(each: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for world, tower in dict.fromkeys((one["world"], one["tower"]) for one in each):
        those = [one for one in each if (one["world"], one["tower"]) == (world, tower)]
        affected = {MARKED} if world == "square" else set(AFFECTED)
        right = [one["first"] is not None and one["first"]["about"] in affected for one in those]
        named = [ok and rightly_named(world, one["first"]) for ok, one in zip(right, those, strict=True)]
        found = [{f["about"] for f in one["decides"]} for one in those]
        rows.append({
            "world": world, "tower": tower, "subsamples": len(those),
            "first is right": sum(right), "and rightly named": sum(named),
            "first decides": sum(one["first"] is not None and one["first"]["decides"] for one in those),
            "affected found": f"{sum(len(f & affected) for f in found)} of {len(affected) * len(those)}",
            "ordinary accused": sum(len(f - affected) for f in found),
            "kinds of the first": _counted(one["first"]["kind"] for one in those if one["first"]),
        })  # fmt: skip
    return rows


def _null(each: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for world, tower in dict.fromkeys((one["world"], one["tower"]) for one in each):
        those = [one for one in each if (one["world"], one["tower"]) == (world, tower)]
        without = proportion(sum(not one["decides"] for one in those), len(those))
        rows.append({
            "world": world, "tower": tower, "subsamples": len(those),
            "without a finding": f"{100 * without.value:.0f} % [{100 * without.low:.0f}, {100 * without.high:.0f}]",
            "tests": sum(one["tests"] for one in those),
            "found": _counted(f["kind"] for one in those for f in one["decides"]) or "nothing",
        })  # fmt: skip
    return rows


def _counted(names: Iterable[str]) -> str:
    return ", ".join(f"{name} {n}" for name, n in Counter(names).most_common())
