"""CLIP with a classifier's activations in it: CLIP's texts then speak of what the classifier sees.

Source: Caption-driven XAI (Koller et al. 2025). A label from here is the classifier's as far as its channels reach into
CLIP, and CLIP's own for the rest; the controls of ``saywhy bench surgery`` say how far that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import final

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from saywhy.classifiers.classifier import Classifier
from saywhy.classifiers.evidence import EVIDENCE, class_evidence
from saywhy.classifiers.layers import convolutions, stages
from saywhy.errors import SaywhyError
from saywhy.pictures.in_batches import bounded
from saywhy.spaces.clip import ClipSpace, load_clip
from saywhy.spaces.surgery.correlation import Correlation, correlate
from saywhy.spaces.surgery.matching import Matching, check_way, match
from saywhy.spaces.surgery.operating import run_operated, source_layers
from saywhy.spaces.surgery.options import DEFAULT_SURGERY, MatchOptions, Surgery

BATCH = 32  # pictures at once
LAYERS: dict[str, Callable[[nn.Module, Tensor], tuple[str, ...]]] = {
    "stages": partial(stages, class_tokens=True),
    "last": lambda network, pixels: stages(network, pixels, class_tokens=True)[-1:],
    "convolutions": convolutions,
}
"""Name -> layers of a network; of the classifier also EVIDENCE, its evidence for each class (classifiers/evidence.py).

The paper took every convolution of the classifier, and the stages of CLIP.
"""


@final
@dataclass(frozen=True, eq=False)
class OperatedSpace:
    """A Space: pictures are encoded by CLIP's image tower with the classifier's matched channels in it.

    >>> matching = match_classifier(clip, classifier, pictures)
    >>> OperatedSpace(clip, classifier, matching).encode_images(pictures)  # what CLIP sees through the classifier

    matching: which channel of the classifier goes with which of CLIP's; see ``match_classifier``.
    surgery:  how strongly they are swapped, and what becomes of channels without a match.

    Source: Koller et al. 2025 (Caption-driven XAI); docs/surgery.md says where it differs.
    """

    clip: ClipSpace
    classifier: Classifier
    matching: Matching
    surgery: Surgery = DEFAULT_SURGERY
    _evidence: list[nn.Module] = field(default_factory=list, init=False, repr=False)  # found with the first pictures

    @property
    def name(self) -> str:
        return f"{self.clip.name} with {self.classifier.name}'s activations"

    @property
    def scale(self) -> float:
        return self.clip.scale

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """(N, d) unit vectors."""
        tower = image_tower(self.clip)
        vectors = [
            run_operated(self._source(source_pixels), tower, self.matching, source_pixels, target_pixels, self.surgery)
            for source_pixels, target_pixels in _batches(images, self.classifier, self.clip, BATCH)
        ]
        return F.normalize(torch.cat(vectors).float(), dim=1).cpu()

    def _source(self, pixels: Tensor) -> nn.Module:
        """The network whose layers were matched. pixels: any pictures."""
        if EVIDENCE not in source_layers(self.matching):
            return self.classifier.network
        if not self._evidence:
            self._evidence.append(class_evidence(self.classifier, pixels[:1]))
        return self._evidence[0]

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """(M, d) unit vectors, CLIP's own: surgery changes the image tower alone."""
        return self.clip.encode_texts(texts)

    def encode_texts_once(self, texts: Sequence[str]) -> Tensor:
        return self.clip.encode_texts_once(texts)


def image_tower(clip: ClipSpace) -> nn.Module:
    """CLIP's image tower as a network with layers. Raises SaywhyError if it is a plain function."""
    if not isinstance(clip.image_tower, nn.Module):
        raise SaywhyError(f"{clip.name}: its image tower is not a network with layers, so it cannot be operated on")
    return clip.image_tower


