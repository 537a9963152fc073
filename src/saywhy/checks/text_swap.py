"""Is the rationale used? What the text scores with another rationale in its place."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from saywhy.checks.belief import ROUNDING, check_asked, scores_of_category
from saywhy.checks.masking import check_draws
from saywhy.errors import SaywhyError
from saywhy.spaces.pairs.bank import WordBank
from saywhy.spaces.pairs.scorer import PairScorer
from saywhy.words.rationale_words import RationaleWords


@final
@dataclass(frozen=True, eq=False)
class TextSwap:
    """What happened to N named categories when their rationales were swapped for absent ones; NaN where it was not.

    drops:   (N, draws) fall of log P(c | r, I) from the rationale that was named to the one put in its place.
    losses:  (N, draws) places that the category lost among the C; below 0 where it gained.
    swapped: (N, draws) int64, what was put in its place; -1 for nothing.
    """

    drops: Tensor
    losses: Tensor
    swapped: Tensor

    @property
    def used(self) -> Tensor:
        """(N,) float: 1 where P(c | r, I) is above P(c | r', I) for every r' that was tried, else 0; NaN for none.

        Where r is to the category no more than any absent one it is the highest of n + 1 with chance 1 / (n + 1), at
        most: what draws level, up to rounding, is not above. That is the chance of a rationale that was named without
        regard to the score of its pair. One that was named for that score is above others for having been chosen: what
        that makes is the share for rationales that were named for other pictures of the same category.
        """
        above = ((self.drops > ROUNDING) | self.drops.isnan()).all(1).to(self.drops.dtype)
        return torch.where(self._tried > 0, above, torch.nan)

    @property
    def chance(self) -> Tensor:
        """(N,) what chance gives for ``used``, at most: 1 / (n + 1) with the n rationales that were tried."""
        return torch.where(self._tried > 0, 1 / (self._tried + 1), torch.nan)

    @property
    def _tried(self) -> Tensor:
        return (self.swapped >= 0).sum(1)


def absent_rationales(
    words: RationaleWords, categories: Sequence[int], true: Sequence[Collection[int]]
) -> list[np.ndarray]:
    """For each of N pictures the rationales that may be taken for absent: candidates of ``text_swap``, in order.

    Neither true of the picture, nor on the list of its (true) category: what is on the list may be in view though
    nobody noted it. Of rationales that stand for several things, none of them may be.

    Raises SaywhyError for different numbers of pictures.
    """
    if len(categories) != len(true):
        raise SaywhyError(f"{len(categories)} categories for {len(true)} sets of true rationales; give one for each")
    several = words.several or {}
    members = [set(several.get(r, (name,))) for r, name in enumerate(words.rationales)]
    made: dict[tuple[int, frozenset[int]], np.ndarray] = {}  # pictures of a pair are many, and share what is absent
    candidates = []
    for category, shown in zip(categories, true, strict=True):
        key = int(category), frozenset(int(r) for r in shown)
        if key not in made:
            present = set().union(*(members[r] for r in {*key[1], *words.lists[key[0]]}))
            absent = [r for r, things in enumerate(members) if not things & present]
            made[key] = np.array(absent, np.int32)
        candidates.append(made[key])
    return candidates


@torch.no_grad()
def text_swap(
    images: Tensor,
    scorer: PairScorer[WordBank],
    categories: Tensor,
    rationales: Tensor,
    absent: Sequence[Collection[int] | np.ndarray],
    draws: int = 8,
    seed: int = 0,
) -> TextSwap:
    """Swap the rationale in the text for absent ones, and see whether the category falls.

    images:     (N, d) unit vectors.
    categories: (N,) the category that was named. rationales: (N,) the rationale; -1: none was, nothing is tested.
    absent:     N sets of candidates; see ``absent_rationales``. The named one is never put in its own place.
    draws:      candidates tried for a picture, each once; fewer where there are fewer.
    seed:       a picture's draw depends on it, on the picture's place and on its candidates alone, so that methods that
                named the same rationale are put to the same test.

    Raises SaywhyError as ``log_conditional``, and for draws below 1.
    """
    check_asked(images, scorer, categories, rationales, none=True)
    if len(absent) != len(images):
        raise SaywhyError(f"{len(absent)} sets of absent rationales for {len(images)} pictures; give one for each")
    check_draws(draws)
    asked, count = torch.full((len(images), 1 + draws), -1), len(scorer.bank.words.rationales)
    for n, (named, others) in enumerate(zip(rationales.tolist(), absent, strict=True)):
        candidates = np.array(sorted({int(r) for r in others} - {named}), np.int64)
        if len(candidates) and not 0 <= candidates[0] <= candidates[-1] < count:
            raise SaywhyError(
                f"absent rationales of picture {n} run from {candidates[0]} to {candidates[-1]}; the bank has "
                f"{count}, counted from 0"
            )
        if named < 0 or not len(candidates):
            continue
        chosen = np.random.default_rng([seed, n]).permutation(candidates)[:draws]
        asked[n, 0] = named
        asked[n, 1 : 1 + len(chosen)] = torch.as_tensor(chosen)
    named_any = asked >= 0
    logs, ranks = scores_of_category(images, named_any.nonzero()[:, 0], scorer, categories, asked[named_any])
    log, rank = images.new_full((2, *asked.shape), torch.nan)
    log[named_any], rank[named_any] = logs, ranks
    return TextSwap(log[:, :1] - log[:, 1:], rank[:, 1:] - rank[:, :1], asked[:, 1:])
