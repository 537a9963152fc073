"""The texts of all pairs, composed from the tokens of their parts."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.words.rationale_words import RationaleWords

Ids = tuple[int, ...]


@final
@dataclass(frozen=True, eq=False)
class Tokens:
    """Token ids of heads (from the start token) and tails (up to the end token), before anything is cut."""

    heads: tuple[Ids, ...]
    tails: tuple[Ids, ...]
    context: int

    def cut_head(self, head: int) -> Ids:
        """What is left of a head: at least the end token follows it."""
        return self.heads[head][: self.context - 1]

    def cut_tail(self, tail: int, taken: int) -> Ids:
        """What is left of a tail behind ``taken`` tokens; as the tokenizer cuts, it ends with the end token anyway."""
        ids, room = self.tails[tail], self.context - taken
        return ids if len(ids) <= room else (*ids[: room - 1], ids[-1])

    def whole(self, head: int, tail: int) -> Ids:
        """The ids of head and tail together, as the tokenizer makes and cuts them, without padding."""
        ids = self.cut_head(head)
        return ids + self.cut_tail(tail, len(ids))

    @property
    def too_long(self) -> int:
        """How many texts are longer than the context and are cut."""
        tails = sorted(map(len, self.tails))
        return sum(len(tails) - bisect_right(tails, self.context - len(ids)) for ids in self.heads)


@final
@dataclass(frozen=True, eq=False)
class PairTexts:
    """The text of head h and tail t is ``heads[h] + tails[t]``.

    rationale_first: heads are of rationales and tails of categories; else the other way round.
    tokens:          the same as token ids; None as long as they are not made, or where the pieces do not add up.
    """

    heads: tuple[str, ...]
    tails: tuple[str, ...]
    rationale_first: bool
    tokens: Tokens | None = None

    def only(self, heads: Sequence[int], tails: Sequence[int]) -> PairTexts:
        """Some heads with some tails."""
        tokens = self.tokens and Tokens(
            tuple(self.tokens.heads[h] for h in heads),
            tuple(self.tokens.tails[t] for t in tails),
            self.tokens.context,
        )
        parts = tuple(self.heads[h] for h in heads), tuple(self.tails[t] for t in tails)
        return PairTexts(*parts, self.rationale_first, tokens)


def pair_texts(words: RationaleWords, inverse: bool = False) -> PairTexts:
    """Every category with every rationale in ``words.templates.pair`` (or ``inverse``), not yet tokenised.

    Raises SaywhyError where the template does not contain {c} and {r} once each, or there are no words.
    """
    template = words.templates.inverse if inverse else words.templates.pair
    if template.count("{c}") != 1 or template.count("{r}") != 1:
        raise SaywhyError(f"the template {template!r} must contain {{c}} and {{r}} once each")
    if not words.categories or not words.rationales:
        raise SaywhyError(
            f"a prompt bank needs categories and rationales; there are {len(words.categories)} and "
            f"{len(words.rationales)}"
        )
    rationale_first = template.find("{r}") < template.find("{c}")
    firsts, seconds = (words.rationales, words.categories) if rationale_first else (words.categories, words.rationales)
    first, second = ("{r}", "{c}") if rationale_first else ("{c}", "{r}")
    before, rest = template.split(first)
    between, after = rest.split(second)
    heads = tuple(before + name + between for name in firsts)
    tails = tuple(name + after for name in seconds)
    return PairTexts(heads, tails, rationale_first)


def tokenised(texts: PairTexts, tokenizer: Any) -> PairTexts:
    """With the token ids of each piece, where they add up to those of whole texts."""
    return replace(texts, tokens=_tokens(texts.heads, texts.tails, tokenizer))


def _tokens(heads: tuple[str, ...], tails: tuple[str, ...], tokenizer: Any) -> Tokens | None:
    from open_clip.tokenizer import SimpleTokenizer

    if not isinstance(tokenizer, SimpleTokenizer) or tokenizer.reduction_fn or not tokenizer.context_length:
        return None
    if not heads[0][-1:].isspace():
        return None  # nothing keeps BPE from joining the last word of a head with the first of a tail
    start, end = tokenizer.sot_token_id, tokenizer.eot_token_id
    found = Tokens(
        tuple((start, *tokenizer.encode(text)) for text in heads),
        tuple((*tokenizer.encode(text), end) for text in tails),
        tokenizer.context_length,
    )
    # Each piece is seen in one whole text: mojibake, for example, is repaired by a look at the whole.
    sample = [(n % len(heads), n % len(tails)) for n in range(max(len(heads), len(tails)))]
    whole = tokenizer([heads[h] + tails[t] for h, t in sample])
    return found if torch.equal(whole, padded([found.whole(h, t) for h, t in sample], found.context)) else None


def padded(ids: Sequence[Ids], length: int) -> Tensor:
    """(N, length) int64, zeros behind the end."""
    return torch.tensor([(*row, *(0,) * (length - len(row))) for row in ids])
