"""Planted reliance: which of twelve causes do words and checks name, of classifiers whose reliance is measured?

The classifiers are those of worlds/reliance.py, each taught to go by one known thing at a graded strength, or by
nothing in particular. Every method gives each cause a score for each classifier. The truth is how far the margin moves
when that cause alone is changed. One half of the classifiers says what a cause usually scores where nothing rests on
it, and from where on it is said; the other half, on other scenes, is reported.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from rich.progress import track

from saywhy.answers.captions_measures import kept
from saywhy.answers.explanation import Explanation
from saywhy.bench import Report
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.metrics.reliance_scores import above_usual, auprc, f1, over_classifiers, pearson
from saywhy.pictures.sources import LabelledImage
from saywhy.questions.ask import ask, find_matching, operate
from saywhy.questions.explain import explain_pictures
from saywhy.questions.labels import encode_vocabulary
from saywhy.questions.names_and_defaults import resolve_space
from saywhy.questions.options import AskOptions, ExplainOptions
from saywhy.spaces.clip import ClipSpace
from saywhy.training.worlds.reliance import held_out, margins, reliant_classifier
from saywhy.types import BORNE_OUT, Check, Space
from saywhy.words.cub_names import cub_phrase
from saywhy.worlds import TOWERS, world_vocabulary
from saywhy.worlds.reliance import CAUSES, KINDS, NAMES, PLAN, STRENGTHS, TRAINING, Reliant, pool

RELIES = 0.35  # measured, from where on a classifier is said to rely on a cause: above all with nothing planted
IDLE = 0.1  # measured, below which nothing rests on it
PICTURES = 8  # explained, of each classifier
WORDS = 3  # of a region
WHOLE = 5  # of the whole picture
BATCH = 8
MATCHED_ON = 200
_MATCHED_SEED = TRAINING + 50_000
Scores = dict[str, np.ndarray]

SPACE = "world:aviary"
VOCABULARY = world_vocabulary("aviary")
_ABOUT = [
    name if name in CAUSES else {"background": "background", "watermark": "letter"}.get(group, "")
    for name, group in ((VOCABULARY.attribute(n) or "", VOCABULARY.groups[n]) for n in range(len(VOCABULARY)))
]
"""For each phrase the cause that it names, "" for none of them."""
WORDED = [n for n, name in enumerate(NAMES) if name in _ABOUT]
CAUSE_OF = dict(zip(VOCABULARY.phrases, _ABOUT, strict=True))

METHODS: Mapping[str, str] = {
    "regions' words": "share of relevance of the regions of which one of the first three words names it",
    "regions' words, tested": "share of the margin that falls with those of these regions whose check is borne out; "
    "for the background that of the surroundings, beyond what falls with a region",
    "whole picture's words": "how often it is among the first five",
    "words across pictures": "correlation of the margin over 100 pictures with how well a word for it fits them",
    "captions, after surgery": "how much of what tells captions of its two values apart is kept (saywhy ask)",
    "relevance on it": "share of relevance where changing it changes the picture: no words, the place is given",
    "labelled pictures": "correlation of the margin over 100 pictures with which of its values they show: no words, "
    "the labels are given",
    "random": "any number",
    "majority": "how often classifiers rely on it",
}


def run(
    limit: int | None = None,
    model: Annotated[str | None, "resnet or vit (default: both)."] = None,
    captions: Annotated[str, "yes or no: ask captions, which takes half of the time."] = "yes",
) -> Report:
    """A row for each method; by kind and by strength; and the planted causes that are missed furthest.

    limit: pictures explained of each classifier, at most.
    """
    if model not in (None, *TOWERS):
        raise SaywhyError(f"--model here is {' or '.join(TOWERS)}: the classifiers are the benchmark's own")
    if captions not in ("yes", "no"):
        raise SaywhyError(f"--captions is yes or no; it is {captions}")
    plan = [one for one in PLAN if model in (None, one.tower)]
    rows: list[Scores] = []
    truths = []
    space = resolve_space(SPACE, None)
    for reliant in track(plan, "asking classifiers", transient=True):
        classifier, measured = reliant_classifier(reliant)
        truths.append([measured.reliance[name] for name in NAMES])
        rows.append(scores_of(reliant, classifier, space, min(limit or PICTURES, 100), captions == "yes"))
    truth = np.array(truths)
    scores = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return report(plan, scores, truth)


def scores_of(reliant: Reliant, classifier: Classifier, space: Space, pictures: int, captions: bool) -> Scores:
    """Method -> (causes,) scores of one classifier; what words do not name scores 0."""
    scenes, changed = held_out(reliant)
    shown = [Image.fromarray(pixels) for pixels in scenes.pixels]
    margin = margins(classifier.network, scenes.pixels)
    found: Scores = {}
    options = ExplainOptions(top=WHOLE)
    told: list[Explanation] = []
    for start in range(0, pictures, BATCH):
        batch = [(str(n), shown[n]) for n in range(start, min(start + BATCH, pictures))]
        told += explain_pictures(batch, classifier, VOCABULARY, space, options)
    found["regions' words"] = np.mean([_by_words(e, tested=False) for e in told], 0)
    found["regions' words, tested"] = np.mean([_by_words(e, tested=True) for e in told], 0)
    whole = [{CAUSE_OF[label.text] for label in e.concepts.labels[:WHOLE]} for e in told]
    found["whole picture's words"] = np.array([np.mean([name in said for said in whole]) for name in NAMES])
    found["words across pictures"] = _across(margin, _fits(space, shown))
    if captions:
        found["captions, after surgery"] = _kept(reliant, classifier, space, shown)
    found["relevance on it"] = np.mean([_under(e, scenes.pixels[n], changed[n]) for n, e in enumerate(told)], 0)
    found["labelled pictures"] = np.abs([_correlation(margin, level) for level in scenes.levels.T.astype(float)])
    return found


def _by_words(e: Explanation, *, tested: bool) -> np.ndarray:
    """(causes,) what the regions hold of which a word names each.

    tested: of the background what falls with the surroundings, beyond what falls with a region: a letter in the corner,
            or what lies beside the bird, is swapped with them, and "grass" is a word for every crop.
    """
    total = dict.fromkeys(NAMES, 0.0)
    for finding in e.findings:
        region = e.regions[finding.region or 0]
        weight = _falls(region.used) if tested else region.share
        for name in {CAUSE_OF[label.text] for label in finding.labels[:WORDS]} - {""}:
            total[name] += weight
    if tested:
        total["background"] = max(_falls(e.surroundings) - max((_falls(r.used) for r in e.regions), default=0.0), 0.0)
    return np.array([total[name] for name in NAMES])


def _falls(check: Check | None) -> float:
    """The share of the margin that falls in a check that is borne out, else 0."""
    return min(check.share, 2.0) if check is not None and check.verdict == BORNE_OUT else 0.0


def _fits(space: Space, shown: list[Image.Image]) -> np.ndarray:
    """(N, phrases) cosines."""
    texts = encode_vocabulary(VOCABULARY, space)
    vectors = torch.cat([space.encode_images(shown[n : n + BATCH]) for n in range(0, len(shown), BATCH)])
    return (vectors @ texts.T).float().cpu().numpy()


def _across(margin: np.ndarray, fits: np.ndarray) -> np.ndarray:
    """(causes,) the best correlation of the margin with a phrase for each."""
    best = dict.fromkeys(NAMES, 0.0)
    for n, name in enumerate(_ABOUT):
        if name:
            best[name] = max(best[name], abs(_correlation(margin, fits[:, n])))
    return np.array([best[name] for name in NAMES])


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return pearson(a.astype(float), b.astype(float), np.ones(len(a)))


def caption_groups(world: int) -> dict[str, tuple[str, str]]:
    """Cause -> captions of its two values, of those that the world's CLIP has words for."""
    groups = {}
    for name, cause in CAUSES.items():
        if cause.attribute:
            first, second = (cub_phrase(f"{cause.attribute}::{value}")[1] for value in cause.levels[world])
            groups[name] = (first, second)
    return groups | {"background": CAUSES["background"].levels[world]}


