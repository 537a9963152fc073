"""CLIP with a classifier's activations in it: CLIP's texts then speak of what the classifier sees.

Source: Caption-driven XAI (Koller et al. 2025). A label from here is the classifier's as far as its channels reach into
CLIP, and CLIP's own for the rest; the controls of ``saywhy bench surgery`` say how far that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import final

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from saywhy.activation_matching import Matching, check_way, correlate, match
from saywhy.classifiers import Classifier
from saywhy.clip_space import ClipSpace, load_clip
from saywhy.errors import SaywhyError
from saywhy.feature_maps import convolutions, stages
from saywhy.surgery import AS_PUBLISHED, Surgery, run_operated

BATCH = 32  # pictures at once
LAYERS: dict[str, Callable[[nn.Module, Tensor], tuple[str, ...]]] = {"stages": stages, "convolutions": convolutions}
"""Name -> the layers of a classifier that are matched. "stages" is quick; the paper took every convolution."""


@final
@dataclass(frozen=True, eq=False)
class OperatedSpace:
    """A Space: pictures are encoded by CLIP's image tower with the classifier's matched channels in it."""

    clip: ClipSpace
    classifier: Classifier
    matching: Matching
    surgery: Surgery = AS_PUBLISHED

    @property
    def name(self) -> str:
        return f"{self.clip.name} with {self.classifier.name}'s activations"

    @property
    def scale(self) -> float:
        return self.clip.scale

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """(N, d) unit vectors."""
        tower, network = image_tower(self.clip), self.classifier.network
        vectors = [
            run_operated(network, tower, self.matching, source_pixels, target_pixels, self.surgery)
            for source_pixels, target_pixels in _batches(images, self.classifier, self.clip, BATCH)
        ]
        return F.normalize(torch.cat(vectors).float(), dim=1).cpu()

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        return self.clip.encode_texts(texts)

    def encode_texts_once(self, texts: Sequence[str]) -> Tensor:
        return self.clip.encode_texts_once(texts)


def image_tower(clip: ClipSpace) -> nn.Module:
    """CLIP's image tower as a network with layers. Raises SaywhyError where it is a bare function."""
    if not isinstance(clip.image_tower, nn.Module):
        raise SaywhyError(f"{clip.name}: its image tower is no network with layers, and cannot be operated on")
    return clip.image_tower


def match_classifier(
    clip: ClipSpace,
    classifier: Classifier,
    images: Iterable[Image.Image],
    *,
    layers: str | Sequence[str] = "stages",
    clip_layers: Sequence[str] | None = None,
    how: str = "best",
    chance: float = 0.0,
    signed: bool = False,
    batch_size: int = BATCH,
) -> Matching:
    """For each channel of CLIP's image tower the classifier's channel that goes with it on those pictures.

    images:      read once, in an order that is random with respect to what they show; see ``correlate``.
    layers:      of the classifier: "stages", "convolutions" or their names; all are candidates for each of CLIP's.
    clip_layers: None: CLIP's stages; of a ViT's blocks the class tokens too.
    how, chance, signed: see ``match``.

    Raises SaywhyError for unknown layers, another ``how``, and fewer than two pictures.
    """
    check_way(how, chance)
    tower = image_tower(clip)
    batches = _batches(images, classifier, clip, batch_size)
    first = next(batches, None)
    if first is None:
        raise SaywhyError("matching needs at least two pictures; there are none")
    source_pixels, target_pixels = (pixels[:1] for pixels in first)
    if isinstance(layers, str):
        if layers not in LAYERS:
            raise SaywhyError(
                f"there are no layers {layers!r}; there are {', '.join(LAYERS)}, and those of the network"
            )
        layers = LAYERS[layers](classifier.network, source_pixels)
    clip_layers = clip_layers or stages(tower, target_pixels, class_tokens=True)
    pairs = [(tuple(layers), layer) for layer in clip_layers]
    found = match(correlate(classifier.network, tower, chain([first], batches), pairs), how, chance, signed)
    fingerprints = {"source": classifier.fingerprint, "target": clip.key}
    return replace(found, source=classifier.name, target=clip.source, fingerprints=fingerprints)


def load_operated(path: str | Path, classifier: Classifier, surgery: Surgery = AS_PUBLISHED) -> OperatedSpace:
    """The space of a matching that was saved. Raises SaywhyError where its classifier or CLIP was another."""
    clip = load_clip(Matching.load(path, {"source": classifier.fingerprint}).target)
    return OperatedSpace(clip, classifier, Matching.load(path, {"target": clip.key}), surgery)


def _batches(
    images: Iterable[Image.Image], classifier: Classifier, clip: ClipSpace, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    left = iter(images)
    while some := list(islice(left, batch_size)):
        yield _pixels(some, classifier, clip)


def _pixels(images: Sequence[Image.Image], classifier: Classifier, clip: ClipSpace) -> tuple[Tensor, Tensor]:
    """Of the same pictures: what the classifier gets, and what CLIP gets; on their devices."""
    theirs = torch.stack([clip.transform(image) for image in images]).to(clip.device)
    return classifier.preprocess(images).to(classifier.device, classifier.dtype), theirs
