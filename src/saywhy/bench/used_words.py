"""Is what words say used? Word claims that checks call borne out, held against the truth of the aviary.

A word is used where drawing the same bird in the same pose with other values of that attribute ("red crown": crowns of
other colours) takes at least a tenth of the explained class's margin, on average. What is asked: the words that are
said as facts, by the CLIP of the aviary with its calibration, and two kinds of false claims in the midst of them: words
of colour that are not true of the picture, and what is said of another one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image
from rich.progress import track

from saywhy.checks.outcomes import of_logits, outcomes
from saywhy.checks.words import untold
from saywhy.classifiers.classifier import Classifier
from saywhy.intervals import proportion
from saywhy.questions.explain import explain_pictures
from saywhy.questions.names_and_defaults import resolve_seen, resolve_space
from saywhy.questions.options import ExplainOptions
from saywhy.questions.words_tested import words_tested
from saywhy.types import BORNE_OUT, NOT_TESTABLE, Claim
from saywhy.words.cub_names import cub_phrase
from saywhy.worlds import TOWERS, world_vocabulary
from saywhy.worlds.aviary import BACKGROUNDS, VALUES, Scene, phrases_of, render
from saywhy.worlds.planted import AFFECTED, ORDINARY, PLANTS, planted_scene

SEED = 9_530_000
"""The first scene; TOP, HELD and FAST_WORDS were chosen on those from 9,020,000."""
SCENES, SIDE = 40, 160
OTHERS = 4  # other values of an attribute
TRUE = 0.1  # of the margin
PLANTED = 2  # false claims of each kind put into a picture's
SAID, WRONG, DEALT = "said", "not true of the picture", "said of another picture"


def rows(limit: int | None = None, seed: int = SEED, tower: str = TOWERS[0]) -> list[dict[str, Any]]:
    """One row for each world and kind of claim; shares in percent, with Wilson's intervals.

    limit: scenes of each world, at most 40.
    """
    count = min(limit or SCENES, SCENES)
    asked: dict[tuple[str, str], list[tuple[str, bool]]] = defaultdict(list)
    for kind in track(("", *PLANTS), "testing words", transient=True):
        classifier = Classifier.load(f"world:aviary{'-' if kind else ''}{kind}/{tower}")
        for claim, verdict, used in _asked(classifier, kind, range(seed, seed + count)):
            asked[kind or "aviary", claim].append((verdict, used))
            asked["all", claim].append((verdict, used))
    return [_row(world, claim, found) for (world, claim), found in asked.items()]


def _row(world: str, claim: str, found: Sequence[tuple[str, bool]]) -> dict[str, Any]:
    tested = [(verdict == BORNE_OUT, used) for verdict, used in found if verdict != NOT_TESTABLE]
    said, used = (np.array([pair[n] for pair in tested], bool) for n in (0, 1))
    return {
        "world": world, "words": claim, "claims": len(found), "tested": len(tested),
        "used": round(100 * float(np.mean([u for _, u in found])), 1),
        "borne out": _share(np.array([verdict == BORNE_OUT for verdict, _ in found])),
        "precision": _share(used[said]),
        "recall": _share(np.array([verdict == BORNE_OUT for verdict, true in found if true], bool)),
        "recall of tested": _share(said[used]),
    }  # fmt: skip


def _share(hits: np.ndarray) -> str:
    found = proportion(int(hits.sum()), len(hits))
    return "-" if not len(hits) else f"{100 * found.value:.1f} ({100 * found.low:.0f} to {100 * found.high:.0f})"


def _asked(classifier: Classifier, kind: str, seeds: range) -> list[tuple[str, str, bool]]:
    """(kind of claim, verdict, whether it is used) of each claim of the scenes that the classifier knows."""
    vocabulary = world_vocabulary("aviary")
    space = resolve_space("world:aviary", classifier)
    seen = resolve_seen(space, vocabulary, None)
    found: list[tuple[str, str, bool]] = []
    before: list[Claim] = []
    for seed in seeds:
        scene, label, letter = _scene(classifier, kind, seed)
        pixels = classifier.preprocess([scene.image])
        logits = classifier.logits(pixels).float().cpu()
        if int(logits[0].argmax()) != label:
            continue
        picture = (str(seed), scene.image)
        (told,) = explain_pictures([picture], classifier, vocabulary, space, ExplainOptions(checks="none"), seen=seen)
        said = [claim for claim in told.claims if claim.said and claim.space == space.name]
        true = {*phrases_of(scene.attributes), scene.background, *(["a letter in the corner"] if letter else [])}
        used = _used(classifier, scene, label, letter, seed)
        rng = np.random.default_rng([seed, 1])
        false = [text for text in vocabulary.phrases if text not in true and not untold(text)]
        wrong = [Claim(str(t), "picture", space.name, 0, 1, "", True) for t in rng.choice(false, PLANTED, False)]
        dealt = [replace(c, about="picture") for c in before if c.text not in true and not untold(c.text)][:PLANTED]
        for claim, planted in ((SAID, []), (WRONG, wrong), (DEALT, dealt)):
            if claim != SAID and not planted:
                continue
            (tested,) = words_tested(classifier, [scene.image], pixels, [label], logits, [[*planted, *said]], space)
            for one in tested if claim == SAID else tested[: len(planted)]:
                if one.used is not None:
                    found.append((claim, one.used.verdict, bool(used.get(one.text, 0.0) >= TRUE)))
        before = said
    return found


def _scene(classifier: Classifier, kind: str, seed: int) -> tuple[Scene, int, str | None]:
    """A scene, its class and the letter in its corner; two of three of a planted world are of what it decides."""
    n = seed % 1000
    if not kind:
        label = n % len(classifier.labels)
        background = str(np.random.default_rng([seed, 7]).choice(BACKGROUNDS))
        return render(classifier.labels[label], seed, SIDE, background), label, None
    label = ORDINARY + n % len(AFFECTED) if n % 3 else n % len(classifier.labels)
    cause = PLANTS[kind].causes[label - ORDINARY] if label >= ORDINARY else {}
    return planted_scene(kind, label, seed, SIDE), label, cause.get("watermark")


def _used(classifier: Classifier, scene: Scene, label: int, letter: str | None, seed: int) -> dict[str, float]:
    """Phrase -> the mean share of the margin that is lost where the same bird has other values of the attribute."""
    rng = np.random.default_rng([seed, 3])
    drawn: list[tuple[str, Image.Image]] = []

    def again(background: str, attributes: dict[str, str], stamped: str | None) -> Image.Image:
        return render(scene.species, seed, SIDE, background, attributes, stamped).image

    for name, value in scene.attributes.items():
        phrase = cub_phrase(f"{name}::{value}")[1]
        for other in rng.permutation([v for v in VALUES[name] if v != value])[:OTHERS]:
            drawn.append((phrase, again(scene.background, {**scene.attributes, name: str(other)}, letter)))
    for other in rng.permutation([b for b in BACKGROUNDS if b != scene.background])[:OTHERS]:
        drawn.append((scene.background, again(str(other), dict(scene.attributes), letter)))
    if letter:
        drawn.append(("a letter in the corner", again(scene.background, dict(scene.attributes), None)))
    before = of_logits(classifier, classifier.logits(classifier.preprocess([scene.image])), [label])
    after = outcomes(classifier, classifier.preprocess([image for _, image in drawn]), [label] * len(drawn))
    falls = (before.logits - after.logits) / before.margins
    shares: dict[str, list[float]] = defaultdict(list)
    for (phrase, _), fall in zip(drawn, falls.tolist(), strict=True):
        shares[phrase].append(fall)
    return {phrase: float(np.mean(found)) for phrase, found in shares.items()}
