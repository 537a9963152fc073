"""The choice of a kernel by folds over the classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from saywhy.spaces.text_to_weights.closed_form import fit_kernel_ridge, median_distance
from saywhy.spaces.text_to_weights.selection import FEWEST, RIDGES, WIDTHS, choose_kernel, select_kernel_ridge
from tests.helpers import unit


def smooth(count: int = 120) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows that are a linear function of the text, everywhere."""
    texts = unit(count, 6)
    return texts, F.normalize(texts @ torch.randn(6, 24), dim=1)


def paired(pairs: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts and rows in pairs that are near each other, and no relation beyond."""
    texts, targets = unit(pairs, 16).repeat(2, 1), unit(pairs, 24).repeat(2, 1)
    return texts + 0.1 * torch.randn(2 * pairs, 16), F.normalize(targets + 0.05 * torch.randn(2 * pairs, 24), dim=1)


def test_the_kernel_is_as_wide_as_the_relation() -> None:
    assert choose_kernel(*smooth(), widths=(1.0, 1000.0))[0] == 1.0  # beyond a narrow kernel there is nothing
    assert choose_kernel(*paired(), widths=(0.01, 8.0))[0] == 8.0  # a wide one gives all the same row


def test_it_is_what_a_slow_loop_chooses() -> None:
    for seed, (texts, targets) in enumerate((smooth(), paired(), (unit(83, 16), unit(83, 24)))):
        unit_texts = F.normalize(texts, dim=1)
        median = median_distance(2 - 2 * unit_texts @ unit_texts.T)
        folds = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed)).chunk(5)
        found: dict[tuple[float, float], int] = {}
        for width in WIDTHS:
            for ridge in RIDGES:
                right = 0
                for rows in folds:
                    known = torch.tensor([n not in rows for n in range(len(texts))])
                    own = median_distance(2 - 2 * unit_texts[known] @ unit_texts[known].T)
                    mapper = fit_kernel_ridge(texts[known], targets[known], ridge=ridge, width=width * own / median)
                    generated = mapper(texts[rows])
                    right += sum(int((generated @ targets[row]).argmax()) == n for n, row in enumerate(rows))
                found[width, ridge] = right
        most = max(found.values())
        error = (most * (1 - most / len(texts))) ** 0.5  # of a count
        width = min(width for (width, _), right in found.items() if right >= most - error)
        ridge = max(RIDGES, key=lambda ridge: (found[width, ridge], ridge))
        assert choose_kernel(texts, targets, seed=seed) == (width, ridge)


def test_of_equals_the_smoothest_is_taken() -> None:
    texts, targets = unit(60, 16), unit(1, 24).expand(60, -1)  # every setting finds the same few
    assert choose_kernel(texts, targets) == (min(WIDTHS), max(RIDGES))


def test_what_is_given_stays() -> None:
    texts, targets = paired()
    free = select_kernel_ridge(texts, targets)
    assert (free.width, free.ridge) == choose_kernel(texts, targets)
    assert select_kernel_ridge(texts, targets, width=2.5).width == 2.5
    assert select_kernel_ridge(texts, targets, ridge=0.77).ridge == 0.77
    exact = select_kernel_ridge(texts, targets, width=4.0, ridge=0.0)
    assert exact.ridge == 0
    torch.testing.assert_close(exact(texts), targets, rtol=1e-3, atol=1e-3)


def test_few_classes_choose_nothing() -> None:
    texts, targets, new = unit(FEWEST - 1, 16), unit(FEWEST - 1, 24), unit(5, 16)
    torch.testing.assert_close(select_kernel_ridge(texts, targets)(new), fit_kernel_ridge(texts, targets)(new))
    assert select_kernel_ridge(texts, targets, ridge=2.0).ridge == 2.0


def test_names_all_alike_are_no_obstacle() -> None:
    assert select_kernel_ridge(unit(1, 16).repeat(50, 1), unit(50, 24))(unit(3, 16)).isfinite().all()
