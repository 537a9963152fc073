"""A record whose values are of its fields' types goes through; of any other the field is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from saywhy.plumbing.records import typed


@dataclass(frozen=True)
class Inner:
    text: str
    score: float
    more: int | None = None


@dataclass(frozen=True)
class Outer:
    inner: tuple[Inner, ...]
    box: tuple[int, int]
    by_name: Mapping[str, float]
    names: frozenset[str]
    anything: Any
    heat: torch.Tensor | None
    either: str | int
    flag: bool = True


def outer(**changes: Any) -> Outer:
    given: dict[str, Any] = {
        "inner": (Inner("a", 0.5), Inner("b", 1, 2)), "box": (1, 2), "by_name": {"x": 1.0}, "names": frozenset("a"),
        "anything": object(), "heat": None, "either": 3,
    }  # fmt: skip
    return Outer(**given | changes)


def test_what_is_right_is_the_same_record() -> None:
    for record in (outer(), outer(inner=(), by_name={}, heat=torch.ones(1), either="x")):
        assert typed(record) is record


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inner": (Inner("a", 0.5), Inner(3, 0.5))}, r"inner\[1\]\.text: expected str, found 3"),  # type: ignore[arg-type]
        ({"inner": [Inner("a", 0.5)]}, "inner: expected tuple"),
        ({"inner": ({"text": "a"},)}, r"inner\[0\]: expected Inner"),
        ({"box": (1, 2, 3)}, "box: expected 2 values, found 3"),
        ({"box": (1, True)}, r"box\[1\]: expected int, found True"),
        ({"by_name": {"x": "1"}}, r"by_name\['x'\]: expected float"),
        ({"by_name": {1: 1.0}}, "by_name, a name: expected str"),
        ({"names": frozenset([1])}, "names.*expected str"),
        ({"heat": [1.0]}, "heat: expected Tensor"),
        ({"either": 1.5}, "either: expected str"),
        ({"flag": 1}, "flag: expected bool"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        typed(outer(**changes))
