"""The benchmark of sentences: what a sentence names, its tables, and that what was written is not written again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from saywhy.bench import run_benchmark, sentences
from saywhy.bench.sentences import COLUMNS, named
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.questions.sentences.language_model import load_language_model
from saywhy.spaces import text_encoder
from saywhy.spaces.text_encoder import ClipTextEncoder
from saywhy.training.language import write_language
from saywhy.worlds import aviary_facts
from tests.helpers import picture, tiny_classifier
from tests.writers import WordSpace, writer

PHRASES = list(aviary_facts())


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("a bird with solid wings.", ["solid wing"]),
        ("A Bird with a Solid Wing, on sand.", ["solid wing", "sand"]),
        ("a bird with a red crown, red crown.", ["red crown"]),
        ("a bird with a reddish crown and a wing", []),
        ("sandy", []),
        ("", []),
    ],
)
def test_what_a_sentence_names(text: str, phrases: list[str]) -> None:
    assert sorted(named(text, [p for p in PHRASES if p != "crown"])) == sorted(phrases)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pictures and a tiny writer on disk; without the aviary's tables, which take a minute."""
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path / "cache"))
    classifier, words = tiny_classifier(9), WordSpace()
    encoder = ClipTextEncoder("words", "words", words.encode_texts, words.encode_texts)
    monkeypatch.setattr(Classifier, "load", staticmethod(lambda source: classifier))
    monkeypatch.setattr(text_encoder, "load_encoder", lambda: encoder)
    monkeypatch.setattr(sentences, "_aviary", lambda count: ([{"space": "none"}], [{"space": "none"}]))
    monkeypatch.setattr(sentences, "_two_classifiers", lambda count: [])
    (tmp_path / "photos").mkdir()
    for n in range(2):
        picture(seed=n).save(tmp_path / "photos" / f"{n}.png")
    model = writer()
    write_language(tmp_path / "writer", model.network, model.tokenizer)
    return tmp_path


def bench(folder: Path, **options: str) -> Any:
    given = {"model": "tiny", "images": str(folder / "photos"), "writer": str(folder / "writer")}
    return run_benchmark("sentences", **given | options)


def test_what_was_written_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bench(folder, methods="guided,prefix:1")
    assert tuple(first.columns) == COLUMNS
    assert [(row["method"], row["pictures"]) for row in first.rows] == [("guided", 2), ("prefix:1", 2)]
    assert all(set(row) == set(COLUMNS) for row in first.rows)
    assert all(row["encodings"] > 0 and row["seconds"] > 0 and row["perplexity"] > 1 for row in first.rows)
    title, columns, examples = first.more[0]
    assert title == "Sentences"
    assert [(e["picture"], e["method"]) for e in examples] == [
        ("0.png", "guided"), ("0.png", "prefix:1"), ("1.png", "guided"), ("1.png", "prefix:1"),
    ]  # fmt: skip
    assert all(set(columns) == set(e) and e["sentence"].endswith(".") for e in examples)

    def written(*_: Any, **__: Any) -> Any:
        raise AssertionError("it writes again")

    from saywhy.questions import narrate

    monkeypatch.setattr(narrate, "narrate", written)
    again = bench(folder, methods="prefix:1")
    assert again.rows == first.rows[1:]
    (folder / "photos" / "1.png").rename(folder / "photos" / "2.png")
    with pytest.raises(AssertionError):
        bench(folder, methods="prefix:1")


def test_other_pictures_of_the_same_name_are_other_pictures(folder: Path) -> None:
    first = bench(folder, methods="prefix:1")
    (folder / "more").mkdir()
    for n in range(2):
        picture(seed=7 + n, width=40).save(folder / "more" / f"{n}.png")
    other = bench(folder, methods="prefix:1", images=str(folder / "more"))
    assert other.rows[0]["cosine"] != first.rows[0]["cosine"]


def test_other_weights_of_the_same_name_are_another_writer(folder: Path) -> None:
    first = bench(folder, methods="prefix:1")
    model = writer()
    for tensor in model.network.parameters():
        tensor.mul_(1.5)
    write_language(folder / "writer", model.network, model.tokenizer)
    load_language_model.cache_clear()
    other = bench(folder, methods="prefix:1")
    assert other.rows[0]["perplexity"] != first.rows[0]["perplexity"]


def test_what_is_not_there_is_said(folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(SaywhyError, match="there are no pictures"):
        bench(folder, images=str(folder / "empty"))
    with pytest.raises(SaywhyError, match="no way to write 'sung'"):
        bench(folder, methods="sung")
    with pytest.raises(SaywhyError, match="language model"):
        bench(folder, writer=str(folder / "photos"))


@pytest.mark.slow
def test_the_aviarys_tables() -> None:
    report = run_benchmark("sentences", scenes="4")
    assert report.rows == []
    (_, columns, rows), (_, _, controls), (_, _, two), (_, _, examples) = report.more
    assert set(columns) == {
        "space", "seen", "pictures", "names a true one %", "of those named, true %", "named", "another picture's %",
        "perplexity", "example",
    }  # fmt: skip
    assert [(row["space"], row["seen"]) for row in rows] == [
        (space, seen) for space in ("the aviary's CLIP", "the classifier itself") for seen in ("regions", "whole")
    ]
    assert all(row["pictures"] == 4 and 0 <= row["of those named, true %"] <= 100 for row in rows)
    assert rows[0]["names a true one %"] >= 50
    assert {row["words"] for row in controls} >= {"as said", "dealt", "constant"}
    biased, unbiased = two
    assert biased["pictures"] == unbiased["pictures"] == 8
    assert all(0 <= row["names the background %"] <= 100 for row in two)
    assert len(examples) == 6
    assert report.document()["more"]
