"""Do true words come from the picture? Controls beside every figure of words, that keep all but the picture.

A precision of words says little by itself: most of it may be what is true of nearly every picture, or of the class.
So beside what a method says stand, with as many words for each picture:

- "dealt":    its words for another picture: what it knows of no picture in particular.
- "constant": the words it says most often, for every picture.
- "name":     the words nearest to the name of the predicted class, by a text encoder: what the name alone would say.
- "row":      the words nearest to the predicted class's row in the method's own space, without the picture.

Words are indices of M phrases, best first. Truth is (N, M): 1 true of a picture, 0 not, NaN where nobody knows; words
of which nobody knows are not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.intervals import Interval, interval_of, resampled

DEALS = 10  # to other pictures, over which "dealt" is averaged
Words = Sequence[Sequence[int]]  # of each picture


def partners(count: int, deals: int = DEALS, seed: int = 0, groups: np.ndarray | None = None) -> np.ndarray:
    """(deals, N): for each picture another one, each time anew; a picture that is alone has itself.

    groups: (N,) the class of each: another one is then one of another class, if there is any.
    """
    generator = np.random.default_rng(seed)
    if groups is not None and len(set(groups.tolist())) > 1:
        outside = [np.flatnonzero(groups != group) for group in groups]
        return np.stack([generator.choice(rows, deals) for rows in outside], 1)
    order = np.array([generator.permutation(count) for _ in range(deals)])
    others = np.empty_like(order)
    np.put_along_axis(others, order, np.roll(order, 1, axis=1), axis=1)
    return others


def constant(words: Words) -> list[list[int]]:
    """For each picture as many words as it has, of those that are said most often; of equals those said first."""
    said = [word for word, _ in Counter(word for some in words for word in some).most_common()]
    return [said[: len(some)] for some in words]


def of_classes(scores: Tensor, predicted: Sequence[int], words: Words) -> list[list[int]]:
    """For each picture as many words as it has, of those with the highest of its predicted class's (C, M) scores."""
    most = max((len(some) for some in words), default=0)
    best = scores.topk(min(most, scores.shape[1]), dim=1).indices.tolist()
    return [best[c][: len(some)] for c, some in zip(predicted, words, strict=True)]


def controls(
    words: Words,
    predicted: Sequence[int] | None = None,
    *,
    by_name: Tensor | None = None,
    by_row: Tensor | None = None,
) -> dict[str, list[list[int]]]:
    """Name -> the words of each control but "dealt", which ``share_true`` does.

    by_name, by_row: (C, M) scores of the phrases for each class, by its name and by its row; predicted: (N,) classes.
    """
    found = {"constant": constant(words)}
    for name, scores in (("name", by_name), ("row", by_row)):
        if scores is not None and predicted is not None:
            found[name] = of_classes(scores, predicted, words)
    return found


def share_true(words: Words, truth: np.ndarray, dealt: bool = False, groups: np.ndarray | None = None) -> Interval:
    """Of all words that are said, the share that is true, with its interval over pictures; NaN where none is known.

    dealt:  each picture's words are held against other pictures, DEALS of them.
    groups: (N,) the class of each picture: the interval is then over classes, and words are dealt to other classes.

    Raises SaywhyError where there are more or fewer pictures than rows of truth.
    """
    if len(words) != len(truth):
        raise SaywhyError(f"the words of {len(words)} pictures cannot be held against the truth of {len(truth)}")
    orders = partners(len(words), groups=groups) if dealt else np.arange(len(words))[None]
    true: np.ndarray = np.zeros(len(words))
    known: np.ndarray = np.zeros(len(words))
    for order in orders:
        for n, some in enumerate(words):
            of_word = truth[order[n], list(some)]
            true[n] += np.nansum(of_word)
            known[n] += np.isfinite(of_word).sum()
    if not known.sum():
        return Interval(np.nan, np.nan, np.nan)
    if groups is not None:
        places = np.unique(groups, return_inverse=True)[1]
        true, known = (np.bincount(places, values).astype(float) for values in (true, known))
    drawn = resampled(len(true), lambda weights: weights @ true / np.maximum(weights @ known, 1e-12))
    return interval_of(true.sum() / known.sum(), drawn)


def word_rows(words: Words, truth: np.ndarray, others: Mapping[str, Words]) -> list[dict[str, Any]]:
    """A row for the words as they are said, for the same dealt to other pictures, and for each control.

    others: of ``controls``. Columns: words, said a picture, true % with its interval.
    """
    held = {"as said": share_true(words, truth), "dealt": share_true(words, truth, dealt=True)}
    held |= {name: share_true(some, truth) for name, some in others.items()}
    count = sum(map(len, words)) / max(len(words), 1)
    return [{"words": name, "a picture": round(count, 2), "true %": _percent(share)} for name, share in held.items()]


def _percent(share: Interval) -> str | None:
    """ "87.1 [80.2, 91.0]" """
    low, value, high = (100 * number for number in (share.low, share.value, share.high))
    return None if np.isnan(value) else f"{value:.1f} [{low:.1f}, {high:.1f}]"
