"""Tiny language models at random weights, with tokenizers made here, and a space in which words have known places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zlib import crc32

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from saywhy.questions.sentences.language_model import LanguageModel, language_model
from saywhy.training.language import byte_pair_tokenizer, gpt2

TEXTS = ("a bird with red wings.", "a photo of a green bird, on blue sand.", "this bird's bill is blue-green.")


def word_tokenizer(words: Sequence[str], *, end: str | None = "</s>") -> Any:
    """A token a word, spaces dropped as sentencepiece does; without a full stop unless it is among the words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = [*([end] if end else []), "<unk>", *(f"▁{word}" if word.isalnum() else word for word in words)]
    raw = Tokenizer(models.WordLevel({token: n for n, token in enumerate(tokens)}, "<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=end, unk_token="<unk>")


def tiny_gpt2(tokenizer: Any, longest: int = 64, tokens: int | None = None) -> Any:
    torch.manual_seed(0)
    return gpt2(tokens or len(tokenizer), width=16, layers=2, heads=2, longest=longest)


def tiny_llama(tokenizer: Any) -> Any:
    """Grouped-query attention: four heads, two of keys and values."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def writer(kind: str = "gpt2", tokenizer: Any = None, **settings: Any) -> LanguageModel:
    """A frozen writer at random weights; its tokenizer is a byte-level BPE of TEXTS."""
    tokenizer = tokenizer or byte_pair_tokenizer(TEXTS * 20, 290)
    network = tiny_llama(tokenizer) if kind == "llama" else tiny_gpt2(tokenizer, **settings)
    return language_model(network.eval().requires_grad_(False), tokenizer, f"tiny {kind}")


class WordSpace:
    """Every text has a place of its own by its words (any words), and every picture by its colours. Counts its calls.

    calls: how many texts each call encoded.
    """

    name = "a space of words"
    width = 24

    def __init__(self, seed: int = 0) -> None:
        self.seed, self.calls = seed, list[int]()
        self._places: dict[str, Tensor] = {}

    def _place(self, word: str) -> Tensor:
        if word not in self._places:
            number = crc32(word.encode()) + self.seed
            self._places[word] = torch.randn(self.width, generator=torch.Generator().manual_seed(number))
        return self._places[word]

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        self.calls.append(len(texts))
        rows = [sum((self._place(w) for w in text.split()), torch.full((self.width,), 0.1)) for text in texts]
        return F.normalize(torch.stack(rows), dim=1) if rows else torch.zeros(0, self.width)

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        means = torch.tensor(np.array([np.asarray(image, dtype=np.float32).mean((0, 1)) / 255 for image in images]))
        mixing = torch.randn(3, self.width, generator=torch.Generator().manual_seed(self.seed))
        return F.normalize((means - 0.5) @ mixing, dim=1)


def vectors(count: int, seed: int = 0) -> Tensor:
    """(count, d) pictures' places in a WordSpace."""
    return F.normalize(torch.randn(count, WordSpace.width, generator=torch.Generator().manual_seed(seed)), dim=1)
