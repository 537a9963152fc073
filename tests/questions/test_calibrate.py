"""Calibrations fitted on pictures: what is read as known, and that the fit is of what explain looks at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.questions.calibrate import calibrate, evidence_of, read_known
from saywhy.questions.explain import explain
from saywhy.questions.names_and_defaults import load_vocabulary, resolve_space
from saywhy.questions.options import ExplainOptions
from saywhy.seen.calibration import Calibration, shipped_calibration
from saywhy.seen.fitting import FitOptions
from saywhy.types import Vocabulary
from saywhy.worlds import calibration_file
from saywhy.worlds.scenes import draw, facts_of


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load("world:digits")


@pytest.fixture(scope="module")
def digits(classifier: Classifier) -> Calibration:
    space = resolve_space("world:digits", classifier)
    return calibrate(read_known("world:digits", limit=60), classifier, space, FitOptions(kind="logistic"))


def test_scenes_of_a_world_know_what_is_drawn() -> None:
    known = read_known("world:aviary", limit=4)
    assert known.data == "4 scenes of world:aviary, half of them of random plumage"
    assert known.truth.shape == (4, 140)
    assert known.truth[:, known.vocabulary.phrases.index("a letter in the corner")].sum() == 0
    assert (known.truth.sum(1) == 17).all()  # sixteen attributes and a background


def test_a_table_knows_what_it_lists_and_no_other_phrase(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    table = tmp_path / "t.csv"
    table.write_text("picture,phrase\na.png,a red wing\nb.png,a beak\n")
    words = Vocabulary(("a beak", "a tail", "a red wing"), ("",) * 3, name="mine")
    known = read_known(table, words)
    assert known.vocabulary is words
    np.testing.assert_array_equal(known.truth, [[0, np.nan, 1], [1, np.nan, 0]])
    with pytest.raises(SaywhyError, match="knows none of the phrases of mine"):
        read_known(table, Vocabulary(("x",), ("",), name="mine"))


def test_what_is_calibrated_is_what_explain_finds(digits: Calibration, classifier: Classifier) -> None:
    image = read_known("world:digits", limit=60).pictures[7].open()
    space, words = resolve_space("world:digits", classifier), load_vocabulary("world:digits")
    one = evidence_of([("x", image)], classifier, words, space, ExplainOptions(), False)[0]
    there = dict(zip(words.phrases, digits.there(one).tolist(), strict=True))
    claims = explain(image, model=classifier, space=space, vocabulary=words, calibration=digits).claims
    assert claims
    for claim in claims:
        assert claim.there == pytest.approx(there[claim.text], abs=1e-4)
        assert claim.basis == "calibrated on 60 digits of world:digits, red, green and grey"


def test_shifted_crops_are_looked_at_where_they_are_asked_for(classifier: Classifier) -> None:
    space, words = resolve_space("world:digits", classifier), load_vocabulary("world:digits")
    images = [("x", picture.open()) for picture in read_known("world:digits", limit=3).pictures]
    with_them = evidence_of(images, classifier, words, space, ExplainOptions(), True)
    without = evidence_of(images, classifier, words, space, ExplainOptions(), False)
    assert all(one.steady is None for one in without)
    for one, other in zip(with_them, without, strict=True):
        torch.testing.assert_close(one.unusual, other.unusual)
        assert one.steady is not None
        assert one.steady.shape == one.unusual.shape
        assert not torch.allclose(one.steady, one.unusual)


def test_a_file_of_another_vocabulary_is_refused(digits: Calibration, classifier: Classifier, tmp_path: Path) -> None:
    path = digits.save(tmp_path / "d.safetensors")
    space = resolve_space("world:digits", classifier)
    with pytest.raises(SaywhyError, match="is of the vocabulary world:digits, and not of concepts"):
        explain(Image.new("RGB", (64, 64)), model=classifier, space=space, vocabulary="concepts", calibration=path)


@pytest.mark.parametrize("name", ["world:aviary", "world:aviary/vit", "world:digits", "world:digits/vit"])
def test_a_shipped_calibration_is_of_its_space_and_vocabulary_alone(name: str) -> None:
    world = name.partition("/")[0]
    space, words = resolve_space(name, None), load_vocabulary(world)
    calibration = shipped_calibration(space, words)
    assert calibration is not None
    assert calibration.why_not(space, words) == ""
    assert calibration.threshold < 1
    assert calibration.precision >= calibration.target == 0.95
    assert calibration.reliability.ece < 0.03
    assert world in calibration.basis
    assert shipped_calibration(space, load_vocabulary(f"{world}+birds")) is None
    other = "world:digits" if world == "world:aviary" else "world:aviary"
    assert "not of" in calibration.why_not(resolve_space(other, None), words)
    assert calibration_file(name.removeprefix("world:")).stat().st_size < 400_000


def test_what_is_said_of_fresh_scenes_is_true() -> None:
    classifier, words = Classifier.load("world:aviary"), load_vocabulary("world:aviary")
    space = resolve_space("world:aviary", classifier)
    calibration = shipped_calibration(space, words)
    assert calibration is not None
    seeds = range(5_700_000, 5_700_012)
    images = [(str(seed), draw("species", seed, 256)[0].image) for seed in seeds]
    found = evidence_of(images, classifier, words, space, ExplainOptions(), calibration.shifts)
    right = [
        words.phrases[m] in facts_of("species", seed)
        for seed, one in zip(seeds, found, strict=True)
        for m in (calibration.there(one) >= calibration.threshold).nonzero()[:, 0].tolist()
    ]
    assert len(right) > 60
    assert np.mean(right) > 0.88
