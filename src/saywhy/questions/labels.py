"""What is in pictures, or in regions of them: matched against a vocabulary in a space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from saywhy.classifiers.pooling import Look
from saywhy.seen.evidence import SHIFTS, Evidence, gather, shifted_boxes
from saywhy.spaces.traits import KnowsFeatures, classifier_of, context_of, tells_alternatives_apart
from saywhy.types import Box, Finding, Label, Region, Space, Vocabulary


def encode_vocabulary(vocabulary: Vocabulary, space: Space) -> Tensor:
    """(M, d) unit vectors, one per phrase: the mean over its prompts.

    In a space of ``alternatives``, what a group of phrases that exclude each other shares is taken off: "red wing" and
    "blue wing" lie near each other among the rows of a head; the rest distinguishes them.
    """
    prompts = [vocabulary.prompts(n) for n in range(len(vocabulary))]
    flat = [prompt for wordings in prompts for prompt in wordings]
    vectors = space.encode_texts(flat).split([len(wordings) for wordings in prompts])
    phrases = F.normalize(torch.stack([wordings.mean(0) for wordings in vectors]), dim=1)
    if not tells_alternatives_apart(space):
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
    return space.encode_images([look for views in looks for look in views]).split([len(views) for views in looks])


def encode_pooled(
    look: Look, which: Sequence[int], regions: Sequence[Sequence[Region]], relevance: Tensor, space: KnowsFeatures
) -> tuple[Tensor, ...]:
    """As ``encode_looks``, of pictures and their regions, from the pass that is at hand: of each region, what the last
    map holds where its relevance lies.

    look: which pools. which: of each of N explanations its picture in the look. regions: of each.
    relevance: (N, H, W) signed, in which the regions were cut.
    """
    parts = [(n, region) for n, areas in enumerate(regions) for region in areas]
    weights = [relevance[n].clamp(min=0) * torch.from_numpy(region.mask) for n, region in parts]
    pooled = look.pooled(torch.stack(weights), [which[n] for n, _ in parts]) if parts else look.features[:0]
    of_regions = pooled.split([len(areas) for areas in regions])
    features = [row for n, own in zip(which, of_regions, strict=True) for row in (look.features[n : n + 1], own)]
    return space.encode_features(torch.cat(features).float().cpu()).split([1 + len(areas) for areas in regions])


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
    (evidence,) = gather([space.encode_images(images)], texts, vocabulary, space)
    return nearest(evidence, space.name, regions=regions, top=top)


def nearest(evidence: Evidence, space: str, *, regions: Sequence[int | None], top: int = 5) -> list[Finding]:
    """The ``top`` phrases of each look, most unusual first, in the opinion of the space of that name."""
    return [
        _finding(region, scores, unusual, evidence.vocabulary, space, top)
        for region, scores, unusual in zip(regions, evidence.cosines, evidence.unusual, strict=True)
    ]


def _finding(
    region: int | None, scores: Tensor, unusual: Tensor, vocabulary: Vocabulary, space: str, top: int
) -> Finding:
    best = unusual.topk(min(top, len(unusual))).indices.tolist()
    labels = tuple(
        Label(vocabulary.phrases[m], vocabulary.groups[m], float(scores[m]), rank, float(unusual[m]))
        for rank, m in enumerate(best, start=1)
    )
    return Finding(region, labels, space)


def pieces(image: Image.Image, regions: Sequence[Region], space: Space) -> list[Image.Image]:
    """The crop of each region, with as much around it as the space wants.

    In the space of a classifier that takes pictures at their own size, crops are stretched to the size of the whole.
    """
    crops = [image.crop(widened(region.box, image.size, context_of(space))) for region in regions]
    owner = classifier_of(space)
    if owner is None or not owner.keeps_size:
        return crops
    return [crop.resize(image.size, Image.Resampling.BICUBIC) for crop in crops]


def encode_shifted(
    images: Sequence[Image.Image], regions: Sequence[Sequence[Region]], space: Space
) -> tuple[Tensor, ...]:
    """Per picture, (L, S, d) vectors of S crops shifted around each of its looks; see ``evidence.shifted_boxes``."""
    views = []
    for image, areas in zip(images, regions, strict=True):
        whole = [image.crop(box) for box in shifted_boxes((0, 0, *image.size), image.size)]
        moved = [replace(area, box=box) for area in areas for box in shifted_boxes(area.box, image.size)]
        views.append([*whole, *pieces(image, moved, space)])
    return tuple(vectors.unflatten(0, (-1, len(SHIFTS))) for vectors in encode_looks(views, space))


def widened(box: Box, size: tuple[int, int], factor: float) -> Box:
    """The box grown by ``factor`` around its centre, inside a picture of that size."""
    left, top, right, bottom = box
    across, down = (right - left) * (factor - 1) / 2, (bottom - top) * (factor - 1) / 2
    return (
        max(0, round(left - across)),
        max(0, round(top - down)),
        min(size[0], round(right + across)),
        min(size[1], round(bottom + down)),
    )
