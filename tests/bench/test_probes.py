"""What the benchmark of probes counts: one value of an attribute, as many words as asked for, truth as it is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saywhy.bench.probes import run
from saywhy.errors import SaywhyError
from tests.helpers import tiny_classifier


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Plain red and plain blue pictures in the light of the day, and a phrase that nothing shows."""
    rng = np.random.default_rng(0)
    rows = ["picture,phrase,there,class"]
    for n in range(120):
        red, light = n % 2, rng.integers(120, 250)
        colour = (int(light), 30, 30) if red else (30, 30, int(light))
        Image.new("RGB", (40, 40), colour).save(tmp_path / f"{n}.png")
        rows += [f"{n}.png,a red thing,{red},class {n % 20}", f"{n}.png,a secret,{int(rng.random() < 0.5)},"]
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    monkeypatch.setattr("saywhy.classifiers.classifier.Classifier.load", lambda name, **_: tiny_classifier())
    return tmp_path / "table.csv"


def test_a_table_is_held_against_folds_that_did_not_teach(table: Path) -> None:
    report = run(table=str(table), model="any", precision="0.9")
    first, one, _ = report.rows
    assert first["probes"] == "5 folds by class"
    assert first["true"][0] > 0.95
    assert first["said"] == pytest.approx(0.5, abs=0.1)
    assert 0.2 < first["dealt"][0] < 0.8
    assert one["said"] <= 1
    phrases = {row["phrase"]: row for row in report.more[0][2]}
    assert phrases["a red thing"]["AUC"] > 0.99
    assert phrases["a red thing"]["right"] == phrases["a red thing"]["said"]
    assert report.summary["cannot tell"] == ["a secret"]


def test_what_is_missing_is_said() -> None:
    with pytest.raises(SaywhyError, match="a table needs --table FILE and --model"):
        run(data="table")
    with pytest.raises(SaywhyError, match="there is no data 'bird'; did you mean birds"):
        run(data="bird")
