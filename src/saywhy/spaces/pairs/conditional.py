"""P(c | r, I) of pictures that each come with one rationale: the C texts of that rationale are gathered.

For all rationales at once ``ranking.log_joint`` sweeps over the whole bank instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from saywhy.spaces.pairs.bank import Bank, WordBank
from saywhy.spaces.pairs.scorer import PairScorer

ROWS = 4096  # pictures scored against the C texts of one rationale at once
Groups = Sequence[tuple[Tensor, Tensor]]
"""Of each distinct rationale: (), which it is, and (n,), the rows that it is of."""


def conditional_scores(
    images: Tensor,
    scorer: PairScorer[WordBank],
    rationales: Tensor,
    *,
    of: Tensor | None = None,
    of_category: Tensor | None = None,
    track: Callable[[Groups], Iterable[tuple[Tensor, Tensor]]] = iter,
) -> Iterator[tuple[Tensor, Tensor]]:
    """(rows, (n, C) scores of every category because of the rationale), until each of M rows was given once.

    The scores are the sum of all terms that name a category; their softmax over the categories is P(c | r, I). One
    distinct rationale after the other, so that its C texts are gathered once. A scorer that asks for no pairs gives the
    same whatever the rationale.

    images:      (N, d) unit vectors.
    rationales:  (M,) indices, one for each row.
    of:          (M,) which of the images each row is about; None: the rows are the images.
    of_category: (N, C) ``category_scores`` of the images, where they are there; else they are computed on the way.
    track:       iterates over the distinct rationales, and may show progress.
    """
    count = len(scorer.bank.categories)
    everything = torch.arange(count)
    for rationale, group in track(_by_rationale(rationales)):
        named = rationale.expand(count)
        gathered = [(factor, bank.pairs(everything, named)) for factor, bank in scorer.of_pairs]
        for rows in group.split(ROWS):
            shown = rows if of is None else of[rows]
            pictures = images[shown]
            scores = category_scores(pictures, scorer) if of_category is None else of_category[shown]
            for factor, texts in gathered:
                scores += factor * pictures @ texts.T
            yield rows, scores


def category_scores(images: Tensor, scorer: PairScorer[Bank]) -> Tensor:
    """(N, C) the category's term of (N, d) pictures; zeros where it is not asked."""
    if "category" not in scorer.factors:
        return images.new_zeros(len(images), len(scorer.bank.categories))
    return scorer.factors["category"] * images @ scorer.bank.categories.T


def _by_rationale(rationales: Tensor) -> Groups:
    order = rationales.argsort(stable=True)
    distinct, counts = rationales[order].unique_consecutive(return_counts=True)
    return list(zip(distinct, order.split(counts.tolist()), strict=True)) if len(order) else []
