"""Relevance rules of linear maps: one small class per rule, in the gradient form of LRP.

Layer-wise relevance propagation sends the relevance ``R`` of a function's output back to its inputs. Here the quantity
carried backwards is not ``R`` but ``g = R / z`` (relevance over activation), so that the relevance of *any* tensor
``x`` of the network is ``x * g``, the epsilon rule with epsilon -> 0 *is* the ordinary gradient, and every other rule
is a change of one function's backward pass.

Notation, for one linear map ``z_k = sum_j x_j w_jk + b_k``: contributions ``c_jk = x_j w_jk``; ``P_k`` and ``N_k`` the
sums of the positive and of the negative contributions, the bias counted as one more of them, so ``z = P + N`` and
``A = P - N`` is the sum of their absolute values. ``A`` costs one pass through the map with ``|x|``, ``|w|``, ``|b|``,
and gives ``P = (A + z) / 2`` and ``N = (z - A) / 2`` for inputs of either sign.

Sources: Bach et al. 2015 (epsilon, alpha-beta), Montavon et al. 2017 (z-plus, z^B), Montavon et al. 2019 (gamma, and
which rule where), Andeol et al. 2021 (gamma for inputs of both signs), Lapuschkin et al. 2019 (flat).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, final

import torch
import torch.nn.functional as F
from torch import Tensor


def _tiny(x: Tensor) -> float:
    """What keeps 0 / 0 at 0: far below any activation, and not rounded to zero in the type of x."""
    return 1e-7 if x.dtype == torch.float16 else 1e-20


class LinearMap(Protocol):
    """A function that is linear in x for given weights: what the rules need to know of it."""

    @property
    def weight(self) -> Tensor:
        """What the contributions are made with."""

    @property
    def bias(self) -> Tensor | None:
        """(outputs,), or None."""

    @property
    def outputs(self) -> int:
        """The number of output channels."""

    def apply(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """The map at x with these weights."""

    def pull(self, grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """The transposed map: the gradient with respect to x, given the gradient with respect to the output."""

    def keep(self, share: Tensor, bias: Tensor) -> None:
        """Told by a rule what its bias takes, ``share * bias`` at each output: relevance that no input gets."""

    def scaled(self, scale: Tensor, shift: Tensor) -> LinearMap | None:
        """The map followed by ``scale * z + shift`` per output channel, as one map; None where it cannot be merged."""


Took = Callable[[Tensor], None]
"""Told what a bias takes, summed over channels (and, of a convolution, over positions)."""


@final
@dataclass(frozen=True, eq=False)
class Dense:
    """``F.linear``: x (..., in), weight (out, in)."""

    weight: Tensor
    bias: Tensor | None
    took: Took | None = None

    @property
    def outputs(self) -> int:
        return self.weight.shape[0]

    def apply(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        # One matrix product over all leading axes: on transposed inputs, torch would choose a slower batched one.
        return F.linear(x.reshape(-1, x.shape[-1]), weight, bias).view(*x.shape[:-1], -1)

    def pull(self, grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return grad.reshape(-1, grad.shape[-1]).matmul(weight).view(*grad.shape[:-1], -1)

    def keep(self, share: Tensor, bias: Tensor) -> None:
        if self.took is not None and self.bias is not None:
            self.took(_wide(share) @ _wide(bias))

    def scaled(self, scale: Tensor, shift: Tensor) -> LinearMap | None:
        bias = shift if self.bias is None else self.bias * scale + shift
        return replace(self, weight=self.weight * scale[:, None], bias=bias)


@final
@dataclass(frozen=True, eq=False)
class Convolution:
    """Convolutions of one to three dimensions, transposed or not, in the terms of ``aten::convolution``."""

    weight: Tensor
    bias: Tensor | None
    stride: list[int]
    padding: list[int]
    dilation: list[int]
    transposed: bool
    output_padding: list[int]
    groups: int
    took: Took | None = None

    @property
    def outputs(self) -> int:
        return self.weight.shape[1] * self.groups if self.transposed else self.weight.shape[0]

    @property
    def _settings(self) -> tuple[Any, ...]:
        return self.stride, self.padding, self.dilation, self.transposed, self.output_padding, self.groups

    def _is_product(self, x: Tensor) -> bool:
        """Whether this is a matrix product over channels: on a CPU, oneDNN takes twice as long over it as a product."""
        return (
            x.device.type == "cpu"
            and x.is_contiguous()
            and not (self.transposed or any(self.padding) or self.groups > 1)
            and set(self.stride) == {1} == set(self.weight.shape[2:])
        )

    def apply(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if self._is_product(x):
            matrix = weight.flatten(1).expand(len(x), -1, -1)
            pixels = x.flatten(2)
            z = matrix @ pixels if bias is None else torch.baddbmm(bias[:, None], matrix, pixels)
            return z.view(len(x), -1, *x.shape[2:])
        return torch.ops.aten.convolution(x, weight, bias, *self._settings)

    def pull(self, grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        if self._is_product(x) and grad.is_contiguous():
            return (weight.flatten(1).T @ grad.flatten(2)).view_as(x)
        only_input = (True, False, False)
        return torch.ops.aten.convolution_backward(grad, x, weight, None, *self._settings, only_input)[0]

    def keep(self, share: Tensor, bias: Tensor) -> None:
        if self.took is not None and self.bias is not None:
            self.took(_wide(share).flatten(2).sum(2) @ _wide(bias))

    def scaled(self, scale: Tensor, shift: Tensor) -> LinearMap | None:
        if self.transposed:
            return None
        weight = self.weight * scale.view(-1, *[1] * (self.weight.dim() - 1))
        return replace(self, weight=weight, bias=shift if self.bias is None else self.bias * scale + shift)


def _wide(x: Tensor) -> Tensor:
    """x in a type in which sums do not overflow."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def propagate(rule: Rule, linear: LinearMap, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
    """``rule.gradient``, leaving out the tokens and the outputs of a dense map that carry no relevance at all.

    In a transformer's last block only the class token carries any; where attention weights are held constant, none
    reaches queries and keys. Both are found in the gradient itself, by a first look at one row and one column.
    """
    if not isinstance(linear, Dense) or grad.dim() < 2:
        return rule.gradient(linear, x, z, grad)
    x_rows, z_rows, grad_rows = (t.reshape(-1, t.shape[-1]) for t in (x, z, grad))
    rows, columns = _live(grad_rows), _live(grad_rows.T)
    if any(live is not None and not len(live) for live in (rows, columns)):
        return torch.zeros_like(x)

    def took(relevance: Tensor) -> None:
        assert linear.took is not None
        whole = relevance
        if rows is not None:
            whole = relevance.new_zeros(len(x_rows)).index_copy_(0, rows, relevance)
        linear.took(whole.view(x.shape[:-1]))

    kept = replace(linear, took=None if linear.took is None else took)
    if columns is not None:
        kept = replace(kept, weight=linear.weight[columns], bias=None if linear.bias is None else linear.bias[columns])
        z_rows, grad_rows = z_rows[:, columns], grad_rows[:, columns]
    if rows is None:
        return rule.gradient(kept, x_rows, z_rows, grad_rows).view_as(x)
    result = torch.zeros_like(x_rows)
    result[rows] = rule.gradient(kept, x_rows[rows], z_rows[rows], grad_rows[rows])
    return result.view_as(x)


