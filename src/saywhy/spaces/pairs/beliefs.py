"""What is believed of pictures: the best pairs, the likeliest category, and whether a rationale of it is there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from torch import Tensor

from saywhy.spaces.pairs.bank import Bank
from saywhy.spaces.pairs.ranking import Answer, Ranked, probabilities, rank, rank_with
from saywhy.spaces.pairs.scorer import PairScorer

FEATURES = ("unusual", "listed", "log-odds of the category", "log P(r)", "log P(c | r)", "log-odds, where listed")
"""What is known of a rationale that a category is chosen for: from it the probability is learned that it is there."""
_EDGE = 1e-6  # of probabilities


@final
@dataclass(frozen=True, eq=False)
class Belief:
    """Ranked pairs of n pictures, of each pair (n, K): P(r | I), P(c | r, I) and P(c | I), and (n,) the likeliest
    category."""

    ranked: Ranked
    rationales: np.ndarray
    given: np.ndarray
    categories: np.ndarray
    likeliest: np.ndarray


@final
@dataclass(frozen=True)
class ReasonChance:
    """How probable it is that a rationale which the likeliest category is chosen for is in the picture.

    weights:   of FEATURES, then the intercept of their log-odds.
    terms, k:  of the scoring, and of the best pairs, that it was fitted for.
    threshold: the probability from which a rationale is said; infinite where none is sure enough.
    basis:     what it rests on: "calibrated on 448 held-out pictures".
    """

    weights: tuple[float, ...]
    terms: tuple[str, ...]
    k: int
    threshold: float
    basis: str

    def there(self, rows: np.ndarray) -> np.ndarray:
        """(K,) probabilities of (K, F) rows."""
        *weights, intercept = self.weights
        return 1 / (1 + np.exp(-(rows @ np.array(weights) + intercept)))


def believe(images: Tensor, scorer: PairScorer[Bank], k: int, by_vote: bool = False) -> Belief:
    """What the scorer believes of (n, d) pictures: the k best pairs, or more, until the likeliest category has one.

    by_vote: no more than k. Errors as of ``rank``.
    """
    # Temperatures make probabilities right and, differing between terms, rankings worse than those that were measured.
    ranked = rank(images, scorer.plain, k)
    all_of = probabilities(images, scorer, ranked)
    likeliest = all_of.categories.argmax(1).numpy()
    if not by_vote and (longer := rank_with(images, scorer.plain, ranked, likeliest)) is not ranked:
        ranked, all_of = longer, probabilities(images, scorer, longer)
    return Belief(
        ranked,
        np.take_along_axis(all_of.rationales.numpy(), ranked.rationales, 1),
        all_of.given.numpy(),
        np.take_along_axis(all_of.categories.numpy(), ranked.categories, 1),
        likeliest,
    )


def reason_rows(answer: Answer, belief: Belief, n: int, unusual: Tensor, listed: Collection[int]) -> np.ndarray:
    """(reasons, F) FEATURES of what picture n's answer gives as its reasons.

    unusual: (R,) of the picture, ``standing_out``. listed: the category's own rationales.
    """
    at: Sequence[int] = answer.reasons
    named = belief.ranked.rationales[n, list(at)]
    sure = np.clip(belief.categories[n, list(at)].astype(float), _EDGE, 1 - _EDGE)
    odds = np.log(sure / (1 - sure))
    own = np.isin(named, list(listed)).astype(float)
    logs = [np.log(np.clip(of[n, list(at)].astype(float), _EDGE, 1)) for of in (belief.rationales, belief.given)]
    return np.stack([unusual.numpy()[named].astype(float), own, odds, *logs, own * odds], 1)
