"""Calibration: known temperatures are found again, and numbers agree with plain formulas."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from saywhy.errors import SaywhyError
from saywhy.metrics.calibration import fit_temperature, forecasts, reliability


def calibrated(count: int, columns: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their softmax."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((count, columns))
    return logits, np.array([rng.choice(columns, p=p) for p in softmax(logits)])


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def test_numbers_are_those_of_plain_formulas() -> None:
    logits, labels = calibrated(50, 7)
    for temperature in (0.3, 1.0, 4.0):
        found, p = forecasts(logits, labels, temperature), softmax(logits / temperature)
        assert found.nll == pytest.approx(-np.log(p[np.arange(50), labels]).mean())
        assert found.brier == pytest.approx(((p - np.eye(7)[labels]) ** 2).sum(1).mean())
        assert np.array_equal(found.correct, p.argmax(1) == labels)
        np.testing.assert_allclose(found.confidence, p.max(1))


def test_several_true_columns_share_the_truth_evenly() -> None:
    logits, _ = calibrated(20, 7)
    rng = np.random.default_rng(1)
    labels = np.stack([rng.permutation(7)[:3] for _ in range(20)])
    labels[::2, 2] = -1
    target = np.stack([np.bincount(row[row >= 0], minlength=7) / (row >= 0).sum() for row in labels])
    found, p = forecasts(logits, labels), softmax(logits)
    assert found.nll == pytest.approx(-(target * np.log(p)).sum(1).mean())
    assert found.brier == pytest.approx(((p - target) ** 2).sum(1).mean())
    assert np.array_equal(found.correct, target[np.arange(20), p.argmax(1)] > 0)


@pytest.mark.parametrize("width", [1, 3, 11])
def test_blocks_of_columns_make_no_difference(width: int) -> None:
    logits, labels = calibrated(40, 11)
    logits += 500  # far from where exp is finite

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, 11, width):
            yield logits[:, start : start + width].astype(np.float32)

    whole, parts = forecasts(logits.astype(np.float32), labels), forecasts(blocks, labels)
    for name in ("confidence", "correct", "log_true", "true", "squares", "golds"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9, atol=1e-12)
    assert fit_temperature(blocks, labels) == pytest.approx(fit_temperature(logits.astype(np.float32), labels))


@pytest.mark.parametrize("factor", [0.2, 1.0, 6.0])
def test_a_temperature_is_found_again(factor: float) -> None:
    logits, labels = calibrated(3000, 6)
    found = fit_temperature(factor * logits, labels)
    assert found == pytest.approx(factor, rel=0.1)
    best = forecasts(factor * logits, labels, found).nll
    for other in (0.9 * found, 1.1 * found):
        assert best < forecasts(factor * logits, labels, other).nll
    if factor != 1:
        before, after = (forecasts(factor * logits, labels, t).summary() for t in (1, found))
        assert after["ECE"] < before["ECE"]
        assert after["accuracy"] == before["accuracy"]


def test_what_is_always_right_is_as_sure_as_may_be() -> None:
    found = fit_temperature(np.eye(5), np.arange(5))
    assert 0.01 <= found < 0.05
    assert forecasts(np.eye(5), np.arange(5), found).nll < 1e-9


@pytest.mark.parametrize("equal", ["mass", "width"])
def test_reliability_counts_every_picture_once(equal: str) -> None:
    logits, labels = calibrated(1000, 5)
    found = forecasts(logits, labels)
    table = reliability(found, 15, equal)
    assert table.count.sum() == 1000
    assert np.average(table.accuracy, weights=table.count) == pytest.approx(found.correct.mean())
    assert np.average(table.confidence, weights=table.count) == pytest.approx(found.confidence.mean())
    assert (np.diff(table.confidence) > 0).all()
    assert table.ece < 0.06
    if equal == "mass":
        assert set(table.count) <= {66, 67}
    else:
        bins = np.minimum((found.confidence * 15).astype(int), 14)
        gaps = [abs((found.correct - found.confidence)[bins == b].sum()) for b in range(15)]
        assert table.ece == pytest.approx(sum(gaps) / 1000)


def test_who_is_always_sure_and_half_right_errs_by_half() -> None:
    logits = np.tile([[900.0, 0.0]], (10, 1))
    found = forecasts(logits, np.arange(10) % 2)
    for equal in ("mass", "width"):
        assert reliability(found, 1, equal).ece == pytest.approx(0.5)
    assert found.summary()["Brier"] == pytest.approx(1)
    assert reliability(forecasts(logits[:3], np.zeros(3, int)), 15).ece == 0  # fewer pictures than bins


def test_errors_say_what_is_wrong() -> None:
    logits, labels = calibrated(5, 3)
    for bad in (labels + 3, np.full(5, -1), labels[:0]):
        with pytest.raises(SaywhyError, match=r"true column|at least one true label"):
            forecasts(logits, bad)
    for wrong in (logits[:2], logits[0], logits[:, :0]):
        with pytest.raises(SaywhyError, match="pictures, columns"):
            forecasts(wrong, labels)
    with pytest.raises(SaywhyError, match="not finite"):
        forecasts(np.where(logits == logits[2, 1], np.nan, logits), labels)
    for bins, equal in ((0, "mass"), (5, "size")):
        with pytest.raises(SaywhyError, match="bins at least 1"):
            reliability(forecasts(logits, labels), bins, equal)
