"""Spaces and vocabularies by name, and the defaults."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.plumbing import hub
from saywhy.questions.names_and_defaults import (
    check_writer,
    default_space,
    default_vocabulary,
    default_writer,
    resolve_space,
)
from tests.helpers import tiny_classifier


def test_a_clip_that_cannot_be_had_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(hub, "reachable", lambda url: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(SaywhyError, match="--space own") as caught:
        resolve_space("clip", tiny_classifier())
    assert "\n" not in str(caught.value)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clop", "there is no space"),
        ("clip:ViT-B-33/openai", "did you mean .*ViT-B-32"),
        ("clip:ViT-B-32/nothing", "laion2b_s34b_b79k"),
        ("world:narnia", "aviary"),
    ],
)
def test_unknown_spaces_are_named(name: str, message: str) -> None:
    with pytest.raises(SaywhyError, match=message):
        resolve_space(name, tiny_classifier())


def test_defaults_need_no_hub_where_they_can() -> None:
    assert (default_space(tiny_classifier()), default_vocabulary(tiny_classifier())) == ("own", "concepts")
    world = Classifier.load("world:aviary")
    assert (default_space(world), default_vocabulary(world)) == ("world:aviary", "world:aviary")


def test_a_writer_needs_a_space_that_takes_any_text() -> None:
    aviary: Any
    photographs: Any
    anything: Any
    probes: Any
    aviary, photographs = SimpleNamespace(name="world:aviary-background"), SimpleNamespace(name="timm:resnet50")
    anything, probes = SimpleNamespace(name="a CLIP"), SimpleNamespace(name="the classifier", vocabulary=object())
    assert default_writer(aviary, anything) == "world:aviary"
    assert default_writer(aviary, probes) is None
    assert default_writer(photographs, anything) is None
    check_writer(object(), anything)
    check_writer(None, probes)
    with pytest.raises(SaywhyError, match=r"knows its own phrases .*--writer none"):
        check_writer(object(), probes)
