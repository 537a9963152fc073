"""How well drafts fit pictures in a space: each text encoded once; and the edits of logits that all writers share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from saywhy.spaces.traits import encode_once
from saywhy.types import Space

REPETITION = 2.0  # divides the score of a token that the draft has; Sammani and Deligiannis 2025, appendix I
RECENT = 16  # tokens in which a repetition counts
NGRAM = 3  # no run of so many tokens twice
KEPT = 50_000  # texts in memory
SHARPNESS = 3.0
"""Of the target distribution over candidates: their cosines, as standard scores among the candidates, times this.

The paper gives no temperature, and raw cosines would make an almost uniform target; the code it follows has 1/0.01 for
CLIP's. Standard scores do not depend on how narrow a space's cosines are.
"""


class Scorer:
    """Cosines of texts and N pictures, (N, d) unit vectors in a space. ``encodings`` counts the texts encoded."""

    def __init__(self, space: Space, pictures: Tensor) -> None:
        self.pictures, self.space, self.encodings = pictures, space, 0
        self._known: dict[str, Tensor] = {}

    def __call__(self, texts: Sequence[str], pictures: Sequence[int]) -> Tensor:
        """(M,) cosine of text m with the picture of index ``pictures[m]``."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._known]
        if missing:
            if len(self._known) > KEPT:
                self._known.clear()
                missing = list(dict.fromkeys(texts))
            self.encodings += len(missing)
            self._known.update(zip(missing, encode_once(self.space, missing), strict=True))
        if not texts:
            return torch.zeros(0)
        return (torch.stack([self._known[text] for text in texts]) * self.pictures[list(pictures)]).sum(1)


def target(cosines: Tensor, sharpness: float = SHARPNESS) -> Tensor:
    """(..., K) probabilities of K candidates by their cosines."""
    spread = cosines.std(-1, keepdim=True, correction=0).clamp(min=1e-6)
    return (sharpness * (cosines - cosines.mean(-1, keepdim=True)) / spread).softmax(-1)


def edited(logits: Tensor, ids: Sequence[int], usable: Tensor, stops: Sequence[int], may_end: bool) -> Tensor:
    """(V,) logits of the next token after the edits of appendix I: -inf for what may not follow.

    ids: the draft so far. "." is not allowed before the least length ("score to 0" in the paper would force it), and
    no token that would repeat a run of three, unless there is no other.
    """
    scores = logits.clone()
    had = torch.tensor(sorted(set(ids[-RECENT:])), dtype=torch.long, device=scores.device)
    if len(had):
        scores[had] = torch.where(scores[had] > 0, scores[had] / REPETITION, scores[had] * REPETITION)
    allowed = usable.to(scores.device).clone()
    if stops:
        allowed[list(stops)] = may_end
    tail = tuple(ids[-(NGRAM - 1) :])
    repeats = [ids[n + NGRAM - 1] for n in range(len(ids) - NGRAM + 1) if tuple(ids[n : n + NGRAM - 1]) == tail]
    fresh = allowed.clone()
    fresh[repeats] = False
    if fresh.any():
        allowed = fresh
    return scores.masked_fill(~allowed, float("-inf"))
