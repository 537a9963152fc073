"""From the embedding of a text to the row that a classifier's head would have for it: the mappers, by name.

Fitted on the class names alone (Sammani and Deligiannis 2025, section 3.1); docs/mappers.md compares them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.plumbing.names import unknown
from saywhy.spaces.text_to_weights.closed_form import fit_blend, fit_neighbours, fit_procrustes, fit_ridge
from saywhy.spaces.text_to_weights.icis import fit_icis
from saywhy.spaces.text_to_weights.mlp import fit_mlp
from saywhy.spaces.text_to_weights.selection import select_kernel_ridge


class Mapper(Protocol):
    """What ``fit`` returns."""

    def __call__(self, texts: Tensor) -> Tensor:
        """(M, k) text embeddings -> (M, d) unit class weights."""


MAPPERS: dict[str, Callable[..., Mapper]] = {
    "kernel-ridge": select_kernel_ridge,
    "ridge": fit_ridge,
    "neighbours": fit_neighbours,
    "procrustes": fit_procrustes,
    "blend": fit_blend,
    "mlp": fit_mlp,
    "icis": fit_icis,
}
"""Name -> how to fit it: (texts (C, k), unit targets (C, d), **its own settings)."""

DEFAULT_MAPPER = "kernel-ridge"
_AS_PUBLISHED = ("mlp", "icis")  # fitted on the rows as they are


def fit(texts: Tensor, weights: Tensor, *, method: str = DEFAULT_MAPPER, **settings: Any) -> Mapper:
    """A mapper fitted on the classes that a head knows.

    texts:    (C, k) embeddings of the class names.
    weights:  (C, d) rows of the head; their directions are the targets. What all rows share is subtracted first (a
              softmax ignores it), but for the two published methods.
    settings: those of the method's own function; with ``bias`` (of "icis") rows are not made unit.

    Raises SaywhyError for an unknown method, and where there is not one text per row.
    """
    if method not in MAPPERS:
        raise unknown("mapper", method, MAPPERS)
    if len(texts) != len(weights) or len(texts) < 2:
        raise SaywhyError(
            f"a mapper needs one text per class, of two classes or more: "
            f"there are {len(texts)} texts and {len(weights)} classes"
        )
    targets = weights.float() if method in _AS_PUBLISHED else centred(weights)
    if settings.get("bias") is None:
        targets = F.normalize(targets, dim=1)
    return MAPPERS[method](texts.float(), targets, **settings)


def centred(weights: Tensor) -> Tensor:
    """(C, d) rows of a head without their mean: what a softmax makes of them is the same."""
    return weights.float() - weights.float().mean(0)


def mean_row(weights: Tensor) -> Callable[[Tensor], Tensor]:
    """The paper's blind baseline (Table 6, "mean of train set"): every text has the mean of the known rows."""
    row = F.normalize(weights.float().mean(0), dim=0)
    return lambda texts: row.expand(len(texts), -1)


def random_rows(weights: Tensor, seed: int = 0) -> Callable[[Tensor], Tensor]:
    """The paper's other blind baseline (Table 6): values drawn between the least and the greatest of the head."""
    low, high = float(weights.min()), float(weights.max())

    def rows(texts: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return F.normalize(low + (high - low) * torch.rand(len(texts), weights.shape[1], generator=generator), dim=1)

    return rows
