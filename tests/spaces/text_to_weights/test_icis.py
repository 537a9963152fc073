"""ICIS, with a narrower hidden layer: it learns, stops by itself, and sees of unseen classes the texts only."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from saywhy.spaces.text_to_weights import fit, icis
from saywhy.spaces.text_to_weights.icis import fit_icis
from tests.helpers import unit


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icis, "HIDDEN", 64)


def test_it_learns() -> None:
    texts, targets = unit(20, 8), unit(20, 12)
    losses = [
        float((1 - F.cosine_similarity(fit_icis(texts, targets, epochs=n, rate=3e-3)(texts), targets)).mean())
        for n in (0, 10, 100)
    ]
    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < 0.3


def test_of_unseen_classes_the_texts_count_and_no_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, targets, unseen, new = unit(20, 8), unit(20, 12), unit(6, 8), unit(3, 8)
    without = fit_icis(texts, targets, epochs=5, rate=1e-3)(new)
    with_texts = fit_icis(texts, targets, unseen=unseen, epochs=5, rate=1e-3)(new)
    assert not torch.allclose(without, with_texts)
    # Whatever stands where their weights would be is never looked at.
    monkeypatch.setattr(torch.Tensor, "new_zeros", lambda self, *shape: torch.full(shape, float("nan")))
    assert torch.equal(fit_icis(texts, targets, unseen=unseen, epochs=5, rate=1e-3)(new), with_texts)


def test_it_learns_biases_with_the_rows() -> None:
    """As published: a row and its bias are one target. The rest of the head's rows says nothing of the biases here."""
    texts, weights = unit(20, 8), 3 * unit(20, 12)
    bias = torch.linspace(-4, 4, 20)
    mapper = fit(texts, weights, method="icis", bias=bias, epochs=150, rate=3e-3)
    rows, biases = mapper.head(texts)  # type: ignore[attr-defined]
    assert (rows.shape, biases.shape) == ((20, 12), (20,))
    learned = biases / rows.norm(dim=1)
    assert float(torch.corrcoef(torch.stack([learned, bias / 3]))[0, 1]) > 0.9
    torch.testing.assert_close(mapper(texts), F.normalize(rows, dim=1))
    without = fit(texts, weights, method="icis", epochs=1)
    assert not without.head(texts)[1].any()  # type: ignore[attr-defined]


def test_training_ends_where_nothing_falls_any_more() -> None:
    texts, targets, new = unit(6, 8), unit(6, 12), unit(3, 8)
    endless = fit_icis(texts, targets, rate=0.0, epochs=10**9)
    assert torch.equal(endless(new), fit_icis(texts, targets, epochs=0)(new))


def test_a_seed_is_a_network_and_the_callers_stays_as_it_was() -> None:
    texts, targets, new = unit(20, 8), unit(20, 12), unit(3, 8)
    before = torch.get_rng_state()
    with torch.no_grad():
        first, again, other = (fit_icis(texts, targets, epochs=2, seed=seed)(new) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
