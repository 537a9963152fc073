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

from saywhy.questions.sentences.language_model import LanguageModel
from saywhy.questions.sentences.scoring import SHARPNESS, Scorer, edited, target

PROMPTS = 3  # of the writer's, unless others are given
WITHIN = 0.2  # floor for tokens that go on with a word: unlikely ones make words that are none


@final
@dataclass(frozen=True)
class GuidedSettings:
    """Of a search.

    candidates: likeliest tokens considered a beam, none less likely than ``floor`` times the first (or WITHIN times, of
                those that go on with a word).
    read:       of these, those whose whole draft is encoded.
    longest, shortest: tokens, with the prompt's.
    fluency:    f, the language model's weight in the mixture.
    """

    beams: int = 6
    candidates: int = 48
    read: int = 12
    longest: int = 20
    shortest: int = 6
    fluency: float = 0.8
    floor: float = 0.05
    sharpness: float = SHARPNESS

    def mixed(self, fits: Tensor, likely: Tensor) -> Tensor:
        """The closed-form optimum of a step: (t + f p) / (1 + f), of cosines and probabilities of K candidates."""
        return (target(fits, self.sharpness) + self.fluency * likely) / (1 + self.fluency)


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
    **settings: Any,
) -> list[list[str]]:
    """Per picture of the scorer, the drafts that came to an end, best first for each prompt.

    settings: those of GuidedSettings. Raises SaywhyError for a prompt that leaves no room for more, and where the
    writer has fewer positions than the longest sentence.
    """
    search = GuidedSettings(**settings)
    drafts: list[list[str]] = [[] for _ in scorer.pictures]
    for prompt in prompts or writer.prompts[:PROMPTS]:
        for picture, ended in enumerate(_search(writer, scorer, prompt, search)):
            drafts[picture] += [text for _, text in sorted(ended, reverse=True)]
    return drafts


def _search(
    writer: LanguageModel, scorer: Scorer, prompt: str, search: GuidedSettings
) -> list[list[tuple[float, str]]]:
    """(value a token, text) of the drafts that ended, per picture, from one prompt."""
    first = writer.begin(prompt, search.longest)
    begin = len(writer.start)
    live = [_Beam(n, tuple(first), prompt, 0.0, n) for n in range(len(scorer.pictures))]
    ended: list[list[tuple[float, str]]] = [[] for _ in scorer.pictures]
    inputs = torch.tensor([first] * len(live), device=writer.device)
    cache: Any = None
    while live and len(live[0].ids) - begin < search.longest:
        out = writer.network(inputs, past_key_values=cache, use_cache=True)
        cache, logits = out.past_key_values, out.logits[:, -1].float().cpu()
        grown = _grown(writer, scorer, live, logits, search)
        survivors: list[_Beam] = []
        for picture in {beam.picture for beam in live}:
            mine = sorted((b for b in grown if b.picture == picture), key=lambda b: -b.value)
            done = [b for b in mine if b.ids[-1] in writer.stops]
            ended[picture] += [(b.value / (len(b.ids) - len(first)), b.text) for b in done]
            survivors += [b for b in mine if b.ids[-1] not in writer.stops][: search.beams]
        live = survivors
        if live:
            cache.reorder_cache(torch.tensor([beam.row for beam in live], device=writer.device))
            inputs = torch.tensor([[beam.ids[-1]] for beam in live], device=writer.device)
            live = [_Beam(b.picture, b.ids, b.text, b.value, row) for row, b in enumerate(live)]
    for beam in live:  # the longest length ends a draft as well
        ended[beam.picture].append((beam.value / (len(beam.ids) - len(first)), beam.text))
    return ended


def _grown(
    writer: LanguageModel, scorer: Scorer, live: Sequence[_Beam], logits: Tensor, search: GuidedSettings
) -> list[_Beam]:
    """Every beam, continued by each of its candidates whose draft was scored."""
    chosen: list[tuple[_Beam, list[int], Tensor]] = []
    for beam, row in zip(live, logits, strict=True):
        ids = beam.ids[len(writer.start) :]
        likely = edited(row, ids, writer.usable, writer.stops, len(ids) >= search.shortest).softmax(0)
        floors = torch.where(writer.within, max(search.floor, WITHIN), search.floor)
        likely = likely.masked_fill(likely < likely.max() * floors, 0.0)
        best = likely.topk(min(search.candidates, int((likely > 0).sum()))).indices
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
        top = search.mixed(fits, likely).topk(min(search.read, len(tokens))).indices.tolist()
        kept += [(beam, tokens[m], float(likely[m])) for m in top]
        texts += [_read_as(beam.text, writer, tokens[m]) for m in top]
        sizes.append(len(top))
    exact = scorer(texts, [beam.picture for beam, *_ in kept]).split(sizes)
    shares = torch.tensor([share for *_, share in kept]).split(sizes)
    chances = torch.cat([search.mixed(fits, likely) for fits, likely in zip(exact, shares, strict=True)])
    grown = []
    for (beam, token, _), chance, text in zip(kept, chances.tolist(), texts, strict=True):
        value = beam.value + math.log(chance + 1e-12)
        grown.append(_Beam(beam.picture, (*beam.ids, token), text, value, beam.row))
    return grown


def _read_as(text: str, writer: LanguageModel, token: int) -> str:
    """The draft with a token; one that ends it adds nothing to read."""
    return text if token in writer.stops else text + writer.strings[token]


def _last_word(text: str) -> str:
    return (text.rsplit(maxsplit=1) or [""])[-1]
