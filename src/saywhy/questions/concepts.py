"""Which of very many texts describe a picture, a class, or any direction of a space; and why this and not that.

Concept discovery of Sammani and Deligiannis 2025, section 4.3, in any space.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.questions.labels import encode_vocabulary, nearest_phrases
from saywhy.spaces.own import ClassifierSpace
from saywhy.spaces.similarity import unusual_scores
from saywhy.types import Contrast, Label, Prediction, Space, Vocabulary

POOL = 12  # phrases that fit a picture best, among which two classes are told apart


def read_bank(source: str | Path) -> list[str]:
    """The texts of a file, one a line, each once; or the phrases of a vocabulary by that name or in that file.

    Raises SaywhyError where there is none.
    """
    from saywhy.questions.choices import VOCABULARIES, load_vocabulary

    path = Path(source)
    if str(source) in VOCABULARIES or path.suffix.lower() == ".json" or not path.is_file():
        return list(load_vocabulary(str(source)).phrases)
    try:
        with path.open(encoding="utf-8-sig") as file:
            texts = list(dict.fromkeys(text for line in file if (text := line.strip())))
    except (OSError, UnicodeDecodeError) as error:
        raise SaywhyError(f"{path}: cannot be read as text ({error})") from None
    if not texts:
        raise SaywhyError(f"{path}: there is no text in it")
    return texts


def concepts(
    images: Sequence[Image.Image], space: Space, bank: Sequence[str], *, top: int = 15, block: int = 4096
) -> list[tuple[Label, ...]]:
    """The ``top`` texts of a bank for each picture, most unusual first. Exact, for a million texts as for ten."""
    return nearest_phrases(space.encode_images(images), bank, space, top=top, block=block) if images else []


def name_direction(
    direction: Tensor, space: Space, bank: Sequence[str], *, top: int = 15, block: int = 4096
) -> tuple[Label, ...]:
    """The texts that describe one (d,) direction: a class's (``space.class_direction``), a cluster's, a latent's."""
    return nearest_phrases(direction[None], bank, space, top=top, block=block)[0]


def why_not(
    image: Image.Image, target: Prediction, other: Prediction, space: ClassifierSpace, vocabulary: Vocabulary,
    *, top: int = 5,
) -> Contrast:  # fmt: skip
    """What of a picture speaks for a class rather than for another, and the other way round.

    Of the phrases that fit the picture best, those nearest to the one class's weights and farthest from the other's. A
    label's ``score`` is that difference of cosines, ``unusual`` the same in standard deviations of the vocabulary.
    """
    texts = encode_vocabulary(vocabulary, space)
    return why_not_vector(space.encode_images([image])[0], texts, target, other, space, vocabulary, top=top)


def why_not_vector(
    picture: Tensor, texts: Tensor, target: Prediction, other: Prediction, space: ClassifierSpace,
    vocabulary: Vocabulary, *, top: int = 5,
) -> Contrast:  # fmt: skip
    """As ``why_not``, where the picture (d,) and the vocabulary (M, d), by encode_vocabulary, are encoded already."""
    _, fits = unusual_scores(picture[None], texts, space.reference())
    pool = fits[0].topk(min(POOL, len(texts))).indices
    rows = torch.stack([space.class_direction(target.index), space.class_direction(other.index)])
    difference = (texts @ rows.T) @ torch.tensor([1.0, -1.0])
    standard = (difference - difference.mean()) / difference.std(correction=min(1, len(texts) - 1)).clamp(min=1e-6)
    order = pool[difference[pool].argsort(descending=True)].tolist()

    def labels(places: list[int], sign: int) -> tuple[Label, ...]:
        kept = [m for m in places if sign * float(standard[m]) > 0][:top]
        return tuple(
            Label(vocabulary.phrases[m], vocabulary.groups[m], float(difference[m]), rank, float(standard[m]))
            for rank, m in enumerate(kept, start=1)
        )

    return Contrast(other, labels(order, 1), labels(order[::-1], -1))
