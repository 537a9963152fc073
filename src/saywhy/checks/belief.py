"""What is believed of a picture: log P(r | I) and log P(c | r, I), as ECOR defines them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.spaces.pairs.bank import WordBank
from saywhy.spaces.pairs.conditional import Groups, conditional_scores
from saywhy.spaces.pairs.ranking import log_rationales
from saywhy.spaces.pairs.scorer import PairScorer

ROUNDING = 1e-3  # a fall of a logarithm below it is rounding of float32, times CLIP's scale of 100
MANY_SCORES = 200_000_000  # from which on a progress bar is shown


@torch.no_grad()
def log_rationale(images: Tensor, scorer: PairScorer[WordBank]) -> Tensor:
    """(N, R) log P(r | I) of (N, d) unit vectors.

    With a rationale term the softmax over its scores (ECOR, eq. 4). Without one (CLIP, DROR), what the softmax over all
    C x R pairs gives to each rationale.

    Raises SaywhyError for terms none of which is about rationales, and vectors of another width than the bank's.
    """
    check_asked(images, scorer)
    return log_rationales(images, scorer)


@torch.no_grad()
def log_conditional(images: Tensor, scorer: PairScorer[WordBank], rationales: Tensor) -> Tensor:
    """(N, C) log P(c | r, I) of (N, d) unit vectors, each with one rationale, (N,) indices.

    The softmax over the categories of all terms that name one, with that rationale in the texts of the pairs. A method
    that scores no pairs (AB5: rationale and category apart) gives the same whatever the rationale.

    Raises SaywhyError as ``log_rationale``, and for unknown rationales, or not one for each picture.
    """
    check_asked(images, scorer, rationales=rationales)
    logs = images.new_empty(len(images), len(scorer.bank.words.categories))
    for rows, values in _conditionals(images, torch.arange(len(images)), scorer, rationales):
        logs[rows] = values
    return logs


def _conditionals(
    images: Tensor, of: Tensor, scorer: PairScorer[WordBank], rationales: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """(rows, (n, C) log P(c | r, I)) of M pictures ``of`` the images, (M,), each with its rationale, (M,)."""

    def track(groups: Groups) -> Iterable[tuple[Tensor, Tensor]]:
        many = (len(of) + images.shape[1] * len(groups)) * len(scorer.bank.words.categories) > MANY_SCORES
        return with_progress(groups, "asking with each rationale", many)

    for rows, scores in conditional_scores(images, scorer, rationales, of=of, track=track):
        yield rows, scores.log_softmax(1)


def scores_of_category(
    images: Tensor, of: Tensor, scorer: PairScorer[WordBank], categories: Tensor, rationales: Tensor
) -> tuple[Tensor, Tensor]:
    """(M,) log P(c | r, I), and the rank of c among the categories, of M pictures ``of`` the images."""
    logs, ranks = images.new_empty(2, len(of))
    for rows, values in _conditionals(images, of, scorer, rationales):
        own = values.gather(1, categories[of[rows], None])
        logs[rows], ranks[rows] = own[:, 0], 1.0 + (values > own).sum(1)
    return logs, ranks


def check_asked(
    images: Tensor | None,
    scorer: PairScorer[WordBank],
    categories: Tensor | None = None,
    rationales: Tensor | None = None,
    none: bool = False,
) -> None:
    """Raises SaywhyError for terms none of which is about rationales, and pictures, categories and rationales that do
    not fit each other or the bank. none: a rationale of -1 stands for none."""
    bank, terms = scorer.bank, scorer.scoring.terms
    if not set(terms) - {"category"}:
        raise SaywhyError(f"the terms {', '.join(terms)} do not involve rationales; add one that does")
    if images is not None and (images.ndim != 2 or images.shape[1] != bank.rationales.shape[1]):
        raise SaywhyError(
            f"pictures of shape {tuple(images.shape)} for a bank of {bank.rationales.shape[1]} dimensions; encode them "
            "with the space that the bank was built with"
        )
    pictures = [len(rows) for rows in (images, categories, rationales) if rows is not None]
    if len(set(pictures)) > 1:
        raise SaywhyError(
            f"the numbers of pictures, categories and rationales are {pictures}; give one of each per picture"
        )
    for name, indices, count, least in (
        ("category", categories, len(bank.words.categories), 0),
        ("rationale", rationales, len(bank.words.rationales), -1 if none else 0),
    ):
        wrong = [] if indices is None else indices[(indices < least) | (indices >= count)].tolist()
        if wrong:
            raise SaywhyError(f"there is no {name} {wrong[0]}; the bank has {count}, counted from 0")


_T = TypeVar("_T")


def with_progress(items: Iterable[_T], says: str, many: bool) -> Iterable[_T]:
    """The items, with a progress bar on stderr where there are many."""
    from rich.console import Console
    from rich.progress import track

    return track(items, says, console=Console(stderr=True), disable=not many)
