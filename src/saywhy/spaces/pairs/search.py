"""The best of more scores than fit in memory."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from saywhy.errors import SaywhyError


def streaming_top_k(blocks: Iterable[tuple[int, Tensor]], k: int) -> tuple[Tensor, Tensor]:
    """(values, columns), each (N, k), of the k highest scores in each row, best first; of equal ones the first column.

    blocks: (first column, (N, m) scores), in any order; only one of them is held at a time.
    Where there are fewer than k columns, all of them are given.

    Exact, and the same however the columns are cut into blocks.

    Raises SaywhyError where k is less than 1, there are no scores, or one of the best is not a number.
    """
    if k < 1:
        raise SaywhyError(f"the number of best pairs must be at least 1; it is {k}")
    best: tuple[Tensor, Tensor] | None = None
    for first, scores in blocks:
        values, columns = _top_of_block(scores, k)
        columns = columns + first
        if best is not None:
            values, columns = torch.cat([best[0], values], 1), torch.cat([best[1], columns], 1)
        best = _in_order(values, columns, k)
    if best is None or not best[0].numel():
        raise SaywhyError("there are no scores to find the best of")
    if best[0].isnan().any():
        raise SaywhyError("some scores are not finite; the weights of the model or the pictures' vectors are damaged")
    return best


def _top_of_block(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best, in any order; ``topk`` alone may choose any of those that share the last place."""
    width = scores.shape[1]
    if width <= k:
        return scores, torch.arange(width, device=scores.device).expand_as(scores)
    values, columns = scores.topk(k + 1, dim=1)
    tied = (values[:, k - 1] == values[:, k]).nonzero()[:, 0]
    values, columns = values[:, :k].clone(), columns[:, :k].clone()
    if len(tied):
        above = scores[tied] > values[tied, k - 1 :]
        level = scores[tied] == values[tied, k - 1 :]
        chosen = above | (level & (level.cumsum(1) <= k - above.sum(1, keepdim=True)))
        columns[tied] = chosen.nonzero()[:, 1].view(len(tied), k)
        values[tied] = scores[tied].gather(1, columns[tied])
    return values, columns


def _in_order(values: Tensor, columns: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Best first, of equal ones the first column, no more than k."""
    columns, order = columns.sort(dim=1)
    values, again = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values[:, :k], columns.gather(1, again)[:, :k]
