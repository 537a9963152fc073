"""Probes learn what features hold, say what they do not, and are right as often as they say on what they never saw."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.pictures.phrase_tables import ABSENT, THERE, UNKNOWN, PhraseData
from saywhy.pictures.sources import LabelledImage
from saywhy.training.concepts import cannot_tell, directions, fit_probes, groups_of
from saywhy.types import Vocabulary

WIDTH = 24
PHRASES = ("red crown", "green crown", "striped wing", "spotted wing", "hooked bill")
WORDS = Vocabulary(PHRASES, ("crown", "crown", "wing", "wing", "bill"), exclusive=frozenset({"crown"}))


def data_of(there: np.ndarray, classes: np.ndarray | None) -> PhraseData:
    labels = [None if classes is None else f"class {classes[n]}" for n in range(len(there))]
    pictures = [LabelledImage(str(n), label, lambda: Image.new("RGB", (4, 4))) for n, label in enumerate(labels)]
    return PhraseData("made up", tuple(pictures), WORDS, there.astype(np.int8))


def made(pictures: int = 600, classes: int = 30, seed: int = 0) -> tuple[Tensor, PhraseData]:
    """Crowns are in the features; wings are drawn by class and are in them only by the class; no bill is hooked."""
    rng = np.random.default_rng(seed)
    of = np.arange(pictures) % classes
    each = np.random.default_rng(99).normal(size=(classes, WIDTH))  # what classes look like
    wings = np.random.default_rng(98).random((classes, 2)) < 0.5
    crowns = rng.random((pictures, 2)) < (0.5, 0.2)
    features = 0.5 * rng.normal(size=(pictures, WIDTH)) + each[of] * (np.arange(WIDTH) > 1) * 2
    features[:, :2] += 4.0 * crowns
    there = np.concatenate([crowns, wings[of], np.zeros((pictures, 1), bool)], 1)
    return torch.from_numpy(features).float(), data_of(there, of)


def test_what_features_hold_is_told_from_what_goes_with_the_class() -> None:
    features, data = made()
    probes, held = fit_probes(features, data, "x", quiet=True)
    assert probes.phrases == PHRASES[:4]
    assert probes.held.tolist() == [True, True, False, False]
    assert probes.auc[:2, 0].min() > 0.95
    assert probes.left_out == (("hooked bill", "no pictures with it; 8 of 3 classes are needed"),)
    assert [sentence.split(":")[0] for sentence in cannot_tell(probes)] == [
        "this classifier cannot tell where there is striped wing and spotted wing (wing)"
    ]
    assert probes.basis == "probes fitted on 600 pictures of 30 classes (made up), cross-validated by class"
    assert held.scores.shape == (600, 4)
    by_picture, _ = fit_probes(features, data_of(data.there, None), "x", quiet=True)
    assert by_picture.held.tolist() == [True] * 4  # pictures of a class are in both halves: nothing is found out
    assert by_picture.basis.endswith("cross-validated by picture")


def test_probabilities_hold_on_other_pictures_and_classes() -> None:
    features, data = made()
    probes, _ = fit_probes(features, data, "x", precision=0.9, quiet=True)
    fresh, truth = made(seed=1)
    chances = probes.probabilities(probes.scores(fresh)).numpy()
    assert np.isnan(chances[:, 2:]).all()
    right = truth.there[:, :2] == THERE
    assert abs(chances[:, :2].mean() - right.mean()) < 0.03
    said = chances[:, :2] >= probes.threshold
    assert said.sum() > 200
    assert right[said].mean() > 0.9
    scores = probes.scores(fresh)
    assert abs(float(scores[:, 0].mean())) < 0.5 * float(scores[:, 0].std())


def test_unknown_labels_count_nowhere() -> None:
    features, data = made()
    hidden = data.there.copy()
    hidden[np.random.default_rng(2).random(hidden.shape) < 0.3] = UNKNOWN
    kept, _ = fit_probes(features, replace(data, there=hidden), "x", quiet=True)
    lied = np.where(hidden == UNKNOWN, ABSENT, data.there)
    worse, _ = fit_probes(features, replace(data, there=lied), "x", quiet=True)
    rate = float((data.there[:, 0] == THERE).mean())
    assert abs(float(kept.base[0]) - rate) < 0.05
    assert float(worse.base[0]) < rate - 0.1
    assert kept.held.tolist() == [True, True, False, False]


def test_shares_of_annotators_are_learned_and_no_majority_is_no_truth() -> None:
    features, data = made()
    shares = np.where(data.there == THERE, 0.8, 0.3).astype(np.float32)
    there = np.where(data.there == THERE, THERE, UNKNOWN).astype(np.int8)
    probes, held = fit_probes(features, replace(data, there=there, shares=shares), "x", quiet=True)
    assert (held.there != UNKNOWN).all()
    assert abs(float(probes.base[0]) - float((there[:, 0] == THERE).mean())) < 0.05
    assert probes.left_out[0][0] == "hooked bill"


def test_directions_are_those_of_a_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(200, 5))
    labels = (inputs[:, 0] + rng.normal(size=200) > 0.3).astype(np.float32)
    known = rng.random(200) < 0.8
    strength = 0.05
    found = directions(
        torch.from_numpy(inputs).float(), torch.from_numpy(labels)[:, None], torch.from_numpy(known)[:, None], strength
    )
    reference = LogisticRegression(C=1 / (strength * known.sum()), tol=1e-8).fit(inputs[known], labels[known])
    np.testing.assert_allclose(found[0].numpy(), reference.coef_[0], rtol=2e-2, atol=2e-3)


def test_what_cannot_be_learned_is_refused_or_says_nothing() -> None:
    features, data = made()
    with pytest.raises(SaywhyError, match="no phrase can be learned from its 4 pictures; 'red crown': "):
        fit_probes(features[:4], data.take(range(4)), "x", quiet=True)
    with pytest.raises(SaywhyError, match="a precision of 1"):
        fit_probes(features, data, "x", precision=1, quiet=True)
    with pytest.raises(SaywhyError, match="not finite"):
        fit_probes(features * torch.nan, data, "x", quiet=True)
    noise = torch.randn(len(data), WIDTH, generator=torch.Generator().manual_seed(0))
    nothing, _ = fit_probes(noise, data, "x", quiet=True)
    assert nothing.threshold == inf or not bool(
        (nothing.probabilities(nothing.scores(noise)) >= nothing.threshold).any()
    )


def test_few_classes_are_not_held_out() -> None:
    _, data = made(classes=4)
    assert groups_of(data)[1] is False
    _, many = made()
    groups, by_class = groups_of(many)
    assert by_class
    assert len(set(groups.tolist())) == 30


def test_lengths_of_features_do_not_matter() -> None:
    features, data = made()
    probes, _ = fit_probes(features, data, "x", quiet=True)
    torch.testing.assert_close(probes.scores(features[:5]), probes.scores(3 * features[:5]))
    torch.testing.assert_close(F.normalize(features, dim=1).mean(0), probes.mean)
