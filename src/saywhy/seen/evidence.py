"""What a space finds of each phrase of a vocabulary in one picture: the scores that a probability is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from saywhy.spaces.similarity import unusual_scores
from saywhy.spaces.traits import reference_of
from saywhy.types import Space, Vocabulary


@final
@dataclass(frozen=True, eq=False)
class Evidence:
    """Of one picture with L looks, the whole picture first and then its regions, and a vocabulary of M phrases.

    cosines: (L, M) in the space. unusual: (L, M) how many standard deviations each lies above what is usual.
    least:   (M,) the least unusual score over crops shifted around the look in which the phrase stands out most; None
             where nobody asked for it.
    """

    vocabulary: Vocabulary
    cosines: Tensor
    unusual: Tensor
    least: Tensor | None = None

    @property
    def best(self) -> Tensor:
        """(M,) the look in which each phrase stands out most."""
        return self.unusual.argmax(0)


def gather(looks: Sequence[Tensor], texts: Tensor, vocabulary: Vocabulary, space: Space) -> list[Evidence]:
    """The evidence of each picture.

    looks: of each picture, (L, d) vectors of its looks. texts: (M, d) the vocabulary, by ``encode_vocabulary``.
    """
    reference = reference_of(space)
    return [Evidence(vocabulary, *unusual_scores(vectors, texts, reference)) for vectors in looks]
