"""How far would a phrase have to be otherwise, in the classifier's own features, for it to say another class?

Logits are linear in the features, so the answer is exact: along a direction d in which a class's logit exceeds the
other's by k a step, a margin m is gone after m / k steps. The direction of a phrase is the one in which features go
with its score over the pictures that taught it (the pattern of Haufe et al. 2014), and a step is one standard deviation
of that score. Nothing says that a picture with such features can be taken; changes that leave what is usual are not
named.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from saywhy.classifiers.heads import Head
from saywhy.spaces.concepts import Probes
from saywhy.types import ConceptChange

MOST = 3.0  # standard deviations that a phrase may change by
USUAL = 0.01, 0.99  # quantiles of its score over pictures, between which it has to stay
SHOWN = 3


def concept_changes(
    probes: Probes, features: Tensor, head: Head, other: int, against: Sequence[int] | None = None
) -> tuple[ConceptChange, ...]:
    """Changes of single phrases that make the classifier say ``other``, the least first, at most SHOWN.

    features: (d,) of the picture. against: the classes that it has to lie above; None: all others.
    """
    rest = [c for c in range(len(head.weight)) if c != other] if against is None else list(against)
    features = features.double().cpu()
    length = features.norm()
    reference = probes.reference.double()
    kept = torch.nonzero(probes.held)[:, 0].tolist()
    if not kept:  # none of whose changes would mean anything
        return ()
    weights = probes.weights[kept].double()
    scores = reference @ weights.T  # (K, M)
    mean, spread = scores.mean(0), scores.std(0).clamp(min=1e-12)
    scores = (scores - mean) / spread
    lowest, highest = scores.quantile(USUAL[0], 0), scores.quantile(USUAL[1], 0)
    before = (probes.standardised(features[None]).double() @ weights.T - mean)[0] / spread
    steps = (scores.T @ (reference - reference.mean(0)) / (len(reference) - 1)) * probes.scale.double() * length
    weight, bias = head.weight.double(), head.bias.double()
    logits = weight @ features + bias
    behind = logits[rest] - logits[other]  # (R,) to be brought below 0
    gains = (weight[other] - weight[rest]) @ steps.T  # (R, M) what a step takes of each
    found = []
    for m, row in enumerate(kept):
        by = _least(behind, gains[:, m])
        if by is None or abs(by) > MOST:
            continue
        after = float(before[m]) + by
        if float(lowest[m]) <= after <= float(highest[m]):
            usual = float(lowest[m]), float(highest[m])
            found.append(ConceptChange(probes.phrases[row], by, float(before[m]), after, usual))
    return tuple(sorted(found, key=lambda change: abs(change.by))[:SHOWN])


def _least(behind: Tensor, gains: Tensor) -> float | None:
    """The smallest t, by size, for which behind - t * gains <= 0 in all rows; None where there is none."""
    level = gains.abs() < 1e-12
    if bool((behind[level] > 0).any()):
        return None
    needed = behind / torch.where(level, torch.ones_like(gains), gains)
    low = float(needed[(gains > 0) & ~level].amax()) if bool(((gains > 0) & ~level).any()) else -torch.inf
    high = float(needed[(gains < 0) & ~level].amin()) if bool(((gains < 0) & ~level).any()) else torch.inf
    return None if low > high else min(max(0.0, low), high)
