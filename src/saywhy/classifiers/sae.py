"""Sparse autoencoders of features: each picture's features as a sum of few directions out of many.

``training.sae`` makes one; files of others are read too. A latent is a component of the classifier like a channel of
its features: how active it is in a picture, and a direction that speaks for classes as the head reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
import torch.nn.functional as F
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.plumbing.tensors import STORY, reading_tensors, write_tensors
from saywhy.plumbing.texts import parse_json, read_json

KIND: Final = "sparse autoencoder"
BLOCK = 4096  # pictures at once
_NAMES: Mapping[str, tuple[str, ...]] = {
    "encoder": ("W_enc", "encoder.weight"),
    "encoder bias": ("b_enc", "encoder.bias", "latent_bias"),
    "decoder": ("W_dec", "decoder.weight"),
    "decoder bias": ("b_dec", "decoder.bias", "pre_bias", "bias"),
}
"""What others call the four tensors: SAELens, EleutherAI, OpenAI, dictionary_learning."""


@final
@dataclass(frozen=True, eq=False)
class SparseAutoencoder:
    """``latents = act((features - shift) @ encoder.T + bias)``, ``features ~ latents @ decoder + offset``.

    encoder:   (L, d). bias: (L,). decoder: (L, d), a row for each latent. offset: (d,). shift: (d,), often the offset.
    k:         latents that a picture keeps, the k largest; None: all that are above 0.
    threshold: (L,) below which a latent is 0 (JumpReLU); None: 0.
    story:     what is known of its making; empty for a file of others.
    """

    encoder: Tensor
    bias: Tensor
    decoder: Tensor
    offset: Tensor
    shift: Tensor
    k: int | None = None
    threshold: Tensor | None = None
    story: Mapping[str, Any] | None = None

    @property
    def width(self) -> int:
        """How many latents there are."""
        return len(self.encoder)

    def latents(self, features: Tensor) -> Tensor:
        """(N, L) of (N, d) features, 0 or more. Raises SaywhyError for features of another width."""
        if features.shape[1] != self.encoder.shape[1]:
            raise SaywhyError(
                f"the sparse autoencoder takes {self.encoder.shape[1]} features, and these are {features.shape[1]}: it "
                "is another model's, or another layer's"
            )
        return torch.cat([self._latents(rows) for rows in features.float().split(BLOCK)])

    def _latents(self, features: Tensor) -> Tensor:
        return active(F.linear(features - self.shift, self.encoder, self.bias), self.k, self.threshold)

    def explained(self, features: Tensor) -> float:
        """R2: the share of the features' variance that the latents give back; below 0 for features of something else.

        features: (N, d).
        """
        rest = sum(
            float((rows - self._latents(rows) @ self.decoder - self.offset).square().sum())
            for rows in features.float().split(BLOCK)
        )
        return 1 - rest / max(float((features.float() - features.float().mean(0)).square().sum()), 1e-12)

    def save(self, path: Path) -> Path:
        """Write it under SAELens' names, with its story. Raises SaywhyError where that cannot be done."""
        tensors = {"W_enc": self.encoder.T, "b_enc": self.bias, "W_dec": self.decoder, "b_dec": self.offset}
        return write_tensors(path, tensors, {"kind": KIND, "k": self.k, **(self.story or {})}, make_folder=True)


def active(before: Tensor, k: int | None, threshold: Tensor | None = None) -> Tensor:
    """(N, L) latents from what goes into their nonlinearity: TopK (Gao et al. 2024), JumpReLU, or ReLU."""
    if threshold is not None:
        return before.relu() * (before > threshold)
    if k is None:
        return before.relu()
    values, places = before.topk(min(k, before.shape[1]), 1)
    return torch.zeros_like(before).scatter(1, places, values.relu())


def load_sae(path: str | Path, classifier: str | None = None) -> SparseAutoencoder:
    """The sparse autoencoder of a file: of ``saywhy train sae``, or others' safetensors.

    Others' tensors may be called as SAELens does (W_enc, b_enc, W_dec, b_dec), or encoder.weight and decoder.weight
    with their biases. Their k, and whether the decoder's bias is taken off the input (else it is), may stand in a
    cfg.json or config.json beside the file.

    classifier: the fingerprint of the one whose features are asked about; None: not compared.

    Raises SaywhyError for a damaged file, shapes that do not fit each other, and one made for another classifier.
    """
    path = Path(path)
    with reading_tensors(path, "holds no sparse autoencoder", key=None) as file:
        parts = {what: _first(file.tensors, names) for what, names in _NAMES.items()}
        encoder, decoder = parts["encoder"], parts["decoder"]
        if encoder is None or decoder is None:
            raise SaywhyError(
                f"its tensors are {', '.join(sorted(file.tensors)[:6]) or 'none'}; W_enc and W_dec are needed"
            )
        if encoder.dim() != 2 or decoder.dim() != 2:
            raise SaywhyError(f"encoder and decoder are {tuple(encoder.shape)} and {tuple(decoder.shape)}, no matrices")
        encoder = encoder.T if "W_enc" in file.tensors else encoder  # SAELens': (d, L); a linear layer's: (L, d)
        decoder = decoder if "W_dec" in file.tensors else decoder.T
        if encoder.shape != decoder.shape:
            raise SaywhyError(f"encoder {tuple(encoder.shape)} and decoder {tuple(decoder.shape)} do not fit")
        story = parse_json(file.metadata[STORY], STORY) if STORY in file.metadata else {}
        threshold = file.tensors.get("threshold")
    latents, width = encoder.shape
    bias = _vector(parts["encoder bias"], latents, path)
    offset = _vector(parts["decoder bias"], width, path)
    settings = story or _beside(path)
    made_for = story.get("classifier") if story else None
    if classifier is not None and made_for not in (None, classifier):
        raise SaywhyError(f"{path}: was made for another classifier; train one for this: saywhy train sae")
    k = settings.get("k")
    if k is not None and (not isinstance(k, int) or k < 1):
        raise SaywhyError(f"{path}: its k is {k!r}; it is a whole number of latents")
    shifted = settings.get("apply_b_dec_to_input", True)
    return SparseAutoencoder(
        encoder.float().contiguous(), bias, decoder.float().contiguous(), offset,
        offset if shifted else torch.zeros_like(offset), k,
        None if threshold is None else _vector(threshold, latents, path), story,
    )  # fmt: skip


def _first(tensors: Mapping[str, Tensor], names: tuple[str, ...]) -> Tensor | None:
    return next((tensors[name] for name in names if name in tensors), None)


def _vector(given: Tensor | None, length: int, path: Path) -> Tensor:
    if given is None:
        return torch.zeros(length)
    if given.shape != (length,):
        raise SaywhyError(f"{path}: a bias of {tuple(given.shape)} where {length} values are needed")
    return given.float()


def _beside(path: Path) -> Mapping[str, Any]:
    """What a configuration beside a file of others says of it."""
    for name in ("cfg.json", "config.json"):
        if (path.parent / name).is_file():
            found = read_json(path.parent / name)
            return found if isinstance(found, dict) else {}
    return {}
