"""Sentences by prefix tuning at inference: the algorithm of Sammani and Deligiannis 2025, section 3.2 and appendix I.

For each token: the K likeliest continuations are held against the picture in the space; the prefix (key-values before
the text, in every attention block) learns to prefer those that fit, without leaving what the language model would say
anyway; then the likeliest token is taken. I sentences are written with one evolving prefix.

Where the paper is open: random prefix values have the spread of the model's own
key-values; the target's temperature is that of sentence_scoring; one optimiser step a token, one step of the schedule a
sentence; weight decay is decoupled, as in the code the paper follows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from rich.progress import track
from torch import Tensor

from saywhy.questions.sentences.language_model import LanguageModel
from saywhy.questions.sentences.scoring import Scorer, edited, target

PREFIX, CANDIDATES, SENTENCES, LONGEST, SHORTEST = 5, 512, 20, 20, 10
FLUENCY, RATE, DECAY = 0.8, 0.01, 0.3
ENDING = 2.0  # added to "." in the last third of the length


def prefix_drafts(
    writer: LanguageModel,
    scorer: Scorer,
    picture: int,
    *,
    prompts: Sequence[str] | None = None,
    candidates: int = CANDIDATES,
    sentences: int = SENTENCES,
    longest: int = LONGEST,
    shortest: int = SHORTEST,
    fluency: float = FLUENCY,
    seed: int = 0,
) -> list[str]:
    """The ``sentences`` texts written for one picture, in order, without their full stops.

    longest, shortest: tokens, with the prompt's. Raises SaywhyError for a prompt that leaves no room for more,
    and where the writer has fewer positions than that.
    """
    choice = random.Random(seed)
    prefix = _random_prefix(writer, seed)
    optimiser = torch.optim.AdamW(prefix, lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, sentences)
    texts = []
    for _ in track(range(sentences), "writing", transient=True):
        prompt = choice.choice(prompts or writer.prompts)
        ids, text = writer.begin(prompt, longest, before=PREFIX), prompt
        begin = len(writer.start)
        while len(ids) - begin < longest:
            with torch.no_grad():
                alone = _next_logits(writer, ids, None).softmax(0)
            with torch.enable_grad():
                steered = _next_logits(writer, ids, prefix).softmax(0)
                best = steered.detach().topk(min(candidates, len(steered))).indices
                fits = scorer([text + writer.strings[n] for n in best.tolist()], [picture] * len(best))
                wanted = target(fits).to(steered.device)
                loss = -(wanted * (steered[best] + 1e-12).log()).sum()
                loss = loss - fluency * (alone * (steered + 1e-12).log()).sum()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            with torch.no_grad():
                steered = _next_logits(writer, ids, prefix)
            length = len(ids) - begin
            logits = edited(steered, ids[begin:], writer.usable, writer.stops, may_end=length >= shortest)
            if length > 2 * longest / 3 and writer.stops:
                logits[list(writer.stops)] += ENDING
            token = int(logits.argmax())
            if token in writer.stops:
                break
            ids.append(token)
            text += writer.strings[token]
        schedule.step()
        texts.append(text)
    return texts


def _random_prefix(writer: LanguageModel, seed: int) -> list[Tensor]:
    """Keys and values (1, heads, PREFIX, width) of each layer, alternating, as spread as the model's own are."""
    ids = torch.tensor([writer.tokens("a")], device=writer.device)
    with torch.no_grad():
        cache = writer.network(ids, use_cache=True).past_key_values
    generator = torch.Generator().manual_seed(seed)
    prefix = []
    for layer in cache.layers:
        for own in (layer.keys, layer.values):
            shape = (1, own.shape[1], PREFIX, own.shape[3])
            values = torch.randn(shape, generator=generator).to(own) * own.std()
            prefix.append(values.requires_grad_())
    return prefix


def _next_logits(writer: LanguageModel, ids: Sequence[int], prefix: Sequence[Tensor] | None) -> Tensor:
    """(V,) logits of the token after ``ids``, whose queries also see the prefix."""
    inputs: dict[str, Any] = {}
    if prefix is not None:
        from transformers import DynamicCache

        cache = DynamicCache()
        for layer, (keys, values) in enumerate(zip(prefix[::2], prefix[1::2], strict=True)):
            cache.update(keys, values, layer)
        inputs["past_key_values"] = cache
        inputs["attention_mask"] = torch.ones(1, PREFIX + len(ids), dtype=torch.long, device=writer.device)
    tokens = torch.tensor([list(ids)], device=writer.device)
    return writer.network(tokens, use_cache=prefix is not None, **inputs).logits[0, -1].float()
