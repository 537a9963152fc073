"""Where regions lie in a picture, in words: "upper left", "centre". Two regions of a picture are never called alike."""

from __future__ import annotations

from collections.abc import Sequence

from saywhy.types import Box

TOLD_APART = 0.03  # of a picture's side: centres nearer than this are not called left or right of each other
ORDINALS = ("first", "second", "third", "fourth")


def position(box: Box, size: tuple[int, int]) -> str:
    """Where a box lies in a picture (width, height), one of nine places: "upper left", "centre"."""
    across, down = _centre(box, size)
    vertical = "upper" if down < 0.36 else "lower" if down > 0.64 else ""
    horizontal = "left" if across < 0.36 else "right" if across > 0.64 else ""
    if vertical and horizontal:
        return f"{vertical} {horizontal}"
    if vertical:
        return f"{vertical} middle"
    return horizontal or "centre"


def places(boxes: Sequence[Box], size: tuple[int, int]) -> list[str]:
    """Where each box of a picture (width, height) lies, all different.

    Those in the same of nine places are told apart by their order in it: "centre, further left"; those with the same
    centre by their size.
    """
    names = [position(box, size) for box in boxes]
    told = list(names)
    for name in set(names):
        alike = [n for n, other in enumerate(names) if other == name]
        if len(alike) > 1:
            for n, among in zip(alike, _among([boxes[n] for n in alike], size), strict=True):
                told[n] = f"{name}, {among}"
    return told


def _among(boxes: Sequence[Box], size: tuple[int, int]) -> list[str]:
    """What tells several boxes apart: along the axis on which their centres differ most, else by area."""
    centres = [_centre(box, size) for box in boxes]
    spread = [max(line) - min(line) for line in zip(*centres, strict=True)]
    if max(spread) >= TOLD_APART:
        axis = spread.index(max(spread))
        values, (low, high) = [centre[axis] for centre in centres], (("left", "right"), ("up", "down"))[axis]
        low, high, start = f"further {low}", f"further {high}", ("from the left", "from the top")[axis]
    else:
        values = [float((box[2] - box[0]) * (box[3] - box[1])) for box in boxes]
        low, high, start = "the smaller area", "the larger area", "by size"
    ranked = sorted(range(len(boxes)), key=lambda n: values[n])
    words = [low, high]
    if len(boxes) == 3:
        words = [low, "in between", high]
    elif len(boxes) > 3:
        words = [f"{ORDINALS[n] if n < len(ORDINALS) else f'number {n + 1}'} {start}" for n in range(len(boxes))]
    return [words[ranked.index(n)] for n in range(len(boxes))]


def _centre(box: Box, size: tuple[int, int]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2 / size[0], (box[1] + box[3]) / 2 / size[1]
