"""Classes that a classifier never saw, besides those it knows: scores, and how to measure them.

Generalised zero-shot classification trades seen classes for unseen ones: whatever is subtracted from the seen classes'
scores moves a method along a curve (Chao et al. 2016, calibrated stacking). A single point of it says little; the area
under it (AUSUC) says how good the method is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


def calibrated(scores: Tensor, seen: Tensor, calibration: float) -> Tensor:
    """(N, C) scores with ``calibration`` subtracted from the classes that are ``seen``, (C,) bool."""
    return scores - calibration * seen.to(scores.dtype)


@final
@dataclass(frozen=True, eq=False)
class SeenUnseen:
    """Top-1 accuracies in 0..1 at every calibration at which one of them changes, from the least to the greatest.

    calibration, seen, unseen: (K,); ``seen`` falls and ``unseen`` rises along them.
    """

    calibration: Tensor
    seen: Tensor
    unseen: Tensor

    @property
    def area(self) -> float:
        """AUSUC: the area under unseen as a function of seen, 0..1."""
        return float(torch.trapezoid(self.unseen, -self.seen))

    @property
    def harmonic(self) -> float:
        """The best harmonic mean of the two along the curve."""
        return float((2 * self.seen * self.unseen / (self.seen + self.unseen).clamp(min=1e-12)).max())

    def unseen_at(self, seen: float) -> float:
        """The unseen accuracy where the seen one is at least ``seen``; 0 where it never is."""
        reached = self.unseen[self.seen >= seen - 1e-6]  # float32
        return float(reached.max()) if len(reached) else 0.0


def seen_unseen_curve(scores: Tensor, labels: Tensor, seen: Tensor) -> SeenUnseen:
    """The exact curve.

    scores: (N, C). labels: (N,) true classes. seen: (C,) bool. Raises ValueError where one of the two kinds is missing.
    """
    of_seen = seen[labels]
    if of_seen.all() or not of_seen.any():
        raise ValueError("a curve needs pictures of seen and of unseen classes")
    best_seen, first_seen = scores.masked_fill(~seen, float("-inf")).max(1)
    best_unseen, first_unseen = scores.masked_fill(seen, float("-inf")).max(1)
    gap = (best_seen - best_unseen).double()  # a seen class wins below it, an unseen one from it on
    steps = gap.unique()
    steps = torch.cat([steps[:1] - 1, steps])  # before the first, every picture goes to a seen class
    won = gap[of_seen & (first_seen == labels)].sort().values
    lost = gap[~of_seen & (first_unseen == labels)].sort().values
    right_seen = len(won) - torch.searchsorted(won, steps, right=True)
    right_unseen = torch.searchsorted(lost, steps, right=True)
    return SeenUnseen(steps.float(), right_seen / of_seen.sum(), right_unseen / (~of_seen).sum())


def calibration_within(scores: Tensor, labels: Tensor, seen: Tensor, loss: float = 0.01) -> float:
    """The greatest calibration that costs at most ``loss`` of the accuracy on these pictures of seen classes.

    Less by a rounding error: at a picture's own margin the unseen class draws level. Where every picture may be lost,
    that of the last one.

    scores: (N, C). labels: (N,), seen classes only. No picture of an unseen class is needed.
    """
    best_seen, first = scores.masked_fill(~seen, float("-inf")).max(1)
    gap = best_seen - scores.masked_fill(seen, float("-inf")).max(1).values
    margins = gap[(first == labels) & (gap > 0)].sort().values
    if not len(margins):
        return 0.0
    may_lose = int(loss * len(labels) + 1e-6)
    rounding = 4 * torch.finfo(scores.dtype).eps * float(scores.abs().max())
    return max(0.0, float(margins[min(may_lose, len(margins) - 1)]) - rounding)


def top_k(scores: Tensor, labels: Tensor, k: int) -> float:
    """The share of N pictures whose class is among the k best; scores (N, C), labels (N,). NaN for no picture."""
    if not len(labels):
        return float("nan")
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices
    return float((best == labels[:, None]).any(1).float().mean())
