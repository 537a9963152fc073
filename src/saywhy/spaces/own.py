"""The classifier's own space: its features, and texts mapped to rows like those of its head.

A label from here is the classifier's own opinion: a phrase is near a picture where the head's row for that phrase,
if it had one, would give a high logit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from saywhy.attribution import Composite, attribute
from saywhy.classifiers.classifier import Classifier
from saywhy.classifiers.outputs import MULTI
from saywhy.spaces.text_encoder import TextEncoder
from saywhy.spaces.text_to_weights import Mapper, centred, fit
from saywhy.spaces.text_to_weights.files import load_mapper, save_mapper
from saywhy.types import Geometry, Heatmap
from saywhy.words.class_names import common_name

CLASS_PROMPT = "an image of a {}"  # Sammani and Deligiannis 2025, section 4.1
TEMPERATURE = 2.0  # of the softmax over classes in a picture's vector; docs/spaces.md says how it was chosen
# of the kernel, for phrases; docs/spaces.md says how they were chosen
PHRASES: dict[str, Any] = {"width": 3.0, "ridge": 10.0}
BATCH = 32  # pictures or crops at once


def class_prompts(labels: Sequence[str], prompt: str = CLASS_PROMPT) -> list[str]:
    """What the text encoder is given for each class."""
    return [prompt.replace("{}", common_name(label)) for label in labels]


def picture_vectors(features: Tensor, weight: Tensor, bias: Tensor, competing: bool = True) -> Tensor:
    """(N, d) unit vectors of pictures: half the features as they are, half what the head reads from them.

    The second half is the mean of the classes' directions under the (softened) softmax: the features' part that
    matters for deciding. On real photographs phrases are right more often with both halves than with either alone.

    features:  (N, d). weight, bias: (C, d), (C,) of the head.
    competing: whether one class of several is true of a picture; else any number of labels may be, and each counts by
               the sigmoid of its logit.
    """
    logits = features @ weight.T + bias
    shares = (logits / TEMPERATURE).softmax(1) if competing else logits.sigmoid()
    read = shares @ F.normalize(centred(weight), dim=1)
    return F.normalize(F.normalize(features, dim=1) + F.normalize(read, dim=1), dim=1)


@final
class ClassifierSpace:
    """A Space of a classifier with a linear head. Raises SaywhyError for one without.

    mapper:  what maps texts to rows of the head, fitted by text_to_weights.fit; None: kernel ridge regression
             as it is best for phrases, each a mixture of many classes. (For the names of further classes, which are
             like those it was fitted on, ``fit`` chooses its settings by folds.)
    context: how much wider than a region its crop is: a classifier has only ever seen whole
             pictures, and takes a tight crop for something else (a hornbill's eye for a ball).
    """

    context = 2.2
    alternatives = True  # phrases of a group are told apart by what they do not share; see labels.encode_vocabulary

    def __init__(self, classifier: Classifier, encoder: TextEncoder, mapper: Mapper | None = None) -> None:
        self.classifier, self.encoder = classifier, encoder
        head = classifier.head
        self._head = head
        # A softmax ignores what all rows share, and so does the space.
        self._weights = F.normalize(centred(head.weight), dim=1)
        self.mapper = mapper or fit(encoder.encode(class_prompts(classifier.labels)), head.weight, **PHRASES)

    @property
    def name(self) -> str:
        return "the classifier itself"

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """(N, d) unit vectors; see ``picture_vectors``."""
        return self.encode_features(self.features(images))

    def features(self, images: Sequence[Image.Image]) -> Tensor:
        """(N, d) the classifier's features, as they are."""
        pixels = self.classifier.preprocess
        return torch.cat(
            [
                self.classifier.features(pixels(images[start : start + BATCH])).float().cpu()
                for start in range(0, len(images), BATCH)
            ]
        )

    def encode_features(self, features: Tensor) -> Tensor:
        """(N, d) unit vectors of pictures whose features (N, d) are known."""
        return picture_vectors(features, self._head.weight, self._head.bias, self.classifier.task != MULTI)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """(M, d) unit vectors: what the mapper makes of M texts, among the rows of the head."""
        return self.mapper(self.encoder.encode(texts))

    def encode_texts_once(self, texts: Sequence[str]) -> Tensor:
        """As ``encode_texts``, for texts that will not be asked for again: they are not kept on disk."""
        return self.mapper(self.encoder.encode_once(texts))

    def text_maps(
        self, images: Tensor | Sequence[Image.Image], texts: Sequence[str], *, method: str = "lrp",
        composite: str | Composite | None = None, batch_size: int = BATCH, **options: Any,
    ) -> Heatmap:  # fmt: skip
        """A Heatmap of N pictures, each for its text: relevance for ``features @ row``, as of a class's row.

        Arguments as of ``attribute``, and raises as it does.
        """
        phrases = list(dict.fromkeys(texts))
        asked = self.classifier.with_rows(self.encode_texts(phrases), phrases)
        rows = [phrases.index(text) for text in texts]
        options = {"names": texts} | options  # what a warning calls the maps
        found = attribute(asked, images, rows, method, composite, batch_size=batch_size, **options)
        return replace(found, targets=tuple(texts))

    def text_frame(self, image: Image.Image) -> Geometry:
        """Where these maps lie on a picture."""
        return self.classifier.frame_on(image)

    def reference(self) -> Tensor:
        """(C, d) what pictures usually look like here: the classes' own directions. See similarity.py."""
        return self._weights

    def class_direction(self, index: int) -> Tensor:
        """(d,) unit: what speaks for a class rather than for the average one."""
        return self._weights[index]

    def save(self, path: str | Path) -> Path:
        """Save the mapper, with the fingerprints of the classifier and the encoder."""
        return save_mapper(
            self.mapper, Path(path), classifier=self.classifier.fingerprint, encoder=self.encoder.fingerprint
        )

    @staticmethod
    def load(path: str | Path, classifier: Classifier, encoder: TextEncoder) -> ClassifierSpace:
        """The space whose mapper was saved. Raises SaywhyError where it belongs to another classifier or encoder."""
        example = encoder.encode_once(["a bird"])
        mapper = load_mapper(
            Path(path), classifier=classifier.fingerprint, encoder=encoder.fingerprint, example=example
        )
        return ClassifierSpace(classifier, encoder, mapper)
