"""Each rule against the definition in its docstring, written out slowly with all contributions in one tensor."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saywhy.attribution.rules import AlphaBeta, Box, Convolution, Dense, Epsilon, Flat, Gamma, Rule, ZPlus, propagate

LOW, HIGH = torch.tensor([-3.0]).double(), torch.tensor([3.0]).double()


def slow_relevance(rule: Rule, x: Tensor, w: Tensor, b: Tensor, relevance: Tensor) -> Tensor:
    """(N, in) relevance of a dense map by the textbook, one contribution c (N, out, in) at a time."""
    c = x[:, None, :] * w[None]
    bias = b[None]
    z = c.sum(2) + bias
    positive, negative = c.clamp(min=0), c.clamp(max=0)
    p, n = positive.sum(2) + bias.clamp(min=0), negative.sum(2) + bias.clamp(max=0)
    match rule:
        case Epsilon():
            share = c / (z + rule.epsilon * z.sign())[..., None]
        case ZPlus():
            share = positive / p[..., None]
        case AlphaBeta():
            share = rule.alpha * positive / p[..., None] - rule.beta * negative / n[..., None]
        case Gamma():
            up = (c + rule.gamma * positive) / (z + rule.gamma * p)[..., None]
            down = (c + rule.gamma * negative) / (z + rule.gamma * n)[..., None]
            share = torch.where((z > 0)[..., None], up, down)
        case Flat():
            share = torch.full_like(c, 1 / c.shape[2])
        case Box():
            raw = c - LOW * w.clamp(min=0)[None] - HIGH * w.clamp(max=0)[None]
            share = raw / raw.sum(2, keepdim=True)
    return (share * relevance[..., None]).sum(1)


RULES = [Epsilon(), Epsilon(0.3), ZPlus(), AlphaBeta(2, 1), AlphaBeta(3, 2), Gamma(0.25), Gamma(0.05), Flat()]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("sign", ["positive", "mixed"])
@pytest.mark.parametrize("biased", [False, True])
def test_dense_rules_agree_with_the_definition(rule: Rule, sign: str, biased: bool) -> None:
    x, w, b = torch.randn(6, 20).double(), torch.randn(9, 20).double(), torch.randn(9).double() * biased
    x = x.abs() if sign == "positive" else x
    z, relevance = F.linear(x, w, b), torch.randn(6, 9).double()
    gradient = propagate(rule, Dense(w, b if biased else None), x, z, relevance / z)
    torch.testing.assert_close(x * gradient, slow_relevance(rule, x, w, b, relevance), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("rule", RULES[:-1], ids=str)  # flat counts pixels inside the receptive field only: see below
@pytest.mark.parametrize("settings", [((2, 1), (1, 1), (1, 2), 1), ((1, 1), (0, 0), (1, 1), 2)])
def test_convolutions_are_dense_maps_in_disguise(rule: Rule, settings: tuple) -> None:
    stride, padding, dilation, groups = settings
    x, w = torch.randn(1, 4, 7, 8).double(), torch.randn(6, 4 // groups, 3, 2).double()
    convolution = Convolution(w, None, list(stride), list(padding), list(dilation), False, [0, 0], groups)
    z = convolution.apply(x, w)
    relevance = torch.randn_like(z)
    # the same map as a matrix: its columns are the images of the unit pictures
    unit = torch.eye(x.numel()).double().view(-1, *x.shape[1:])
    matrix = convolution.apply(unit, w).flatten(1).T
    expected = slow_relevance(rule, x.flatten(1), matrix, torch.zeros(len(matrix)).double(), relevance.flatten(1))
    gradient = propagate(rule, convolution, x, z, relevance / z)
    torch.testing.assert_close((x * gradient).flatten(1), expected, rtol=1e-6, atol=1e-8)


def test_box_agrees_with_the_definition() -> None:
    x, w = torch.rand(4, 1, 5, 5).double() * 4 - 2, torch.randn(3, 1, 5, 5).double()
    convolution = Convolution(w, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1)
    z = convolution.apply(x, w)
    relevance = torch.randn_like(z)
    rule = Box(LOW, HIGH)
    expected = slow_relevance(rule, x.flatten(1), w.flatten(1), torch.zeros(3).double(), relevance.flatten(1))
    gradient = propagate(rule, convolution, x, z, relevance / z)
    torch.testing.assert_close((x * gradient).flatten(1), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("rule", [Epsilon(), ZPlus(), AlphaBeta(2, 1), Gamma(0.25), Flat(), Box(LOW, HIGH)], ids=str)
def test_rules_conserve_without_bias(rule: Rule) -> None:
    x = torch.rand(2, 1, 8, 8).double() * 4 - 2
    w = torch.randn(5, 1, 3, 3).double()
    convolution = Convolution(w, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1)
    z = convolution.apply(x, w)
    relevance = torch.randn_like(z)
    gradient = propagate(rule, convolution, x, z, relevance / z)
    torch.testing.assert_close((x * gradient).sum(), relevance.sum(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("rule", [ZPlus(), AlphaBeta(2, 1), Gamma(0.25)], ids=str)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_outputs_whose_contributions_have_one_sign_conserve_too(rule: Rule, sign: float) -> None:
    """As in a depthwise convolution, whose few contributions are often all against its output."""
    x, w = torch.rand(4, 6).double(), sign * torch.rand(5, 6).double()
    w[:2] *= -1
    z, relevance = F.linear(x, w), torch.randn(4, 5).double()
    gradient = rule.gradient(Dense(w, None), x, z, relevance / z)
    torch.testing.assert_close(x * gradient, (x[:, None] * w / z[..., None] * relevance[..., None]).sum(1))


@pytest.mark.parametrize("rule", [Epsilon(), ZPlus(), Gamma(0.1)], ids=str)
def test_leaving_out_dead_tokens_and_outputs_changes_nothing(rule: Rule) -> None:
    x, w, b = torch.randn(2, 7, 12).double(), torch.randn(9, 12).double(), torch.randn(9).double()
    dense, z = Dense(w, b), F.linear(x, w, b)
    grad = torch.randn_like(z)
    grad[:, 1:] = 0
    grad[..., 3:] = 0
    torch.testing.assert_close(propagate(rule, dense, x, z, grad), rule.gradient(dense, x, z, grad))


def test_nothing_in_nothing_out() -> None:
    x, w = torch.randn(2, 7, 12), torch.randn(9, 12)
    z = F.linear(x, w)
    assert not propagate(Gamma(), Dense(w, None), x, z, torch.zeros_like(z)).any()


def test_a_unit_without_relevance_whose_contributions_cancel_spoils_no_map() -> None:
    """w x + 1.25 b is exactly 0: it was 0 / 0 in 1 of 160 pictures of world:aviary-background."""
    x, w, b = torch.ones(1, 1), torch.tensor([[-1.25], [2.0]]), torch.ones(2)
    z = F.linear(x, w, b)
    grad = torch.tensor([[0.0, 1.0]])  # a ReLU lets nothing back to the first
    assert Gamma(0.25).gradient(Dense(w, b), x, z, grad).isfinite().all()


def test_alpha_beta_must_differ_by_one() -> None:
    with pytest.raises(ValueError, match="alpha - beta"):
        AlphaBeta(2, 0.5)
