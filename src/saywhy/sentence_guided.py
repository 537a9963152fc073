"""Sentences by guided search: the objective of prefix tuning, its optimum at each step in closed form, no training.

The step that sentence_prefix trains for, min over q of CE(t, q) + f CE(p, q), has the optimum q = (t + f p) / (1 + f):
a mixture of what fits the picture (t) and what the language model would say anyway (p). Here it is used as it is, by a
beam search over all pictures at once. Candidates pass a cascade: the likeliest tokens; of these the best by their last
word alone, whose embedding is shared by all beams and pictures; and only those are read as whole drafts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from saywhy.language_model import LanguageModel
from saywhy.sentence_scoring import SHARPNESS, Scorer, edited, target

BEAMS, CANDIDATES, READ, LONGEST, SHORTEST = 6, 48, 12, 20, 6
FLUENCY = 0.8
PROMPTS = 3  # of the writer's, unless others are given
FLOOR = 0.05  # of the likeliest token's probability: what is less likely is not considered
WITHIN = 0.2  # the same for tokens that go on with a word: unlikely ones make words that are none


@final
@dataclass(frozen=True)
class _Beam:
    """A draft of one picture. value: the sum of log q of its tokens; row: its line in the key-value cache."""

    picture: int
    ids: tuple[int, ...]
    text: str
    value: float
    row: int


@torch.no_grad()
def guided_drafts(
    writer: LanguageModel,
    scorer: Scorer,
    *,
    prompts: Sequence[str] | None = None,
    beams: int = BEAMS,
    candidates: int = CANDIDATES,
    read: int = READ,
    longest: int = LONGEST,
    shortest: int = SHORTEST,
    fluency: float = FLUENCY,
    floor: float = FLOOR,
    sharpness: float = SHARPNESS,
) -> list[list[str]]:
    """Per picture of the scorer, the drafts that came to an end, best first for each prompt.

    candidates: likeliest tokens considered a beam, none less likely than ``floor`` times the first (or WITHIN times, of
                those that go on with a word).
    read:       of these, those whose whole draft is encoded.
    longest, shortest: tokens, with the prompt's.

    Raises SaywhyError for a prompt that leaves no room for more.
    """
    drafts: list[list[str]] = [[] for _ in scorer.pictures]
    for prompt in prompts or writer.prompts[:PROMPTS]:
        ended = _search(
            writer, scorer, prompt, beams, candidates, read, longest, shortest, fluency, floor, sharpness
        )  # fmt: skip
        for picture, found in enumerate(ended):
            drafts[picture] += [text for _, text in sorted(found, reverse=True)]
    return drafts


def _search(
    writer: LanguageModel, scorer: Scorer, prompt: str, beams: int, candidates: int, read: int, longest: int,
    shortest: int, fluency: float, floor: float, sharpness: float,
) -> list[list[tuple[float, str]]]:  # fmt: skip
    """(value a token, text) of the drafts that ended, per picture, from one prompt."""
    first = writer.begin(prompt, longest)
    begin = len(writer.start)
    live = [_Beam(n, tuple(first), prompt, 0.0, n) for n in range(len(scorer.pictures))]
    ended: list[list[tuple[float, str]]] = [[] for _ in scorer.pictures]
    inputs = torch.tensor([first] * len(live), device=writer.device)
    cache: Any = None
    while live and len(live[0].ids) - begin < longest:
        out = writer.network(inputs, past_key_values=cache, use_cache=True)
        cache, logits = out.past_key_values, out.logits[:, -1].float().cpu()
        length = len(live[0].ids) - begin
        grown = _grown(
            writer, scorer, live, logits, candidates, read, length >= shortest, begin, fluency, floor, sharpness
        )
        survivors: list[_Beam] = []
        for picture in {beam.picture for beam in live}:
            mine = sorted((b for b in grown if b.picture == picture), key=lambda b: -b.value)
            done = [b for b in mine if b.ids[-1] in writer.stops]
            ended[picture] += [(b.value / (len(b.ids) - len(first)), b.text) for b in done]
            survivors += [b for b in mine if b.ids[-1] not in writer.stops][:beams]
        live = survivors
        if live:
            cache.reorder_cache(torch.tensor([beam.row for beam in live], device=writer.device))
            inputs = torch.tensor([[beam.ids[-1]] for beam in live], device=writer.device)
            live = [_Beam(b.picture, b.ids, b.text, b.value, row) for row, b in enumerate(live)]
    for beam in live:  # the longest length ends a draft as well
        ended[beam.picture].append((beam.value / (len(beam.ids) - len(first)), beam.text))
    return ended


def _grown(
    writer: LanguageModel, scorer: Scorer, live: Sequence[_Beam], logits: Tensor, candidates: int, read: int,
    may_end: bool, begin: int, fluency: float, floor: float, sharpness: float,
) -> list[_Beam]:  # fmt: skip
    """Every beam with each of its candidates that were read."""
    chosen: list[tuple[_Beam, list[int], Tensor]] = []
    for beam, row in zip(live, logits, strict=True):
        likely = edited(row, beam.ids[begin:], writer.usable, writer.stops, may_end).softmax(0)
        likely = likely.masked_fill(likely < likely.max() * torch.where(writer.within, max(floor, WITHIN), floor), 0.0)
        best = likely.topk(min(candidates, int((likely > 0).sum()))).indices
        chosen.append((beam, best.tolist(), likely[best]))
    words, whose = [], []
    for beam, tokens, _ in chosen:
        words += [_last_word(_read_as(beam.text, writer, n)) for n in tokens]
        whose += [beam.picture] * len(tokens)
    by_word = scorer(words, whose).split([len(tokens) for _, tokens, _ in chosen])
    kept: list[tuple[_Beam, int, float]] = []
    texts: list[str] = []
    sizes = []
    for (beam, tokens, likely), fits in zip(chosen, by_word, strict=True):
        rough = (target(fits, sharpness) + fluency * likely) / (1 + fluency)
        top = rough.topk(min(read, len(tokens))).indices.tolist()
        kept += [(beam, tokens[m], float(likely[m])) for m in top]
        texts += [_read_as(beam.text, writer, tokens[m]) for m in top]
        sizes.append(len(top))
    exact = scorer(texts, [beam.picture for beam, *_ in kept]).split(sizes)
    wanted = torch.cat([target(fits, sharpness) for fits in exact])
    grown = []
    for (beam, token, share), fit, text in zip(kept, wanted.tolist(), texts, strict=True):
        value = beam.value + math.log((fit + fluency * share) / (1 + fluency) + 1e-12)
        grown.append(_Beam(beam.picture, (*beam.ids, token), text, value, beam.row))
    return grown


def _read_as(text: str, writer: LanguageModel, token: int) -> str:
    """The draft with a token; one that ends it adds nothing to read."""
    return text if token in writer.stops else text + writer.strings[token]


def _last_word(text: str) -> str:
    return (text.rsplit(maxsplit=1) or [""])[-1]
