"""What is there: pictures, or regions of them, matched against a vocabulary in a space."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image
from rich.progress import track
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.spaces.similarity import FEWEST, UNUSUAL, unusual_scores
from saywhy.types import Finding, Label, Space, Vocabulary


def encode_vocabulary(vocabulary: Vocabulary, space: Space) -> Tensor:
    """(M, d) unit vectors, one per phrase: the mean over its prompts.

    In a space of ``alternatives``, phrases that exclude each other are without what their group shares: "red wing" and
    "blue wing" lie near each other among the rows of a head; what tells them apart is the rest.
    """
    prompts = [vocabulary.prompts(n) for n in range(len(vocabulary))]
    flat = [prompt for some in prompts for prompt in some]
    vectors = space.encode_texts(flat).split([len(some) for some in prompts])
    phrases = F.normalize(torch.stack([some.mean(0) for some in vectors]), dim=1)
    if not getattr(space, "alternatives", False):
        return phrases
    return against_alternatives(phrases, [g if g in vocabulary.exclusive else None for g in vocabulary.groups])


def against_alternatives(phrases: Tensor, groups: Sequence[str | None]) -> Tensor:
    """(M, d) unit vectors without the mean of their group; those of no group, or of two or fewer, as they are."""
    apart = phrases.clone()
    for group in set(groups) - {None}:
        rows = torch.tensor([n for n, other in enumerate(groups) if other == group])
        if len(rows) > 2:
            apart[rows] -= phrases[rows].mean(0)
    return F.normalize(apart, dim=1)


def encode_looks(looks: Sequence[Sequence[Image.Image]], space: Space) -> tuple[Tensor, ...]:
    """Per picture, vectors of its looks (the whole, and pieces of it): one batched encoding of all."""
    return space.encode_images([look for some in looks for look in some]).split([len(some) for some in looks])


def label_images(
    images: Sequence[Image.Image],
    vocabulary: Vocabulary,
    space: Space,
    *,
    regions: Sequence[int | None],
    top: int = 5,
) -> list[Finding]:
    """The ``top`` phrases of each picture or crop, most unusual first. One batched encoding of all of them.

    regions: what each image is, for ``Finding.region``: an index, or None for a whole picture.
    """
    if not images:
        return []
    texts = encode_vocabulary(vocabulary, space)
    return label_vectors(space.encode_images(images), texts, vocabulary, space, regions=regions, top=top)


def label_vectors(
    vectors: Tensor,
    texts: Tensor,
    vocabulary: Vocabulary,
    space: Space,
    *,
    regions: Sequence[int | None],
    top: int = 5,
) -> list[Finding]:
    """As ``label_images``, of vectors (N, d) and of the vocabulary (M, d) as encode_vocabulary gives it."""
    reference = space.reference() if hasattr(space, "reference") else None
    scores, unusual = unusual_scores(vectors, texts, reference)
    return [_finding(region, scores[n], unusual[n], vocabulary, space.name, top) for n, region in enumerate(regions)]


def nearest_phrases(
    directions: Tensor, texts: Sequence[str], space: Space, *, top: int = 15, block: int = 4096
) -> list[tuple[Label, ...]]:
    """The ``top`` of M texts for each of N directions of a space, most unusual first: exact, whatever M is.

    directions: (N, d) pictures' vectors, rows of a head, means of a cluster, latents of a sparse autoencoder: anything
                with a direction in the space.
    block:      texts in memory at once. They are read through the text cache, so that a run that was cut short goes on
                where it ended.

    Raises SaywhyError where the directions are not of this space's length.
    """
    vectors = F.normalize(directions.float(), dim=1)
    reference = space.reference() if hasattr(space, "reference") else None
    known = reference is not None and len(reference) >= FEWEST
    sums = torch.zeros(2, len(vectors), 1, dtype=torch.float64)  # of the cosines and their squares
    found = torch.empty(len(vectors), 0)
    scores, places = torch.empty(len(vectors), 0), torch.empty(len(vectors), 0, dtype=torch.long)
    starts = range(0, len(texts), block)
    for start in track(starts, "searching the bank", transient=True, disable=len(starts) < 3):
        encoded = space.encode_texts(texts[start : start + block])
        if encoded.shape[1] != vectors.shape[1]:
            raise SaywhyError(
                f"directions of {vectors.shape[1]} values in a space of {encoded.shape[1]}: they are of another model"
            )
        cosines, unusual = unusual_scores(vectors, encoded, reference)
        here = torch.arange(start, start + len(encoded)).expand(len(vectors), -1)
        sums += torch.stack([power.sum(1, keepdim=True) for power in (cosines.double(), cosines.double() ** 2)])
        joined = torch.cat([found, unusual if known else cosines], 1)
        found, best = joined.topk(min(top, joined.shape[1]), dim=1)
        scores = torch.cat([scores, cosines], 1).gather(1, best)
        places = torch.cat([places, here], 1).gather(1, best)
    if not known:  # what is usual is then the mean over all texts, which is known only now; the order is the same
        mean = sums[0] / max(1, len(texts))
        variance = (sums[1] - len(texts) * mean**2) / max(1, len(texts) - 1)
        found = ((scores - mean) / variance.clamp(min=1e-12).sqrt()).float() if len(texts) > 1 else scores * 0
    return [
        tuple(
            Label(texts[m], "", score, rank, unusual)
            for rank, (m, score, unusual) in enumerate(zip(*row, strict=True), start=1)
        )
        for row in zip(places.tolist(), scores.tolist(), found.tolist(), strict=True)
    ]


def _finding(
    region: int | None, scores: Tensor, unusual: Tensor, vocabulary: Vocabulary, space: str, top: int
) -> Finding:
    best = unusual.topk(min(top, len(unusual))).indices.tolist()
    labels = tuple(
        Label(vocabulary.phrases[m], vocabulary.groups[m], float(scores[m]), rank, float(unusual[m]))
        for rank, m in enumerate(best, start=1)
    )
    return Finding(region, labels, space, fits=labels[0].unusual >= UNUSUAL)
