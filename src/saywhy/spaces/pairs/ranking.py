"""Rationales first, then the category: how pairs of both are scored, ranked and voted on for a picture (ECOR).

s_r, s_c and s_cr are the cosines of a picture with the texts of a rationale, a category and both, times CLIP's scale.
ECOR ranks all C x R pairs by s_r + s_cr (eq. 11); its ablations and its predecessors are other sums of such terms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.spaces.pairs.bank import Bank
from saywhy.spaces.pairs.scorer import PairScorer
from saywhy.spaces.pairs.search import streaming_top_k
from saywhy.types import Space
from saywhy.words.rationale_words import RationaleWords

IMAGES = 512  # pictures ranked in one sweep of the bank
COLUMNS = 2**16  # texts in a block: with IMAGES, 128 MiB of scores


def columns_for(pictures: int) -> int:
    """How many texts to score at once, so that the scores of so many pictures stay as many as those of IMAGES."""
    return max(1, COLUMNS * IMAGES // max(IMAGES, pictures))


@final
@dataclass(frozen=True, eq=False)
class Probabilities:
    """What a scoring believes of N pictures; each of P(r | I), P(c | r, I) and P(c | I) sums to one.

    rationales: (N, R) P(r | I): softmax of the rationales' term; of a scoring without it, the sum over c of the softmax
                of all scores.
    categories: (N, C) P(c | I), the sum over r of P(r | I) P(c | r, I).
    given:      (N, K) P(c | r, I) of the pairs that were asked about: the softmax over c of the score.
    """

    rationales: Tensor
    categories: Tensor
    given: Tensor


@final
@dataclass(frozen=True)
class Answer:
    """What was decided for one picture. Pairs are given by their place in the ranking, 0 for the best.

    category:     index. voted: that with most of the first k pairs; on a tie, the better ranked.
    reasons:      of the first k, the pairs with the category; its best pair, where it has none among them.
    alternatives: the other pairs of the first k.
    """

    category: int
    voted: int
    reasons: tuple[int, ...]
    alternatives: tuple[int, ...]


@final
@dataclass(frozen=True, eq=False)
class Shortlist:
    """A small bank of one picture's most likely categories and rationales, best first; satisfies ``Bank``.

    category_indices, rationale_indices: (K,), (M,) what they are among all.
    texts: (K, M, d) of the pairs. inverse: a shortlist of the same with the texts the other way round.
    """

    category_indices: Tensor
    rationale_indices: Tensor
    categories: Tensor
    rationales: Tensor
    texts: Tensor
    inverse: Shortlist | None = None

    def blocks(self, columns: int = COLUMNS) -> Iterator[tuple[int, Tensor]]:
        """All of it in one block, whatever the columns: it is small."""
        yield 0, self.texts

    def named(self, ranked: Ranked) -> Ranked:
        """A ranking on this bank with the indices that categories and rationales have among all."""
        categories, rationales = self.category_indices.numpy(), self.rationale_indices.numpy()
        return Ranked(categories[ranked.categories], rationales[ranked.rationales], ranked.scores)


# -- ranking ----------------------------------------------------------------------------------------------------------


def rank(images: Tensor, scorer: PairScorer[Bank], k: int) -> Ranked:
    """The k best of all C x R pairs for each picture, exactly; of equal scores the first category, then rationale.

    images: (N, d) unit vectors. k: at most C * R.

    The bank is read in blocks, once for every IMAGES pictures, and twice for the conditional "category". Memory: three
    times the scores of IMAGES pictures and one block (COLUMNS texts, or one category's), that block as float32, and R
    and C scores a picture. Scores are log-probabilities up to a constant for each picture. They come from products of
    matrices whose last bits depend on their shapes: pairs that differ by less may change places.

    Raises SaywhyError for vectors of another length than the bank's, a k that is out of range, and scores that are not
    finite.
    """
    pairs = len(scorer.bank.categories) * len(scorer.bank.rationales)
    if not 1 <= k <= pairs:
        raise SaywhyError(f"k must be between 1 and {pairs}, the pairs of category and rationale; it is {k}")
    groups = [_ranked(group, scorer, k) for group in _groups(images, scorer.bank)]
    scores, places = (torch.cat(parts) for parts in zip(*groups, strict=True))
    if not torch.isfinite(scores).all():
        raise SaywhyError("scores of pictures and texts are not finite; the space's weights or the bank are damaged")
    indices, width = places.numpy(), len(scorer.bank.rationales)
    return Ranked(indices // width, indices % width, scores.numpy())


def rank_with(images: Tensor, scorer: PairScorer[Bank], ranked: Ranked, categories: np.ndarray) -> Ranked:
    """The ranking, made longer until each picture has a pair of its own category in it.

    categories: (N,) indices. Each doubling sweeps over the bank once. Arguments and errors as of ``rank``.
    """
    pairs = len(scorer.bank.categories) * len(scorer.bank.rationales)
    while not (ranked.categories == categories[:, None]).any(1).all():
        ranked = rank(images, scorer, min(pairs, 2 * ranked.categories.shape[1]))
    return ranked


def probabilities(images: Tensor, scorer: PairScorer[Bank], ranked: Ranked) -> Probabilities:
    """What the scoring believes of pictures that were ranked, whichever of its conditionals they were ranked by.

    images: (N, d). Reads the bank twice; arguments, memory and errors as of ``rank``.
    """
    pairs = torch.from_numpy(np.stack([ranked.categories, ranked.rationales])).long()
    parts, start = [], 0
    for group in _groups(images, scorer.bank):
        parts.append(_probabilities(group, scorer, pairs[:, start : start + len(group)]))
        start += len(group)
    return Probabilities(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def shortlist(
    image: Tensor,
    space: Space,
    words: RationaleWords,
    rationales: Tensor,
    categories: Tensor,
    inverse: bool = False,
    most_rationales: int = 50,
    most_categories: int = 20,
) -> Shortlist:
    """The bank of the pairs that a picture is likely to be about: best rationales and best categories by themselves.

    image:      (d,). rationales, categories: (R, d), (C, d), ``space.encode_texts`` of the words' texts.
    inverse:    with the texts the other way round too.
    most_...:   how many of each. Their product is encoded, and kept by the space's cache of texts.
    """
    r = (rationales @ image).topk(min(most_rationales, len(rationales))).indices
    c = (categories @ image).topk(min(most_categories, len(categories))).indices
    # In their order among all, so that equal scores are ranked as in the whole bank.
    r, c = r.sort().values, c.sort().values

    def part(other_way: bool, more: Shortlist | None = None) -> Shortlist:
        texts = [words.pair_text(int(i), int(j), other_way) for i in c for j in r]
        encoded = space.encode_texts(texts).unflatten(0, (len(c), len(r)))
        return Shortlist(c, r, categories[c], rationales[r], encoded, more)

    return part(False, part(True) if inverse else None)


def _groups(images: Tensor, bank: Bank) -> Iterator[Tensor]:
    """IMAGES pictures at a time. Raises SaywhyError for no pictures, or vectors of another length than the texts."""
    if images.dim() != 2 or not len(images) or images.shape[1] != bank.rationales.shape[1]:
        raise SaywhyError(
            f"pictures of shape {tuple(images.shape)} for texts of length {bank.rationales.shape[1]}: both must be "
            "vectors of the same space"
        )
    yield from images.float().split(IMAGES)


def _ranked(images: Tensor, scorer: PairScorer[Bank], k: int) -> tuple[Tensor, Tensor]:
    """(n, k) scores and (n, k) c * R + r, on the CPU, for few enough pictures."""
    alone = _rationale_scores(images, scorer)
    if scorer.scoring.divides:
        alone = alone - _normalisers(images, scorer)
    width = alone.shape[1]
    blocks = ((start * width, grid.add_(alone[:, None]).flatten(1)) for start, grid in grids(images, scorer))
    scores, places = streaming_top_k(blocks, k)
    return scores.cpu(), places.cpu()


def _probabilities(images: Tensor, scorer: PairScorer[Bank], pairs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The fields of Probabilities, on the CPU, for few enough pictures. pairs: (2, n, K) categories, rationales."""
    normalisers, alone = _conditioned(images, scorer)
    rows = torch.arange(len(images))[:, None]
    categories, rationales = pairs
    overall, given = [], torch.zeros(categories.shape)
    for start, grid in grids(images, scorer):
        grid.sub_(normalisers[:, None])  # log P(c | r, I)
        inside = (categories >= start) & (categories < start + grid.shape[1])
        local = (categories - start).clamp(0, grid.shape[1] - 1)
        given = torch.where(inside, grid.cpu()[rows, local, rationales], given)
        overall.append(grid.add_(alone[:, None]).logsumexp(2))
    return alone.exp().cpu(), torch.cat(overall, 1).exp().cpu(), given.exp()


def log_joint(images: Tensor, scorer: PairScorer[Bank]) -> Iterator[tuple[int, Tensor]]:
    """(first category, (N, c, R) log P(r | I) P(c | r, I)) in order; see ``Probabilities``."""
    normalisers, alone = _conditioned(images, scorer)
    for start, grid in grids(images, scorer):
        yield start, grid.sub_(normalisers[:, None]).add_(alone[:, None])


def log_rationales(images: Tensor, scorer: PairScorer[Bank]) -> Tensor:
    """(N, R) log P(r | I) of (N, d) pictures; see ``Probabilities``. Reads the bank where no term is the rationale's.

    Raises SaywhyError as ``rank``.
    """
    scores = _rationale_scores if "rationale" in scorer.scoring.terms else _normalisers
    return torch.cat([scores(group, scorer) for group in _groups(images, scorer.bank)]).log_softmax(1)


def _conditioned(images: Tensor, scorer: PairScorer[Bank]) -> tuple[Tensor, Tensor]:
    """(n, R) the normalisers of P(c | r, I), and (n, R) log P(r | I)."""
    normalisers = _normalisers(images, scorer)
    asked = "rationale" in scorer.scoring.terms
    return normalisers, (_rationale_scores(images, scorer) if asked else normalisers).log_softmax(1)


def _rationale_scores(images: Tensor, scorer: PairScorer[Bank]) -> Tensor:
    """(n, R) the rationales' term; zeros where it is not asked."""
    return images @ scorer.bank.rationales.to(images).T * scorer.factors.get("rationale", 0.0)


def _normalisers(images: Tensor, scorer: PairScorer[Bank]) -> Tensor:
    """(n, R) log-sum-exp over the categories of all terms that depend on them, block by block."""
    total = torch.full((len(images), len(scorer.bank.rationales)), -torch.inf, device=images.device)
    for _, grid in grids(images, scorer):
        total = torch.logaddexp(total, grid.logsumexp(1))
    return total


def grids(images: Tensor, scorer: PairScorer[Bank]) -> Iterator[tuple[int, Tensor]]:
    """(first category, (n, c, R) the sum of all terms but the rationales') in order; the caller may write to it."""
    columns = columns_for(len(images))
    width, count = len(scorer.bank.rationales), len(scorer.bank.categories)
    swept = [(factor, bank.blocks(columns)) for factor, bank in scorer.of_pairs]
    alone = images @ scorer.bank.categories.to(images).T * scorer.factors.get("category", 0.0)  # (n, C)
    if not swept:
        for start in range(0, count, step := max(1, columns // width)):
            yield start, alone[:, start : start + step, None].repeat(1, 1, width)
        return
    for blocks in zip(*(blocks for _, blocks in swept), strict=True):
        start, block = blocks[0]
        grid = _cosines(images, block).mul_(swept[0][0])
        for (factor, _), (_, other) in zip(swept[1:], blocks[1:], strict=True):
            grid.add_(_cosines(images, other), alpha=factor)
        yield start, grid.add_(alone[:, start : start + len(block), None])


def _cosines(images: Tensor, block: Tensor) -> Tensor:
    """(n, c, R) of (n, d) pictures and (c, R, d) texts."""
    return (images @ block.flatten(0, 1).to(images).T).unflatten(1, block.shape[:2])


# -- deciding ---------------------------------------------------------------------------------------------------------


def decide(ranked: Ranked, n: int, k: int, category: int | None = None) -> Answer:
    """What picture n is, and the pairs that it is because of (methods note 2.2, points 12 and 13).

    category: None: the vote of the first k pairs, as published; else a category that is somewhere in the ranking.
    """
    ballot = Ranked(ranked.categories[n : n + 1, :k], ranked.rationales[n : n + 1, :k], ranked.scores[n : n + 1, :k])
    first = ballot.categories[0].tolist()
    voted = int(vote(ballot, len(first))[0])
    category = voted if category is None else category
    named = tuple(position for position, c in enumerate(first) if c == category)
    best = int((ranked.categories[n] == category).argmax())
    return Answer(
        category, voted, named or (best,), tuple(position for position, c in enumerate(first) if c != category)
    )


@final
@dataclass(frozen=True, eq=False)
class Ranked:
    """The first K (category, rationale) pairs of N pictures, best first.

    categories, rationales: (N, K) int, indices; a rationale of -1 stands for none.
    scores:                 (N, K) float.
    """

    categories: np.ndarray
    rationales: np.ndarray
    scores: np.ndarray


def vote(ranked: Ranked, k: int) -> np.ndarray:
    """(N,) the category that most of the first k pairs name; on a tie, the one that comes first."""
    check_k(ranked, k)
    first = ranked.categories[:, :k]
    votes = (first[:, :, None] == first[:, None, :]).sum(2)
    return first[np.arange(len(first)), votes.argmax(1)]  # argmax: the first of the largest


def check_k(ranked: Ranked, k: int) -> None:
    if ranked.categories.shape != ranked.rationales.shape or ranked.categories.ndim != 2:
        shapes = f"{ranked.categories.shape} categories and {ranked.rationales.shape} rationales"
        raise SaywhyError(f"ranked pairs are two tables of the same shape (pictures, K); these are {shapes}")
    if not 1 <= k <= ranked.categories.shape[1]:
        raise SaywhyError(f"k is {k}, but {ranked.categories.shape[1]} pairs of each picture are ranked; rank more")
