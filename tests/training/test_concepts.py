"""Probes learn what features hold, say what they do not, and are right as often as they say on what they never saw."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from saywhy.classifiers.classifier import Classifier
from saywhy.classifiers.heads import Head
from saywhy.errors import SaywhyError
from saywhy.pictures.phrase_tables import ABSENT, THERE, UNKNOWN, PhraseData
from saywhy.pictures.sources import LabelledImage
from saywhy.training.concepts import cannot_tell, directions, fit_probes, not_known, reach, with_classes
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
    assert probes.left_out == (("hooked bill", "no pictures with it; 8 are needed"),)
    assert [sentence.split(":")[0] for sentence in cannot_tell(probes)] == [
        "this classifier cannot tell where there is striped wing and spotted wing (wing)"
    ]
    assert probes.basis == "probes fitted on 600 pictures of 30 classes (made up), cross-validated by class"
    assert held.scores.shape == (600, 4)
    with pytest.raises(SaywhyError, match="some pictures have no class"):
        fit_probes(features, data_of(data.there, None), "x", quiet=True)


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


def in_disguise(seed: int = 0) -> tuple[Tensor, PhraseData]:
    """Five classes that features tell apart well; each phrase is the name of a class, two of one class."""
    rng = np.random.default_rng(seed)
    of = np.arange(180) % 5
    features = 5 * np.eye(5, WIDTH)[of] + 0.2 * rng.normal(size=(180, WIDTH))
    there = np.stack([of == 0, of == 0, of == 1, of == 2, of != 2], 1)
    return torch.from_numpy(features).float(), data_of(there, of)


def test_class_names_in_disguise_are_never_facts() -> None:
    features, data = in_disguise()
    probes, held = fit_probes(features, data, "x", precision=0.6, quiet=True)
    assert set(probes.phrases) == set(PHRASES)
    assert probes.threshold == inf
    assert not probes.held.any()
    assert bool(probes.probabilities(probes.scores(features)).isnan().all())
    assert dict(probes.left_out) == {
        "red crown": "the pictures do not tell it from green crown",
        "green crown": "the pictures do not tell it from red crown",
        "striped wing": "the pictures with it are of one class; 3 are needed",
        "spotted wing": "the pictures do not tell it from hooked bill",
        "hooked bill": "the pictures do not tell it from spotted wing",
    }
    assert cannot_tell(probes) == []
    one_class, pairs = not_known(probes)
    assert "of one class; 3 are needed: striped wing." in one_class
    assert "red crown / green crown, spotted wing / hooked bill." in pairs
    assert reach(held, probes, 0.6) == (inf, 0.0)
    # They still have their directions: what is near can be shown.
    scores = probes.scores(features)
    assert (scores[data.there[:, 0] == THERE, 0].min() > scores[data.there[:, 0] != THERE, 0].max()).item()


def test_a_few_strays_make_no_second_class() -> None:
    features, data = in_disguise()
    there = data.there.copy()
    there[[2, 3, 4], 2] = THERE  # of a class each, beside the 36 of class 1
    probes, _ = fit_probes(features, replace(data, there=there), "x", quiet=True)
    assert dict(probes.left_out)["striped wing"] == "the pictures with it are of one class; 3 are needed"


def test_what_cannot_be_measured_changes_nothing_of_what_can() -> None:
    features, data = made(classes=30)
    there = data.there.copy()
    there[:, 4] = np.arange(len(there)) % 30 < 2
    alone, _ = fit_probes(features, data, "x", quiet=True)
    beside, held = fit_probes(features, replace(data, there=there), "x", quiet=True)
    assert beside.phrases == PHRASES
    assert dict(beside.left_out) == {"hooked bill": "the pictures with it are of 2 classes; 3 are needed"}
    torch.testing.assert_close(beside.weights[:4], alone.weights)
    torch.testing.assert_close(beside.auc[:4], alone.auc)
    assert beside.threshold == alone.threshold
    assert reach(held, beside, 0.9)[1] > 0


def test_values_of_one_attribute_may_exclude_each_other() -> None:
    features, data = made()
    there = data.there.copy()
    there[:, 1] = 1 - there[:, 0]
    told = replace(data, there=there, vocabulary=replace(WORDS, exclusive=frozenset()))
    assert dict(fit_probes(features, told, "x", quiet=True)[0].left_out)["red crown"].endswith("from green crown")
    probes, _ = fit_probes(features, replace(told, vocabulary=WORDS), "x", quiet=True)
    assert probes.held[:2].all()


def test_of_few_classes_a_phrase_that_goes_across_them_is_held_and_one_that_is_a_class_is_not() -> None:
    features, data = made(classes=3)
    probes, held = fit_probes(features, data, "x", precision=0.8, quiet=True)
    assert set(held.groups.tolist()) == {0, 1, 2}
    crowns = [probes.phrases.index(phrase) for phrase in PHRASES[:2]]
    assert probes.held[crowns].all()
    assert probes.basis.endswith("of 3 classes (made up), cross-validated by class")
    wings = {phrase for phrase in PHRASES[2:4] if phrase in probes.phrases}
    assert wings <= {phrase for phrase, _ in probes.left_out}


def test_pictures_without_a_class_column_get_one_from_their_folders_or_the_classifier() -> None:
    classifier = cast(Classifier, SimpleNamespace(labels=("cat", "dog"), head=Head(torch.eye(2), torch.zeros(2))))
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])

    def told(*names: str) -> tuple[tuple[str, ...] | None, str]:
        found = with_classes(_named(*names), features, classifier)
        return found.classes, found.classes_are

    assert told("x/Cat/1.png", "x/dog/1.png", "x/cat/2.png") == (("Cat", "dog", "cat"), "folder")
    predicted = ("0 cat", "1 dog", "1 dog"), "predicted class"
    assert told("x/cat/1.png", "x/dog/1.png", "x/bird/2.png") == predicted
    assert told("x/1.png", "x/2.png", "x/3.png") == predicted
    named = _named("a", "b", "c", label="own")
    assert with_classes(named, features, classifier) is named


def _named(*names: str, label: str | None = None) -> PhraseData:
    pictures = tuple(LabelledImage(name, label, lambda: Image.new("RGB", (4, 4))) for name in names)
    return PhraseData("made up", pictures, WORDS, np.zeros((len(names), len(WORDS)), np.int8))


def test_lengths_of_features_do_not_matter() -> None:
    features, data = made()
    probes, _ = fit_probes(features, data, "x", quiet=True)
    torch.testing.assert_close(probes.scores(features[:5]), probes.scores(3 * features[:5]))
    torch.testing.assert_close(F.normalize(features, dim=1).mean(0), probes.mean)
