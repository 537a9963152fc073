"""The account is exact: the map, what constants took, what is held and what softmax took add up to the logit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saywhy.attribution.account import CONSTANTS, HELD, KINDS, SOFTMAX
from saywhy.attribution.composites import COMPOSITES, Composite
from saywhy.attribution.lrp import Interception, Traced, trace
from tests.attribution.test_lrp import Attends
from tests.helpers import TinyNet

RANGE = (torch.full((3,), -4.0), torch.full((3,), 4.0))
X = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double()


def traced(network: nn.Module, pixels: Tensor = X, composite: str | Composite = "epsilon") -> Traced:
    rules = COMPOSITES[composite] if isinstance(composite, str) else composite
    return trace(network.double().eval(), pixels, lambda y: y[:, 1], rules, RANGE)


def assert_complete(found: Traced) -> None:
    sums = found.relevance.sum((1, 2, 3)) + sum(found.account.totals(kind) for kind in KINDS)
    torch.testing.assert_close(sums, found.logits, rtol=1e-6, atol=1e-6)


class TokensFirst(nn.Module):
    """A transformer that puts tokens before pictures, with a class token and position embeddings; four tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 16, 16)
        self.token, self.place = nn.Parameter(torch.randn(1, 1, 16)), nn.Parameter(torch.randn(5, 1, 16))
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, activation="gelu", norm_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).permute(2, 0, 1)
        return self.head(self.layer(torch.cat([self.token.expand(1, len(x), 16), tokens]) + self.place)[0])


class Normalises(nn.Module):
    """Normalisation inside, by numbers and by buffers, and constants put in by several functions."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1))
        self.body, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = (2 * x - 1 - self.mean) / 0.25
        x = 1 - F.pad(x, (1, 1, 1, 1), value=0.5)
        x = torch.where(x > 3, 3.0, x).masked_fill(x < -3, -3.0)
        return self.head(self.body(x).relu().mean((2, 3))) + 0.5


def biased(network: nn.Module) -> nn.Module:
    """Biases, statistics and scales that a trained network could have."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
        bias = getattr(module, "bias", None)
        if isinstance(bias, nn.Parameter):
            nn.init.normal_(bias, 0, 0.3, generator=generator)
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "convolutions": TinyNet,
    "attention": Attends,
    "tokens first": TokensFirst,
    "constants": Normalises,
    "swin": lambda: timm.create_model("test_vit3", img_size=32, patch_size=8, num_classes=5),
    "efficientnet": lambda: timm.create_model("test_efficientnet_gn", num_classes=5),
}


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("name", NETWORKS)
def test_everything_adds_up_to_the_logit(name: str, composite: str) -> None:
    found = traced(biased(NETWORKS[name]()), composite=composite)
    assert found.account.totals(CONSTANTS).abs().min() > 1e-3
    assert_complete(found)


def test_known_biases_take_what_they_are_known_to_take() -> None:
    """out = 2 relu(x + y + 3) + 5: of 2 * 6 + 5 the pixels get 2 * 3, the biases 2 * 3 + 5."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 2))
    with torch.no_grad():
        for n, weight, bias in ((1, 1.0, 3.0), (3, 2.0, 5.0)):
            network[n].weight.fill_(weight)
            network[n].bias.fill_(bias)
    found = traced(network, torch.tensor([[[[1.0, 2.0]]]]).double())
    assert found.relevance.sum() == 6
    assert found.account.totals(CONSTANTS).tolist() == [11]


@pytest.mark.parametrize("name", ["convolutions", "attention", "tokens first"])
@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus", "attnlrp"])
def test_the_account_of_a_batch_is_that_of_each_picture(name: str, composite: str) -> None:
    network = biased(NETWORKS[name]())
    together = traced(network, composite=composite).account
    apart = [traced(network, x[None], composite).account for x in X]
    for kind in KINDS:
        torch.testing.assert_close(together.totals(kind), torch.cat([one.totals(kind) for one in apart]))


class Branches(nn.Module):
    """A branch under detach beside one that carries on."""

    def __init__(self, by: str) -> None:
        super().__init__()
        self.stem, self.left, self.right = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(8, 8, 1)
        self.head, self.by = nn.Linear(8, 5), by

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if self.by == "detach":
            side = self.left(x.detach())
        else:
            with torch.no_grad():
                side = self.left(x)
        side = side.relu() * 3
        x = torch.cat([side[:, :4], x[:, 4:]], 1) if self.by == "cat" else self.right(x) + side
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("by", ["detach", "no_grad", "cat"])
def test_a_branch_without_a_gradient_is_held_and_not_a_constant(by: str) -> None:
    found = traced(biased(Branches(by)))
    assert_complete(found)
    assert found.account.totals(HELD).abs().min() > 1e-2


def test_what_only_multiplies_takes_nothing() -> None:
    class Gated(TinyNet):
        def forward(self, x: Tensor) -> Tensor:
            y = self.body(x)
            return self.head((y * y.detach().sigmoid() / (1 + y.detach().abs())).mean((2, 3)))

    found = traced(biased(Gated()))
    assert_complete(found)
    assert not found.account.totals(HELD).any()


def test_softmax_takes_relevance_under_attnlrp_alone() -> None:
    for composite, takes in (("attnlrp-epsilon", True), ("cp-lrp", False)):
        assert bool(traced(biased(Attends()), composite=composite).account.totals(SOFTMAX).any()) == takes


def test_infinite_masks_take_nothing() -> None:
    def masked(x: Tensor) -> Tensor:
        scores = x @ x.transpose(1, 2) + torch.full((32, 32), float("-inf")).triu(1).double()
        return scores.softmax(-1) @ x

    leaf = X[:, 0].clone().requires_grad_()
    with Interception(Composite(attention="attnlrp"), pictures=4) as run:
        out = masked(leaf).sum()
    torch.autograd.grad(out, leaf)
    assert all(torch.isfinite(run.account.totals(kind)).all() for kind in KINDS)


class _First(torch.autograd.Function):
    """Gives no gradient to its second input, as attention with held weights does."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        return x + 0 * y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return gradient, None


def test_what_gets_no_gradient_at_all_takes_nothing() -> None:
    leaf = X.clone().requires_grad_()
    with Interception(Composite(), pictures=4) as run:
        split = torch.stack([leaf + 1.0, leaf * 2.0]).unbind()
        out = _First.apply(split[0], split[1] + 3.0).sum()
    torch.autograd.grad(out, leaf)
    torch.testing.assert_close(run.account.totals(CONSTANTS), torch.full((4,), 3072.0).double())
