"""Does the decision rest on what a word says? Where the word is a colour, it is taken out of the picture.

A region that the decision rests on bears out no word of it: over words that are said of scenes of the aviary, how far
the logit falls without the region hardly tells whether it falls when the word is made false (docs/checks.md). So a
word's own place is changed, and nothing but what it says: pixels of the named colour lose their hue and keep their
lightness. The place is where the space sees this phrase, more than the others that are said of the picture: the
classifier whose decision is tested has no part in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from scipy.ndimage import gaussian_filter
from torch import Tensor

from saywhy.checks.edits import colour_of, has_hue, in_lab, of_colour, washed_out
from saywhy.checks.outcomes import Outcomes, of_logits, outcomes
from saywhy.checks.verdicts import LEAST, check_of, reasoned, untestable
from saywhy.classifiers.classifier import Classifier
from saywhy.types import BORNE_OUT, NOT_BORNE_OUT, NOT_TESTABLE, Check, Geometry

TOP = 0.08  # of the frame: where a phrase's map is highest
HELD = 0.1  # of the phrase's map: what its place must hold
SMOOTH = 0.016  # of the frame's shorter side: the deviation of the blur that evens out a map
FEWEST = 4  # pixels of a colour that can be changed
CHANGE = "with its colour washed out"
NO_COLOUR = "only words of a colour can be taken out of a picture"
NO_HUE = "black, white and grey have no hue that could be washed out"
NO_MAP = "the space does not say where the phrase is"
NO_TENSORS = "the network takes no pictures of known black and white, so nobody knows its colours"


@final
@dataclass(frozen=True, eq=False)
class Word:
    """A phrase that is said of a picture.

    heat: (h, w) where a space sees it, in the classifier's frame; None where nobody knows, and ``unknown`` says why.
    """

    text: str
    heat: np.ndarray | None = None
    unknown: str = NO_MAP


def untold(text: str) -> str:
    """Why a phrase cannot be tested, wherever it is; "" where it can."""
    colour = colour_of(text)
    if colour is None:
        return NO_COLOUR
    return "" if has_hue(colour) else NO_HUE


def check_words(
    classifier: Classifier,
    pixels: Tensor,
    targets: Sequence[int],
    words: Sequence[Sequence[Word]],
    *,
    logits: Tensor | None = None,
) -> list[list[Check]]:
    """For each of N pictures a check of each of its words: one pass a word that can be tested.

    pixels: (N, C, h, w), preprocessed. targets: N class indices. words: of each picture; whatever is known of where one
            is, says where the others are not.
    logits: (N, classes) of the pictures as they are; None: they are asked first.
    """
    if logits is None:
        logits = classifier.logits(pixels)
    before = of_logits(classifier, logits, targets)
    coloured = not classifier.takes_tensors and pixels.ndim == 4 and pixels.shape[1] == 3
    labs, places = list[np.ndarray | None](), list[list[np.ndarray | str]]()
    for image, said in zip(pixels, words, strict=True):
        asked = coloured and any(not untold(word.text) and word.heat is not None for word in said)
        labs.append(in_lab(image, classifier.pixel_range) if asked else None)
        places.append(_places(said, labs[-1], coloured))
    masks = [[place for place in each if isinstance(place, np.ndarray)] for each in places]

    def changed() -> Iterator[Tensor]:
        for image, lab, each in zip(pixels, labs, masks, strict=True):
            if lab is not None and each:
                yield from washed_out(image, lab, np.stack(each), classifier.pixel_range)

    after = outcomes(classifier, changed(), np.repeat(targets, [len(each) for each in masks]).tolist())
    results, done = [], 0
    for n, each in enumerate(places):
        own, checks = before[n : n + 1], []
        for place in each:
            if isinstance(place, str):
                checks.append(untestable(CHANGE, place, own))
            else:
                checks.append(_judged(own, after[done : done + 1]))
                done += 1
        results.append(checks)
    return results


def place_of(text: str, seen: np.ndarray, lab: np.ndarray, rivals: Sequence[np.ndarray] = ()) -> np.ndarray:
    """(h, w) bool: the pixels of the colour that a phrase names, in the TOP of its map, that are no rival's.

    None of them where they hold less than HELD of the map: then the phrase is not where its colour is.

    seen: (h, w) the phrase's map, by ``evened``. lab: (h, w, 3) the picture. rivals: such maps of other phrases.

    Raises ValueError for a phrase that names no colour.
    """
    colour = colour_of(text)
    if colour is None:
        raise ValueError(f"{text!r} names no basic colour")
    most = max(1, round(TOP * seen.size))
    place = (seen > 0) & (seen >= np.partition(seen.ravel(), -most)[-most]) & of_colour(lab, colour)
    for rival in rivals:
        place &= seen >= rival
    return np.asarray(place & (seen[place].sum() >= HELD))


def evened(heat: np.ndarray) -> np.ndarray:
    """The positive part of a map (h, w), evened out, of sum 1; all zero where nothing is positive."""
    positive = gaussian_filter(heat.clip(min=0).astype(np.float32), SMOOTH * min(heat.shape))
    return np.asarray(positive / max(positive.sum(), np.finfo(np.float32).tiny))


def reframed(heat: np.ndarray, frame: Geometry, onto: Geometry) -> np.ndarray:
    """A map (h, w) in one frame of a picture as it lies in another frame (h', w') of it; 0 beyond the first one.

    Each pixel has the value of the nearest.
    """
    index, inside = [], []
    for axis, length in ((1, heat.shape[0]), (0, heat.shape[1])):
        centre = onto.offset[axis] + onto.scale[axis] * (np.arange(onto.frame[axis]) + 0.5)
        at = np.floor((centre - frame.offset[axis]) / frame.scale[axis]).astype(int)
        inside.append((at >= 0) & (at < length))
        index.append(at.clip(0, length - 1))
    return np.where(inside[0][:, None] & inside[1], heat[np.ix_(*index)], 0)


def _places(words: Sequence[Word], lab: np.ndarray | None, coloured: bool) -> list[np.ndarray | str]:
    """Where each word of one picture can be taken out, or why it cannot."""
    seen = [None if word.heat is None or lab is None else evened(word.heat) for word in words]
    found: list[np.ndarray | str] = []
    for n, word in enumerate(words):
        own = seen[n]
        if reason := untold(word.text) or ("" if coloured else NO_TENSORS):
            found.append(reason)
        elif own is None or lab is None:
            found.append(word.unknown)
        else:
            place = place_of(word.text, own, lab, [one for m, one in enumerate(seen) if one is not None and m != n])
            enough = place.sum() >= FEWEST
            found.append(place if enough else f"no {colour_of(word.text)} is where the space sees it and nothing else")
    return found


def _judged(before: Outcomes, after: Outcomes) -> Check:
    check = check_of(CHANGE, before, after, passes=1)
    if check.verdict == NOT_TESTABLE:
        return check
    stands = check.effect >= LEAST * check.margin
    return reasoned(replace(check, verdict=BORNE_OUT if stands else NOT_BORNE_OUT))
