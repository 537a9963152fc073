"""The best of a stream against sorting everything."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.spaces.pairs.search import streaming_top_k


def in_blocks(scores: Tensor, width: int, order: str) -> list[tuple[int, Tensor]]:
    blocks = [(first, scores[:, first : first + width]) for first in range(0, scores.shape[1], width)]
    return blocks if order == "forwards" else blocks[::-1]


@pytest.mark.parametrize("order", ["forwards", "backwards"])
@pytest.mark.parametrize("width", [1, 3, 7, 50, 100])
@pytest.mark.parametrize("k", [1, 5, 20, 50, 80])
@pytest.mark.parametrize("kinds", [2, 6, 10_000])
def test_the_best_are_those_of_a_stable_sort(kinds: int, k: int, width: int, order: str) -> None:
    """kinds: of values; where there are few, there are ties everywhere."""
    scores = torch.randint(kinds, (9, 50)).float()
    scores[0] = 3.0
    scores[1, ::2] = -torch.inf
    values, columns = streaming_top_k(in_blocks(scores, width, order), k)
    expected, where = scores.sort(dim=1, descending=True, stable=True)
    assert torch.equal(columns, where[:, :k])
    assert torch.equal(values, expected[:, :k])


def test_half_precision() -> None:
    scores = torch.randn(4, 3000).half()
    values, columns = streaming_top_k(in_blocks(scores, 700, "forwards"), 10)
    assert torch.equal(columns, scores.float().sort(dim=1, descending=True, stable=True).indices[:, :10])
    assert torch.equal(values, scores.gather(1, columns))


def test_what_has_no_best_is_refused() -> None:
    with pytest.raises(SaywhyError, match="at least 1; it is 0"):
        streaming_top_k([(0, torch.zeros(1, 1))], 0)
    with pytest.raises(SaywhyError, match="there are no scores"):
        streaming_top_k([], 1)
    with pytest.raises(SaywhyError, match="not finite"):
        streaming_top_k([(0, torch.tensor([[1.0, torch.nan, 2.0]]))], 1)
