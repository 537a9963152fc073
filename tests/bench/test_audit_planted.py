"""The four causes that are planted: drawn as told, found first, and not found where the classifier is free of them."""

from pathlib import Path

import numpy as np
import pytest

from saywhy.bench import run_benchmark
from saywhy.bench.audit_planted import audited, bias_of, names_it, written
from saywhy.errors import SaywhyError
from saywhy.worlds.biased import CAUSES, names, pictures, planted_class


@pytest.mark.parametrize("cause", CAUSES)
def test_the_cause_is_where_it_is_said_to_be(cause: str, tmp_path: Path) -> None:
    bias = bias_of(cause, 1)
    special = names().index(planted_class())
    made = list(pictures(bias, 5, 3))
    bare = list(pictures(bias, 5, 3, "nowhere"))
    for one, plain in zip(made, bare, strict=True):
        assert (one.label, one.camera) == (plain.label, plain.camera)
        assert (one.pixels != plain.pixels).any() == one.shows
        assert cause == "camera" or one.shows == (one.label == special)
        assert cause != "camera" or one.shows == (one.camera == "B")
    data = written(tmp_path / "data", bias, 5, 2, "planted")
    assert len(data) == 2 * len(names())
    np.testing.assert_array_equal(np.asarray(data[3].open()), made[3].pixels)
    assert data[3].metadata == ({"camera": made[3].camera} if cause == "camera" else {})


def test_an_unknown_cause_is_refused() -> None:
    with pytest.raises(SaywhyError, match="--cause"):
        run_benchmark("audit-planted", cause="noise")


@pytest.mark.slow
@pytest.mark.parametrize("cause", CAUSES)
def test_what_is_planted_is_the_first_finding(cause: str, tmp_path: Path) -> None:
    found = audited(cause, 1, "planted", tmp_path)
    assert names_it(found.findings[0], cause, 1), found.findings[0].sentence


@pytest.mark.slow
@pytest.mark.parametrize("cause", CAUSES)
def test_nothing_decides_where_the_classifier_never_saw_it(cause: str, tmp_path: Path) -> None:
    found = audited(cause, 1, "not learned", tmp_path)
    assert not [one.sentence for one in found.findings if one.decides]