def _kept(reliant: Reliant, classifier: Classifier, space: Space, shown: list[Image.Image]) -> np.ndarray:
    """(causes,) of the contrast between captions of the two values, how much is kept after surgery."""
    assert isinstance(space, ClipSpace)
    learn = pool(reliant.world, MATCHED_ON, _MATCHED_SEED)
    pictures = [LabelledImage(str(n), None, lambda p=p: Image.fromarray(p)) for n, p in enumerate(learn.pixels)]  # type: ignore[misc]
    groups = caption_groups(reliant.world)
    scores = dict.fromkeys(NAMES, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = AskOptions()
        try:
            operated = operate(space, classifier, find_matching(space, classifier, pictures, options), options)
        except SaywhyError:  # nothing matches above chance
            return np.zeros(len(NAMES))
        answers = ask(shown, list(groups.values()), space, operated)
    for n, name in enumerate(groups):
        with suppress(SaywhyError):  # CLIP itself does not tell the two apart
            scores[name] = max(kept(answers, n).value, 0.0)
    return np.array([scores[name] for name in NAMES])


def _under(e: Explanation, scene: np.ndarray, changed: np.ndarray) -> np.ndarray:
    """(causes,) share of positive relevance where changing each changes the scene."""
    relevance = e.heatmap.positive[0].numpy()
    shares = []
    for other in changed:
        place = np.abs(other.astype(int) - scene).max(2) > 8
        mask = np.asarray(Image.fromarray(place).resize(relevance.shape[::-1], Image.Resampling.NEAREST))
        shares.append(relevance[mask].sum() / max(relevance.sum(), 1e-12))
    return np.array(shares)


def report(plan: list[Reliant], scores: Scores, truth: np.ndarray) -> Report:
    """The tables, of methods' (N, causes) scores and the (N, causes) measured reliance of the classifiers of a plan."""
    reported = np.array([one.reported for one in plan])
    nothing = np.array([one.kind == "none" for one in plan])
    relies = (truth >= RELIES).astype(float)
    rng = np.random.default_rng(0)
    scores = dict(scores) | {
        "random": rng.random(truth.shape),
        "majority": np.tile(relies[~reported].mean(0), (len(plan), 1)),
    }
    idle = ~reported[:, None] & (truth < IDLE)
    rows, by_kind, by_strength, missed = [], [], [], []
    for name in METHODS:
        if name not in scores:
            continue
        flat = name == "majority"  # the same for every classifier: nothing is above what is usual
        above = scores[name] if flat else above_usual(scores[name], np.where(idle, scores[name], np.nan))
        said = above > 0 if not flat else above >= np.sort(above[0])[-1]
        here, kind_of = above[reported], relies[reported]
        first = above.argmax(1) == truth.argmax(1)
        strong = reported & ~nothing
        planted = [n for n, one in enumerate(plan) if one.cause and reported[n]]
        named = {n: bool(said[n, NAMES.index(plan[n].cause)]) for n in planted}
        rows.append({
            "method": name,
            "AUPRC": f"{over_classifiers(auprc, here, kind_of)}",
            "of what has words": f"{over_classifiers(auprc, here[:, WORDED], kind_of[:, WORDED])}",
            "F1": f"{over_classifiers(f1, np.where(said[reported], 1.0, -1.0), kind_of)}",
            "Pearson": f"{over_classifiers(pearson, here, truth[reported])}",
            "strongest named first %": _percent(first[strong]),
            "planted named %": _percent(list(named.values())),
            "nothing planted, said %": _percent(said[reported & nothing][truth[reported & nothing] < RELIES]),
        })  # fmt: skip

        def share(keep: Callable[[Reliant], bool], named: dict[int, bool] = named) -> str:
            chosen = [hit for n, hit in named.items() if keep(plan[n])]
            return f"{sum(chosen)}/{len(chosen)}"

        by_kind.append({"method": name} | {kind: share(lambda one, kind=kind: one.kind == kind) for kind in KINDS})  # type: ignore[misc]
        by_strength.append(
            {"method": name} | {f"{s:g}": share(lambda one, s=s: one.strength == s) for s in STRENGTHS}  # type: ignore[misc]
        )
        if name in ("random", "majority"):
            continue
        wrong = [n for n in planted if truth[n, above[n].argmax()] < RELIES]
        order = sorted(wrong, key=lambda n: above[n, NAMES.index(plan[n].cause)] - above[n].max())
        missed += [
            {
                "method": name, "classifier": plan[n].name, "planted": plan[n].cause,
                "measured": round(float(truth[n, NAMES.index(plan[n].cause)]), 2),
                "named instead": NAMES[int(above[n].argmax())],
                "its measured": round(float(truth[n, int(above[n].argmax())]), 2),
            }
            for n in order[:3]
        ]  # fmt: skip
    return Report(
        "reliance",
        f"causes that {len(plan)} classifiers rely on: those of the reporting half "
        f"({int(reported.sum())} classifiers, {int(relies[reported].sum())} of {relies[reported].size} pairs relied "
        "on, 95 % intervals over classifiers)",
        tuple(rows[0]),
        rows,
        {"relies from": RELIES, "methods": dict(METHODS), "space": SPACE},
        (
            ("planted causes that are named, by kind", tuple(by_kind[0]), by_kind),
            ("planted causes that are named, by strength", tuple(by_strength[0]), by_strength),
            ("missed furthest", tuple(missed[0]) if missed else (), missed),
        ),
    )


def _percent(values: Any) -> float | None:
    return round(100 * float(np.mean(values)), 1) if len(values) else None
