"""Do answers of ``why`` rest on their rationales? Both tests of each reason, on close-ups of the aviary.

Beside the reasons that were given: rationales drawn at random, and those of another picture of the same category (of
any other, where there is none), put to the same tests. A test that claims these as often says nothing of the reasons.
"""

from __future__ import annotations

from time import perf_counter
from typing import Annotated, Any

import numpy as np
from rich.progress import track

from saywhy.bench import Report
from saywhy.bench.ecor.study import KNOWN
from saywhy.intervals import proportion
from saywhy.questions.options import NO_MAPS, WhyOptions
from saywhy.questions.why import use_of_reasons, why_pictures
from saywhy.spaces.clip import load_clip
from saywhy.spaces.pairs.on_disk import build_bank
from saywhy.spaces.pairs.scorer import PairScorer
from saywhy.types import BORNE_OUT, NOT_TESTABLE, RationaleUse
from saywhy.words.rationale_words import RationaleWords, spoken
from saywhy.worlds.closeups import closeups, rationale_lists

PICTURES = 112
TIMED = 16


def run(limit: int | None = None, space: Annotated[str, "A CLIP of the aviary."] = "world:aviary/captioned") -> Report:
    """A row for the reasons that are given, and one for each control. limit: pictures."""
    clip = load_clip(space)
    lists = rationale_lists(KNOWN)
    phrases = tuple(dict.fromkeys(phrase for some in lists.values() for phrase in some))
    words = RationaleWords(
        tuple(spoken(name) for name in KNOWN), phrases,
        tuple(tuple(phrases.index(phrase) for phrase in some) for some in lists.values()),
    )  # fmt: skip
    bank = build_bank(clip, words)
    scenes = closeups(KNOWN, min(limit or PICTURES, PICTURES), "test")
    images = [(str(n), scene.image) for n, scene in enumerate(scenes)]
    plain = WhyOptions(method=NO_MAPS, checks="none")
    answers = list(why_pictures(images, clip, words, bank, plain))
    categories = [words.categories.index(answer.category) for answer in answers]
    given = [[phrases.index(reason.rationale) for reason in answer.reasons] for answer in answers]
    rng = np.random.default_rng(0)
    asked = {
        "the reasons given": given,
        "random rationales": [rng.choice(len(phrases), len(some), replace=False).tolist() for some in given],
        "another picture's reasons": [_others(n, categories, given) for n in range(len(given))],
    }
    scorer = PairScorer(pairs=bank, scoring=plain.scoring, scale=clip.scale)
    right = [KNOWN.index(scene.species) == category for scene, category in zip(scenes, categories, strict=True)]
    rows = []
    for which, rationales in asked.items():
        uses = [
            use_of_reasons(image, category, named, clip, scorer)
            for (_, image), category, named in track(
                list(zip(images, categories, rationales, strict=True)), which, transient=True
            )
        ]
        rows.append({"rationales": which} | _row(uses, right))
    times = {}
    for checks in ("none", "fast"):
        start = perf_counter()
        list(why_pictures(images[:TIMED], clip, words, bank, WhyOptions(checks=checks)))
        times[checks] = (perf_counter() - start) / min(TIMED, len(images))
    cost = {f"seconds a picture, checks {name}": time for name, time in times.items()}
    return Report(
        "reasons",
        f"percent of reasons that the answer rests on ({len(images)} close-ups, {sum(right)} with the right category)",
        ("rationales", "reasons", "borne out", "low", "high", "not testable", "text alone", "picture alone",
         "of first reasons", "where right"),
        rows,
        cost | {"times": times["fast"] / times["none"]},
    )  # fmt: skip


def _others(n: int, categories: list[int], given: list[list[int]]) -> list[int]:
    """The reasons of the next picture with the same category, else of the next picture; as many as n's."""
    order = [(n + step) % len(given) for step in range(1, len(given))] or [n]
    other = next((m for m in order if categories[m] == categories[n]), order[0])
    return [given[other][k % len(given[other])] for k in range(min(len(given[n]), len(given[other])))]


def _row(uses: list[list[RationaleUse]], right: list[bool]) -> dict[str, Any]:
    every = [use for some in uses for use in some]
    held = [use.verdict == BORNE_OUT for use in every]
    share = proportion(sum(held), len(held))
    of_right = [use.verdict == BORNE_OUT for some, hit in zip(uses, right, strict=True) for use in some if hit]

    def percent(values: list[bool]) -> float | None:
        return round(100 * float(np.mean(values)), 1) if values else None

    return {
        "reasons": len(every), "borne out": 100 * share.value, "low": 100 * share.low, "high": 100 * share.high,
        "not testable": percent([use.verdict == NOT_TESTABLE for use in every]),
        "text alone": percent([use.text.verdict == BORNE_OUT for use in every]),
        "picture alone": percent([use.picture.verdict == BORNE_OUT for use in every]),
        "of first reasons": percent([some[0].verdict == BORNE_OUT for some in uses]), "where right": percent(of_right),
    }  # fmt: skip
