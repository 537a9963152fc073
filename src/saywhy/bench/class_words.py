"""What a class alone would say, by its name and by its row: the scores that ``metrics.word_controls`` needs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from saywhy.spaces.own import ClassifierSpace, class_prompts
from saywhy.types import Space


def name_scores(phrases: Sequence[str], texts: Tensor, space: Space, names: Sequence[str]) -> Tensor:
    """(C, M): how near each phrase is to each class's name for the encoder of texts, beside other names (sd).

    The encoder is the space's own; of a classifier's space the one that its texts go through before they are mapped,
    so that nothing of the classifier is in it.

    texts: (M, d) the phrases in the space.
    """
    prompts = class_prompts(names)
    if isinstance(space, ClassifierSpace):
        return _standing_out(space.encoder.encode(prompts) @ space.encoder.encode(list(phrases)).T)
    return _standing_out(space.encode_texts(prompts) @ texts.T)


def row_scores(texts: Tensor, space: Space) -> Tensor | None:
    """(C, M): how near each phrase is to each class's row, beside other rows (sd); None for a space without rows."""
    return _standing_out(space.reference() @ texts.T) if isinstance(space, ClassifierSpace) else None


def _standing_out(scores: Tensor) -> Tensor:
    """Standardised over the classes, as labels are ranked by what stands out and not by what lies near everything."""
    return (scores - scores.mean(0)) / scores.std(0).clamp(min=1e-6)
