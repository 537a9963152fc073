"""The classifier's own space: its features, and texts mapped among the rows of its head.

A label from here is the classifier's own opinion: a phrase is near a picture where the head's row for that phrase,
had it one, would give a high logit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from saywhy.classifiers import Classifier
from saywhy.text_encoder import TextEncoder
from saywhy.text_to_weights import fit_kernel_ridge

CLASS_PROMPT = "an image of a {}"  # Sammani and Deligiannis 2025, section 4.1
TEMPERATURE = 2.0  # of the softmax over classes in a picture's vector; docs/spaces.md says how it was chosen
BATCH = 32  # pictures or crops at once


def common_name(label: str) -> str:
    """The English name of "Latin name (English name)": sentence encoders know little Latin. Others as they are."""
    match = re.fullmatch(r"[A-Z][a-z]+(?: [a-z-]+)+ \(([^()]+)\)", label)
    return match[1] if match else label


@final
class ClassifierSpace:
    """A Space of a classifier with a linear head. Raises SaywhyError for one without.

    context: how much wider than a region the piece is that is looked at: a classifier has only ever seen whole
    pictures, and takes a tight crop for something else (a hornbill's eye for a ball).
    """

    context = 2.2

    def __init__(self, classifier: Classifier, encoder: TextEncoder) -> None:
        self._classifier, self._encoder = classifier, encoder
        prompts = [CLASS_PROMPT.replace("{}", common_name(label)) for label in classifier.labels]
        rows = classifier.head.weight.float().cpu()
        # A softmax ignores what all rows share, and so does the space.
        self._weights = F.normalize(rows - rows.mean(0), dim=1)
        self._mapper = fit_kernel_ridge(encoder.encode(prompts), self._weights)

    @property
    def name(self) -> str:
        return "the classifier itself"

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """(N, d) unit vectors: half the features as they are, half what the head reads from them.

        The second half is the mean of the classes' directions under the (softened) softmax: the features' part that
        matters for deciding. On real photographs phrases are right more often with both halves than with either alone.
        """
        pixels = self._classifier.preprocess
        features = [
            self._classifier.features(pixels(images[start : start + BATCH])).float().cpu()
            for start in range(0, len(images), BATCH)
        ]
        found = torch.cat(features)
        head = self._classifier.head
        logits = found @ head.weight.float().cpu().T + head.bias.float().cpu()
        read = (logits / TEMPERATURE).softmax(1) @ self._weights
        return F.normalize(F.normalize(found, dim=1) + F.normalize(read, dim=1), dim=1)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        return self._mapper(self._encoder.encode(texts))

    def reference(self) -> Tensor:
        """(C, d) what pictures usually look like here: the classes' own directions. See similarity.py."""
        return self._weights
