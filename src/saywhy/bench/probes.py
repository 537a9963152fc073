"""Concept probes: are the words that they say true, of classes and scenes that taught them nothing?

Birds: attributes of CUB's classes on the bird model's features; a word is true where more than half of the annotators
of the class say so. Thirty classes teach, and settings were chosen by folds within them; the other thirty are asked: by
probes of the first thirty, and, in three parts, by probes that the other two thirds have taught as well. No class is
asked by probes that it has taught. Aviary: scenes of known truth, as many of no species, labels as drawn or
by the aviary's CLIP. A table of one's own: five folds of classes, or of pictures where these have none.

Beside each precision stand "dealt", the same words held against pictures of other classes, "constant", the words said
most often, for every picture, and the base rate, the share of all pairs that is true. Intervals are over classes.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, final

import numpy as np
from rich.progress import track
from torch import Tensor

from saywhy.bench import Report
from saywhy.bench.own_space import roc_auc
from saywhy.bench.pack import find_pack
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.intervals import Interval
from saywhy.metrics.word_controls import constant, share_true
from saywhy.pictures.phrase_tables import ABSENT, THERE, UNKNOWN, WORLD_SEED, PhraseData, read_phrases, read_scenes
from saywhy.plumbing.names import unknown
from saywhy.plumbing.texts import finite_number
from saywhy.spaces.concepts import Probes
from saywhy.training.concepts import counted, fit_probes, groups_of, with_classes
from saywhy.types import Vocabulary

DATA = ("birds", "aviary", "aviary-background", "table")
COLUMNS = ("probes", "said", "from p", "true %", "dealt %", "constant %", "base %")
TEACHING = (100, 200, 400)  # pictures, of what each costs
SCENES = 150  # of each kind, that are asked of
SEED = 4_000_000  # of scenes that are asked of
TWO = 2.0  # words a picture at which precisions are compared
FOLDS = 5  # of a table


def run(
    limit: int | None = None,
    *,
    data: Annotated[str, "birds, aviary, aviary-background, or table"] = "birds",
    table: Annotated[str | None, "A .csv or .parquet of picture,phrase[,there,class,group]."] = None,
    model: Annotated[str | None, "The classifier (default: the data's)."] = None,
    precision: Annotated[str, "Share of what is said that is to be true."] = "0.85",
) -> Report:
    """limit: pictures that are asked of at most. Raises SaywhyError where the data or the model is not here."""
    target = finite_number(precision, "--precision")
    if table is not None or data == "table":
        if table is None or model is None:
            raise SaywhyError("a table needs --table FILE and --model")
        return _table(Path(table), model, target, limit)
    if data not in DATA:
        raise unknown("data", data, DATA)
    return _birds(model, target, limit) if data == "birds" else _aviary(data, model, target, limit)


@final
@dataclass(frozen=True, eq=False)
class _Asked:
    """What probes know of N pictures and M phrases. chances: (N, M); NaN where nothing. sure: (N,) their threshold."""

    chances: np.ndarray
    sure: np.ndarray


def _birds(model: str | None, precision: float, limit: int | None) -> Report:
    from saywhy.classifiers.feature_cache import cached_features

    pack = find_pack()
    classifier = Classifier.load(model or f"timm:{pack / 'models' / 'mobilenetv2_inat_bird'}")
    every = read_phrases(pack / "cub-crops")
    features = cached_features(classifier, [Path(picture.name) for picture in every.pictures])
    names = sorted(set(every.classes or ()))
    label = np.array([names.index(name) for name in every.classes or ()])
    teaching, asked = np.arange(0, len(names), 2), np.arange(1, len(names), 2)
    asked = np.random.default_rng(0).permutation(asked)
    fresh = _evenly(label, asked, limit)

    def taught(rows: np.ndarray) -> Probes:
        part = every.take(rows)
        return fit_probes(features[rows], part, classifier.fingerprint, precision=precision, quiet=True)[0]

    def ask(parts: int) -> _Asked:
        """Of each part of the asked classes, probes that all other classes have taught."""
        chances, sure = np.full((len(fresh), every.there.shape[1]), np.nan), np.zeros(len(fresh))
        for part in np.array_split(asked, parts):
            others = np.setdiff1d(asked, part)
            probes = taught(_evenly(label, np.concatenate([teaching, others]), None))
            rows = np.isin(label[fresh], part)
            found = _ask(probes, features[fresh[rows]], every)
            chances[rows], sure[rows] = found.chances, found.sure
        return _Asked(chances, sure)

    about, probes = every.take(fresh), taught(_evenly(label, teaching, None))
    rows: list[dict[str, Any]] = []
    for parts in track((1, 3), "teaching", transient=True):
        found = _ask(probes, features[fresh], every) if parts == 1 else ask(parts)
        count = len(teaching) + len(asked) - -(-len(asked) // parts)
        rows += [_said(f"{count} classes", found, about, words) for words in (None, 1.0, TWO, 3.0, 5.0)]
    cost = []
    for count in TEACHING:
        found = _ask(taught(_evenly(label, teaching, count)), features[fresh], every)
        cost.append(_said(f"{count} pictures of 30 classes", found, about, TWO))
    kinds = _kinds(probes, features[fresh], about)
    return Report(
        "probes",
        f"{classifier.name}: attributes of birds of 30 classes, none of which taught or chose anything",
        COLUMNS,
        rows,
        {"precision": precision, "cannot tell": _lost(probes), "left out": len(probes.left_out)},
        [
            ("what they cost: pictures that teach", COLUMNS, cost),
            ("30 classes teach: by kind of attribute", tuple(kinds[0]), kinds),
        ],
    )


def _evenly(label: np.ndarray, classes: np.ndarray, most: int | None) -> np.ndarray:
    """The rows of the pictures of these classes, at most so many, from each class in turn."""
    rows = np.flatnonzero(np.isin(label, classes))
    if most is None or most >= len(rows):
        return rows
    order = np.random.default_rng(0).permutation(rows)
    turn = np.array([(label[order[:n]] == label[order[n]]).sum() for n in range(len(order))])
    return np.sort(order[np.argsort(turn, kind="stable")][:most])


def _aviary(data: str, model: str | None, precision: float, limit: int | None) -> Report:
    from saywhy.questions.names_and_defaults import resolve_seen
    from saywhy.questions.teaching import labelled_by
    from saywhy.spaces.clip import load_clip

    classifier = Classifier.load(model or f"world:{data}")
    kind = "species" if data == "aviary" else data.replace("aviary", "planted")
    teaching, mixed = read_scenes(f"world:{data}", kind, max(TEACHING), WORLD_SEED), read_phrases(f"world:{data}")
    count = min(SCENES, limit or SCENES)
    fresh = {name: read_scenes(f"world:{data}", name, count, SEED) for name in (kind, "random")}
    seen = {name: _features(classifier, part) for name, part in fresh.items()}
    features = _features(classifier, teaching)
    rows: list[dict[str, Any]] = []

    def tell(name: str, told: PhraseData, inputs: Tensor) -> Probes:
        probes, _ = fit_probes(inputs, told, classifier.fingerprint, precision=precision, quiet=True)
        for one, part in fresh.items():
            found = _ask(probes, seen[one], part)
            rows.extend(_said(f"{name}; of {one}", found, part, words) for words in (None, TWO))
        return probes

    for size in track(TEACHING, "teaching", transient=True):
        probes = tell(f"{size} scenes", teaching.take(np.arange(size)), features[:size])
    tell(f"{len(mixed)}, half random", mixed, _features(classifier, mixed))
    clip = load_clip("world:aviary")
    judge = resolve_seen(clip, teaching.vocabulary)
    labels = labelled_by(clip, teaching.pictures, classifier, teaching.vocabulary, judge, teaching.name)
    there = (labels.there == THERE) & (teaching.there != UNKNOWN)
    tell(f"{len(teaching)}, as CLIP says", labels, features)
    areas = {
        one: [area for area in _areas(probes, seen[one], part).values() if area is not None]
        for one, part in fresh.items()
    }
    return Report(
        "probes",
        f"{classifier.name}: what is drawn in {count} fresh scenes of {kind} and {count} of random plumage",
        COLUMNS,
        rows,
        {
            "precision": precision, "cannot tell": _lost(probes),
            "mean AUC": {one: float(np.mean(found)) for one, found in areas.items()},
            "CLIP's labels": {
                "true": float((teaching.there[there] == THERE).mean()), "a picture": float(there.sum() / len(teaching)),
                "calibrated": judge.calibration is not None,
            },
        },
    )  # fmt: skip


def _table(path: Path, model: str, precision: float, limit: int | None) -> Report:
    from saywhy.classifiers.feature_cache import cached_features

    classifier, data = Classifier.load(model), read_phrases(path, limit)
    features = cached_features(classifier, [Path(picture.name) for picture in data.pictures])
    data = with_classes(data, features, classifier)
    groups = groups_of(data)
    fold = (np.random.default_rng(1).permutation(int(groups.max()) + 1) % FOLDS)[groups]
    scores, chances = np.full((2, *data.there.shape), np.nan)
    sure = np.zeros(len(data))
    for n in track(range(FOLDS), "teaching", transient=True):
        rows, rest = np.flatnonzero(fold != n), np.flatnonzero(fold == n)
        probes, _ = fit_probes(features[rows], data.take(rows), classifier.fingerprint, precision=precision, quiet=True)
        found = _ask(probes, features[rest], data)
        chances[rest], sure[rest] = found.chances, found.sure
        scores[rest[:, None], _places(probes, data)] = probes.scores(features[rest]).numpy()
    whole, _ = fit_probes(features, data, classifier.fingerprint, precision=precision, quiet=True)
    asked = _Asked(chances, sure)
    name = f"{FOLDS} folds by {data.classes_are}"
    phrases = []
    for m, phrase in enumerate(data.vocabulary.phrases):
        there, absent = data.there[:, m] == THERE, data.there[:, m] == ABSENT
        spoken = (chances[:, m] >= sure) & (there | absent)
        area = roc_auc(scores[:, m], there, absent) if np.isfinite(scores[:, m]).all() else None
        phrases.append(
            {
                "phrase": phrase, "there": int(there.sum()), "absent": int(absent.sum()), "AUC": area,
                "said": int(spoken.sum()), "right": int((spoken & there).sum()),
            }
        )  # fmt: skip
    return Report(
        "probes",
        f"{classifier.name}: phrases of {path.name}, {len(data)} pictures",
        COLUMNS,
        [_said(name, asked, data, words) for words in (None, 1.0, TWO)],
        {"precision": precision, "cannot tell": _lost(whole), "left out": [list(one) for one in whole.left_out]},
        [("by phrase", tuple(phrases[0]), phrases)],
    )


def _ask(probes: Probes, features: Tensor, data: PhraseData) -> _Asked:
    """Of pictures with these features; data: whose phrases are asked for."""
    chances = np.full((len(features), data.there.shape[1]), np.nan)
    chances[:, _places(probes, data)] = probes.probabilities(probes.scores(features)).numpy()
    return _Asked(chances, np.full(len(features), probes.threshold))


def _places(probes: Probes, data: PhraseData) -> list[int]:
    return [data.vocabulary.phrases.index(phrase) for phrase in probes.phrases]


def _said(name: str, asked: _Asked, data: PhraseData, words: float | None) -> dict[str, Any]:
    """A row: what is said of pictures and whether it is true. words: how many a picture; None: from the thresholds."""
    gated = _one_each(np.nan_to_num(asked.chances, nan=-1.0), data.vocabulary)
    sure = asked.sure
    if words is not None:
        order = np.sort(gated[gated > 0])[::-1]
        sure = np.full(len(data), order[min(len(order), round(words * len(data))) - 1] if len(order) else np.inf)
    lists = [
        np.flatnonzero(row >= least)[np.argsort(-row[row >= least], kind="stable")].tolist()
        for row, least in zip(gated, sure, strict=True)
    ]
    told = counted(data)
    truth = np.where(told == UNKNOWN, np.nan, (told == THERE).astype(float))
    groups = groups_of(data)
    shares = {
        "true %": share_true(lists, truth, groups=groups), "dealt %": share_true(lists, truth, True, groups=groups),
        "constant %": share_true(constant(lists), truth, groups=groups),
    }  # fmt: skip
    row = {
        "probes": name, "said": round(sum(map(len, lists)) / max(len(lists), 1), 2),
        "from p": float(np.median(sure)) if np.isfinite(sure).any() else None,
        **{key: _percent(share) for key, share in shares.items()},
        "base %": round(100 * float(np.nanmean(truth[~np.isnan(asked.chances)])), 1),
    }  # fmt: skip
    return row | {key.replace(" %", ""): [s.value, s.low, s.high] for key, s in shares.items()}


def _percent(share: Interval) -> str | None:
    """ "87 [80, 91]" """
    value, low, high = (100 * number for number in (share.value, share.low, share.high))
    return None if np.isnan(value) else f"{value:.0f} [{low:.0f}, {high:.0f}]"


def _one_each(chances: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """(N, M) with -1 for all values of an attribute but the most probable, as the gate of claims has it."""
    gated = chances.copy()
    attributes = [vocabulary.attribute(m) for m in range(len(vocabulary))]
    for attribute in set(attributes) - {None}:
        columns = np.array([m for m, other in enumerate(attributes) if other == attribute])
        others = np.arange(len(columns)) != chances[:, columns].argmax(1)[:, None]
        gated[:, columns] = np.where(others, -1.0, chances[:, columns])
    return gated


def _areas(probes: Probes, features: Tensor, data: PhraseData) -> dict[int, float | None]:
    """Probe -> its AUC on these pictures; None where it cannot be told."""
    scores = probes.scores(features).numpy()
    told = data.there[:, _places(probes, data)]
    return {n: roc_auc(scores[:, n], told[:, n] == THERE, told[:, n] == ABSENT) for n in range(scores.shape[1])}


def _kinds(probes: Probes, features: Tensor, data: PhraseData) -> list[dict[str, Any]]:
    kinds: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for n, area in _areas(probes, features, data).items():
        if area is not None:
            kinds[probes.groups[n]].append((area, bool(probes.held[n])))
    return [
        {
            "kind": kind, "phrases": len(found), "held": sum(held for _, held in found),
            "AUC": float(np.mean([area for area, _ in found])),
        }
        for kind, found in sorted(kinds.items())
    ]  # fmt: skip


def _lost(probes: Probes) -> list[str]:
    unknown = {phrase for phrase, _ in probes.left_out}
    each = zip(probes.phrases, probes.held.tolist(), strict=True)
    return [phrase for phrase, held in each if not held and phrase not in unknown]


def _features(classifier: Classifier, data: PhraseData) -> Tensor:
    from saywhy.spaces.concepts import features_of

    return features_of(classifier, [picture.open() for picture in data.pictures])
