"""What is believed of a picture: log P(r | I) and log P(c | r, I), as ECOR defines them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TypeVar

import torch
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.spaces.pairs.bank import WordBank
from saywhy.spaces.pairs.ranking import log_rationales
from saywhy.spaces.pairs.scoring import TERMS

Terms = Mapping[str, float]
"""What a method scores, by name ("rationale", "category", "pair", "inverse") -> the weight of that term, over its
temperature where it has one. The last two are both of the bank's texts of pairs; a bank holds one kind."""
ECOR_TERMS: Terms = MappingProxyType({"rationale": 1.0, "pair": 1.0})
ROUNDING = 1e-3  # a fall of a logarithm below it is float32's, times CLIP's scale of 100
ROWS = 4096  # pictures scored against the rationales, or against the C texts of one of them, at once
MANY_SCORES = 200_000_000  # from which on a progress bar is shown


@torch.no_grad()
def log_rationale(images: Tensor, bank: WordBank, scale: float, terms: Terms = ECOR_TERMS) -> Tensor:
    """(N, R) log P(r | I) of (N, d) unit vectors.

    With a rationale term the softmax over its scores (ECOR, eq. 4). Without one (CLIP, DROR), what the softmax over all
    C x R pairs gives to each rationale. ``scale`` multiplies cosines.

    Raises SaywhyError for unknown terms, none that is about rationales, and vectors of another width than the bank's.
    """
    check_asked(images, bank, terms)
    factors = {term: scale * weight for term, weight in terms.items()}
    return log_rationales(images, bank, factors, inverse=bank)  # a bank holds one kind: that of the terms


@torch.no_grad()
def log_conditional(
    images: Tensor, bank: WordBank, rationales: Tensor, scale: float, terms: Terms = ECOR_TERMS
) -> Tensor:
    """(N, C) log P(c | r, I) of (N, d) unit vectors, each with one rationale, (N,) indices.

    The softmax over the categories of all terms that name one, with that rationale in the texts of the pairs. A method
    that scores no pairs (AB5: rationale and category apart) gives the same whatever the rationale.

    Raises SaywhyError as ``log_rationale``, and for rationales that there are not, or not one for each picture.
    """
    check_asked(images, bank, terms, rationales=rationales)
    found = images.new_empty(len(images), len(bank.words.categories))
    for rows, some in _conditionals(images, torch.arange(len(images)), bank, rationales, scale, terms):
        found[rows] = some
    return found


def _conditionals(
    images: Tensor, of: Tensor, bank: WordBank, rationales: Tensor, scale: float, terms: Terms
) -> Iterator[tuple[Tensor, Tensor]]:
    """(rows, (n, C) log P(c | r, I)) of M pictures ``of`` the images, (M,), each with its rationale, (M,).

    One distinct rationale after the other, so that its C texts are gathered once.
    """
    everything = torch.arange(len(bank.words.categories))
    order = rationales.argsort(stable=True)
    distinct, counts = rationales[order].unique_consecutive(return_counts=True)
    groups = list(zip(distinct, order.split(counts.tolist()), strict=True)) if len(order) else []
    many = (len(order) + len(images.T) * len(groups)) * len(everything) > MANY_SCORES
    for rationale, group in with_progress(groups, "asking with each rationale", many):
        texts = bank.pairs(everything, rationale.expand(len(everything))) if _of_pairs(terms) else None
        for rows in group.split(ROWS):
            some = images[of[rows]]
            scores = some.new_zeros(len(some), len(everything))
            if texts is not None:
                scores += _of_pairs(terms) * scale * some @ texts.T
            if "category" in terms:
                scores += terms["category"] * scale * some @ bank.categories.T
            yield rows, scores.log_softmax(1)


def _of_pairs(terms: Terms) -> float:
    return terms.get("pair", 0.0) + terms.get("inverse", 0.0)


def scores_of_category(
    images: Tensor, of: Tensor, bank: WordBank, categories: Tensor, rationales: Tensor, scale: float, terms: Terms
) -> tuple[Tensor, Tensor]:
    """(M,) log P(c | r, I), and the place of c among the categories, of M pictures ``of`` the images."""
    logs, ranks = images.new_empty(2, len(of))
    for rows, some in _conditionals(images, of, bank, rationales, scale, terms):
        own = some.gather(1, categories[of[rows], None])
        logs[rows], ranks[rows] = own[:, 0], 1.0 + (some > own).sum(1)
    return logs, ranks


def check_asked(
    images: Tensor | None,
    bank: WordBank,
    terms: Terms,
    categories: Tensor | None = None,
    rationales: Tensor | None = None,
    none: bool = False,
) -> None:
    unknown = [name for name in terms if name not in TERMS]
    if unknown:
        raise SaywhyError(f"there is no term {unknown[0]!r}; there are {', '.join(TERMS)}")
    if "pair" in terms and "inverse" in terms:
        raise SaywhyError("terms of pairs and of inverse ones are of two banks; give one of them")
    if not set(terms) - {"category"}:
        raise SaywhyError(f"the terms {', '.join(terms) or '(none)'} say nothing of rationales; add one that does")
    if images is not None and (images.ndim != 2 or images.shape[1] != bank.rationales.shape[1]):
        raise SaywhyError(
            f"pictures of shape {tuple(images.shape)} for a bank of {bank.rationales.shape[1]} dimensions; encode them "
            "with the space that the bank was built with"
        )
    pictures = [len(some) for some in (images, categories, rationales) if some is not None]
    if len(set(pictures)) > 1:
        raise SaywhyError(f"pictures, categories and rationales are {pictures} in number; give one of each a picture")
    for what, some, count, least in (
        ("category", categories, len(bank.words.categories), 0),
        ("rationale", rationales, len(bank.words.rationales), -1 if none else 0),
    ):
        wrong = [] if some is None else some[(some < least) | (some >= count)].tolist()
        if wrong:
            raise SaywhyError(f"there is no {what} {wrong[0]}; the bank has {count}, counted from 0")


_T = TypeVar("_T")


def with_progress(items: Iterable[_T], says: str, many: bool) -> Iterable[_T]:
    """The items, with a progress bar on stderr where there are many."""
    from rich.console import Console
    from rich.progress import track

    return track(items, says, console=Console(stderr=True), disable=not many)
