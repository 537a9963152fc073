"""The losses of the doubly right objectives: cross-entropies over a whole bank of prompts.

Sources: ECOR (Rasekh et al. 2024), equations 9 and 10 and its ablations; DROR (Mao et al. 2023) and its code for
ImageNet. The texts are constants, so that only the pictures' vectors need gradients: one sweep over the bank keeps the
running softmax and the mean of the texts under it, and neither scores nor bank are ever there at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.plumbing.names import unknown
from saywhy.spaces.objectives import Objective, objective_named
from saywhy.spaces.pairs.bank import WordBank
from saywhy.spaces.pairs.in_memory import COLUMNS
from saywhy.words.rationale_words import RationaleWords

BANK_MODES = ("full", "batch")
_SCORES = {"cpu": 1 << 20, "cuda": 1 << 26}  # pictures x texts at once: on a CPU, what its caches hold


# -- one sweep over many texts ----------------------------------------------------------------------------------------


def streamed_cross_entropy(
    images: Tensor,
    blocks: Iterable[Tensor],
    positive_texts: Tensor,
    owner: Tensor,
    scale: float,
    masked: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """(B,) exact cross-entropies of pictures over M texts, with gradients for the pictures, in one sweep.

    images:         (B, d), unit length.
    blocks:         the M texts as (m, d) tensors, constants, read once and in order.
    positive_texts: (P, d) those that match; they are among the M.
    owner:          (P,) whose each of them is. A picture has at least one. Of one with n, the loss is
                    -log of the mean of their n probabilities.
    scale:          what cosines are multiplied by.
    masked:         (rows, columns) of B x M scores that count as minus infinity.

    Computed in float32 (float64 for pictures in float64), under autocast too. Memory: no more than 2^20 scores at once
    on a CPU, 2^26 on a GPU. Time: 4 * B * M * d FLOP, as many as a dense one takes for its forward and backward pass.
    """
    with torch.autocast(images.device.type, enabled=False):
        images = images.to(torch.promote_types(images.dtype, torch.float32))
        over = streamed_logsumexp(images, blocks, scale, masked)
        owner = owner.to(images.device)
        scores = scale * (images[owner] * positive_texts.to(images)).sum(1)
        mine = owner == torch.arange(len(images), device=images.device)[:, None]  # (B, P)
        matching = torch.where(mine, scores, float("-inf")).logsumexp(1)
        return over - matching + mine.sum(1).log()


def streamed_logsumexp(
    images: Tensor, blocks: Iterable[Tensor], scale: float, masked: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """(B,) log of the sum over M texts of exp(scale * cosine); as in ``streamed_cross_entropy``."""
    needs_gradient = images.requires_grad and torch.is_grad_enabled()
    result: Tensor = _LogSumExp.apply(images, blocks, scale, masked, needs_gradient)
    return result


class _LogSumExp(torch.autograd.Function):
    """A softmax that is corrected as larger scores turn up, as in flash attention: the pictures are the queries, the
    texts keys and values. The gradient of the log-sum-exp is the mean of the texts under the softmax."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        blocks: Iterable[Tensor],
        scale: float,
        masked: tuple[Tensor, Tensor] | None,
        needs_gradient: bool,
    ) -> Tensor:
        highest = images.new_full((len(images),), torch.finfo(images.dtype).min)  # finite: all of a block may be masked
        total, texts_sum = torch.zeros_like(highest), torch.zeros_like(images)
        column = 0
        for texts in _pieces(blocks, images):
            scores = torch.mm(images, texts.T).mul_(scale)
            if masked is not None:
                _mask(scores, masked, column)
            column += len(texts)
            before, highest = highest, torch.maximum(highest, scores.amax(1))
            kept = torch.exp(before - highest)
            shares = scores.sub_(highest[:, None]).exp_()
            total = total * kept + shares.sum(1)
            if needs_gradient:
                texts_sum = torch.addmm(texts_sum.mul_(kept[:, None]), shares, texts)
        ctx.save_for_backward(texts_sum.mul_((scale / total)[:, None]))
        return highest + total.log()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (mean_text,) = ctx.saved_tensors
        return gradients[0][:, None] * mean_text, None, None, None, None


