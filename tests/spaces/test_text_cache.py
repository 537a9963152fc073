"""Texts are encoded once, kept on disk, and never mixed up."""

from __future__ import annotations

import multiprocessing
import sqlite3
import warnings
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
import torch
from torch import Tensor

from saywhy.plumbing.caches import CacheWarning, weights_digest
from saywhy.spaces import text_cache
from saywhy.spaces.text_cache import cached_encode


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path))


class Counting:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, texts: Sequence[str]) -> Tensor:
        self.seen += texts
        return torch.tensor([[float(len(t)), float(hash(t) % 97)] for t in texts])


def test_only_new_texts_are_encoded_and_order_is_kept() -> None:
    encode = Counting()
    first = cached_encode("e", ["red", "blue", "red"], encode)
    again = cached_encode("e", ["blue", "green", "red"], encode)
    assert encode.seen == ["red", "blue", "green"]
    assert torch.equal(first[[1, 0]], again[[0, 2]])
    assert torch.equal(again, Counting()(["blue", "green", "red"]))


def test_encoders_are_kept_apart() -> None:
    first, second = Counting(), Counting()
    cached_encode("one", ["red"], first)
    cached_encode("two", ["red"], second)
    assert second.seen == ["red"]


def test_many_texts_and_odd_characters() -> None:
    texts = [f"'{n}\" ; ü 鳥 -- {n}" for n in range(1203)]
    encode = Counting()
    assert torch.equal(cached_encode("e", texts, encode), cached_encode("e", texts, encode))
    assert len(encode.seen) == 1203


def test_a_damaged_cache_is_begun_anew() -> None:
    encode = Counting()
    expected = cached_encode("e", ["red", "blue"], encode)
    text_cache._path("e").write_bytes(b"this is no database at all" * 100)
    assert torch.equal(cached_encode("e", ["red", "blue"], encode), expected)
    assert torch.equal(cached_encode("e", ["red", "blue"], encode), expected)
    cached_encode("e", ["red", "blue"], encode)
    assert encode.seen == ["red", "blue"] * 2  # once; again because of the damage


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE embeddings SET vector = zeroblob(8) WHERE text = 'red'",
        "UPDATE embeddings SET vector = x'00' WHERE text = 'red'",
        "UPDATE embeddings SET vector = 'no bytes' WHERE text = 'red'",
        "UPDATE embeddings SET checksum = NULL WHERE text = 'red'",
        "DELETE FROM embeddings WHERE text = 'red'",
    ],
)
def test_a_damaged_embedding_is_made_again(damage: str) -> None:
    encode = Counting()
    expected = cached_encode("e", ["red", "blue"], encode)
    with closing(sqlite3.connect(text_cache._path("e"))) as database, database:
        database.execute(damage)
    for _ in range(2):
        assert torch.equal(cached_encode("e", ["red", "blue"], encode), expected)
    assert encode.seen == ["red", "blue", "red"]


def test_a_file_with_other_columns_is_begun_anew() -> None:
    path, encode = text_cache._path("e"), Counting()
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE embeddings (word TEXT)")
    expected = cached_encode("e", ["red"], encode)
    assert torch.equal(cached_encode("e", ["red"], encode), expected)
    assert encode.seen == ["red"]


def full(path: Path, rows: object) -> None:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    raise error


def test_on_a_full_disk_what_is_there_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    encode = Counting()
    cached_encode("e", ["red"], encode)
    monkeypatch.setattr(text_cache, "_write", full)
    with pytest.warns(CacheWarning, match=rf"{tmp_path} cannot be used \(database or disk is full\)") as said:
        assert len(cached_encode("e", ["red", "blue"], encode)) == 2
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cached_encode("e", ["red", "blue"], encode)  # and nothing is said again
    assert encode.seen == ["red", "blue", "blue"]


def test_a_place_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("a file")
    encode = Counting()
    with pytest.warns(CacheWarning, match="cannot be used"):
        assert torch.equal(cached_encode("e", ["red"], encode), Counting()(["red"]))
    assert encode.seen == ["red"]


def _encoded(seed: int) -> bool:
    """Encode texts that others encode too, many times; whether all is right."""
    texts = [f"text {n}" for n in range(300)]
    chosen = [texts[n] for n in torch.randperm(300, generator=torch.Generator().manual_seed(seed))[:200].tolist()]

    def encode(some: Sequence[str]) -> Tensor:
        return torch.tensor([[float(text.split()[1]), 1.0] for text in some])

    return all(torch.equal(cached_encode(f"e{n}", chosen, encode), encode(chosen)) for n in range(5))


def test_two_processes_write_one_file() -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(_encoded, range(8), chunksize=1) == [True] * 8
    for path in text_cache._path("e0").parent.iterdir():
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_digests_tell_weights_apart() -> None:
    weights = [torch.randn(300, 40), torch.randn(7)]
    trained = [w - 1e-3 * torch.randn_like(w) for w in weights]
    assert weights_digest(weights) == weights_digest([w.clone() for w in weights])
    assert weights_digest(weights) != weights_digest(trained)
    assert weights_digest(weights) != weights_digest([weights[0].T, weights[1]])


def test_half_characters_are_encoded_as_question_marks() -> None:
    """Arguments and names of folders that are not UTF-8 have them; no tokenizer takes them, and no database."""
    seen: list[str] = []

    def encode(texts: Sequence[str]) -> torch.Tensor:
        seen.extend(texts)
        return torch.ones(len(texts), 2)

    assert cached_encode("halves", ["a \udce9 bird", "a bird"], encode).shape == (2, 2)
    assert seen == ["a ? bird", "a bird"]
