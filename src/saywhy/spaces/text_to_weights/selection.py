"""Choosing a mapper's settings without a picture: by folds over the classes that the head knows.

For each fold, the mapper is fitted on the other classes, and the true row of each of the fold's classes is compared
with the rows generated for all of them: the measure is the share that is nearest to its own generated row.
"""

from __future__ import annotations

import math
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from saywhy.spaces.text_to_weights.closed_form import KernelRidge, fit_kernel_ridge, median_distance

WIDTHS, RIDGES = (1.0, 2.0, 4.0, 8.0), (0.1, 0.3, 1.0)
FEWEST = 40  # classes below which a fold says nothing


def select_kernel_ridge(
    texts: Tensor, targets: Tensor, *, width: float | None = None, ridge: float | None = None
) -> KernelRidge:
    """Kernel ridge regression, with the width and ridge that are not given chosen by folds over the classes.

    With fewer than FEWEST classes, those of fit_kernel_ridge.
    """
    given = {name: value for name, value in (("width", width), ("ridge", ridge)) if value is not None}
    if len(given) < 2 and len(texts) >= FEWEST:
        widths = WIDTHS if width is None else (width,)
        ridges = RIDGES if ridge is None else (ridge,)
        given["width"], given["ridge"] = choose_kernel(texts, targets, widths, ridges)
    return fit_kernel_ridge(texts, targets, **given)


def choose_kernel(
    texts: Tensor,
    targets: Tensor,
    widths: tuple[float, ...] = WIDTHS,
    ridges: tuple[float, ...] = RIDGES,
    *,
    folds: int = 5,
    seed: int = 0,
) -> tuple[float, float]:
    """(width, ridge): the smoothest kernel within one standard error of the best, with its best ridge.

    The measure is how many held-out rows are nearest to their own generated row.

    The rule of one standard error (Breiman et al. 1984): a row of the head is a cleaner picture of its class than any
    photograph, so that what looks best on rows follows them too closely.

    texts: (C, k). targets: (C, d) unit. Works with Gram matrices, so that it is quick for long rows.
    """
    x = F.normalize(texts.float(), dim=1)
    gram = targets.float() @ targets.float().T
    squared = (2 - 2 * x @ x.T).clamp(min=0)
    median = median_distance(squared)
    held_out = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).chunk(folds)
    hits = dict.fromkeys(product(widths, ridges), 0)
    for width in widths:
        kernel = torch.exp(-width / median * squared)
        for rows in held_out:
            known = torch.ones(len(x), dtype=torch.bool)
            known[rows] = False
            among, near = kernel[known][:, known], kernel[rows][:, known]
            for ridge in ridges:
                factor = torch.linalg.cholesky(among + ridge * torch.eye(len(among)))
                mixture = torch.cholesky_solve(near.T, factor).T  # (held-out, known): each text as a mixture of rows
                length = (mixture @ gram[known][:, known] * mixture).sum(1).clamp(min=1e-12).sqrt()
                cosines = gram[rows][:, known] @ mixture.T / length  # true row of class i, generated row of class j
                hits[width, ridge] += int((cosines.argmax(1) == torch.arange(len(rows))).sum())
    best = max(hits.values())
    error = math.sqrt(best * (1 - best / len(x)))  # of a count
    width = min(width for width, ridge in hits if hits[width, ridge] >= best - error)
    return width, max(ridges, key=lambda ridge: (hits[width, ridge], ridge))