def match_classifier(
    clip: ClipSpace,
    classifier: Classifier,
    images: Iterable[Image.Image],
    *,
    layers: str | Sequence[str] = MatchOptions.layers,
    clip_layers: str | Sequence[str] = MatchOptions.clip_layers,
    how: str = MatchOptions.how,
    chance: float = MatchOptions.chance,
    signed: bool = MatchOptions.signed,
    floor: float = MatchOptions.floor,
    shuffles: int = MatchOptions.shuffles,
    batch_size: int = BATCH,
) -> Matching:
    """For each channel of CLIP's image tower the classifier's channel that goes with it on those pictures.

    images:      read once, in an order that is random with respect to what they show; see ``correlate``.
    layers:      of the classifier: EVIDENCE, one of LAYERS, or their names; all are candidates for each of CLIP's.
    clip_layers: of CLIP: one of LAYERS, or their names. Behind the last stage CLIP has nothing to add, so that it alone
                 is enough where unmatched channels are silenced.
    how, chance, signed: see ``match``.
    floor:       evidence for a class is matched where its deviation over pictures and positions is above so many
                 logits; says nothing of other layers.
    shuffles:    of the pictures, to know what chance gives (their cost: ``correlate``); none where ``chance`` is 1.

    Raises SaywhyError for unknown layers, an unknown ``how``, and fewer than two pictures.
    """
    check_way(how, chance)
    shuffles = 0 if chance == 1 else shuffles
    correlations = correlate_classifier(clip, classifier, images, layers, clip_layers, batch_size, shuffles)
    return matched(clip, classifier, correlations, how, chance, signed, floor)


def correlate_classifier(
    clip: ClipSpace,
    classifier: Classifier,
    images: Iterable[Image.Image],
    layers: str | Sequence[str] = MatchOptions.layers,
    clip_layers: str | Sequence[str] = MatchOptions.clip_layers,
    batch_size: int = BATCH,
    shuffles: int = MatchOptions.shuffles,
) -> list[Correlation]:
    """The pass over the data that ``match_classifier`` makes: one Correlation for each of CLIP's layers."""
    tower = image_tower(clip)
    batches = _batches(images, classifier, clip, batch_size)
    first = next(batches, None)
    if first is None:
        raise SaywhyError("matching needs at least two pictures; there are none")
    network: nn.Module = classifier.network
    if layers in (EVIDENCE, [EVIDENCE], (EVIDENCE,)):
        network, layers = class_evidence(classifier, first[0][:1]), [EVIDENCE]
    candidates = _layers(layers, network, first[0][:1])
    target_layers = _layers(clip_layers, tower, first[1][:1])
    return correlate(
        network, tower, chain([first], batches), [(candidates, layer) for layer in target_layers], shuffles
    )


def matched(
    clip: ClipSpace,
    classifier: Classifier,
    found: Sequence[Correlation],
    how: str = MatchOptions.how,
    chance: float = MatchOptions.chance,
    signed: bool = MatchOptions.signed,
    floor: float = MatchOptions.floor,
) -> Matching:
    """``match_classifier`` from correlations that are known: several thresholds need only one pass over the data."""
    alone = all(correlation.sources[0][0] == EVIDENCE for correlation in found)
    decisive = {EVIDENCE: found[-1].source_std > floor} if alone else None
    return replace(
        match(found, how, chance, signed, decisive),
        source=classifier.name,
        target=clip.source,
        fingerprints={"source": classifier.fingerprint, "target": clip.key},
        decisive={name: int(mask.sum()) for name, mask in (decisive or {}).items()},
    )


def _layers(asked: str | Sequence[str], network: nn.Module, pixels: Tensor) -> tuple[str, ...]:
    if not isinstance(asked, str):
        if EVIDENCE in asked and len(asked) > 1:
            raise SaywhyError(f"{EVIDENCE} is matched alone, not with other layers")
        return tuple(asked)
    if asked not in LAYERS:
        raise SaywhyError(
            f"there are no layers {asked!r}; there are {', '.join([EVIDENCE, *LAYERS])}, or a list of layers"
        )
    return LAYERS[asked](network, pixels)


def load_operated(
    path: str | Path, classifier: Classifier, surgery: Surgery = DEFAULT_SURGERY, device: str | None = None
) -> OperatedSpace:
    """The space of a matching that was saved, CLIP on ``device`` (None: a GPU where there is one).

    Raises SaywhyError where it was made with another classifier or CLIP.
    """
    clip = load_clip(Matching.load(path, {"source": classifier.fingerprint}).target, device)
    return OperatedSpace(clip, classifier, Matching.load(path, {"target": clip.key}), surgery)


def _batches(
    images: Iterable[Image.Image], classifier: Classifier, clip: ClipSpace, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in bounded(((None, image) for image in images), batch_size):
        yield _pixels([image for _, image in batch], classifier, clip)


def _pixels(images: Sequence[Image.Image], classifier: Classifier, clip: ClipSpace) -> tuple[Tensor, Tensor]:
    """The same pictures as the classifier gets them, and as CLIP gets them; on their devices."""
    for_clip = torch.stack([clip.transform(image) for image in images]).to(clip.device)
    return classifier.preprocess(images).to(classifier.device, classifier.dtype), for_clip
