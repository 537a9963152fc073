"""Which of very many texts describe a picture, a class, or any direction of a space; and why this and not that.

Concept discovery of Sammani and Deligiannis 2025, section 4.3, in any space.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from rich.progress import track
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.plumbing.texts import read_lines
from saywhy.questions.labels import encode_vocabulary
from saywhy.spaces.similarity import FEWEST, unusual_scores
from saywhy.spaces.traits import KnowsClasses, reference_of
from saywhy.types import Contrast, Label, Prediction, Space, Vocabulary

POOL = 12  # phrases that fit a picture best, among which two classes are told apart


def read_bank(source: str | Path) -> list[str]:
    """The texts of a file, one per line, without duplicates; or the phrases of a vocabulary, by name or file.

    Raises SaywhyError where there are none.
    """
    from saywhy.questions.names_and_defaults import VOCABULARIES, load_vocabulary

    path = Path(source)
    if str(source) in VOCABULARIES or path.suffix.lower() == ".json" or not os.path.exists(path):
        return list(load_vocabulary(str(source)).phrases)
    texts = list(dict.fromkeys(text for line in read_lines(path) if (text := line.strip())))
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
    image: Image.Image, target: Prediction, other: Prediction, space: Space, vocabulary: Vocabulary,
    *, top: int = 5,
) -> Contrast:  # fmt: skip
    """What in a picture speaks for one class rather than another, and the other way round.

    Of the phrases that fit the picture best, those nearest to the one class's weights and farthest from the other's. A
    label's ``score`` is that difference of cosines, ``unusual`` the same in standard deviations of the vocabulary.
    """
    texts = encode_vocabulary(vocabulary, space)
    return why_not_vector(space.encode_images([image])[0], texts, target, other, space, vocabulary, top=top)


def why_not_vector(
    picture: Tensor, texts: Tensor, target: Prediction, other: Prediction, space: Space,
    vocabulary: Vocabulary, *, top: int = 5,
) -> Contrast:  # fmt: skip
    """As ``why_not``, where the picture (d,) and the vocabulary (M, d), by encode_vocabulary, are encoded already."""
    if not isinstance(space, KnowsClasses):
        raise SaywhyError(f"{space.name} has no class directions; to compare two classes use a classifier's own space")
    _, fits = unusual_scores(picture[None], texts, reference_of(space))
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


def nearest_phrases(
    directions: Tensor, texts: Sequence[str], space: Space, *, top: int = 15, block: int = 4096
) -> list[tuple[Label, ...]]:
    """The ``top`` of M texts for each of N directions of a space, most unusual first: exact, whatever M is.

    directions: (N, d) pictures' vectors, rows of a head, means of a cluster, latents of a sparse autoencoder: anything
                with a direction in the space.
    block:      texts in memory at once. They are read through the text cache, so that an interrupted run
                continues where it stopped.

    Raises SaywhyError where the directions are not of this space's length.
    """
    vectors = F.normalize(directions.float(), dim=1)
    reference = reference_of(space)
    known = reference is not None and len(reference) >= FEWEST
    sums = torch.zeros(2, len(vectors), 1, dtype=torch.float64)  # of the cosines and their squares
    ranking = torch.empty(len(vectors), 0)
    scores, places = torch.empty(len(vectors), 0), torch.empty(len(vectors), 0, dtype=torch.long)
    starts = range(0, len(texts), block)
    for start in track(starts, "searching the bank", transient=True, disable=len(starts) < 3):
        encoded = space.encode_texts(texts[start : start + block])
        if encoded.shape[1] != vectors.shape[1]:
            raise SaywhyError(
                f"directions of {vectors.shape[1]} values in a space of {encoded.shape[1]}: they are from another model"
            )
        cosines, unusual = unusual_scores(vectors, encoded, reference)
        indices = torch.arange(start, start + len(encoded)).expand(len(vectors), -1)
        sums += torch.stack([power.sum(1, keepdim=True) for power in (cosines.double(), cosines.double() ** 2)])
        joined = torch.cat([ranking, unusual if known else cosines], 1)
        ranking, best = joined.topk(min(top, joined.shape[1]), dim=1)
        scores = torch.cat([scores, cosines], 1).gather(1, best)
        places = torch.cat([places, indices], 1).gather(1, best)
    if not known:  # what is usual is then the mean over all texts, which is known only now; the order is the same
        mean = sums[0] / max(1, len(texts))
        variance = (sums[1] - len(texts) * mean**2) / max(1, len(texts) - 1)
        ranking = ((scores - mean) / variance.clamp(min=1e-12).sqrt()).float() if len(texts) > 1 else scores * 0
    return [
        tuple(
            Label(texts[m], "", score, rank, unusual)
            for rank, (m, score, unusual) in enumerate(zip(*row, strict=True), start=1)
        )
        for row in zip(places.tolist(), scores.tolist(), ranking.tolist(), strict=True)
    ]
