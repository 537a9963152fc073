"""What names alone say: the words nearest to each class's name by the space's texts, kept beside the rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch

from saywhy.audits.names import WORDS, echoes, keep_names, names_of
from saywhy.audits.store import Store
from saywhy.audits.subject import Subject
from saywhy.types import Vocabulary


class ByLetters:
    """A space in which texts are near that share letters."""

    name = "by letters"

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        counts = torch.tensor([[float(text.lower().count(chr(97 + n))) for n in range(26)] for text in texts])
        return torch.nn.functional.normalize(counts, dim=1)


def subject_of(labels: Sequence[str], phrases: Sequence[str]) -> Subject:
    made: Any = SimpleNamespace(
        classifier=SimpleNamespace(labels=tuple(labels)), vocabulary=Vocabulary(tuple(phrases), ("",) * len(phrases)),
        space=ByLetters(), seen=SimpleNamespace(alone=None),
    )  # fmt: skip
    return cast(Subject, made)


def test_names_say_the_words_that_are_nearest_and_a_class_gets_its_own(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "a", {})
    keep_names(store, subject_of(["zebra zebra", "ox ox", "pig pig"], ["zebra", "ox", "pig", "q"]))
    found = names_of(store.view())
    assert found is not None
    assert [found.says(n)[0] for n in range(3)] == ["zebra", "ox", "pig"]
    assert len(found.says(0)) == WORDS
    assert found.near.shape == (3, 4)


def test_classes_without_names_say_nothing(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "a", {})
    keep_names(store, subject_of(["0", "1", "2"], ["red"]))
    assert names_of(store.view()) is None


def test_a_space_that_takes_no_texts_but_its_own_phrases_is_not_asked_for_names(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "a", {})
    subject = subject_of(["zebra", "ox", "pig"], ["red"])
    subject.space.vocabulary = subject.vocabulary  # type: ignore[attr-defined]
    keep_names(store, subject)
    assert names_of(store.view()) is None


def test_a_name_that_holds_a_word_echoes_it() -> None:
    assert echoes("black", "Phoebastria nigripes (Black-footed Albatross)", ())
    assert echoes("a dog", "a dog", ())
    assert echoes("red wing", "anything", ("red wing",))
    assert not echoes("red wing", "Red-eyed Vireo", ())
