"""The benchmark of the prompt bank, on a tiny CLIP: its tables, and what is in them."""

from __future__ import annotations

import json
import math
import sys

import pytest
import torch

from saywhy.bench import BENCHMARKS, run_benchmark
from saywhy.bench.speed import bank as bank_speed
from saywhy.bench.speed.bank import CUT, PLAIN, SHARED
from saywhy.spaces.pairs.ranking import rank
from saywhy.spaces.pairs.scorer import PairScorer
from saywhy.spaces.pairs.scoring import ECOR
from saywhy.words.rationale_words import RationaleWords
from tests.helpers import bank_of
from tests.text_towers import tiny_clip

WORDS = RationaleWords(tuple(f"bird {n}" for n in range(7)), tuple(f"{n} long wings" for n in range(20)), ((),) * 7)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BENCHMARKS, "bank-speed", ("speed.bank", ""))
    monkeypatch.setattr(bank_speed, "_clip", lambda device: tiny_clip(context_length=77))
    monkeypatch.setattr(bank_speed, "_words", lambda: WORDS)
    monkeypatch.setattr(bank_speed, "TEXTS", {"cpu": {PLAIN: 4, CUT: 8, SHARED: 20}})
    monkeypatch.setattr(bank_speed, "in_fresh_process", lambda work, *args: work(*args))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_speed_size_and_memory_are_reported() -> None:
    report = run_benchmark("bank-speed", 3)
    assert [row["what"] for row in report.rows] == [PLAIN, CUT, SHARED]
    for row in report.rows:
        assert row["largest difference"] < 1e-5
        assert 0 < row["lowest"] <= row["ratio"] <= row["highest"]
    (_, columns, (bank,)), (_, others, search) = report.more
    assert set(columns) == set(bank)
    assert (bank["texts"], bank["texts of the bank"]) == (60, 140)
    header = 128 * 7 / 3
    assert bank["GB of the bank"] == pytest.approx((2 * 140 * 12 + header) / 1e9)
    assert bank["hours for the bank"] == pytest.approx(bank["seconds"] * 7 / 3 / 3600)
    assert [row["images"] for row in search] == [8, 64]
    for row in search:
        assert set(others) == set(row)
        if sys.platform == "linux":
            assert min(row["before"], row["anonymous"], row["resident"]) > 0
        else:
            assert math.isnan(row["resident"])
    assert json.loads(json.dumps(report.document()))["k"] == bank_speed.K


def test_without_the_pack_words_are_of_imagenet_s_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("SAYWHY_PACK", "nowhere")
    words = bank_speed._words()
    assert (len(words.categories), len(words.rationales)) == (1000, 4229)
    assert words == bank_speed._words()


def test_the_best_pairs_are_those_of_all_at_once() -> None:
    bank = bank_of(WORDS, torch.randn(20, 12), torch.randn(7, 12), torch.randn(7, 20, 12))
    images = torch.nn.functional.normalize(torch.randn(5, 12), dim=1)
    noted: list[float] = []
    scorer = PairScorer(pairs=bank_speed.Watched(bank, noted), scoring=ECOR, scale=100.0)
    ranked = rank(images, scorer, bank_speed.K)
    values = torch.from_numpy(ranked.scores)
    columns = torch.from_numpy(ranked.categories * len(bank.rationales) + ranked.rationales)
    assert len(noted) == 1  # a bank that is one block
    dense = 100 * (torch.einsum("nd,crd->ncr", images, bank.dense()) + (images @ bank.rationales.T)[:, None])
    expected = dense.flatten(1).topk(bank_speed.K)
    torch.testing.assert_close(values, expected.values)
    assert torch.equal(columns, expected.indices)
