"""Seen against unseen classes: the curve, against a sweep over calibrations written out slowly."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from saywhy.metrics.zero_shot import SeenUnseen, calibrated, calibration_within, seen_unseen_curve, top_k

SEEN = torch.tensor([True, False, True, True, False, False, True])


def problem(kind: str, pictures: int = 60) -> tuple[Tensor, Tensor]:
    """Scores and classes; "ties": whole numbers, so that many draw level within and between the kinds."""
    labels = torch.randint(len(SEEN), (pictures,))
    scores = torch.randn(pictures, len(SEEN)).double()
    scores[torch.arange(pictures), labels] += 1.5
    return ((2 * scores).round() if kind == "ties" else scores), labels


def sweep(scores: Tensor, labels: Tensor) -> list[tuple[float, float, float]]:
    """(calibration, seen, unseen accuracy) at every calibration where something may change, and between them.

    Of classes that draw level the first wins, and an unseen one before a seen one.
    """
    some = {float(a - b) for row in scores for a in row[SEEN] for b in row[~SEEN]}
    steps = sorted(some)
    steps += [(a + b) / 2 for a, b in pairwise(steps)]
    found = []
    for calibration in sorted([steps[0] - 1, *steps]):
        right = {True: 0, False: 0}
        for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
            won = max(range(len(row)), key=lambda c: (row[c] - calibration * bool(SEEN[c]), not SEEN[c], -c))
            right[bool(SEEN[label])] += won == label
        of_seen = int(SEEN[labels].sum())
        found.append((calibration, right[True] / of_seen, right[False] / (len(labels) - of_seen)))
    return found


@pytest.mark.parametrize("kind", ["", "ties"])
def test_the_curve_is_that_of_a_slow_sweep(kind: str) -> None:
    scores, labels = problem(kind)
    curve, swept = seen_unseen_curve(scores, labels, SEEN), sweep(scores, labels)
    for calibration, seen, unseen in swept:
        at = max(0, int((curve.calibration.double() <= calibration + 1e-6).sum()) - 1)
        assert (float(curve.seen[at]), float(curve.unseen[at])) == pytest.approx((seen, unseen))
    area = sum((a[1] - b[1]) * (a[2] + b[2]) / 2 for a, b in pairwise(swept))
    assert curve.area == pytest.approx(area, abs=1e-6)
    assert curve.harmonic == pytest.approx(max(2 * s * u / (s + u) if s + u else 0 for _, s, u in swept))
    for level in (0, 0.2, 0.5, 0.9):
        assert curve.unseen_at(level) == pytest.approx(max((u for _, s, u in swept if s >= level), default=0))
    for seen in {s for _, s, _ in swept}:  # just reached
        assert curve.unseen_at(seen) == pytest.approx(max(u for _, s, u in swept if s >= seen - 1e-9))


def test_calibration_takes_from_the_seen_alone() -> None:
    scores, labels = problem("")
    curve = seen_unseen_curve(scores, labels, SEEN)
    for n in range(0, len(curve.calibration), 7):
        right = calibrated(scores, SEEN, float(curve.calibration[n]) + 1e-5).argmax(1) == labels
        assert float(right[SEEN[labels]].float().mean()) == pytest.approx(float(curve.seen[n]))
        assert float(right[~SEEN[labels]].float().mean()) == pytest.approx(float(curve.unseen[n]))
    assert (curve.seen.diff() <= 0).all()
    assert (curve.unseen.diff() >= 0).all()
    assert (float(curve.unseen[0]), float(curve.seen[-1])) == (0, 0)


def test_what_is_perfect_and_what_is_blind() -> None:
    labels = torch.arange(7).repeat(30)
    perfect = seen_unseen_curve(torch.eye(7)[labels], labels, SEEN)
    assert (perfect.area, perfect.harmonic, perfect.unseen_at(1.0)) == (1, 1, 1)
    wrong = seen_unseen_curve(1 - torch.eye(7)[labels], labels, SEEN)
    assert (wrong.area, wrong.harmonic) == (0, 0)
    by_chance = seen_unseen_curve(torch.randn(210, 7), labels, SEEN)  # the triangle below 1/4 seen and 1/3 unseen
    assert by_chance.area < 0.1
    names_a_kind_only = seen_unseen_curve(torch.randn(210, 1) * SEEN, labels, SEEN)  # one class of each
    assert names_a_kind_only.area <= 1 / 4 * 1 / 3


def test_a_level_reached_exactly_is_reached() -> None:
    shares = torch.arange(100, -1, -1) / 100
    curve = SeenUnseen(torch.arange(101.0), shares, 1 - shares)
    for n in range(1, 100):
        assert curve.unseen_at(float(shares[n - 1]) - 0.01) == float(1 - shares[n])


def test_a_curve_needs_both_kinds() -> None:
    for labels in ([0, 2, 3], [1, 4, 5]):
        with pytest.raises(ValueError, match="seen and of unseen"):
            seen_unseen_curve(torch.randn(3, 7), torch.tensor(labels), SEEN)


@pytest.mark.parametrize("kind", ["", "ties"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", [0, 0.01, 0.05, 0.29, 0.5])
def test_a_calibration_costs_what_it_may_and_no_less(kind: str, dtype: torch.dtype, loss: float) -> None:
    scores, labels = problem(kind, pictures=700)
    scores, labels = scores[SEEN[labels]].to(dtype)[:100], labels[SEEN[labels]][:100]
    if kind == "":
        scores = scores / 1000  # differences as small as those of cosines

    def right(calibration: float) -> int:
        """How many are, with an unseen class winning every draw."""
        level = calibrated(scores, SEEN, calibration)
        return int((level.argmax(1) == labels).logical_and(level[:, SEEN].amax(1) > level[:, ~SEEN].amax(1)).sum())

    calibration = calibration_within(scores, labels, SEEN, loss)
    assert right(calibration) >= right(0) - round(100 * loss)
    more = calibration + (1e-6 if kind == "" else 1e-4)
    assert right(more) < right(0) - round(100 * loss)


def test_a_calibration_of_nothing() -> None:
    wrong = torch.zeros(3, 7)
    wrong[:, 1] = 1
    assert calibration_within(wrong, torch.tensor([0, 2, 3]), SEEN) == 0
    scores, labels = torch.eye(7)[[0, 2, 3]], torch.tensor([0, 2, 3])
    assert calibration_within(scores, labels, SEEN, loss=1.0) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("k", [1, 3, 7, 50])
def test_top_k_is_being_among_the_k_best(k: int) -> None:
    scores, labels = problem("")
    expected = [int((row > row[label]).sum()) < k for row, label in zip(scores, labels, strict=True)]
    assert top_k(scores, labels, k) == pytest.approx(sum(expected) / len(expected))
    best = torch.topk(scores, min(k, 7), dim=1).indices
    assert top_k(scores, labels, k) == pytest.approx(float((best == labels[:, None]).any(1).double().mean()))


def test_no_picture_is_no_share() -> None:
    assert math.isnan(top_k(torch.zeros(0, 7), torch.zeros(0, dtype=torch.long), 1))
