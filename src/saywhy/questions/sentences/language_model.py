"""Causal language models that write sentences: any of transformers, with what a writer must know about its tokens."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, final

import torch
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.plumbing.devices import choose_device
from saywhy.plumbing.hub import check_settings, patience, why_absent
from saywhy.plumbing.names import shown
from saywhy.questions.sentences.language_filter import is_appropriate

PROMPTS = (  # Sammani and Deligiannis 2025, appendix I
    "Image of", "Picture of", "Photo of", "Image shows", "Picture shows", "Photo shows", "Image showing",
    "Picture showing", "Photo showing",
)  # fmt: skip
WORLD_PROMPTS = ("a bird", "this bird", "a photo of a bird")  # how the worlds' sentences begin
_PLAIN = re.compile(r" ?[A-Za-z]+|,|-|'[a-z]{1,2}")  # appendix I: "unneeded character symbols" are left out


@final
@dataclass(frozen=True, eq=False)
class LanguageModel:
    """network:  a transformers causal language model, frozen, in evaluation mode.

    strings: of each token, with the space before it; "" for a special one. usable: (V,) bool, tokens that a sentence
             may have.
    within:  (V,) bool, tokens that go on with a word.
    stops:   tokens that end a sentence: those that read "."; without any, the end-of-text token; may be empty.
    start:   tokens before every text: the mark of beginning, where the tokenizer has one.
    """

    network: Any
    tokenizer: Any
    name: str
    strings: tuple[str, ...]
    usable: Tensor
    within: Tensor
    stops: tuple[int, ...]
    start: tuple[int, ...]
    prompts: tuple[str, ...] = PROMPTS

    @property
    def device(self) -> torch.device:
        return self.network.device

    def tokens(self, text: str) -> list[int]:
        """The tokens of a text, after the mark of beginning."""
        return [*self.start, *self.tokenizer(text, add_special_tokens=False)["input_ids"]]

    def begin(self, prompt: str, longest: int, *, before: int = 0) -> list[int]:
        """The tokens that a sentence of ``longest`` tokens, its prompt's among them, begins with.

        before: positions that are taken before the text, by a prefix.

        Raises SaywhyError where the prompt leaves no room for another token, or is empty and the network has no start
        token, and where the network has fewer positions than the sentence needs.
        """
        ids = self.tokens(prompt)
        if not ids:
            raise SaywhyError(f"{self.name} has no start token: it needs a prompt that is not empty")
        if (length := len(ids) - len(self.start)) >= longest:
            raise SaywhyError(
                f"the prompt {prompt!r} is {length} tokens of {self.name}, and a sentence has at most {longest}"
            )
        # The prefix is there for all tokens but the last; perplexities reads that one too, and a full stop.
        needed = len(self.start) + longest + max(before - 1, 1)
        if self._lacks(needed):
            raise SaywhyError(
                f"a sentence of up to {longest} tokens takes {needed} positions, and {self.name} has "
                f"{self._positions}; make longest smaller, or use a writer with more"
            )
        return ids

    @property
    def _positions(self) -> int:
        """How many tokens the network reads; 0 or below where there is no end."""
        return getattr(self.network.config.get_text_config(), "max_position_embeddings", None) or 0

    def _lacks(self, needed: int) -> bool:
        return 0 < self._positions < needed

    @torch.no_grad()
    def perplexities(self, texts: Sequence[str]) -> list[float]:
        """Per token, of each text; NaN for one without tokens to predict.

        Raises SaywhyError for a text of more tokens than the network reads.
        """
        out = []
        for text in texts:
            ids = torch.tensor([self.tokens(text)], device=self.device)
            if ids.shape[1] < 2:
                out.append(float("nan"))
                continue
            if self._lacks(ids.shape[1]):
                raise SaywhyError(
                    f"the writer {self.name} cannot read {shown(text, 60)!r}: it is {ids.shape[1]} of its tokens, and "
                    f"it reads {self._positions} at most; use a writer that reads more, or none (--writer none)"
                )
            logits = self.network(ids).logits[0, :-1].float()
            out.append(math.exp(float(torch.nn.functional.cross_entropy(logits, ids[0, 1:]))))
        return out


@lru_cache(maxsize=2)
def load_language_model(source: str, device: str | None = None) -> LanguageModel:
    """The language model that ``source`` names: a transformers name or folder ("gpt2"), or "world:aviary".

    Raises SaywhyError where it cannot be loaded or is not a causal language model, or for an unknown device.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    chosen = choose_device(device)
    where = source
    if source.startswith("world:"):
        from saywhy.worlds import language_directory

        where = str(language_directory(source.removeprefix("world:")))
    check_settings(where)
    prompts = WORLD_PROMPTS if source.startswith("world:") else PROMPTS
    try:
        with patience():
            tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
            network = AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32, trust_remote_code=False)
        network = network.eval().requires_grad_(False).to(chosen)
        language = language_model(network, tokenizer, source, prompts)
        language.perplexities(["a text"])  # fails now where its settings do not go together
        return language
    except SaywhyError:
        raise
    except Exception as error:
        problem = "does not load from its folder" if os.path.isdir(where) else "cannot be loaded"
        raise SaywhyError(
            f"the language model {source!r} {problem} ({why_absent(error)}). Without a hub: a local folder, "
            "world:aviary, or one of your own from `saywhy train language`"
        ) from None


def language_model(network: Any, tokenizer: Any, name: str, prompts: Sequence[str] = PROMPTS) -> LanguageModel:
    """A LanguageModel from a loaded network and tokenizer. Raises SaywhyError where they do not go together."""
    vocabulary = network.config.get_text_config().vocab_size
    if len(tokenizer) > vocabulary:
        raise SaywhyError(
            f"{name}: the tokenizer has {len(tokenizer)} tokens and the network {vocabulary}; use the network's own"
        )
    if (last := max(tokenizer.get_vocab().values(), default=0)) >= vocabulary:
        raise SaywhyError(
            f"{name}: the tokenizer counts its tokens up to {last}, and the network has {vocabulary}; use the "
            "network's own"
        )
    strings = _strings(tokenizer, vocabulary)
    special = set(tokenizer.all_special_ids)
    usable = torch.tensor(
        [bool(_PLAIN.fullmatch(s)) and n not in special and is_appropriate(s) for n, s in enumerate(strings)]
    )
    if not usable.any():
        raise SaywhyError(f"{name}: none of its {vocabulary} tokens is made of Latin letters")
    end = tokenizer.eos_token_id
    stops = [n for n, s in enumerate(strings) if s.strip() == "."] or ([end] if end is not None else [])
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else end
    start = () if first is None else (first,)
    within = torch.tensor([s[:1].isalpha() for s in strings])
    return LanguageModel(network, tokenizer, name, strings, usable, within, tuple(stops), start, tuple(prompts))


def _strings(tokenizer: Any, vocabulary: int) -> tuple[str, ...]:
    """What each token adds to a text, decoded after another token: some tokenizers drop a first one's space."""
    anchor = tokenizer("a", add_special_tokens=False)["input_ids"][-1:]
    before = tokenizer.decode(anchor)
    known = min(vocabulary, len(tokenizer))
    both = tokenizer.batch_decode([[*anchor, n] for n in range(known)], clean_up_tokenization_spaces=False)
    special = set(tokenizer.all_special_ids)
    added = ("" if n in special else text[len(before) :] for n, text in enumerate(both))
    return (*added, *[""] * (vocabulary - known))
