"""Texts of every category with every rationale, encoded by CLIP's text tower without doing anything twice.

A text is cut in two where a space lies between the names: "This is a photo of a kit fox because there is" and "a long
tail". BPE never joins over a space, so each piece is tokenised once and the ids are put together (C + R calls of the
tokenizer instead of C x R). The tower is causal, so no token sees what comes after it: the first piece is run once and
its keys and values are kept for all second pieces, and nothing behind the last token is computed at all. Both are
exact. Towers that are not causal, and tokenizers whose pieces do not add up, are run on whole texts.
"""

from __future__ import annotations

import time
import warnings
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saywhy.errors import SaywhyError
from saywhy.spaces.clip import BATCH, ClipSpace
from saywhy.words.rationale_words import RationaleWords

Ids = tuple[int, ...]
Memory = list[tuple[Tensor, Tensor]]
"""Of each layer the keys and values of what was read so far, each (N, heads, tokens, width of a head)."""

TOKENS = {"cpu": 2048, "cuda": 65536}
"""Device -> tokens in a batch; fewer leave a GPU idle, more do not fit a processor's cache."""
SAMPLE = {"cpu": 64, "cuda": 4096}
"""Device -> texts that are timed for an estimate."""
WASTE = 1.5  # the longest text of a batch over its shortest: beyond, padding costs more than another batch
AGREE = 1e-3  # the most that our run of the tower may differ from its own, on unit vectors; rounding stays below 1e-5


class BankWarning(UserWarning):
    """Something about a prompt bank is not as it was expected; what is done about it."""


# -- composing --------------------------------------------------------------------------------------------------------


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
        some = tuple(self.heads[h] for h in heads), tuple(self.tails[t] for t in tails)
        return PairTexts(*some, self.rationale_first, tokens)


def pair_texts(words: RationaleWords, inverse: bool = False) -> PairTexts:
    """Every category with every rationale in ``words.templates.pair`` (or ``inverse``), not yet tokenised.

    Raises SaywhyError where the template does not hold {c} and {r} once each, or there are no words.
    """
    template = words.templates.inverse if inverse else words.templates.pair
    if template.count("{c}") != 1 or template.count("{r}") != 1:
        raise SaywhyError(f"the template {template!r} must hold {{c}} and {{r}} once each")
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
    return torch.tensor([(*one, *(0,) * (length - len(one))) for one in ids])


# -- the tower --------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, eq=False)
class CausalTower:
    """The parts of open_clip's causal text transformer that takes its answer from the end token."""

    embedding: nn.Embedding
    positions: Tensor  # (context, width)
    blocks: nn.ModuleList
    norm: nn.Module
    projection: Tensor | nn.Module | None

    @property
    def device(self) -> torch.device:
        return self.positions.device


def causal_tower(clip: ClipSpace) -> CausalTower | None:
    """The parts of the CLIP's text tower, or None where it is another one (bidirectional, with a class token ...)."""
    from open_clip import CLIP, CustomTextCLIP
    from open_clip.transformer import ResidualAttentionBlock, TextTransformer

    model = getattr(clip.text_tower, "__self__", None)
    if isinstance(model, CLIP):
        text, pooled = model, model.text_pool_type
    elif isinstance(model, CustomTextCLIP) and isinstance(model.text, TextTransformer):
        text, pooled = model.text, model.text.pool_type
    else:
        return None
    blocks = text.transformer.resblocks
    odd = text.attn_mask is None or getattr(text, "cls_emb", None) is not None or pooled != "argmax"
    if odd or not all(type(block) is ResidualAttentionBlock for block in blocks):
        return None
    return CausalTower(text.token_embedding, text.positional_embedding, blocks, text.ln_final, text.text_projection)


def _remembered(tower: CausalTower, ids: Tensor) -> Memory:
    """What (N, L) heads leave behind for what follows them."""
    x = tower.embedding(ids)
    x = x + tower.positions[: ids.shape[1]].to(x.dtype)
    memory: Memory = []
    for block in tower.blocks:
        queries, keys, values = _projected(block, x)
        memory.append((keys, values))
        x = _finished(block, x, F.scaled_dot_product_attention(queries, keys, values, is_causal=True))
    return memory


def _read_on(tower: CausalTower, ids: Tensor, ends: Tensor, memory: Memory | None = None) -> Tensor:
    """(P, N, d) answers of N texts' (N, L) tails behind each of P heads of one length.

    ends:   (N,) where each tail has its end token; what is behind it is padding.
    memory: of the heads; None where there are none (P is 1).
    """
    heads, taken = (memory[0][0].shape[0], memory[0][0].shape[2]) if memory else (1, 0)
    count, length = ids.shape
    x = tower.embedding(ids)
    x = (x + tower.positions[taken : taken + length].to(x.dtype)).repeat(heads, 1, 1)
    rows, ends = torch.arange(len(x), device=ids.device), ends.repeat(heads)
    seen = torch.ones(length, taken + length, dtype=torch.bool, device=ids.device).tril(taken)
    for n, block in enumerate(tower.blocks):
        queries, keys, values = _projected(block, x)
        if memory:
            keys, values = (_behind(old, new, count) for old, new in zip(memory[n], (keys, values), strict=True))
        if n == len(tower.blocks) - 1:  # of the last layer nothing but the end token is asked for
            x, queries, seen = x[rows, ends, None], queries[rows, :, ends, None], seen[ends][:, None, None]
        x = _finished(block, x, F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen))
    return _answered(tower, x[:, 0]).unflatten(0, (heads, count))