def pull_live(linear: Dense, grad: Tensor) -> Tensor:
    """``linear.pull`` with its own weight, with the same left out. grad: (..., outputs), returns (..., inputs)."""
    rows_of_grad, weight = grad.reshape(-1, grad.shape[-1]), linear.weight
    rows, columns = _live(rows_of_grad), _live(rows_of_grad.T)
    if columns is not None:
        weight, rows_of_grad = weight[columns], rows_of_grad[:, columns]
    if rows is None:
        result = rows_of_grad @ weight
    else:
        result = rows_of_grad.new_zeros(len(rows_of_grad), weight.shape[1])
        result[rows] = rows_of_grad[rows] @ weight
    return result.view(*grad.shape[:-1], -1)


def _live(grad: Tensor) -> Tensor | None:
    """Indices of the rows that are not all zero, where they are at most two thirds of all; otherwise None."""
    dead = grad[:, 0] == 0
    if 3 * int(dead.sum()) < len(dead):
        return None
    live = torch.cat([(~dead).nonzero()[:, 0], dead.nonzero()[:, 0][grad[dead].any(1)]]).sort().values
    return live if 3 * len(live) <= 2 * len(dead) else None


class Rule(Protocol):
    """How relevance passes back through one linear map."""

    def gradient(self, linear: LinearMap, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        """R(x) / x, given ``grad`` = R(z) / z. x, z: the map's input and output, with all leading axes."""


@final
@dataclass(frozen=True)
class Epsilon:
    """``R_j = sum_k c_jk / (z_k + epsilon sign(z_k)) R_k``. With epsilon 0 (LRP-0) the ordinary gradient."""

    epsilon: float = 0.0

    def gradient(self, linear: LinearMap, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        if self.epsilon:
            size = z.abs()
            grad = grad * (size / (size + self.epsilon))
        if linear.bias is not None:
            linear.keep(grad, linear.bias)
        return linear.pull(grad, x, linear.weight)


@final
@dataclass(frozen=True)
class ZPlus:
    """``R_j = sum_k max(c_jk, 0) / P_k R_k``: only what speaks for the output counts (alpha 1, beta 0).

    An output for which nothing speaks (``P_k = 0``) hands its relevance to what speaks against it, ``c_jk / z_k R_k``.
    After a ReLU it has none. Elsewhere, in a depthwise convolution above all, it would be lost.
    """

    def gradient(self, linear: LinearMap, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        return _signed_share(linear, x, z, grad, positive=True)


@final
@dataclass(frozen=True)
class AlphaBeta:
    """``R_j = sum_k (alpha max(c_jk, 0) / P_k - beta min(c_jk, 0) / N_k) R_k`` with ``alpha - beta = 1``.

    An output all of whose contributions have one sign hands its relevance to these, ``c_jk / z_k R_k``.
    """

    alpha: float = 2.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        if self.beta < 0 or abs(self.alpha - self.beta - 1) > 1e-9:
            raise ValueError(f"alpha - beta must be 1 and beta at least 0, not alpha={self.alpha}, beta={self.beta}")

    def gradient(self, linear: LinearMap, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        result = _signed_share(linear, x, z, grad, positive=True, factor=self.alpha)
        if self.beta:
            result.add_(_signed_share(linear, x, z, grad, positive=False, factor=-self.beta))
        return result


def _signed_share(
    linear: LinearMap, x: Tensor, z: Tensor, grad: Tensor, *, positive: bool, factor: float = 1.0
) -> Tensor:
    """Relevance over x when each output hands its own, times ``factor``, to its positive (or negative) contributions.

    In proportion; where there are none, to those of the other sign.
    """
    keep, drop = ({"min": 0.0}, {"max": 0.0}) if positive else ({"max": 0.0}, {"min": 0.0})
    weight, own = linear.weight.clamp(**keep), _bias(linear, z).clamp(**keep)
    bias = own + (_tiny(own) if positive else -_tiny(own))
    other = None
    if x.min() >= 0:  # one pass each way instead of two: the common case, after a ReLU
        total = linear.apply(x, weight, bias)
    else:
        other = linear.weight.clamp(**drop)
        total = linear.apply(x.clamp(min=0), weight, bias).add_(linear.apply(x.clamp(max=0), other))
    none = _without(total, z, positive=positive)
    share = torch.div(z, total, out=total).mul_(grad if factor == 1 else grad * factor)
    if none is not None:
        share.masked_fill_(none, 0.0)
    linear.keep(share, own)
    result = linear.pull(share, x, weight)
    if other is not None:
        result = torch.where(x > 0, result, linear.pull(share, x, other))
    if none is not None:
        rest = (grad * none).mul_(factor)
        linear.keep(rest, _bias(linear, z))
        result.add_(linear.pull(rest, x, linear.weight))
    return result


def _without(total: Tensor, z: Tensor, *, positive: bool) -> Tensor | None:
    """Where an output has no contributions of the sign that ``total`` is the sum of, beyond rounding; None: nowhere."""
    rounding = 8 * torch.finfo(z.dtype).eps
    lowest, highest = total.aminmax()
    if (lowest > rounding * highest) if positive else (highest < rounding * lowest):
        return None
    none = total <= z * -rounding if positive else total >= z * -rounding
    return none if none.any() else None


def _bias(linear: LinearMap, z: Tensor) -> Tensor:
    """The bias, or zeros: something that a stabiliser can be added to without a pass over the outputs."""
    return z.new_zeros(linear.outputs) if linear.bias is None else linear.bias


@final
@dataclass(frozen=True)
class Gamma:
    """Contributions of the output's own sign weigh ``1 + gamma`` times; between epsilon (0) and z-plus (infinity).

    The generalised form: for ``z_k > 0``, ``R_j = sum_k (c_jk + gamma max(c_jk, 0)) / (z_k + gamma P_k) R_k``; for
    ``z_k < 0`` the same with ``min`` and ``N_k``. In terms of ``A``, both signs of z are one formula, which takes two
    passes forward and two back, where the definition takes five and four.
    """

    gamma: float = 0.25

    def gradient(self, linear: LinearMap, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        weight, bias = linear.weight, _bias(linear, z)
        if not self.gamma:
            linear.keep(grad, bias)
            return linear.pull(grad, x, weight)
        positive_inputs = bool(x.min() >= 0)
        if positive_inputs and _only_above_zero(z, grad):  # the classic form, one pass each way
            weight = weight + self.gamma * weight.clamp(min=0)
            bias = bias + self.gamma * bias.clamp(min=0)
            total = linear.apply(x, weight, bias)
            total.masked_fill_(total == 0, _tiny(z))  # of a unit without relevance, z <= 0, may cancel exactly
            share = torch.div(z, total, out=total).mul_(grad)
            linear.keep(share, bias)
            return linear.pull(share, x, weight)
        # |z + gamma P| or |z + gamma N| is (1 + gamma / 2) |z| + gamma / 2 A; divided by gamma / 2:
        plain = (1 + self.gamma / 2) / (self.gamma / 2)
        absolute, size = weight.abs(), z.abs()
        total = linear.apply(x if positive_inputs else x.abs(), absolute, bias.abs() + _tiny(z)).add_(size, alpha=plain)
        own_sign = torch.div(z, total, out=total).mul_(grad)  # g z / total; with the sign of g it is g |z| / total
        positive = torch.copysign(own_sign, grad, out=size)
        linear.keep(positive, bias * plain)
        linear.keep(own_sign, bias.abs())
        result = linear.pull(own_sign, x, absolute)
        if not positive_inputs:
            result.mul_(x.sign())
        return result.add_(linear.pull(positive, x, weight), alpha=plain)


def _only_above_zero(z: Tensor, grad: Tensor) -> bool:
    """Whether only outputs z > 0 have relevance, as before a ReLU. A first look at one picture spares most others."""
    return bool(z.min() >= 0) or not any(bool(((n < 0) & (g != 0)).any()) for n, g in ((z[:1], grad[:1]), (z, grad)))


@final
@dataclass(frozen=True)
class Flat:
    """Relevance is spread evenly over the receptive field, whatever is in it. For the first layer."""

    def gradient(self, linear: LinearMap, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        ones, flat = torch.ones_like(x), torch.ones_like(linear.weight)
        share = grad * z / linear.apply(ones, flat)
        return linear.pull(share, x, flat) / x


@final
@dataclass(frozen=True, eq=False)
class Box:
    """z^B: ``R_j = sum_k (c_jk - l_j w+_jk - h_j w-_jk) / (the same, summed over j) R_k``. For the first layer.

    low, high: the values of black and of white in the map's input: (C,), one per colour channel, or in its shape.
    """

    low: Tensor
    high: Tensor

    def gradient(self, linear: LinearMap, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        above, below = linear.weight.clamp(min=0), linear.weight.clamp(max=0)
        channel = (1, -1, *[1] * (x.dim() - 2))
        low, high = (side.to(x).view(channel) if side.dim() == 1 else side.to(x) for side in (self.low, self.high))
        over, under = x - low, x - high
        total = linear.apply(over, above, z.new_full((linear.outputs,), _tiny(z))).add_(linear.apply(under, below))
        share = grad * z / total  # total >= 0 inside the box
        return (over * linear.pull(share, x, above) + under * linear.pull(share, x, below)) / x
