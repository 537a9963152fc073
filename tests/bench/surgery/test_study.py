"""The study of surgery in small: every table and figure of it, and controls that are what they should be."""

from __future__ import annotations

import json
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from saywhy.bench import BENCHMARKS, Report, run_benchmark
from saywhy.bench.surgery import graded_digits
from saywhy.bench.surgery import study as surgery
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from tests.helpers import tiny_classifier

load = lru_cache(Classifier.load)


def embedded(
    bias: float | None, seed: int, mnist: Path | None = None, doubt: float = 0.15, tower: str = "resnet"
) -> Classifier:
    """In the place of trained ones: all that saw colours went by them, and the grey one could not."""
    return load("world:digits-coloured" if bias else "world:digits")


SMALL = {
    "MATCHED_ON": 64, "ASKED": 40, "RANDOM": 2, "SHUFFLES": 2, "SEEDS": (0,), "DOSES": (0.2,), "STRENGTHS": (0.0, 1.0),
    "BIASES": (0.0, 1.0), "_DOSES": ("chance", "bias 0.0", "bias 1.0", "random weights"),
}  # fmt: skip


def run_small(patch: pytest.MonkeyPatch, **more: object) -> Report:
    for name, value in (SMALL | more).items():
        patch.setattr(surgery, name, value)
    return run_benchmark("surgery", 1)


@pytest.fixture(scope="module")
def report() -> Report:
    with pytest.MonkeyPatch.context() as patch:
        return run_small(patch, graded_classifier=embedded)


def test_it_is_listed() -> None:
    assert "surgery" in BENCHMARKS


def test_all_columns_are_there_and_all_is_plain(report: Report) -> None:
    tables = [(report.columns, report.rows), *((columns, rows) for _, columns, rows in report.more)]
    assert len(tables) == 8
    for columns, rows in tables:
        assert rows
        assert all(set(row) == set(columns) for row in rows)
    document = json.loads(json.dumps(report.document(), allow_nan=False))
    assert len(document["rows"]) == 2


def test_figures_are_pictures(report: Report) -> None:
    assert set(report.figures) == {"verdict.png", "matching.png", "bias.png"}
    for data in report.figures.values():
        with Image.open(BytesIO(data)) as figure:
            assert figure.format == "PNG"
            assert min(figure.size) > 300


def test_the_verdict_goes_with_what_the_classifiers_go_by(report: Report) -> None:
    grey, *coloured = report.rows
    assert grey["high"] < 0
    assert all(row["low"] > 0.5 for row in coloured)
    assert grey["flips"] < 60 < 90 < coloured[0]["flips"]
    assert grey["colour's share"] < 0.6 < 0.9 < coloured[0]["colour's share"]
    agreement = {row["measure"]: row["Spearman"] for row in report.more[0][2]}
    assert agreement["colour's share"] == pytest.approx(1)


def test_controls_are_zero(report: Report) -> None:
    controls = {row["control"]: row for row in report.more[1][2]}
    assert abs(controls["random weights"]["verdict"]) < 0.1
    assert abs(next(row["verdict"] for name, row in controls.items() if name.startswith("shuffled"))) < 0.4
    itself = controls["CLIP with itself: largest change of a cosine"]
    assert itself["channels matched"] > 0
    assert itself["verdict"] < 1e-4
    none, full = report.more[3][2]
    assert none["colour kept"].startswith("+1.000")
    assert abs(float(none["verdict"].split()[0])) < 1e-3
    assert full["verdict"].startswith("+1.")


@pytest.mark.slow
def test_from_training_to_the_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours that decide all of the label, and none of it: two classifiers are trained, and told apart."""
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path))
    monkeypatch.setattr(graded_digits, "EPOCHS", 3)
    none, all_of_it = run_small(monkeypatch, MATCHED_ON=256, ASKED=100).rows
    assert none["colour's share"] < all_of_it["colour's share"]
    assert none["verdict"] < 0 < all_of_it["verdict"]


def test_data_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SaywhyError, match="neither world:digits nor a folder"):
        run_benchmark("surgery", 1, data=str(tmp_path / "none"))
    with pytest.raises(SaywhyError, match="no MNIST here"):
        run_benchmark("surgery", 1, data=str(tmp_path))


def test_the_true_bias_is_measured_on_pictures_in_both_colours() -> None:
    by_colour, by_shape = (
        graded_digits.true_bias(load(name), count=80) for name in ("world:digits-coloured", "world:digits")
    )
    assert by_colour.share > 0.9 > 0.6 > by_shape.share
    assert by_colour.flips > 90 > by_shape.flips
    assert abs(by_colour.accuracy - 50) < 20 < by_shape.accuracy - 45
    assert graded_digits.accuracy(load("world:digits-coloured"), 1.0, count=80) > 95
    assert graded_digits.accuracy(load("world:digits"), None, count=80) > 95
    with pytest.raises(SaywhyError, match="5 classes, not a five and an eight"):
        graded_digits.true_bias(tiny_classifier(), count=4)


@pytest.mark.parametrize("bias", [0.5, None])
def test_a_classifier_is_trained_once_and_anew_where_that_was_interrupted(
    bias: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from saywhy.worlds import clip_directory

    trained = []
    finished = clip_directory("digits").parent / "classifier-resnet"

    def train(out: Path, **options: object) -> None:
        import shutil

        assert not out.exists()
        trained.append(options)
        if len(trained) == 1:
            out.mkdir(parents=True)
            raise KeyboardInterrupt
        shutil.copytree(finished, out)

    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path))
    monkeypatch.setattr(graded_digits, "train_digits", train)
    with pytest.raises(KeyboardInterrupt):
        graded_digits.graded_classifier(bias, 3)
    for _ in range(2):
        assert len(graded_digits.graded_classifier(bias, 3).labels) == 2
    assert len(trained) == 2
    assert (trained[1]["bias"], trained[1]["seed"], trained[1]["doubt"]) == (bias, 3, graded_digits.DOUBT)
    graded_digits.graded_classifier(bias, 3, doubt=0.0)
    assert len(trained) == 3
