"""Is it there? Words that are said as facts of fresh scenes of the aviary, held against what is drawn.

Beside them stand, with as many words for each picture: the same words dealt to other pictures, the words said most
often, and the phrases with the highest base rates ("base rates": no picture is looked at); and what was said before
there were calibrations: of each look the first three words that stand out by two standard deviations or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
from rich.progress import track

from saywhy.bench import Report
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.intervals import interval_of, resampled
from saywhy.metrics.word_controls import constant, share_true, word_rows
from saywhy.questions.calibrate import SIDE, evidence_of
from saywhy.questions.labels import nearest
from saywhy.questions.names_and_defaults import resolve_seen, resolve_space
from saywhy.questions.options import BATCH, ExplainOptions
from saywhy.seen.calibration import Calibration, bins
from saywhy.seen.evidence import Evidence
from saywhy.seen.fitting import gated
from saywhy.seen.gate import Seen, claims_of
from saywhy.spaces.similarity import UNUSUAL
from saywhy.types import Claim, Vocabulary
from saywhy.worlds import world_vocabulary
from saywhy.worlds.scenes import draw, facts_of

PICTURES = 300
SEED = 7_000_000
"""The first scene of species; those of random plumage follow 100,000 later. Nothing was chosen on them."""
SPACES = ("world:aviary", "world:aviary/vit")
KINDS = {"species": SEED, "random": SEED + 100_000}
BINS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 1.0)


def run(
    limit: int | None = None,
    model: Annotated[str, "The classifier that is explained."] = "world:aviary",
    space: Annotated[str | None, "world:aviary or world:aviary/vit (default: both)."] = None,
    calibration: Annotated[str | None, "A file instead of the shipped one; with --space."] = None,
) -> Report:
    """A row for what is said and for each control, by space and kind of scene.

    limit: scenes of each kind, at most 300.

    Raises SaywhyError for a space without a calibration.
    """
    count = min(limit or PICTURES, PICTURES)
    classifier, vocabulary = Classifier.load(model), world_vocabulary("aviary")
    rows: list[dict[str, Any]] = []
    by_look: list[dict[str, Any]] = []
    reliable: list[dict[str, Any]] = []
    for kind, first in KINDS.items():
        seeds = range(first, first + count)
        images = [
            (str(seed), draw(kind, seed, SIDE)[0].image) for seed in track(seeds, f"drawing {kind}", transient=True)
        ]
        facts = [facts_of(kind, seed) for seed in seeds]
        truth = np.array([[phrase in true for phrase in vocabulary.phrases] for true in facts], float)
        for name in [space] if space else SPACES:
            opinion = resolve_space(name, classifier)
            seen = resolve_seen(opinion, vocabulary, calibration)
            if not isinstance(seen.calibration, Calibration):
                raise SaywhyError(f"the space {name} has no calibration for the vocabulary world:aviary")
            found: list[Evidence] = []
            for start in track(range(0, count, BATCH), f"looking at {kind}", transient=True):
                batch = images[start : start + BATCH]
                found += evidence_of(batch, classifier, vocabulary, opinion, ExplainOptions(), seen.shifts)
            claims = [_claims(one, seen, opinion.name) for one in found]
            rows += _said({"space": name, "scenes": kind}, claims, found, seen.calibration, vocabulary, truth)
            by_look += _by_look({"space": name, "scenes": kind}, claims, vocabulary, truth)
            there = np.stack([seen.calibration.there(one).numpy() for one in found])
            reliable += _reliability({"space": name, "scenes": kind}, there, truth)
    return Report(
        "seen",
        f"words said of {count} fresh scenes of each kind, regions of {classifier.name}: percent true [over pictures]",
        ("space", "scenes", "words", "a picture", "true %"),
        rows,
        {"model": model, "first seeds": KINDS},
        more=[
            ("by look", ("space", "scenes", "look", "words", "true %"), by_look),
            ("reliability", ("space", "scenes", "p", "pairs", "mean p", "true"), reliable),
        ],
    )


def _claims(evidence: Evidence, seen: Seen, space: str) -> list[Claim]:
    looks = (None, *range(len(evidence.cosines) - 1))
    return [c for c in claims_of(evidence, nearest(evidence, space, regions=looks, top=3), seen) if c.said]


def _said(
    about: dict[str, Any],
    claims: Sequence[Sequence[Claim]],
    found: Sequence[Evidence],
    calibration: Calibration,
    vocabulary: Vocabulary,
    truth: np.ndarray,
) -> list[dict[str, Any]]:
    place = {phrase: m for m, phrase in enumerate(vocabulary.phrases)}
    words = [[place[claim.text] for claim in some] for some in claims]
    prior = np.nan_to_num(calibration.pooling.prior, nan=0.0)
    first = gated(prior[None], 0.0, calibration.pooling.rivals)[0]
    likeliest = sorted(np.flatnonzero(first).tolist(), key=lambda m: -prior[m])
    others = {"constant": constant(words), "base rates": [likeliest[: len(some)] for some in words]}
    rows = word_rows(words, truth, others)
    before = [_before(one) for one in found]
    share = share_true(before, truth)
    rows.append(
        {
            "words": "2 sd, top three",
            "a picture": round(sum(map(len, before)) / len(before), 2),
            "true %": _percent(share.value, share.low, share.high),
        }
    )
    return [about | row for row in rows]


def _before(evidence: Evidence) -> list[int]:
    """What was said without a calibration: of each look the first three phrases, where they stand out."""
    best = evidence.unusual.topk(3, dim=1)
    kept = best.indices[best.values >= UNUSUAL].tolist()
    return list(dict.fromkeys(kept))


def _by_look(
    about: dict[str, Any], claims: Sequence[Sequence[Claim]], vocabulary: Vocabulary, truth: np.ndarray
) -> list[dict[str, Any]]:
    place = {phrase: m for m, phrase in enumerate(vocabulary.phrases)}
    rows = []
    for look in sorted({claim.about for some in claims for claim in some}):
        words = [[place[claim.text] for claim in some if claim.about == look] for some in claims]
        share = share_true(words, truth)
        count = sum(map(len, words))
        rows.append(about | {"look": look, "words": count, "true %": _percent(share.value, share.low, share.high)})
    return rows


def _reliability(about: dict[str, Any], there: np.ndarray, truth: np.ndarray) -> list[dict[str, Any]]:
    """Of bins of probability: the mean of it, and the share that is there with its interval over pictures."""
    rows = []
    for low, high in pairwise(BINS):
        inside = (there >= low) & ((there < high) | ((high == 1) & (there <= 1)))
        if not inside.any():
            continue
        true, count = (truth * inside).sum(1), inside.sum(1)
        share = interval_of(
            true.sum() / count.sum(),
            resampled(len(truth), lambda w, t=true, c=count: (w @ t) / np.maximum(w @ c, 1e-12)),  # type: ignore[misc]
        )
        rows.append(
            about
            | {
                "p": f"{low:g} to {high:g}",
                "pairs": int(count.sum()),
                "mean p": round(float(there[inside].mean()), 3),
                "true": f"{share.value:.3f} [{share.low:.3f}, {share.high:.3f}]",
            }
        )
    known = ~np.isnan(there)
    error = bins(there[known], truth[known]).ece
    return [*rows, about | {"p": "calibration error", "pairs": int(known.sum()), "mean p": round(error, 4), "true": ""}]


def _percent(value: float, low: float, high: float) -> str | None:
    return None if np.isnan(value) else f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
