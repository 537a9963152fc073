"""What a classifier says of changed pictures: the one place where checks spend forward passes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import final

import torch
from torch import Tensor

from saywhy.classifiers.borrowing import borrowed
from saywhy.classifiers.classifier import Classifier

BATCH = 64  # changed pictures at once on a GPU
CPU_BATCH = 16  # on a CPU: more do not fit its caches, and take up to four times as long (docs/checks.md)


@final
@dataclass(frozen=True, eq=False)
class Outcomes:
    """Of M pictures, each for its own class: (M,) each, float64 on the CPU.

    logits:        of the class. margins: how far that lies above the mean of all logits.
    probabilities: of the class. ranks: 1 where it is the first.
    """

    logits: Tensor
    margins: Tensor
    probabilities: Tensor
    ranks: Tensor

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, part: slice) -> Outcomes:
        return Outcomes(self.logits[part], self.margins[part], self.probabilities[part], self.ranks[part])


def outcomes(classifier: Classifier, changed: Iterable[Tensor], targets: Sequence[int]) -> Outcomes:
    """What becomes of classes in changed pictures.

    changed: M pictures (C, h, w), preprocessed, read one batch at a time, so that memory does not grow with M.
    targets: M class indices.
    """
    found = logits_of(classifier, changed)
    return of_logits(classifier, found, targets) if len(found) else Outcomes(*[torch.zeros(0, dtype=torch.float64)] * 4)


@torch.no_grad()
def logits_of(classifier: Classifier, changed: Iterable[Tensor]) -> Tensor:
    """(M, C) float64 on the CPU, of M pictures (C, h, w), preprocessed, read one batch at a time."""
    size = CPU_BATCH if classifier.device.type == "cpu" else BATCH
    rest, rows = iter(changed), list[Tensor]()
    with borrowed(classifier.network) as network:
        while batch := list(islice(rest, size)):
            pixels = torch.stack(batch).to(classifier.device, classifier.dtype)
            if pixels.ndim == 4:
                pixels = pixels.contiguous(memory_format=torch.channels_last)  # up to four times as fast on a CPU
            rows.append(network(pixels).double().cpu())
    return torch.cat(rows) if rows else torch.zeros(0, len(classifier.labels), dtype=torch.float64)


def of_logits(classifier: Classifier, logits: Tensor, targets: Sequence[int]) -> Outcomes:
    """The same of (M, C) logits."""
    logits = logits.double().cpu()
    chosen = torch.as_tensor(targets)[:, None]
    found = logits.gather(1, chosen)[:, 0]
    return Outcomes(
        found,
        found - logits.mean(1),
        classifier.probabilities(logits).double().gather(1, chosen)[:, 0],
        (logits > found[:, None]).sum(1).double() + 1,
    )
