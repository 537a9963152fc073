"""Metrics of named causes: NeuronEval's checks, and what is known in closed form."""

import numpy as np
import pytest

from saywhy.metrics.reliance_scores import Measure, above_usual, auprc, f1, over_classifiers, pearson


def synthetic(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((40, 12)) < 0.1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("measure", [auprc, f1, pearson])
def test_missing_and_extra_labels_lower_the_score_of_what_was_right(measure: Measure, seed: int) -> None:
    rng, truth = np.random.default_rng([seed, 1]), synthetic(seed)
    scores = np.where(truth, 1.0, -1.0)
    missing = truth & (rng.random(truth.shape) < 0.5)
    extra = truth | (rng.random(truth.shape) < truth.mean())
    right = over_classifiers(measure, scores, truth.astype(float), draws=20).value
    assert right == pytest.approx(1)
    for wrong in (missing, extra):
        assert over_classifiers(measure, scores, wrong.astype(float), draws=20).value < right - 0.1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("measure", [auprc, f1, pearson])
def test_naming_less_or_more_than_is_true_lowers_the_score_too(measure: Measure, seed: int) -> None:
    rng, truth = np.random.default_rng([seed, 2]), synthetic(seed)
    silent = truth & (rng.random(truth.shape) < 0.5)
    talkative = truth | (rng.random(truth.shape) < truth.mean())
    for said in (silent, talkative):
        value = over_classifiers(measure, np.where(said, 1.0, -1.0), truth.astype(float), draws=20).value
        assert value < 0.95


def test_random_scores_have_the_share_of_what_is_true() -> None:
    rng, truth = np.random.default_rng(0), np.random.default_rng(1).random((400, 12)) < 0.1
    found = over_classifiers(auprc, rng.random(truth.shape), truth.astype(float), draws=50)
    assert found.low < truth.mean() < found.high + 0.02
    assert abs(over_classifiers(pearson, rng.random(truth.shape), truth.astype(float), draws=20).value) < 0.05


def test_few_of_what_is_usual_are_said_whatever_a_cause_usually_scores() -> None:
    rng = np.random.default_rng(0)
    offset, width = np.arange(12) * 5.0, 1 + np.arange(12) / 12
    usual = rng.normal(size=(60, 12)) * width + offset
    usual[rng.random(usual.shape) < 0.1] = np.nan
    fresh = rng.normal(size=(400, 12)) * width + offset
    assert (above_usual(fresh, usual) > 0).mean() == pytest.approx(0.05, abs=0.03)
    assert (above_usual(fresh + 4 * width, usual) > 0).mean() > 0.9
