"""Spaces and vocabularies by name, and the defaults."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

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
    words_unused,
)
from saywhy.seen.gate import Seen
from saywhy.seen.names import NamesCheck
from saywhy.seen.names_alone import NamesAlone
from saywhy.types import Vocabulary
from tests.helpers import tiny_classifier


def test_a_clip_that_cannot_be_had_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(hub, "reachable", lambda url: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(SaywhyError, match="no --space at all") as caught:
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


def test_what_cannot_use_a_vocabulary_says_so_once_and_what_can() -> None:
    words = Vocabulary(("a handle", "a spoon"), ("", ""), name="mine.txt")
    few = NamesCheck(0.5, 0.5, 0.5, 0.5, 0.5, 5, False, "the names of 5 classes teach too little; see elsewhere")
    said = words_unused(Seen(names=few), words)
    assert said.startswith("none of the 2 words of mine.txt can be used by the classifier's own space: the names of 5")
    assert "about 30 do; " in said
    assert "saywhy train concepts" in said
    assert "elsewhere" not in said
    assert "--space clip:DIR" in said
    assert words_unused(Seen(), words) == ""
    alone = cast(NamesAlone, SimpleNamespace(vocabulary=words))
    assert words_unused(Seen(names=replace(few, understood=True, reason=""), alone=alone), words) == ""
    none = cast(NamesAlone, SimpleNamespace(vocabulary=()))
    assert "4 class names or more" in words_unused(Seen(names=replace(few, reason=""), alone=none), words)
