"""Mappers in closed form: fitted in well under a second, without a random seed.

All of them map unit text embeddings (M, k) to unit class weights (M, d). Regression runs from texts to weights, which
keeps hubs away (Shigeto et al. 2015): a text that no class is near maps near the mean class, not near all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor


@final
@dataclass(frozen=True, eq=False)
class Ridge:
    """coefficients: (k, d)."""

    coefficients: Tensor

    def __call__(self, texts: Tensor) -> Tensor:
        return F.normalize(F.normalize(texts, dim=1) @ self.coefficients, dim=1)


def fit_ridge(texts: Tensor, targets: Tensor, *, ridge: float = 1.0) -> Ridge:
    """ridge: added to each eigenvalue of the (k, k) Gram matrix of unit texts."""
    x = F.normalize(texts.double(), dim=1)
    gram = x.T @ x + ridge * torch.eye(x.shape[1], dtype=torch.float64)
    return Ridge(torch.linalg.solve(gram, x.T @ targets.double()).float())


@final
@dataclass(frozen=True, eq=False)
class KernelRidge:
    """Kernel ridge regression with the kernel exp(-width * |t - t'|^2 / median).

    texts:        (C, k) unit embeddings it was fitted on.
    coefficients: (C, d).
    median:       of the squared distances between the classes' embeddings.
    """

    texts: Tensor
    coefficients: Tensor
    width: float
    median: float
    ridge: float

    def __call__(self, texts: Tensor) -> Tensor:
        return F.normalize(self._kernel(texts) @ self.coefficients, dim=1)

    def variance(self, texts: Tensor) -> Tensor:
        """(M,) in 0..1: how far a text is from all that the mapper was fitted on; 1 where it can only guess.

        The predictive variance of the Gaussian process with this kernel, whose noise is ``ridge``.
        """
        near = self._kernel(texts).double()
        among = self._kernel(self.texts).double() + self.ridge * torch.eye(len(self.texts), dtype=torch.float64)
        return (1 - (near * torch.linalg.solve(among, near.T).T).sum(1)).clamp(0, 1).float()

    def _kernel(self, texts: Tensor) -> Tensor:
        squared = (2 - 2 * F.normalize(texts, dim=1) @ self.texts.T).clamp(min=0)
        return torch.exp(-self.width / self.median * squared)


def fit_kernel_ridge(texts: Tensor, targets: Tensor, *, ridge: float = 0.3, width: float = 4.0) -> KernelRidge:
    """ridge: regularisation, relative to the kernel's diagonal of one.

    width: of the kernel, in units of 1 / (median squared distance): wide enough to blend related classes, narrow
           enough that a phrase is not pulled to the mean class.
    """
    x = F.normalize(texts.double(), dim=1)
    squared = (2 - 2 * x @ x.T).clamp(min=0)
    median = median_distance(squared)
    kernel = torch.exp(-width / median * squared)
    coefficients = torch.linalg.solve(kernel + ridge * torch.eye(len(x), dtype=torch.float64), targets.double())
    return KernelRidge(x.float(), coefficients.float(), width, median, ridge)


def median_distance(squared: Tensor) -> float:
    """The median of (C, C) squared distances between different classes; 1 where there is none, or nearly none."""
    off_diagonal = squared[~torch.eye(len(squared), dtype=torch.bool)]
    median = float(off_diagonal.median()) if len(off_diagonal) else 0.0
    return median if median > 1e-6 else 1.0  # names alike differ by rounding


@final
@dataclass(frozen=True, eq=False)
class Neighbours:
    """The mean weight of the nearest classes, weighted by a softmax over their cosines times ``sharpness``.

    texts: (C, k) unit. targets: (C, d) unit.
    """

    texts: Tensor
    targets: Tensor
    count: int
    sharpness: float

    def __call__(self, texts: Tensor) -> Tensor:
        cosines, nearest = (F.normalize(texts, dim=1) @ self.texts.T).topk(min(self.count, len(self.texts)), dim=1)
        weights = torch.zeros(len(texts), len(self.texts)).scatter_(1, nearest, (self.sharpness * cosines).softmax(1))
        return F.normalize(weights @ self.targets, dim=1)


def fit_neighbours(texts: Tensor, targets: Tensor, *, count: int = 20, sharpness: float = 20.0) -> Neighbours:
    return Neighbours(F.normalize(texts, dim=1), targets.clone(), count, sharpness)


@final
@dataclass(frozen=True, eq=False)
class Procrustes:
    """The rotation that aligns the classes' texts with their weights, both centred and reduced to their main axes.

    centre: (k,). rotation: (k, d). mean: (d,), where a text in the centre maps.
    """

    centre: Tensor
    rotation: Tensor
    mean: Tensor

    def __call__(self, texts: Tensor) -> Tensor:
        return F.normalize((F.normalize(texts, dim=1) - self.centre) @ self.rotation + self.mean, dim=1)


def fit_procrustes(texts: Tensor, targets: Tensor, *, axes: int = 256) -> Procrustes:
    """axes: principal axes kept on either side, at most."""
    x, y = F.normalize(texts.double(), dim=1), targets.double()
    centre, mean = x.mean(0), y.mean(0)
    x, y = x - centre, y - mean
    axes = max(1, min(axes, len(x) - 1, x.shape[1], y.shape[1]))
    from_axes = torch.linalg.svd(x, full_matrices=False).Vh[:axes].T
    to_axes = torch.linalg.svd(y, full_matrices=False).Vh[:axes].T
    u, _, v = torch.linalg.svd((x @ from_axes).T @ (y @ to_axes))
    reduced = x @ from_axes
    spread = reduced.norm()
    scale = y.norm() / spread if spread > 1e-6 else 1.0  # names alike differ by rounding
    rotation = scale * from_axes @ u @ v @ to_axes.T
    return Procrustes(centre.float(), rotation.float(), mean.float())


@final
@dataclass(frozen=True, eq=False)
class Blend:
    """The unit mean of two mappers' answers."""

    first: KernelRidge
    second: Neighbours

    def __call__(self, texts: Tensor) -> Tensor:
        return F.normalize(self.first(texts) + self.second(texts), dim=1)

    def variance(self, texts: Tensor) -> Tensor:
        """As that of its kernel ridge."""
        return self.first.variance(texts)


def fit_blend(
    texts: Tensor,
    targets: Tensor,
    *,
    ridge: float = 0.3,
    width: float = 2.0,
    count: int = 20,
    sharpness: float = 20.0,
) -> Blend:
    """Kernel ridge and nearest neighbours, half each."""
    return Blend(
        fit_kernel_ridge(texts, targets, ridge=ridge, width=width),
        fit_neighbours(texts, targets, count=count, sharpness=sharpness),
    )
