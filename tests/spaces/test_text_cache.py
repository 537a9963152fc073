"""Texts are encoded once, kept on disk, and never mixed up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from saywhy.plumbing.caches import weights_digest
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
    assert encode.seen == ["red", "blue"] * 3  # once; again because of the damage; once into the new one


def test_digests_tell_weights_apart() -> None:
    weights = [torch.randn(300, 40), torch.randn(7)]
    trained = [w - 1e-3 * torch.randn_like(w) for w in weights]
    assert weights_digest(weights) == weights_digest([w.clone() for w in weights])
    assert weights_digest(weights) != weights_digest(trained)
    assert weights_digest(weights) != weights_digest([weights[0].T, weights[1]])
