"""Why this and not that: on linear networks whose smallest change is known in closed form."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from saywhy.checks.counterfactual import candidates, turn
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.types import Geometry

SIDE, CELL = 32, 8
RUNS: list[int] = []  # pictures that networks were run on


class Cells(nn.Module):
    """Logits that are weighted means of the 4 x 4 cells of the first channel. weights: (classes, 16)."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.head = nn.Linear(weights.shape[1], len(weights), bias=False)
        self.head.weight = nn.Parameter(weights.float())

    def forward(self, x: Tensor) -> Tensor:
        RUNS.append(len(x))
        return self.head(nn.functional.avg_pool2d(x[:, :1], CELL).flatten(1))


def classifier(weights: Tensor) -> Any:
    return Classifier.from_module(Cells(weights), shape=(3, SIDE, SIDE), labels=["a", "b", "c"][: len(weights)])


def cells() -> np.ndarray:
    masks = np.zeros((16, SIDE, SIDE), bool)
    for n in range(16):
        masks[n, n // 4 * CELL : n // 4 * CELL + CELL, n % 4 * CELL : n % 4 * CELL + CELL] = True
    return masks


def black(pixels: Tensor, masks: Tensor) -> Tensor:
    return torch.where(masks[:, None].bool(), torch.zeros(()), pixels[None])


WEIGHTS = torch.zeros(3, 16)
WEIGHTS[0, [1, 6, 11, 12]] = torch.tensor([4.0, 3.0, 2.0, 1.0])  # a: 10
WEIGHTS[1, [0, 5]] = 2.5  # b: 5
WEIGHTS[2, 15] = 1.0
PICTURE = torch.ones(3, SIDE, SIDE)


def test_the_smallest_set_of_a_linear_network_is_found() -> None:
    asked = classifier(WEIGHTS)
    found = turn(asked, PICTURE, 0, 1, cells(), black)
    # a falls below b where more than 5 of its 10 are gone: cells 1 and 6, and no single cell is enough.
    assert [int(np.flatnonzero((cells() == piece).all((1, 2)))[0]) for piece in found.pieces] == [1, 6]
    assert found.minimal
    assert found.logits.tolist() == [[10, 5, 1], [3, 5, 1]]
    assert torch.equal(found.changed, black(PICTURE, torch.as_tensor(found.mask)[None])[0])
    assert found.elsewhere[1] == 19


@pytest.mark.parametrize("seed", range(6))
def test_what_is_left_is_minimal_and_never_much_larger_than_the_smallest(seed: int) -> None:
    weights = torch.randn(3, 16, generator=torch.Generator().manual_seed(seed)).abs()
    asked = classifier(weights)
    order = asked.logits(PICTURE[None])[0].argsort(descending=True).tolist()
    target, other = order[:2]

    def turned(some: tuple[int, ...]) -> bool:
        mask = torch.as_tensor(cells()[list(some)].any(0))
        return int(asked.logits(black(PICTURE, mask[None]))[0].argmax()) == other

    smallest = next((k for k in range(1, 5) if any(turned(some) for some in combinations(range(16), k))), None)
    found = turn(asked, PICTURE, target, other, cells(), black)
    names = [int(np.flatnonzero((cells() == piece).all((1, 2)))[0]) for piece in found.pieces]
    if smallest is not None:
        assert turned(tuple(names))
        assert len(names) <= smallest + 1
        assert not any(turned(tuple(n for n in names if n != out)) for out in names if len(names) > 1)


def test_passes_are_bounded_and_counted() -> None:
    asked = classifier(torch.cat([torch.full((1, 16), 1.0), torch.full((1, 16), -9.0)]))  # nothing turns it
    for passes in (1, 5, 17, 40):
        RUNS.clear()
        found = turn(asked, PICTURE, 0, 1, cells(), black, passes=passes)
        assert found.passes == sum(RUNS) <= passes
        assert len(found.pieces) == 0
        assert torch.equal(found.changed, PICTURE)


def test_equal_areas_elsewhere_turn_it_where_any_area_does() -> None:
    anywhere = classifier(torch.stack([torch.ones(16), torch.full((16,), -0.1)]))
    found = turn(anywhere, PICTURE, 0, 1, cells(), lambda x, m: torch.where(m[:, None].bool(), -20 * x[None], x[None]))
    assert len(found.pieces) == 1
    assert found.elsewhere == (19, 19)
    here = turn(classifier(WEIGHTS), PICTURE, 0, 1, cells(), black)
    assert here.elsewhere[0] < 3


def test_where_another_class_is_said_the_other_one_lies_above_at_least() -> None:
    weights = torch.zeros(3, 16)
    weights[0, 0], weights[1, 1], weights[2, 2:] = 6.0, 2.0, 0.3  # without cell 0 it is c that is said
    found = turn(classifier(weights), PICTURE, 0, 1, cells(), black, passes=30)
    after = found.logits[1]
    assert after[1] > after[0]
    assert int(after.argmax()) == 2
    assert found.mask[:CELL, :CELL].all()


def test_candidates_are_pieces_that_speak_for_the_explained_class() -> None:
    difference = np.zeros((SIDE, SIDE), np.float32)
    difference[4:10, 4:10], difference[20:28, 20:28] = 1.0, -1.0
    pieces = candidates(
        torch.rand(3, SIDE, SIDE), difference, [], Geometry((SIDE, SIDE), (SIDE, SIDE), (1.0, 1.0), (0.0, 0.0))
    )
    assert len(pieces)
    assert all(difference[piece].sum() > 0 for piece in pieces)
    none = candidates(torch.rand(1, SIDE, SIDE), -np.abs(difference), [], Geometry((1, 1), (1, 1), (1, 1), (0, 0)))
    assert none.shape == (0, SIDE, SIDE)


def test_the_class_itself_and_no_passes_are_refused() -> None:
    with pytest.raises(SaywhyError, match="the explained class itself"):
        turn(classifier(WEIGHTS), PICTURE, 1, 1, cells())
    with pytest.raises(SaywhyError, match="passes must be at least 1"):
        turn(classifier(WEIGHTS), PICTURE, 0, 1, cells(), passes=0)
