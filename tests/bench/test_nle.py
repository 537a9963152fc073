"""The benchmark of sentences: its rows, its notes for what cannot be had, and the whole of it with tiny networks."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from saywhy.bench import nle, run_benchmark
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.metrics import sentence_scores as sentence_metrics
from saywhy.metrics.sentence_scores import Painter
from saywhy.spaces.text_to_weights import MAPPERS
from tests.helpers import FakeSpace, tiny_classifier

COLOURS = {"red": (220, 10, 10), "green": (10, 220, 10), "blue": (10, 10, 220)}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures of one colour each, sentences that name it, and a judge that knows colours."""
    for name, colour in COLOURS.items():
        Image.new("RGB", (48, 40), colour).save(tmp_path / f"{name}.png")
    for file, text in (("true.csv", "a {} thing"), ("false.csv", "a grey thing")):
        with open(tmp_path / file, "w", newline="") as out:
            csv.writer(out).writerows([("image", "explanation"), *((f"{c}.png", text.format(c)) for c in COLOURS)])
    monkeypatch.setattr(nle, "_judge", lambda name: FakeSpace())
    return tmp_path


@pytest.fixture
def _painter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A painter that paints the colour a prompt names, with a little noise."""

    def pipeline(prompt: Sequence[str], generator: Sequence[Any]) -> SimpleNamespace:
        images = []
        for text, noise in zip(prompt, generator, strict=True):
            colour = next((value for name, value in COLOURS.items() if name in text), (128, 128, 128))
            speckle = np.random.default_rng(noise.initial_seed()).integers(0, 30, (32, 32, 3))
            images.append(Image.fromarray((np.array(colour) + speckle).clip(0, 255).astype(np.uint8)))
        return SimpleNamespace(images=images)

    monkeypatch.setattr(nle, "_painter", lambda name: Painter("colours", pipeline))
    pytest.importorskip("torchmetrics", reason="needs the optional package torchmetrics")
    load = sentence_metrics.load_lpips
    monkeypatch.setattr(sentence_metrics, "load_lpips", lambda net: load(net, random=True))
    monkeypatch.setattr(Classifier, "load", staticmethod(lambda source: tiny_classifier()))


@pytest.mark.usefixtures("_painter")
def test_true_sentences_beat_those_of_other_pictures(files: Path) -> None:
    report = run_benchmark(
        "nle", data=str(files / "true.csv"), sentences=f"grey={files / 'false.csv'}", images=str(files), model="tiny"
    )
    rows = {row["sentences"]: row for row in report.rows}
    assert list(rows) == [
        name + part
        for name in ("annotators", "grey", "class name")
        for part in ("", f", {nle.OTHERS}", f", {nle.SAME}")
    ]
    assert rows["annotators"]["CLIP-S"] > rows[f"annotators, {nle.SAME}"]["CLIP-S"] + 30
    assert rows["grey"]["CLIP-S"] == pytest.approx(rows[f"grey, {nle.SAME}"]["CLIP-S"])  # it says one thing anyway
    right, wrong = rows["annotators"], rows[f"annotators, {nle.OTHERS}"]
    assert right["CLIP-S"] > wrong["CLIP-S"] + 30
    assert right["LPIPS(A)"] < wrong["LPIPS(A)"]
    assert right["LPIPS(S)"] < wrong["LPIPS(S)"]
    assert right["Cosine"] > wrong["Cosine"]
    assert all(right[name] > 0 for name in ("sd(A)", "sd(S)", "sd"))
    assert all(set(row) <= set(nle.COLUMNS) for row in report.rows)
    assert report.summary["pictures"] == 3
    assert not report.more


def test_without_a_painter_clip_s_remains(files: Path) -> None:
    report = run_benchmark("nle", data=str(files / "true.csv"), images=str(files))
    assert set(report.rows[0]) == {"sentences", "CLIP-S"}
    assert report.more[0][2] == [
        {"note": "no LPIPS and Cosine: no --painter is named (e.g. stable-diffusion-v1-5/stable-diffusion-v1-5)"}
    ]


@pytest.mark.usefixtures("_painter")
def test_each_metric_that_cannot_be_had_is_left_out_alone(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> None:
        raise SaywhyError("it is not here")

    monkeypatch.setattr(nle, "_judge", absent)
    load = sentence_metrics.load_lpips
    monkeypatch.setattr(sentence_metrics, "load_lpips", lambda net: absent() if net == "alex" else load(net))
    report = run_benchmark("nle", 2, data=str(files / "true.csv"), images=str(files))
    assert set(report.rows[0]) == {"sentences", "LPIPS(S)", "sd(S)"}
    notes = [row["note"] for row in report.more[0][2]]
    assert notes[:2] == ["no CLIP-S: it is not here", "no LPIPS(A): it is not here"]
    assert notes[2].startswith("no Cosine: no --model")
    assert report.summary["pictures"] == 2


def test_sentences_written_now(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def narrate(
        images: Any,
        space: Any,
        writer: Any,
        *,
        method: str,
        judge: Any = None,
        encoded: Any = None,
        sentences: int = 20,
    ) -> list[SimpleNamespace]:
        assert space.name == "the classifier itself"
        asked.append((method, sentences, type(space.mapper).__name__, judge is not None, encoded is not None))
        return [SimpleNamespace(text="a red thing") for _ in images]

    monkeypatch.setattr("saywhy.questions.narrate.narrate", narrate)
    monkeypatch.setattr("saywhy.questions.sentences.language_model.load_language_model", lambda source: source)
    monkeypatch.setattr(Classifier, "load", staticmethod(lambda source: tiny_classifier()))
    report = run_benchmark("nle", images=str(files), model="tiny", writer="lm")
    assert report.summary["sentences"]["saywhy"] == ["a red thing"] * 3
    assert [row["sentences"] for row in report.rows][::3] == ["class name", "saywhy", "class row"]
    assert asked == [("guided", 20, "KernelRidge", False, False), ("guided", 20, "KernelRidge", False, True)]

    asked.clear()
    monkeypatch.setitem(MAPPERS, "mlp", partial(MAPPERS["mlp"], epochs=1))
    options = {"methods": "prefix:3", "mappers": "default,mlp", "selectors": "clip"}
    report = run_benchmark("nle", images=str(files), model="tiny", writer="lm", **options)
    assert asked[:2] == [("prefix", 3, "KernelRidge", True, False), ("prefix", 3, "MLP", True, False)]
    assert set(report.summary["sentences"]) == {
        "class name", "saywhy: prefix:3, default, clip", "saywhy: prefix:3, mlp, clip", "class row",
    }  # fmt: skip
    for option, wrong in (("methods", "guided:3"), ("mappers", "mpl"), ("selectors", "me"), ("methods", "prefix:0")):
        with pytest.raises(SaywhyError, match=f"--{option} {wrong}: there are"):
            run_benchmark("nle", images=str(files), model="tiny", writer="lm", **{option: wrong})


def test_what_it_needs(files: Path) -> None:
    folder = str(files)
    for options, said in (
        ({}, "needs --images FOLDER"),
        ({"images": folder}, "and sentences"),
        ({"images": folder, "data": f"{folder}/true.csv", "writer": "lm"}, "name the classifier with --model"),
        ({"images": f"{folder}/none", "data": f"{folder}/true.csv"}, "no such folder"),
        ({"images": str(files.parent), "data": f"{folder}/true.csv"}, "none of the 3 pictures with sentences is there"),
        ({"images": folder, "data": f"{folder}/none.csv"}, "no such file"),
    ):
        with pytest.raises(SaywhyError, match=said):
            run_benchmark("nle", **options)


def test_sets_of_different_pictures(files: Path) -> None:
    (files / "other.csv").write_text("image,explanation\nx.png,y\n")
    with pytest.raises(SaywhyError, match="no picture has a sentence in each of annotators, other"):
        run_benchmark("nle", images=str(files), data=str(files / "true.csv"), sentences=str(files / "other.csv"))


def test_a_classifier_does_not_judge_itself(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    (tmp_path / "a.csv").write_text("image,explanation\na.png,y\n")
    with pytest.raises(SaywhyError, match=r"none of the metrics can be had\. no CLIP-S: a classifier cannot judge"):
        run_benchmark("nle", images=str(tmp_path), data=str(tmp_path / "a.csv"), space="own")


def test_partners_are_never_oneself() -> None:
    for count in (2, 3, 10, 101):
        partners = nle._partners(count)
        assert sorted(partners) == list(range(count))
        assert all(n != partner for n, partner in enumerate(partners))
