"""Does a mapper understand the names that it is fitted on? Held-out rows, matched with their names, in closed form.

Leave two classes out, fit kernel ridge regression on the others, and ask which of the two rows belongs to which of the
two names (the two-versus-two test of Mitchell et al. 2008). Chance is one half, however many classes there are, and the
share of pairs that are matched rightly is what names of classes outside of the head reach (docs/spaces.md).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from saywhy.spaces.text_to_weights.closed_form import median_distance


def residual_maker(texts: Tensor, *, width: float, ridge: float) -> Tensor:
    """(C, C) float64: what times the targets gives the residuals of ``fit_kernel_ridge`` on (C, k) texts."""
    x = F.normalize(texts.double(), dim=1)
    squared = (2 - 2 * x @ x.T).clamp(min=0)
    kernel = torch.exp(-width / median_distance(squared) * squared)
    return ridge * torch.linalg.inv(kernel + ridge * torch.eye(len(x), dtype=torch.float64))


def matched(residuals: Tensor, gram: Tensor) -> float:
    """The share of all pairs of classes, left out together, whose rows are matched rightly with their names.

    Where the two ways to match them are equally good, that is half a pair.

    residuals: (C, C) by ``residual_maker``. gram: (C, C) cosines of the targets. At least two classes.
    """
    # With P = {i, j} left out, the errors at P are inv(residuals[P, P]) @ residuals[P] @ targets: one fit serves all.
    gram = gram.double()
    crossed = residuals @ gram  # (i, j): residual i with target j
    among = crossed @ residuals  # residual i with residual j
    own, length, square = residuals.diagonal(), gram.diagonal(), among.diagonal()
    determinant = own[:, None] * own[None] - residuals * residuals
    a, b = own[None] / determinant, -residuals / determinant  # of residuals i and j, in the error at i
    self_crossed = crossed.diagonal()
    norm = (
        length[:, None] + a * a * square[:, None] + b * b * square[None]
        - 2 * a * self_crossed[:, None] - 2 * b * crossed.T + 2 * a * b * among
    ).clamp(min=1e-12).sqrt()  # fmt: skip
    right = (length[:, None] - a * self_crossed[:, None] - b * crossed.T) / norm  # row i with what name i maps to
    wrong = (gram - a * crossed - b * self_crossed[None]) / norm  # row j with what name i maps to
    better = right + right.T - wrong - wrong.T
    better = better[~torch.eye(len(better), dtype=torch.bool)]
    equal = better.abs() <= 1e-9  # rounding errors of four cosines
    return float(((better > 0) & ~equal).float().mean() + equal.float().mean() / 2)
