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
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.spaces.clip import BATCH, ClipSpace
from saywhy.spaces.pairs.causal_tower import CausalTower, causal_tower, read_on, remembered
from saywhy.spaces.pairs.composing import Ids, PairTexts, padded, pair_texts, tokenised
from saywhy.words.rationale_words import RationaleWords

TOKENS = {"cpu": 2048, "cuda": 65536}
"""Device -> tokens in a batch; fewer leave a GPU idle, more do not fit a processor's cache."""
SAMPLE = {"cpu": 64, "cuda": 4096}
"""Device -> texts that are timed for an estimate."""
WASTE = 1.5  # the longest text of a batch over its shortest: beyond, padding costs more than another batch
AGREE = 1e-3  # the most that our run of the tower may differ from its own, on unit vectors; rounding stays below 1e-5


class BankWarning(UserWarning):
    """Something about a prompt bank is not as expected; says what is done about it."""


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

        advance: is called now and then with how many more texts are done.

        Raises SaywhyError where the tower gives values that are not numbers.
        """
        texts = self.texts
        heads, tails = (
            (range(len(texts.heads)), categories) if texts.rationale_first else (categories, range(len(texts.tails)))
        )
        encoded: Tensor | None = None
        with torch.autocast(self.clip.device.type, self.dtype, enabled=self.dtype != torch.float32):
            parts = self._shared(heads, tails) if self.tower and texts.tokens else self._whole(heads, tails)
            for rows, columns, vectors in parts:
                if encoded is None:
                    encoded = torch.empty(len(heads), len(tails), vectors.shape[-1], dtype=kind)
                encoded[rows[:, None], columns] = F.normalize(vectors.float(), dim=-1).to(kind).cpu()
                advance(len(rows) * len(columns))
        assert encoded is not None
        self._check(encoded)
        return encoded.transpose(0, 1).contiguous() if texts.rationale_first else encoded

    def _check(self, vectors: Tensor) -> None:
        if not vectors.isfinite().all():
            raise SaywhyError(f"{self.clip.name}: its text tower gives values that are not numbers; check its weights")

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
            for group in (rows[start : start + at_once] for start in range(0, len(rows), at_once)):
                memory = remembered(tower, padded([tokens.cut_head(heads[n]) for n in group], taken).to(tower.device))
                for columns, batch, ends in batches:
                    yield torch.tensor(group), torch.tensor(columns), read_on(tower, batch, ends, memory)

    def _batch(self, ids: Sequence[Ids]) -> tuple[Tensor, Tensor]:
        """(ids, where each ends)"""
        longest = padded(ids, max(map(len, ids))).to(self.clip.device)
        return longest, torch.tensor([len(text) - 1 for text in ids], device=self.clip.device)

    def _whole(self, heads: range, tails: range) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(rows, columns, vectors): every text by itself, as the CLIP would."""
        texts, tokens = self.texts, self.texts.tokens
        for row, head in enumerate(heads):
            for start in range(0, len(tails), BATCH):
                group = tails[start : start + BATCH]
                if tokens:
                    ids = padded([tokens.whole(head, tail) for tail in group], tokens.context)
                else:
                    ids = self.clip.tokenizer([texts.heads[head] + texts.tails[tail] for tail in group])
                vectors = self.clip.text_tower(ids.to(self.clip.device))
                yield torch.tensor([row]), torch.arange(start, start + len(group)), vectors[None]

    @torch.no_grad()
    def alone(self, texts: Sequence[str]) -> Tensor:
        """(M, d) float32 unit vectors of any texts, on the CPU: ``ClipSpace.encode_texts_once`` without padding.

        Raises SaywhyError as ``block`` does.
        """
        from rich.console import Console
        from rich.progress import track

        if not self.tower:
            encoded = self.clip.encode_texts_once(texts)
        else:
            rows = self.clip.tokenizer(list(texts))
            ids = [tuple(row[: end + 1].tolist()) for row, end in zip(rows, rows.argmax(1).tolist(), strict=True)]
            batches = _batches(ids, self._budget)
            console, few = Console(stderr=True), len(batches) < 8
            shown = track(batches, "encoding names", console=console, transient=True, disable=few)
            vectors = [read_on(self.tower, *self._batch([ids[n] for n in batch]))[0].float().cpu() for batch in shown]
            encoded = torch.empty(len(ids), vectors[0].shape[1])
            encoded[[n for batch in batches for n in batch]] = F.normalize(torch.cat(vectors), dim=1)
        self._check(encoded)
        return encoded

    def seconds(self) -> float:
        """How long all texts will take, estimated from a few of them."""
        texts, most = self.texts, SAMPLE.get(self.clip.device.type, SAMPLE["cpu"])
        lengths = texts.tokens.tails if texts.tokens else texts.tails
        order = sorted(range(len(texts.tails)), key=lambda n: len(lengths[n]))
        few = order[:: max(4, len(order) // most)]  # evenly spaced in length, at most a quarter of them
        head = sorted(range(len(texts.heads)), key=lambda n: len(texts.heads[n]))[len(texts.heads) // 2]
        sample = replace(self, texts=texts.only([head], few))
        categories = range(len(few)) if texts.rationale_first else range(1)
        sample.block(categories)  # warms up
        start = time.perf_counter()
        sample.block(categories)
        return (time.perf_counter() - start) / len(few) * len(texts.heads) * len(texts.tails)


def pair_encoder(
    clip: ClipSpace, words: RationaleWords, inverse: bool = False, dtype: torch.dtype = torch.float32
) -> PairEncoder:
    """What encodes every category with every rationale; warns where only the slow way works.

    Raises SaywhyError as ``pair_texts`` does.
    """
    texts, tower = tokenised(pair_texts(words, inverse), clip.tokenizer), causal_tower(clip)
    encoder = PairEncoder(clip, texts, tower, dtype)
    tower = tower if tower and texts.tokens and _agrees(encoder) else None
    if not tower:
        why = (
            "its text tower is not a causal transformer that ends with its end token"
            if texts.tokens
            else "its tokenizer needs whole texts"
        )
        warnings.warn(f"{clip.name}: {why}, so every text is encoded by itself, which is slower", BankWarning)
    return replace(encoder, tower=tower)


@torch.no_grad()
def _agrees(encoder: PairEncoder) -> bool:
    """Whether our run of the tower agrees with its own, on the shortest and the longest text."""
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
    ours, theirs = (run.block(range(2), torch.float32) for run in (few, replace(few, tower=None)))
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
