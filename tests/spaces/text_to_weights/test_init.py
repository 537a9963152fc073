"""What every mapper must do, by name; and the two that know nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from saywhy.errors import SaywhyError
from saywhy.spaces.text_to_weights import DEFAULT_MAPPER, MAPPERS, centred, fit, mean_row, random_rows
from tests.helpers import unit

QUICK: dict[str, dict[str, Any]] = {"mlp": {"epochs": 3}, "icis": {"epochs": 1}}


def are_unit(rows: torch.Tensor) -> None:
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))


@pytest.mark.parametrize("method", MAPPERS)
@pytest.mark.parametrize("classes", [2, 5, 60])
def test_rows_are_unit_and_always_the_same(method: str, classes: int) -> None:
    texts, weights, new = unit(classes, 8), torch.randn(classes, 12), unit(7, 8)
    rows, again = (fit(texts, weights, method=method, **QUICK.get(method, {}))(new) for _ in range(2))
    assert rows.shape == (7, 12)
    are_unit(rows)
    assert torch.equal(rows, again)


@pytest.mark.parametrize("method", MAPPERS)
def test_names_all_alike_give_one_row(method: str) -> None:
    name = unit(1, 384)
    weights = torch.randn(5, 12)
    rows = fit(name.repeat(5, 1), weights, method=method, **QUICK.get(method, {}))(name.repeat(3, 1))
    are_unit(rows)
    torch.testing.assert_close(rows, rows[:1].expand(3, -1))
    if method not in ("mlp", "icis"):  # and it is the mean of what the classes have
        mean = F.normalize(F.normalize(centred(weights), dim=1).mean(0), dim=0)
        torch.testing.assert_close(rows[0], mean, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", set(MAPPERS) - {"mlp", "icis"})
def test_what_all_rows_share_and_how_long_they_are_does_not_matter(method: str) -> None:
    texts, weights, new = unit(60, 8), torch.randn(60, 12), unit(7, 8)
    expected = fit(texts, weights, method=method)(new)
    torch.testing.assert_close(fit(texts, weights * 3 + 5, method=method)(new), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", ["mlp", "icis"])
def test_published_methods_have_the_rows_as_they_are(method: str) -> None:
    texts, weights, new = unit(20, 8), torch.randn(20, 12), unit(7, 8)
    rows, shifted = (fit(texts, w, method=method, **QUICK[method])(new) for w in (weights, weights + 5))
    assert not torch.allclose(rows, shifted)


def test_half_precision_heads_are_fine() -> None:
    rows = fit(unit(60, 8).half(), torch.randn(60, 12).half())(unit(7, 8))
    assert rows.dtype == torch.float32
    are_unit(rows)


def test_without_the_mean_row_a_softmax_says_the_same() -> None:
    features, weights = torch.randn(9, 12), torch.randn(5, 12)
    torch.testing.assert_close((features @ centred(weights).T).softmax(1), (features @ weights.T).softmax(1))


def test_an_unknown_method_is_told_the_known_ones() -> None:
    with pytest.raises(SaywhyError, match=f"no mapper 'magic'; there are {DEFAULT_MAPPER}, ridge"):
        fit(unit(5, 8), torch.randn(5, 12), method="magic")


@pytest.mark.parametrize(("texts", "rows"), [(5, 4), (1, 1), (0, 0)])
def test_texts_and_rows_belong_together(texts: int, rows: int) -> None:
    with pytest.raises(SaywhyError, match=f"two classes or more: there are {texts} texts and {rows} classes"):
        fit(torch.ones(texts, 8), torch.ones(rows, 12))


def test_blind_baselines_do_not_read() -> None:
    weights = torch.rand(5, 12) + 1
    mean = mean_row(weights)(unit(7, 8))
    torch.testing.assert_close(mean, F.normalize(weights.mean(0), dim=0).expand(7, -1))
    by_chance = random_rows(weights)
    are_unit(by_chance(unit(7, 8)))
    assert torch.equal(by_chance(unit(7, 8)), by_chance(unit(7, 8)))
    assert not torch.equal(by_chance(unit(7, 8)), random_rows(weights, seed=1)(unit(7, 8)))
    assert (by_chance(unit(7, 8)) > 0).all()  # as all values of the head are