def _projected(block: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, each (N, heads, L, width of a head), of (N, L, width)."""
    attention = block.attn
    all_three = F.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
    queries, keys, values = all_three.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    return queries, keys, values


def _behind(old: Tensor, new: Tensor, count: int) -> Tensor:
    """(P * N, heads, L' + L, e): N tails' keys or values behind each of P heads', in one copy."""
    new = new.unflatten(0, (-1, count))
    return torch.cat([old[:, None].expand(-1, count, -1, -1, -1), new], 3).flatten(0, 1)


def _finished(block: Any, x: Tensor, mixed: Tensor) -> Tensor:
    """The rest of a block, once attention has mixed the values."""
    x = x + block.ls_1(block.attn.out_proj(mixed.transpose(1, 2).flatten(2)))
    return x + block.ls_2(block.mlp(block.ln_2(x)))


def _answered(tower: CausalTower, x: Tensor) -> Tensor:
    x = tower.norm(x)
    if tower.projection is None:
        return x
    return tower.projection(x) if isinstance(tower.projection, nn.Module) else x @ tower.projection


# -- encoding ---------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, eq=False)
class PairEncoder:
    """What encodes the texts of one bank.

    tower: None where whole texts have to be given to the CLIP.
    dtype: that of the computation (autocast); what comes out is normalised in float32.
    """

    clip: ClipSpace
    texts: PairTexts
    tower: CausalTower | None
    dtype: torch.dtype = torch.float32

    @torch.no_grad()
    def block(
        self,
        categories: range,
        kind: torch.dtype = torch.float16,
        advance: Callable[[int], None] = lambda count: None,
    ) -> Tensor:
        """(c, R, d) unit vectors of some categories with all rationales, on the CPU, of type ``kind``.

        advance: is told every now and then how many more texts are done.

        Raises SaywhyError where the tower gives something that is no number.
        """
        texts = self.texts
        heads, tails = (
            (range(len(texts.heads)), categories) if texts.rationale_first else (categories, range(len(texts.tails)))
        )
        found: Tensor | None = None
        with torch.autocast(self.clip.device.type, self.dtype, enabled=self.dtype != torch.float32):
            parts = self._shared(heads, tails) if self.tower and texts.tokens else self._whole(heads, tails)
            for rows, columns, vectors in parts:
                if found is None:
                    found = torch.empty(len(heads), len(tails), vectors.shape[-1], dtype=kind)
                found[rows[:, None], columns] = F.normalize(vectors.float(), dim=-1).to(kind).cpu()
                advance(len(rows) * len(columns))
        assert found is not None
        self._check(found)
        return found.transpose(0, 1).contiguous() if texts.rationale_first else found

    def _check(self, vectors: Tensor) -> None:
        if not vectors.isfinite().all():
            raise SaywhyError(f"{self.clip.name}: its text tower gives values that are no numbers; check its weights")

    @property
    def _budget(self) -> int:
        return TOKENS.get(self.clip.device.type, TOKENS["cpu"])

    def _shared(self, heads: range, tails: range) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(rows, columns, vectors): each head is read once for all its tails."""
        tower, tokens = self.tower, self.texts.tokens
        assert tower is not None
        assert tokens is not None
        by_length = defaultdict[int, list[int]](list)
        for row, head in enumerate(heads):
            by_length[len(tokens.cut_head(head))].append(row)
        for taken, rows in by_length.items():
            ids = [tokens.cut_tail(tail, taken) for tail in tails]
            batches = [(columns, *self._batch([ids[n] for n in columns])) for columns in _batches(ids, self._budget)]
            at_once = max(1, self._budget // max(batch.numel() for _, batch, _ in batches))
            for some in (rows[start : start + at_once] for start in range(0, len(rows), at_once)):
                memory = _remembered(tower, padded([tokens.cut_head(heads[n]) for n in some], taken).to(tower.device))
                for columns, batch, ends in batches:
                    yield torch.tensor(some), torch.tensor(columns), _read_on(tower, batch, ends, memory)

    def _batch(self, ids: Sequence[Ids]) -> tuple[Tensor, Tensor]:
        """(ids, where each ends)"""
        longest = padded(ids, max(map(len, ids))).to(self.clip.device)
        return longest, torch.tensor([len(one) - 1 for one in ids], device=self.clip.device)

    def _whole(self, heads: range, tails: range) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(rows, columns, vectors): every text for itself, as the CLIP would."""
        texts, tokens = self.texts, self.texts.tokens
        for row, head in enumerate(heads):
            for start in range(0, len(tails), BATCH):
                some = tails[start : start + BATCH]
                if tokens:
                    ids = padded([tokens.whole(head, tail) for tail in some], tokens.context)
                else:
                    ids = self.clip.tokenizer([texts.heads[head] + texts.tails[tail] for tail in some])
                vectors = self.clip.text_tower(ids.to(self.clip.device))
                yield torch.tensor([row]), torch.arange(start, start + len(some)), vectors[None]

    @torch.no_grad()
    def alone(self, texts: Sequence[str]) -> Tensor:
        """(M, d) float32 unit vectors of any texts, on the CPU: ``ClipSpace.encode_texts_once`` without padding.

        Raises SaywhyError as ``block`` does.
        """
        from rich.console import Console
        from rich.progress import track

        if not self.tower:
            found = self.clip.encode_texts_once(texts)
        else:
            rows = self.clip.tokenizer(list(texts))
            ids = [tuple(row[: end + 1].tolist()) for row, end in zip(rows, rows.argmax(1).tolist(), strict=True)]
            batches = _batches(ids, self._budget)
            console, few = Console(stderr=True), len(batches) < 8
            shown = track(batches, "encoding names", console=console, transient=True, disable=few)
            vectors = [_read_on(self.tower, *self._batch([ids[n] for n in some]))[0].float().cpu() for some in shown]
            found = torch.empty(len(ids), vectors[0].shape[1])
            found[[n for some in batches for n in some]] = F.normalize(torch.cat(vectors), dim=1)
        self._check(found)
        return found

    def seconds(self) -> float:
        """How long all of the texts will take, judged by a few of them."""
        texts, most = self.texts, SAMPLE.get(self.clip.device.type, SAMPLE["cpu"])
        lengths = texts.tokens.tails if texts.tokens else texts.tails
        order = sorted(range(len(texts.tails)), key=lambda n: len(lengths[n]))
        few = order[:: max(4, len(order) // most)]  # evenly spaced in length, at most a quarter of them
        head = sorted(range(len(texts.heads)), key=lambda n: len(texts.heads[n]))[len(texts.heads) // 2]
        some = replace(self, texts=texts.only([head], few))
        categories = range(len(few)) if texts.rationale_first else range(1)
        some.block(categories)  # warms up
        start = time.perf_counter()
        some.block(categories)
        return (time.perf_counter() - start) / len(few) * len(texts.heads) * len(texts.tails)


def pair_encoder(
    clip: ClipSpace, words: RationaleWords, inverse: bool = False, dtype: torch.dtype = torch.float32
) -> PairEncoder:
    """What encodes every category with every rationale; warns where it has to do so the slow way.

    Raises SaywhyError as ``pair_texts`` does.
    """
    texts, tower = tokenised(pair_texts(words, inverse), clip.tokenizer), causal_tower(clip)
    encoder = PairEncoder(clip, texts, tower, dtype)
    tower = tower if tower and texts.tokens and _agrees(encoder) else None
    if not tower:
        why = (
            "its text tower is not a causal transformer that ends with its end token"
            if texts.tokens
            else "its tokenizer has to see texts as a whole"
        )
        warnings.warn(f"{clip.name}: {why}, so every text is encoded for itself, which is slower", BankWarning)
    return replace(encoder, tower=tower)


@torch.no_grad()
def _agrees(encoder: PairEncoder) -> bool:
    """Whether we run the tower as it runs itself, on the shortest and the longest text."""
    tokens = encoder.texts.tokens
    assert tokens is not None
    end = tokens.tails[0][-1]
    inside = [*tokens.heads, *(ids[:-1] for ids in tokens.tails)]
    if any(token >= end for ids in inside for token in ids):
        return False  # a name holds an end token, and the tower answers at the first
    heads, tails = (
        [min(range(len(pieces)), key=lambda n: len(pieces[n])), max(range(len(pieces)), key=lambda n: len(pieces[n]))]
        for pieces in (tokens.heads, tokens.tails)
    )
    few = replace(encoder, texts=encoder.texts.only(heads, tails), dtype=torch.float32)
    ours, theirs = (one.block(range(2), torch.float32) for one in (few, replace(few, tower=None)))
    return bool((ours - theirs).abs().max() < AGREE)


def _batches(ids: Sequence[Ids], tokens: int) -> list[list[int]]:
    """Indices by length, in batches of at most ``tokens`` tokens (but one text at least) with little padding."""
    batches: list[list[int]] = []
    for n in sorted(range(len(ids)), key=lambda n: len(ids[n])):
        length = len(ids[n])
        last = batches[-1] if batches else []
        if last and length <= WASTE * len(ids[last[0]]) and length * (len(last) + 1) <= tokens:
            last.append(n)
        else:
            batches.append([n])
    return batches
