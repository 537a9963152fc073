"""Where are these phrases in a picture, as a space sees it? A map of each, and whether it stands out at all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from saywhy.attribution import LooksForTexts
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.questions.options import ExplainOptions
from saywhy.spaces.similarity import UNUSUAL, unusual_scores
from saywhy.spaces.traits import classifier_of, reference_of, vocabulary_of
from saywhy.types import PhraseMap, Space


def check_phrases(phrases: Sequence[str], space: Space) -> None:
    """Raises SaywhyError for an empty phrase, one that the space does not know, and a space without maps of them."""
    if not all(phrase.strip() for phrase in phrases):
        raise SaywhyError("a phrase to look for is empty; name what should be seen, such as 'a red crown'")
    if phrases and not isinstance(space, LooksForTexts):
        raise SaywhyError(f"{space.name} cannot say where a phrase is; the classifier's own space and CLIPs can")
    if phrases and vocabulary_of(space) is not None:
        space.encode_texts(phrases)  # one that it does not know is refused before any picture is read


def find_phrases(
    images: Sequence[Image.Image],
    encoded: Tensor,
    vocabulary: Tensor,
    space: Space,
    classifier: Classifier,
    options: ExplainOptions,
) -> list[tuple[PhraseMap, ...]]:
    """The maps of ``options.phrases`` in each of N pictures.

    encoded:    (N, d) the pictures in the space. vocabulary: (M, d) phrases that say what is usual, where the space has
                no reference.
    options:    their method and composite are those of the classifier's maps; a CLIP's maps are by LRP.

    Raises SaywhyError as ``check_phrases`` and ``attribute``.
    """
    phrases = options.phrases
    check_phrases(phrases, space)
    if not phrases or not isinstance(space, LooksForTexts):
        return [()] * len(images)
    own = classifier_of(space) is not None
    method, composite = (options.method, options.composite) if own else ("lrp", None)
    texts = torch.cat([vocabulary, space.encode_texts(phrases)])
    scores, unusual = (each[:, -len(phrases) :] for each in unusual_scores(encoded, texts, reference_of(space)))
    found = []
    for n, image in enumerate(images):
        several = [image] * len(phrases)
        maps = space.text_maps(several, phrases, method=method, composite=composite, batch_size=len(phrases))
        frame = space.text_frame(image)
        found.append(
            tuple(
                PhraseMap(text, maps[m], frame, float(score), float(out), bool(out >= UNUSUAL), space.name)
                for m, (text, score, out) in enumerate(zip(phrases, scores[n], unusual[n], strict=True))
            )
        )
    return found
