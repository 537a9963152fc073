"""A run that is stopped and resumed is the run that was not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.training.classifier import FineTuningSettings, train_classifier
from saywhy.worlds.cub_layout import write_cub

SMALL = FineTuningSettings(arch="timm:test_vit", pretrained=False, epochs=2, batch_size=8, rate=1e-3, size=64)


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cub(tmp_path_factory.mktemp("aviary"), "planted-colour", train=24, test=12, size=64)


def test_it_writes_what_loads(birds: Path, tmp_path: Path) -> None:
    measured = train_classifier(birds, tmp_path, SMALL, workers=0)
    assert len(measured["history"]) == 2
    assert 0 <= measured["best"] <= 1
    assert json.loads((tmp_path / "training.json").read_text())["best"] == measured["best"]
    classifier = Classifier.load(f"timm:{tmp_path}")
    assert len(classifier.labels) == 12
    assert "Fourth Wanderer" in classifier.labels


def test_resuming_changes_nothing(birds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from saywhy.training import classifier as finetuning

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_classifier(birds, whole, SMALL, workers=0)
    save = finetuning._save

    def save_and_stop(*arguments: object) -> None:
        save(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(finetuning, "_save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        train_classifier(birds, parts, SMALL, workers=0)
    monkeypatch.setattr(finetuning, "_save", save)
    train_classifier(birds, parts, SMALL, resume=True, workers=0)
    one, two = (torch.load(p / "training.pt", weights_only=True)["states"]["network"] for p in (whole, parts))
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert load_file(whole / "model.safetensors").keys() == one.keys()
    with pytest.raises(SaywhyError, match=r"other settings \(rate\)"):
        train_classifier(birds, parts, replace(SMALL, rate=0.5), resume=True, workers=0)


def test_bad_input(birds: Path, tmp_path: Path) -> None:
    with pytest.raises(SaywhyError, match="not timm:NAME"):
        train_classifier(birds, tmp_path, replace(SMALL, arch="resnet50"))
    with pytest.raises(SaywhyError, match="no run here to resume"):
        train_classifier(birds, tmp_path, SMALL, resume=True, workers=0)
    (tmp_path / "training.pt").write_bytes(b"no checkpoint")
    with pytest.raises(SaywhyError, match="damaged, or not a checkpoint of saywhy"):
        train_classifier(birds, tmp_path, SMALL, resume=True, workers=0)
    with pytest.raises(SaywhyError, match=r"no images\.txt"):
        train_classifier(tmp_path, tmp_path, SMALL)


@pytest.mark.slow
def test_one_real_step_of_the_papers_network(birds: Path, tmp_path: Path) -> None:
    settings = FineTuningSettings(pretrained=False, batch_size=2, steps=1)
    measured = train_classifier(birds, tmp_path, settings, workers=0)
    assert measured["steps"] == 1
    assert measured["losses"][0] > 0


@pytest.mark.slow
def test_it_learns_the_aviary(tmp_path: Path) -> None:
    """From random weights, twelve classes: chance is a twelfth."""
    data = write_cub(tmp_path / "birds", "planted-background", train=360, test=96, size=96)
    settings = FineTuningSettings(arch="timm:test_vit", pretrained=False, epochs=12, batch_size=16, rate=1e-3, size=96)
    assert train_classifier(data, tmp_path / "out", settings)["best"] > 0.35
