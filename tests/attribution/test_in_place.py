"""In-place functions in statement style, through views too: the plain network's values, and relevance is conserved."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saywhy.attribution.composites import COMPOSITES, Composite
from saywhy.attribution.lrp import lrp
from saywhy.errors import SaywhyError

Change = Callable[["Changing", Tensor], Tensor | None]


class Changing(nn.Module):
    """A convolution whose output is changed in place, or by what ``change`` returns, before it is averaged and read."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 8, 3, bias=False), nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.head, self.change = nn.Linear(8, 3, bias=False), change

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        changed = self.change(self, y)
        return self.head((y if changed is None else changed).mean((2, 3)))


def written(net: Changing, y: Tensor) -> None:
    y[:, :2] = 2 * y[:, 2:4]


def scaled_in_part(net: Changing, y: Tensor) -> None:
    y[:, :2] *= 2


def added_in_part(net: Changing, y: Tensor) -> None:
    y[:, :2].add_(y[:, 2:4])


def rectified_in_part(net: Changing, y: Tensor) -> None:
    F.relu_(y[:, :5])


def added_to_tokens(net: Changing, y: Tensor) -> None:
    y.flatten(2).transpose(1, 2).add_(net.body(y).flatten(2).transpose(1, 2))


def plus_equals(net: Changing, y: Tensor) -> None:
    y += net.body(y)


def seen_before(net: Changing, y: Tensor) -> Tensor:
    view = y[:, :4]
    y.add_(net.body(y))
    return torch.cat([view, y], 1)[:, :8]


def one_after_another(net: Changing, y: Tensor) -> None:
    F.silu(y, inplace=True)
    added_in_part(net, y)
    written(net, y)
    F.relu(y, inplace=True)
    y.add_(net.body(y)).mul_(3.0)


def normalised_after(net: Changing, y: Tensor) -> Tensor:
    """An in-place ReLU between a convolution and a BatchNorm: the two must not be merged."""
    F.relu(y, inplace=True)
    return F.batch_norm(y, torch.zeros(8).double(), torch.arange(1.0, 9.0).double(), None, None)


CHANGES: list[Change] = [
    written, scaled_in_part, added_in_part, rectified_in_part, added_to_tokens, plus_equals, seen_before,
    one_after_another, normalised_after,
]  # fmt: skip
STATEMENTS: dict[str, Change] = {
    "add_": lambda net, y: _said(y.add_(net.body(y))),
    "mul_": lambda net, y: _said(y.mul_(3.0)),
    "sub_": lambda net, y: _said(y.sub_(y.mean((2, 3), keepdim=True) / 2)),
    "relu_": lambda net, y: _said(F.relu_(y)),
    "relu": lambda net, y: _said(F.relu(y, inplace=True)),
    "silu": lambda net, y: _said(F.silu(y, inplace=True)),
    "clamp_": lambda net, y: _said(y.clamp_(min=0)),
    "gate": lambda net, y: _said(y.mul_(torch.sigmoid(net.body(y)))),
    "copy_": lambda net, y: _said(y.copy_(net.body(y))),
    "index_add_": lambda net, y: _said(y.index_add_(1, torch.tensor([0, 1]), net.body(y)[:, 2:4])),
    "masked_fill_": lambda net, y: _said(y.masked_fill_(torch.ones(y.shape[-2:]).triu().bool(), 0.0)),
    "dropout": lambda net, y: _said(F.dropout(y, 0.5, False, inplace=True)),
}
ALL = {change.__name__: change for change in CHANGES} | STATEMENTS


def _said(result: Tensor) -> None:
    """The result of a statement, which nobody uses."""


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus", "cp-lrp-gamma"])
def test_statements_have_their_values_and_relevance_is_conserved(name: str, composite: str) -> None:
    net, x = Changing(ALL[name]).double(), torch.randn(2, 3, 12, 12).double()
    relevance, logits = lrp(net, x, lambda y: y[:, 1], COMPOSITES[composite])
    with torch.no_grad():
        torch.testing.assert_close(logits, net(x)[:, 1])
    torch.testing.assert_close(relevance.sum((1, 2, 3)), logits, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("composite", COMPOSITES)
def test_in_place_or_not_the_map_is_the_same(composite: str) -> None:
    class Residual(nn.Module):
        def __init__(self, inplace: bool) -> None:
            super().__init__()
            self.stem, self.norm, self.body = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1)
            self.act, self.head = nn.ReLU(inplace), nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace), nn.Linear(8, 3))

        def forward(self, x: Tensor) -> Tensor:
            x = self.act(self.norm(self.stem(x)))
            y = self.norm(self.body(x))
            y = self.act(y.add_(x) if self.act.inplace else y + x)
            return self.head(y.mean((2, 3)))

    plain, changing = Residual(False).eval(), Residual(True).eval()
    changing.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 12, 12)
    black, white = torch.full((3,), -4.0), torch.full((3,), 4.0)
    maps = [lrp(net, x, lambda y: y[:, 1], COMPOSITES[composite], (black, white))[0] for net in (plain, changing)]
    assert torch.equal(*maps)


def test_a_change_that_no_function_makes_is_noticed() -> None:
    class Sneaky(Changing):
        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x).relu()
            return self.head((x if x.requires_grad else 3 * x).mean((2, 3)))

    with pytest.raises(SaywhyError, match="different values"):
        lrp(Sneaky(written), torch.randn(1, 3, 32, 32), lambda y: y[:, 0], Composite())
