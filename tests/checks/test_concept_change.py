"""How far a phrase would have to be otherwise: in closed form on a linear head."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from saywhy.checks.concept_change import concept_changes
from saywhy.classifiers.heads import Head
from saywhy.spaces.concepts import Probes


def probes(reference: Tensor) -> Probes:
    """Two phrases along the first two features, of which pictures have any amount, independently."""
    many, width = 2, reference.shape[1]
    return Probes(
        phrases=("yellow bill", "red wing"), groups=("", ""), attributes=("", ""), weights=torch.eye(width)[:many],
        mean=torch.zeros(width), scale=torch.ones(width), base=torch.full((many,), 0.5), spread=torch.ones(many),
        auc=torch.full((many, 3), 0.9), held=torch.ones(many, dtype=torch.bool), counts=torch.zeros(many, 4),
        platt=torch.zeros(5), reference=reference, threshold=0.9, precision=0.9, basis="", learned_from="pictures",
        teacher="", left_out=(), classifier="",
    )  # fmt: skip


def whitened(rows: int, width: int) -> Tensor:
    """Pictures whose features have no correlation at all, and unit spread."""
    x = torch.randn(rows, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x - x.mean(0)
    return (torch.linalg.qr(x)[0] * (rows - 1) ** 0.5).float()


def head(*rows: list[float]) -> Head:
    return Head(torch.tensor(rows), torch.zeros(len(rows)))


def test_the_change_closes_the_margin_exactly() -> None:
    features = torch.tensor([0.8, 0.0, 0.6, 0.0])  # of unit length, so that a step is one of the features
    of = head([2.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0])
    (change,) = concept_changes(probes(whitened(400, 4)), features, of, 1)
    # a is ahead by 2 * 0.8, and loses 2 a step of "yellow bill"; "red wing" is the same to both
    assert (change.text, change.by) == ("yellow bill", pytest.approx(-0.8, abs=1e-4))
    assert change.before == pytest.approx(0.8, abs=1e-4)
    assert change.after == pytest.approx(0.0, abs=1e-4)


def test_all_classes_are_passed_not_only_the_explained_one() -> None:
    features = torch.tensor([0.8, 0.0, 0.6, 0.0])
    of = head([2.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, -1.0, 3.0, 0.0])
    found = concept_changes(probes(whitened(400, 4)), features, of, 1, against=[0])
    assert [change.text for change in found] == ["yellow bill", "red wing"]
    (change,) = concept_changes(probes(whitened(400, 4)), features, of, 1)  # b has to pass c at 1.8 as well
    assert (change.text, change.by) == ("red wing", pytest.approx(1.6, abs=1e-3))


def test_what_is_too_far_or_unusual_is_refused() -> None:
    features = torch.tensor([0.8, 0.0, 0.6, 0.0])
    far = head([2.0, 0.0, 9.0, 0.0], [0.0, 0.0, 0.0, 0.0])  # 7 sd of "yellow bill"
    assert concept_changes(probes(whitened(400, 4)), features, far, 1) == ()
    narrow = whitened(400, 4).clamp(-0.5, 0.5)
    near = head([2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0])
    for change in concept_changes(probes(narrow), features, near, 1):
        assert change.usual[0] <= change.after <= change.usual[1]


def test_phrases_that_the_features_do_not_hold_are_not_named() -> None:
    from dataclasses import replace

    of = replace(probes(whitened(400, 4)), held=torch.tensor([False, True]))
    features = torch.tensor([0.8, 0.0, 0.6, 0.0])
    found = concept_changes(of, features, head([2.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0]), 1)
    assert all(change.text == "red wing" for change in found)


def test_of_phrases_that_the_features_do_not_hold_there_is_no_change() -> None:
    none = replace(probes(whitened(40, 4)), held=torch.zeros(2, dtype=torch.bool))
    features = torch.tensor([0.8, 0.0, 0.6, 0.0])
    assert concept_changes(none, features, head([2.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0]), 1) == ()
