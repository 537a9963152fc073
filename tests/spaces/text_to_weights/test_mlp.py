"""The MLP of zero-shot explanations: it learns, and its switches are the paper's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from saywhy.spaces.text_to_weights.mlp import FLIPPED, MLP, _dropped, _Network, fit_mlp
from tests.helpers import unit

K, D = 8, 12


def cosine_loss(mapper: MLP, texts: torch.Tensor, targets: torch.Tensor) -> float:
    return float((1 - F.cosine_similarity(mapper(texts), targets)).mean())


@pytest.mark.parametrize("switches", [{}, {"soft_dropout": False}, {"input_dropout": False, "soft_dropout": False}])
def test_longer_training_fits_better(switches: dict[str, Any]) -> None:
    texts, targets = unit(20, K), unit(20, D)
    losses = [cosine_loss(fit_mlp(texts, targets, epochs=n, **switches), texts, targets) for n in (0, 20, 200)]
    assert losses[0] > losses[1] > losses[2]


def test_the_squared_error_is_another_aim() -> None:
    texts, targets = unit(20, K), unit(20, D)

    def error(mapper: MLP) -> float:
        network = _Network(K, D, mapper.soft_dropout).eval()
        network.load_state_dict(dict(mapper.parameters))
        return float(F.mse_loss(network(texts).detach(), targets))

    by_error, by_cosine = (fit_mlp(texts, targets, epochs=150, loss=loss) for loss in ("mse", "cosine"))
    assert error(by_error) < error(by_cosine)
    assert cosine_loss(by_cosine, texts, targets) < cosine_loss(by_error, texts, targets)
    with pytest.raises(ValueError, match="cosine or mse"):
        fit_mlp(texts, targets, loss="hinge")


def test_soft_dropout_halves_the_network_and_adds_a_gate() -> None:
    """Appendix I: k -> 2k -> d and the gate; without it k -> 4d -> d."""
    texts, targets = unit(5, K), unit(5, D)
    gated, plain = (fit_mlp(texts, targets, epochs=0, soft_dropout=soft).parameters for soft in (True, False))
    assert (gated["first.weight"].shape, gated["second.weight"].shape) == ((2 * K, K), (D, 2 * K))
    assert (plain["first.weight"].shape, plain["second.weight"].shape) == ((4 * D, K), (D, 4 * D))
    assert gated["gate.0.weight"].shape == (D, D)
    assert not [name for name in plain if name.startswith("gate")]


def test_a_seed_is_a_network_and_the_callers_stays_as_it_was() -> None:
    texts, targets, new = unit(20, K), unit(20, D), unit(3, K)
    before = torch.get_rng_state()
    with torch.no_grad():
        first, again, other = (fit_mlp(texts, targets, epochs=5, seed=seed)(new) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_no_epochs_leave_random_parameters() -> None:
    new = unit(3, K)
    one, other = fit_mlp(unit(20, K), unit(20, D), epochs=0), fit_mlp(unit(20, K), unit(20, D), epochs=0)
    assert torch.equal(one(new), other(new))  # what there was to learn does not matter


def test_asking_drops_nothing_and_lengths_do_not_count() -> None:
    mapper, new = fit_mlp(unit(20, K), unit(20, D), epochs=3), unit(3, K)
    assert torch.equal(mapper(new), mapper(new))
    torch.testing.assert_close(mapper(new * 7), mapper(new))
    assert not mapper(new).requires_grad


def test_a_share_of_the_texts_loses_half_of_its_values() -> None:
    dropped = _dropped(torch.ones(2000, 50))
    hit = (dropped != 1).any(1)
    assert float(hit.float().mean()) == pytest.approx(FLIPPED, abs=0.04)
    assert set(dropped[hit].unique().tolist()) == {0.0, 2.0}
    assert float((dropped[hit] == 0).float().mean()) == pytest.approx(0.5, abs=0.02)
