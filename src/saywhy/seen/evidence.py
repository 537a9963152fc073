"""What a space finds of each phrase of a vocabulary in one picture: the scores that a probability is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from saywhy.spaces.similarity import unusual_scores
from saywhy.spaces.traits import reference_of
from saywhy.types import Box, Space, Vocabulary

SHIFT = 0.12  # of a look's sides
SHIFTS = ((1, 1), (-1, 0), (0, -1))
"""Where shifted crops lie, (across, down), in steps of SHIFT. Six do no better (docs/calibration.md)."""


@final
@dataclass(frozen=True, eq=False)
class Evidence:
    """Of one picture with L looks, the whole picture first and then its regions, and a vocabulary of M phrases.

    cosines: (L, M) in the space. unusual: (L, M) how many standard deviations each lies above what is usual.
    steady:  (L, M) the same, averaged over each look and crops shifted around it; None where nobody asked for it.
    """

    vocabulary: Vocabulary
    cosines: Tensor
    unusual: Tensor
    steady: Tensor | None = None

    @property
    def best(self) -> Tensor:
        """(M,) the look in which each phrase stands out most."""
        return self.unusual.argmax(0)


def gather(
    looks: Sequence[Tensor],
    texts: Tensor,
    vocabulary: Vocabulary,
    space: Space,
    shifted: Sequence[Tensor] | None = None,
) -> list[Evidence]:
    """The evidence of each picture.

    looks:   of each picture, (L, d) vectors of its looks. texts: (M, d) the vocabulary, by ``encode_vocabulary``.
    shifted: of each picture, (L, S, d) vectors of S crops shifted around each look.
    """
    reference = reference_of(space)
    scores, unusual = unusual_scores(torch.cat(tuple(looks)), texts, reference)
    counts = [len(vectors) for vectors in looks]
    found = [Evidence(vocabulary, *each) for each in zip(scores.split(counts), unusual.split(counts), strict=True)]
    if shifted is None:
        return found
    return [
        replace(one, steady=(one.unusual + _unusual(moved, texts, reference).sum(1)) / (1 + moved.shape[1]))
        for one, moved in zip(found, shifted, strict=True)
    ]


def _unusual(moved: Tensor, texts: Tensor, reference: Tensor | None) -> Tensor:
    """(L, S, M) of (L, S, d)."""
    return unusual_scores(moved.flatten(0, 1), texts, reference)[1].unflatten(0, moved.shape[:2])


def shifted_boxes(box: Box, size: tuple[int, int]) -> list[Box]:
    """The box moved by each of SHIFTS, inside a picture of that size.

    A box that has no room to move, as the whole picture's, becomes smaller first, so that each is another look.
    """
    across, down = (_spans(box[i], box[i + 2], size[i], [shift[i] for shift in SHIFTS]) for i in (0, 1))
    return [(left, top, right, bottom) for (left, right), (top, bottom) in zip(across, down, strict=True)]


def _spans(start: int, end: int, limit: int, steps: Sequence[int]) -> list[tuple[int, int]]:
    """Of one side: (start, end) at each step."""
    step = max(1, round(SHIFT * (end - start)))
    length = max(1, min(end - start, limit - step))
    middle = (start + end - length) / 2
    starts = [min(max(round(middle + step * n), 0), limit - length) for n in steps]
    return [(first, first + length) for first in starts]
