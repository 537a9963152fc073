"""Places in words: right, and never the same for two regions of a picture."""

from __future__ import annotations

import numpy as np
import pytest

from saywhy.answers.places import places, position
from saywhy.types import Box


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((0, 0, 20, 20), "upper left"),
        ((40, 40, 60, 60), "centre"),
        ((80, 45, 100, 55), "right"),
        ((45, 90, 55, 100), "lower middle"),
    ],
)
def test_positions_in_words(box: Box, words: str) -> None:
    assert position(box, (100, 100)) == words


def test_places_that_differ_are_said_as_they_are() -> None:
    assert places([(40, 40, 60, 60), (0, 0, 20, 20)], (100, 100)) == ["centre", "upper left"]
    assert places([], (100, 100)) == []


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([(50, 42, 60, 62), (40, 40, 50, 60)], ["centre, further right", "centre, further left"]),
        ([(40, 40, 60, 48), (40, 52, 60, 60)], ["centre, further up", "centre, further down"]),
        ([(44, 44, 56, 56), (40, 40, 60, 60)], ["centre, the smaller area", "centre, the larger area"]),
        (
            [(50, 50, 60, 60), (36, 40, 46, 50), (44, 44, 54, 54)],
            ["centre, further right", "centre, further left", "centre, in between"],
        ),
        (
            [(x, 45, x + 10, 55) for x in (50, 36, 45, 41)],
            [f"centre, {nth} from the left" for nth in ("fourth", "first", "third", "second")],
        ),
    ],
)
def test_those_of_one_place_are_told_apart_by_order_or_size(boxes: list[Box], words: list[str]) -> None:
    assert places(boxes, (100, 100)) == words


@pytest.mark.parametrize("seed", range(20))
def test_no_two_are_called_alike(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, (width, height) = int(rng.integers(2, 12)), (640, 480)
    corners = np.sort(rng.integers(0, 400, (count, 2, 2)), 1)
    boxes = [(int(a), int(b), int(c) + 1, int(d) + 1) for (a, b), (c, d) in corners]
    boxes.append(boxes[0])  # even the same box twice
    assert len(set(places(boxes, (width, height)))) == len(boxes)