def _pieces(blocks: Iterable[Tensor], images: Tensor) -> Iterator[Tensor]:
    """The texts in the pictures' type and on their device, so few at once that the scores take bounded memory."""
    width = max(1, _SCORES.get(images.device.type, _SCORES["cuda"]) // max(1, len(images)))
    for block in blocks:
        for texts in block.to(images.device).split(width):
            yield texts.to(images.dtype)


def _mask(scores: Tensor, masked: tuple[Tensor, Tensor], first: int) -> None:
    """In place; ``first`` is the column that the scores begin with."""
    rows, columns = (index.to(scores.device) for index in masked)
    here = (columns >= first) & (columns < first + scores.shape[1])
    scores[rows[here], columns[here] - first] = float("-inf")


# -- objectives -------------------------------------------------------------------------------------------------------


def objective_loss(
    images: Tensor,
    categories: Tensor,
    gold: Sequence[Sequence[int]],
    bank: WordBank | None,
    objective: str,
    scale: float,
    *,
    bank_mode: str = "full",
    weight: float = 1.0,
    columns: int = COLUMNS,
    inverse_bank: WordBank | None = None,
    mask_same_class: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, and each of its terms (detached, unweighted): means over the pictures.

    images:          (B, d), unit length, with gradients.
    categories:      (B,) gold ones, indices.
    gold:            of each picture its gold rationales, indices. None of them: only where the objective allows it.
    bank:            of the pairs. None where only the other one is there.
    objective:       one of OBJECTIVES that trains something.
    bank_mode:       "full": against all rationales, categories and pairs. "batch": against those that the batch's own
                     categories and rationales give, each text once.
    weight:          of the rationale term (lambda_r).
    columns:         texts of the bank at once.
    inverse_bank:    the bank of the inverse template, for the term "inverse".
    mask_same_class: leave the other rationales listed for the gold category out of a picture's negatives; they may
                     well be seen in it.

    Raises SaywhyError for unknown names, a bank that is missing, and gold rationales that are missing.
    """
    chosen = objective_named(objective)
    if not chosen.trained:
        raise SaywhyError(f"the objective {objective!r} trains nothing: {chosen.says}")
    if bank_mode not in BANK_MODES:
        raise unknown("bank mode", bank_mode, BANK_MODES)
    if "inverse" in chosen.trained and inverse_bank is None:
        raise SaywhyError(f"the objective {objective!r} needs the bank of the inverse template")
    either = inverse_bank if bank is None else bank  # of rationales and categories alone both have the same
    if either is None or ("pair" in chosen.trained and bank is None):
        raise SaywhyError(f"the objective {objective!r} needs the bank of the pairs")
    categories = categories.cpu()
    gold = _with_pseudo(images, categories, gold, either, chosen)
    batch = _batch(categories, gold, either.words, bank_mode == "full", mask_same_class)
    total, values = images.new_zeros(()), dict[str, Tensor]()
    for term in chosen.trained:
        of = inverse_bank if term == "inverse" and inverse_bank is not None else either
        losses = streamed_cross_entropy(
            images,
            batch.blocks(term, of, columns),
            *batch.positives(term, of),
            scale,
            batch.masked(term),
        )
        value = losses.mean()
        total = total + (weight * value if term == "rationale" else value)
        values[term] = value.detach()
    return total, values


@torch.no_grad()
def pseudo_rationales(images: Tensor, categories: Tensor, bank: WordBank, words: RationaleWords) -> Tensor:
    """(B,) for pictures of which only the category is known: the rationale of its list that fits best (DROR's code for
    ImageNet), by the cosine with the text of both.

    images: (B, d), unit length. categories: (B,). Raises SaywhyError for a category without a list.
    """
    lists = [words.lists[c] for c in categories.tolist()]
    for c, listed in zip(categories.tolist(), lists, strict=True):
        if not listed:
            raise SaywhyError(
                f"no rationales are listed for {words.categories[c]!r}, so that none can be chosen for its pictures; "
                "leave them out"
            )
    lengths = torch.tensor([len(listed) for listed in lists])
    owner = torch.repeat_interleave(torch.arange(len(lists)), lengths)
    flat = torch.tensor([r for listed in lists for r in listed], dtype=torch.long)
    texts = bank.pairs(categories.cpu()[owner], flat).to(images.device, torch.float32)
    scores = (images.float()[owner.to(images.device)] * texts).sum(1).cpu()
    best = [int(part.argmax()) for part in scores.split(lengths.tolist())]
    return torch.tensor([listed[n] for listed, n in zip(lists, best, strict=True)], dtype=torch.long)


def _with_pseudo(
    images: Tensor, categories: Tensor, gold: Sequence[Sequence[int]], bank: WordBank, objective: Objective
) -> Sequence[Sequence[int]]:
    bare = [n for n, rationales in enumerate(gold) if not rationales]
    if not bare:
        return gold
    if not objective.pseudo:
        raise SaywhyError(
            f"{len(bare)} of {len(gold)} pictures have no gold rationale; only the objective dror-imagenet takes them"
        )
    chosen = pseudo_rationales(images.detach()[bare], categories[bare], bank, bank.words).tolist()
    pseudo = dict(zip(bare, chosen, strict=True))
    return [rationales or (pseudo[n],) for n, rationales in enumerate(gold)]


@final
@dataclass(frozen=True, eq=False)
class _Batch:
    """The texts that a batch is scored against, and which of them are its own. All are indices, on the CPU.

    full:        against the whole bank.
    categories:  (B,) of the pictures.
    owner, category, rationale: (P,) each, the gold (picture, category, rationale) triples.
    over_categories, over_rationales: sorted; their texts, and those of their pairs, are in the softmax.
    others:      (rows, categories, rationales), (Q,) each: what is left out of a picture's negatives.
    """

    full: bool
    categories: Tensor
    owner: Tensor
    category: Tensor
    rationale: Tensor
    over_categories: Tensor
    over_rationales: Tensor
    others: tuple[Tensor, Tensor, Tensor]

    def blocks(self, term: str, bank: WordBank, columns: int) -> Iterator[Tensor]:
        """The texts in a term's softmax, in order, as (m, d)."""
        if term == "rationale":
            yield bank.rationales if self.full else bank.rationales[self.over_rationales]
        elif term == "category":
            yield bank.categories if self.full else bank.categories[self.over_categories]
        elif self.full:
            yield from (block.flatten(0, 1) for _, block in bank.blocks(columns))
        else:
            yield bank.pairs(*torch.cartesian_prod(self.over_categories, self.over_rationales).T)

    def positives(self, term: str, bank: WordBank) -> tuple[Tensor, Tensor]:
        """(P, d) texts that match, and (P,) the pictures that they match."""
        if term == "category":
            return bank.categories[self.categories], torch.arange(len(self.categories))
        if term == "rationale":
            return bank.rationales[self.rationale], self.owner
        return bank.pairs(self.category, self.rationale), self.owner

    def masked(self, term: str) -> tuple[Tensor, Tensor] | None:
        """(rows, columns) of a term's scores that count as minus infinity."""
        rows, categories, rationales = self.others
        if term == "category" or not len(rows):
            return None
        columns = torch.searchsorted(self.over_rationales, rationales)
        if term != "rationale":
            columns = columns + len(self.over_rationales) * torch.searchsorted(self.over_categories, categories)
        return rows, columns


def _batch(
    categories: Tensor, gold: Sequence[Sequence[int]], words: RationaleWords, full: bool, mask_same_class: bool
) -> _Batch:
    own = [(n, c, r) for n, (c, rs) in enumerate(zip(categories.tolist(), gold, strict=True)) for r in sorted(set(rs))]
    owner, category, rationale = torch.tensor(own).T
    over_categories = torch.arange(len(words.categories)) if full else categories.unique()
    over_rationales = torch.arange(len(words.rationales)) if full else rationale.unique()
    in_softmax, others = set(over_rationales.tolist()), list[tuple[int, int, int]]()
    if mask_same_class:
        for n, (c, rs) in enumerate(zip(categories.tolist(), gold, strict=True)):
            others += [(n, c, r) for r in words.lists[c] if r in in_softmax and r not in rs]
    rows = torch.tensor(others, dtype=torch.long).reshape(-1, 3).T.contiguous()
    return _Batch(
        full, categories, owner, category, rationale, over_categories, over_rationales, (rows[0], rows[1], rows[2])
    )
