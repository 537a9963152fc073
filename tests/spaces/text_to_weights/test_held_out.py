"""Leaving two classes out, in closed form: the same as fitting anew for every pair."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saywhy.spaces.text_to_weights.closed_form import median_distance
from saywhy.spaces.text_to_weights.held_out import matched, residual_maker
from tests.helpers import unit


def _by_fitting_anew(texts: Tensor, targets: Tensor, width: float, ridge: float) -> float:
    """Slow and literal: a fit for each pair; only the kernel's scale is that of all texts."""
    x, y = F.normalize(texts.double(), dim=1), targets.double()
    squared = (2 - 2 * x @ x.T).clamp(min=0)
    kernel = torch.exp(-width / median_distance(squared) * squared)
    right = 0.0
    pairs = list(combinations(range(len(x)), 2))
    for pair in pairs:
        known = [n for n in range(len(x)) if n not in pair]
        among = kernel[known][:, known] + ridge * torch.eye(len(known), dtype=torch.float64)
        mapped = F.normalize(kernel[list(pair)][:, known] @ torch.linalg.solve(among, y[known]), dim=1)
        cosines = y[list(pair)] @ mapped.T
        right += float(cosines.trace() > cosines.flip(1).trace())
    return right / len(pairs)


@pytest.mark.parametrize(("width", "ridge"), [(3.0, 10.0), (4.0, 0.3)])
def test_one_fit_says_what_a_fit_for_every_pair_says(width: float, ridge: float) -> None:
    texts, targets = unit(14, 9), unit(14, 6)
    found = matched(residual_maker(texts, width=width, ridge=ridge), targets @ targets.T)
    assert found == pytest.approx(_by_fitting_anew(texts, targets, width, ridge))


def test_texts_that_are_the_rows_tell_them_apart_and_shuffled_ones_do_not() -> None:
    torch.manual_seed(0)
    groups = F.normalize(torch.randn(8, 16), dim=1).repeat_interleave(10, 0)
    rows = F.normalize(groups + 0.2 * torch.randn(80, 16), dim=1)
    residuals = residual_maker(rows, width=3.0, ridge=1.0)
    gram = rows @ rows.T
    assert matched(residuals, gram) > 0.9
    shuffled = [order for _ in range(10) for order in [torch.randperm(80)]]
    assert sum(matched(residuals, gram[order][:, order]) for order in shuffled) / 10 == pytest.approx(0.5, abs=0.1)


def test_equal_names_tell_nothing() -> None:
    """Not by rounding errors either."""
    texts, targets = unit(1, 9).expand(10, -1), unit(10, 6).double()
    assert matched(residual_maker(texts, width=3.0, ridge=10.0), targets @ targets.T) == pytest.approx(0.5)
