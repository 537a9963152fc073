"""The table that makes LRP independent of the architecture: torch function -> what happens to relevance there.

A network is a program of torch functions. While it runs, ``lrp.py`` intercepts each call by name and asks this table.
A function that is absent keeps its ordinary gradient, which is the epsilon rule for everything linear (sums, means,
reshapes, concatenations, average pooling, interpolation) and winner-takes-all for maxima: both conserve relevance.
A function that is present computes the same value and another gradient, such that relevance = value * gradient.

"Carries" means: depends on the picture, i.e. requires a gradient. Parameters never do (they are frozen for the while),
so a product with a parameter is linear, and a product of two tensors that both carry is a product of activations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from saywhy.attribution.account import Account, hold, is_held
from saywhy.attribution.composites import Composite
from saywhy.attribution.rules import Convolution, Dense, Epsilon, LinearMap, Rule, propagate, pull_live
from saywhy.errors import SaywhyError


class Run(Protocol):
    """What a handler may ask of the run it is part of: the composite, the account, the interception mode itself."""

    composite: Composite
    account: Account
    intercepting: TorchFunctionMode

    def rule_for(self, kind: str, x: Tensor) -> Rule:
        """The rule of this linear map of x; the first one asked for is the network's first layer."""


Handler = Callable[..., Any]
"""``handler(run, function, *args, **kwargs)``, the arguments being those of the intercepted call."""


def contiguous_gradient(x: Tensor) -> Tensor:
    """x itself; the gradient that comes back to it is made contiguous. See ``lrp.exact_gradients``."""
    if x.requires_grad:
        x.register_hook(lambda gradient: None if gradient is None else gradient.contiguous())
    return x


# -- three gradients that differ from autograd's ----------------------------------------------------------------------


class _Propagate(Function):
    """A linear map whose backward pass is a relevance rule."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, linear: LinearMap, rule: Rule, compute: Callable[[], Tensor]) -> Tensor:
        z = compute()
        ctx.save_for_backward(x)
        ctx.z = z.detach()  # not saved: an in-place ReLU may overwrite it, see OVERWRITABLE
        ctx.linear, ctx.rule = linear, rule
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (x,), z = ctx.saved_tensors, ctx.z
        ctx.z = None  # as autograd frees what is saved
        return propagate(ctx.rule, ctx.linear, x, z, grads[0]), None, None, None


class _Pull(Function):
    """A dense map with its ordinary gradient, computed only where there is one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dense: Dense) -> Tensor:
        ctx.dense = dense
        return dense.apply(x, dense.weight, dense.bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return pull_live(ctx.dense, grads[0]), None


class _HeldAttention(Function):
    """softmax(q k^T scale + mask) v with the attention weights held constant: only v has a gradient.

    The forward pass is the fused one; the weights are made again on the way back rather than kept, so that memory stays
    linear in the number of tokens, as in the fused function's own backward pass, which would also work out the
    gradients of q and k that nobody asks for.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, query: Tensor, key: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        ctx.save_for_backward(query, key, *(() if mask is None else (mask,)))
        ctx.scale, ctx.shape = scale, value.shape
        return F.scaled_dot_product_attention(query, key, value, mask, scale=scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        query, key, *mask = ctx.saved_tensors
        scores = (query * ctx.scale) @ key.transpose(-2, -1)
        for m in mask:
            scores = scores.masked_fill(~m, float("-inf")) if m.dtype == torch.bool else scores + m
        gradient = scores.softmax(-1).transpose(-2, -1) @ grads[0]
        return gradient.sum_to_size(ctx.shape), None, None, None, None


class _Ratio(Function):
    """The identity rule of element-wise functions: y = x * stop(f(x) / x); R(x) = R(y)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Callable[[Tensor], Tensor], slope: float) -> Tensor:
        y = function(x)
        ctx.save_for_backward((y / x).masked_fill_(x == 0, slope))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return grads[0] * ctx.saved_tensors[0], None, None


class _Scale(Function):
    """The identity, with the gradient multiplied by a constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return grads[0] * ctx.factor, None


class _Normalise(Function):
    """Normalisation with the deviation held constant; the mean stays linear. Statistics over the last axis.

    x: (..., n), returns (..., n): y = (x - mean) * rstd.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        y, _, rstd = torch.native_layer_norm(x, x.shape[-1:], None, None, eps)
        ctx.save_for_backward(rstd.to(x.dtype))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        grad = grads[0] * ctx.saved_tensors[0]
        return grad - grad.mean(-1, keepdim=True), None


def carries(value: Any) -> bool:
    """Whether relevance can flow into this argument of a function: a tensor that depends on the picture."""
    return isinstance(value, Tensor) and value.requires_grad


def _share(*factors: Tensor) -> list[Tensor]:
    """The uniform rule: the factors of a product, each carrying an equal part of its relevance."""
    carrying = sum(map(carries, factors))
    if carrying < 2:
        return list(factors)
    return [_Scale.apply(f, 1 / carrying) if carries(f) else f for f in factors]


# -- linear maps ------------------------------------------------------------------------------------------------------


def _biased(run: Run, y: Tensor, bias: Tensor | None, channels: int) -> Tensor:
    """y itself; the account is told of the bias in it, along the axis of channels."""
    if bias is not None:
        run.account.added(y, bias if channels == -1 else _per_channel(bias, y))
    return y


def _linear_map(run: Run, kind: str, x: Tensor, linear: LinearMap, compute: Callable[[], Tensor]) -> Tensor:
    rule = run.rule_for(kind, x)
    if rule == Epsilon():
        z = _Pull.apply(x, linear) if isinstance(linear, Dense) else compute()
        return _biased(run, z, linear.bias, channels=-1 if isinstance(linear, Dense) else 1)
    z = _Propagate.apply(x, linear, rule, compute)
    z._saywhy_map = (x, linear, rule)  # a BatchNorm that follows merges itself in: see batch_norm
    return z


def linear(run: Run, function: Handler, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if carries(weight):
        input, weight, bias = _made_by_the_network(run, input, weight, bias)
        return _biased(run, function(input, weight, bias), bias, channels=-1)
    dense = Dense(weight, bias, run.account.took)
    return _linear_map(run, "dense", input, dense, lambda: dense.apply(input, weight, bias))


def _made_by_the_network(run: Run, x: Tensor, weight: Tensor, bias: Tensor | None) -> list[Any]:
    """Input, weight and bias of a linear map whose weights depend on the picture: a product of two activations.

    Weights that are mixed by gates (conditional convolution) are a gate.
    """
    if run.composite.gate == "signal" and _is_gate(weight):
        return [x, weight.detach(), None if bias is None else bias.detach()]
    return [*_share(x, weight), bias]


def convolution(dims: int, transposed: bool = False) -> Handler:
    """The handler of ``F.conv{dims}d`` or ``F.conv_transpose{dims}d``, which order their arguments differently."""

    def spread(value: int | Sequence[int]) -> list[int]:
        return [value] * dims if isinstance(value, int) else (list(value) * dims if len(value) == 1 else list(value))

    def forwards(
        run: Run, function: Handler, input: Tensor, weight: Tensor, bias: Tensor | None = None,
        stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
    ) -> Tensor:  # fmt: skip
        if carries(weight):
            input, weight, bias = _made_by_the_network(run, input, weight, bias)
            return _biased(run, function(input, weight, bias, stride, padding, dilation, groups), bias, channels=1)
        if isinstance(padding, str):
            input, padding = _pad_same(input, weight, spread(dilation)) if padding == "same" else input, 0
        arguments = (weight, bias, spread(stride), spread(padding), spread(dilation), False, [0] * dims, groups)
        convolution = Convolution(*arguments, run.account.took)
        compute = lambda: function(input, weight, bias, stride, padding, dilation, groups)  # noqa: E731
        return _linear_map(run, "convolution", input, convolution, compute)

    def backwards(
        run: Run, function: Handler, input: Tensor, weight: Tensor, bias: Tensor | None = None,
        stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
    ) -> Tensor:  # fmt: skip
        arguments = (weight, bias, spread(stride), spread(padding), spread(dilation), True, spread(output_padding))
        convolution = Convolution(*arguments, groups, run.account.took)
        compute = lambda: function(input, weight, bias, stride, padding, output_padding, groups, dilation)  # noqa: E731
        return _linear_map(run, "convolution", input, convolution, compute)

    return backwards if transposed else forwards


def _pad_same(x: Tensor, weight: Tensor, dilation: list[int]) -> Tensor:
    """x padded as ``padding="same"`` does; an even kernel takes the odd pixel at the end."""
    totals = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    sides = [side for total in reversed(totals) for side in (total // 2, total - total // 2)]
    return F.pad(x, sides)


def batch_norm(
    run: Run, function: Handler, input: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
    weight: Tensor | None = None, bias: Tensor | None = None, training: bool = False,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    if training or running_mean is None or running_var is None:  # statistics of the batch: a normalisation like others
        y = _normalised(input.transpose(0, 1).flatten(1), eps).unflatten(1, _swapped(input)).transpose(0, 1)
        return _scaled(run, y, weight, bias, channels=1)

    def compute(x: Tensor = input) -> Tensor:
        return function(x, running_mean, running_var, weight, bias, False, momentum, eps)

    scale = (running_var + eps).rsqrt() * (1 if weight is None else weight)
    shift = (0 if bias is None else bias) - running_mean * scale
    merged = getattr(input, "_saywhy_map", None)
    if merged is not None:
        x, linear, rule = merged
        fused = linear.scaled(scale, shift)
        if fused is not None:
            return _Propagate.apply(x, fused, rule, lambda: compute(input.detach()))
    return _biased(run, contiguous_gradient(compute()), shift, channels=1)


# -- normalisation: the deviation is a constant -----------------------------------------------------------------------


def _normalised(x: Tensor, eps: float) -> Tensor:
    return _Normalise.apply(x, eps)


def _swapped(x: Tensor) -> torch.Size:
    return torch.Size((x.shape[0], *x.shape[2:]))


def _per_channel(parameter: Tensor, x: Tensor) -> Tensor:
    return parameter.view(1, -1, *[1] * (x.dim() - 2))


def _scaled(run: Run, y: Tensor, weight: Tensor | None, bias: Tensor | None, channels: int) -> Tensor:
    """What a normalisation ends with: ``y * weight + bias``, along the axis of channels (-1: all of the last)."""
    if weight is not None:
        y = y * (weight if channels == -1 else _per_channel(weight, y))
    if bias is not None:
        y = _biased(run, y + (bias if channels == -1 else _per_channel(bias, y)), bias, channels)
    return y


def layer_norm(
    run: Run, function: Handler, input: Tensor, normalized_shape: Sequence[int],
    weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5, cudnn_enable: bool = True,
) -> Tensor:  # fmt: skip
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    y = _normalised(input if len(shape) == 1 else input.flatten(-len(shape)), eps)
    return _scaled(run, y.view(input.shape) if len(shape) > 1 else y, weight, bias, channels=-1)


def group_norm(
    run: Run, function: Handler, input: Tensor, num_groups: int,
    weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5, cudnn_enabled: bool = True,
) -> Tensor:  # fmt: skip
    y = _normalised(input.reshape(input.shape[0], num_groups, -1), eps).view(input.shape)
    return _scaled(run, y, weight, bias, channels=1)


def instance_norm(
    run: Run, function: Handler, input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None,
    weight: Tensor | None = None, bias: Tensor | None = None, use_input_stats: bool = True,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    if not use_input_stats:
        return batch_norm(run, F.batch_norm, input, running_mean, running_var, weight, bias, False, momentum, eps)
    return group_norm(run, function, input, input.shape[1], weight, bias, eps)


def rms_norm(
    run: Run, function: Handler, input: Tensor, normalized_shape: Sequence[int],
    weight: Tensor | None = None, eps: float | None = None,
) -> Tensor:  # fmt: skip
    axes = tuple(range(-len(normalized_shape), 0))
    eps = torch.finfo(input.dtype).eps if eps is None else eps
    with torch.no_grad():
        rstd = (input.pow(2).mean(axes, keepdim=True) + eps).rsqrt()
    y = input * rstd
    return y if weight is None else y * weight


def normalize(
    run: Run, function: Handler, input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: None = None
) -> Tensor:
    return input / input.detach().norm(p, dim, keepdim=True).clamp_min(eps)


def cosine_similarity(run: Run, function: Handler, x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    first, second = _share(*(normalize(run, function, x, dim=dim, eps=eps) for x in (x1, x2)))
    return (first * second).sum(dim)


def constant(run: Run, function: Handler, *args: Any, **kwargs: Any) -> Any:
    """Statistics that only ever scale an activation (norms, variances, their roots) carry no relevance themselves."""
    with torch.no_grad():
        return function(*args, **kwargs)


# -- element-wise functions -------------------------------------------------------------------------------------------


def activation(slope: float, *options: str) -> Handler:
    """The identity rule for ``f(x)`` with f(0) = 0 and f'(0) = ``slope``; options: f's further arguments, in order."""

    def handler(run: Run, function: Handler, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        kwargs = {**dict(zip(options, args, strict=False)), **kwargs}
        if kwargs.pop("inplace", False):
            kwargs["inplace"] = False  # the value before is still needed
        return _Ratio.apply(input, lambda x: function(x, **kwargs), slope)

    return handler


def piecewise_linear(run: Run, function: Handler, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """ReLU and its kin: the ordinary gradient conserves. Only the in-place form is avoided."""
    args = tuple(False if isinstance(a, bool) else a for a in args)  # a positional `inplace`
    kwargs.pop("inplace", None)
    return function(input, *args, **kwargs)


def sigmoid_like(run: Run, function: Handler, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """f(0) != 0: R(x) = R(y) has no finite gradient at 0, so x is kept a hair away from it. May serve as a gate."""
    args = tuple(False if isinstance(a, bool) else a for a in args)
    kwargs.pop("inplace", None)
    away = torch.where(input.detach().abs() < 1e-6, 1e-6, 0.0).to(input.dtype)
    shifted = input + away
    run.account.added(shifted, away)
    y = _Ratio.apply(shifted, lambda x: function(x, *args, **kwargs), 0.0)
    y._saywhy_gate = True
    return y


def ordinary(run: Run, function: Handler, *args: Any, **kwargs: Any) -> Any:
    """The function as it is, with its ordinary gradient."""
    return function(*args, **kwargs)


def keep_gate(result: Any, carrying: Sequence[Tensor]) -> None:
    """Mark as gates what a function makes of gates alone, and constants: resized, split, added, mixing weights."""
    if all(map(_is_gate, carrying)):
        for one in tensors_in((result,)):
            one._saywhy_gate = True  # type: ignore[attr-defined]


def _is_gate(value: Any) -> bool:
    return getattr(value, "_saywhy_gate", False)


def tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among the arguments or results of a function, those in lists and tuples too."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(value)


def power(run: Run, function: Handler, input: Any, exponent: Any, *args: Any, **kwargs: Any) -> Tensor:
    if not carries(input) or carries(exponent):
        return function(input, exponent, *args, **kwargs)
    return _Ratio.apply(input, lambda x: function(x, exponent), 1.0 if exponent == 1 else 0.0)


def square(run: Run, function: Handler, input: Tensor) -> Tensor:
    return _Ratio.apply(input, function, 0.0)


# -- products of activations ------------------------------------------------------------------------------------------


def multiply(run: Run, function: Handler, input: Any, other: Any, **kwargs: Any) -> Tensor:
    """Element by element. Of a signal and a gate the signal takes all; otherwise as every product."""
    if run.composite.gate == "signal":
        input, other = _without_gate(input, other)
    return product(run, function, input, other, **kwargs)


def product(run: Run, function: Handler, *factors: Any, **kwargs: Any) -> Tensor:
    """mul, matmul, bmm, mm, mv, outer: the uniform rule over the factors that carry."""
    return function(*_share(*factors), **kwargs)


def _without_gate(*factors: Any) -> tuple[Any, ...]:
    """The factors of a product, those that are gates held constant, where another one carries that is none."""
    if not any(carries(factor) and not _is_gate(factor) for factor in factors):
        return factors
    return tuple(factor.detach() if _is_gate(factor) else factor for factor in factors)


def added_product(run: Run, function: Handler, added: Any, first: Tensor, second: Tensor, **kwargs: Any) -> Tensor:
    """addmm, baddbmm, addcmul: a sum with a product."""
    return _with_constants(run, function, (added, *_share(first, second)), kwargs)


def einsum(run: Run, function: Handler, equation: Any, *operands: Any) -> Tensor:
    factors = operands[0] if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    return function(equation, *_share(*factors))


def divide(run: Run, function: Handler, input: Any, other: Any, **kwargs: Any) -> Tensor:
    return function(input, other.detach() if carries(other) else other, **kwargs)


def addcdiv(run: Run, function: Handler, added: Any, first: Tensor, second: Tensor, **kwargs: Any) -> Tensor:
    return _with_constants(run, function, (added, first, second.detach()), kwargs)


# -- sums with constants: what the constant takes goes into the account -----------------------------------------------


def add(run: Run, function: Handler, input: Any, other: Any, **kwargs: Any) -> Tensor:
    y = function(input, other, **kwargs)
    for term, factor in ((input, 1.0), (other, kwargs.get("alpha", 1.0))):
        if not carries(term):
            run.account.added(y, term, factor)
    return y


def subtract(run: Run, function: Handler, input: Any, other: Any, **kwargs: Any) -> Tensor:
    y = function(input, other, **kwargs)
    factors = (1.0, -kwargs.get("alpha", 1.0))
    reverse = getattr(function, "__name__", "") in ("rsub", "__rsub__")
    for term, factor in zip((input, other), factors[::-1] if reverse else factors, strict=True):
        if not carries(term):
            run.account.added(y, term, factor)
    return y


def assembled(run: Run, function: Handler, *args: Any, **kwargs: Any) -> Tensor:
    """cat, stack, where, masked_fill, pad: each value of the result is one of the values that are put together."""
    return _with_constants(run, function, args, kwargs)


def _with_constants(run: Run, function: Handler, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    """``function(*args)``, a sum of what its arguments give one by one. With zeros for those that carry, it is the sum
    of the constants in it."""
    y = function(*args, **kwargs)
    values = [v for a in (*args, *kwargs.values()) for v in (a if isinstance(a, list | tuple) else [a])]
    constant = [v for v in values if not carries(v) and (isinstance(v, float) or _is_real(v))]
    if constant and carries(y):

        def silent(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return type(value)(map(silent, value))
            return torch.zeros_like(value) if carries(value) else value

        with torch.no_grad():
            rest = function(*map(silent, args), **{key: silent(value) for key, value in kwargs.items()})
        if any(map(is_held, constant)):
            hold(rest)
        run.account.added(y, rest)
    return y


def set_item(run: Run, function: Handler, input: Tensor, index: Any, value: Any) -> Tensor:
    """``input[index] = value``, out of place."""
    y = input.clone()
    function(y, index, value)
    if not carries(value):
        rest = torch.zeros_like(input)
        function(rest, index, value)
        if is_held(value):
            hold(rest)
        run.account.added(y, rest)
    return y


def _is_real(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def glu(run: Run, function: Handler, input: Tensor, dim: int = -1) -> Tensor:
    signal, gate = input.chunk(2, dim)
    return multiply(run, torch.mul, signal, sigmoid_like(run, torch.sigmoid, gate))


# -- attention --------------------------------------------------------------------------------------------------------


def softmax(run: Run, function: Handler, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """AttnLRP: the first-order Taylor expansion at x, whose gradient is the ordinary one. CP-LRP: a constant."""
    if run.composite.attention == "cp":
        return function(input.detach(), *args, **kwargs)
    given = _Scale.apply(input, 1.0)  # a tensor of its own: the softmax is not the only reader of its input
    y = function(given, *args, **kwargs)
    run.account.passed(y, 1.0)
    run.account.passed(given, -1.0)
    return y


def scaled_dot_product_attention(
    run: Run, function: Handler, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """The fused function as it is; only the gradients of its inputs differ, by constants.

    out = p v, p = softmax(q k^T): the uniform rule leaves half of the relevance to v and half to p, and half of what
    reaches q k^T to each of q and k. All three functions are multilinear in the gradient, so the halves commute with
    the fused backward pass: a half for v, a quarter for q and for k.
    """
    options: dict[str, Any] = {"attn_mask": attn_mask, "is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa}
    if run.composite.attention == "cp" or not (carries(query) or carries(key)):
        query, key = query.detach(), key.detach()
        if is_causal or enable_gqa or not carries(value):
            return function(query, key, value, **options)
        return _HeldAttention.apply(value, query, key, attn_mask, query.shape[-1] ** -0.5 if scale is None else scale)
    through_weights = 0.5 if carries(value) else 1.0
    both = 0.5 if carries(query) and carries(key) else 1.0
    query, key = (_Scale.apply(x, through_weights * both) if carries(x) else x for x in (query, key))
    value = _Scale.apply(value, 0.5) if carries(value) else value
    out = function(query, key, value, **options)
    run.account.passed(out, 1.0)
    for x, part in ((query, through_weights * both), (key, through_weights * both), (value, 0.5)):
        run.account.passed(x, -part)
    return out


def multi_head_attention(
    run: Run, function: Handler, query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, num_heads: int,
    in_proj_weight: Tensor | None, in_proj_bias: Tensor | None, bias_k: Tensor | None, bias_v: Tensor | None,
    add_zero_attn: bool, dropout_p: float, out_proj_weight: Tensor, out_proj_bias: Tensor | None,
    training: bool = True, key_padding_mask: Tensor | None = None, need_weights: bool = True,
    attn_mask: Tensor | None = None, use_separate_proj_weight: bool = False, q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None, v_proj_weight: Tensor | None = None, static_k: Tensor | None = None,
    static_v: Tensor | None = None, average_attn_weights: bool = True, is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """``F.multi_head_attention_forward`` opened into projections and attention, each with its own row of the table."""
    if any(x is not None for x in (bias_k, bias_v, static_k, static_v)) or add_zero_attn:
        raise SaywhyError(
            "relevance through nn.MultiheadAttention with bias_kv, add_zero_attn or static keys is not supported; "
            'use method="integrated-gradients" for this network'
        )
    batched = query.dim() == 3
    if not batched:
        query, key, value = (x.unsqueeze(1) for x in (query, key, value))

    def heads(x: Tensor) -> Tensor:  # (L, N, E) -> (N, heads, L, E / heads)
        return x.unflatten(-1, (num_heads, -1)).permute(1, 2, 0, 3)

    with run.intercepting:
        if not use_separate_proj_weight:
            q, k, v = F._in_projection_packed(query, key, value, in_proj_weight, in_proj_bias)  # type: ignore[attr-defined]
        else:
            biases = (None, None, None) if in_proj_bias is None else in_proj_bias.chunk(3)
            weights = (q_proj_weight, k_proj_weight, v_proj_weight)
            q, k, v = (
                F.linear(x, w, b)  # type: ignore[arg-type]
                for x, w, b in zip((query, key, value), weights, biases, strict=True)
            )
        q, k, v = heads(q), heads(k), heads(v)
        mask = _attention_mask(attn_mask, key_padding_mask, q, k)
        attention = None
        if need_weights:
            scores = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
            attention = (scores if mask is None else scores + mask).softmax(-1)
            out = attention @ v
        else:
            out = F.scaled_dot_product_attention(q, k, v, mask, 0.0, is_causal and mask is None)
        out = F.linear(out.permute(2, 0, 1, 3).flatten(2), out_proj_weight, out_proj_bias)
    if attention is not None:
        attention = attention.mean(1) if average_attn_weights else attention
        attention = attention if batched else attention.squeeze(0)
    return (out if batched else out.squeeze(1)), attention


def _attention_mask(mask: Tensor | None, padding: Tensor | None, query: Tensor, key: Tensor) -> Tensor | None:
    """One additive mask (N or 1, heads or 1, L, S) from the two of nn.MultiheadAttention; True means "leave out"."""

    def additive(m: Tensor) -> Tensor:
        return torch.zeros_like(m, dtype=query.dtype).masked_fill_(m, float("-inf")) if m.dtype == torch.bool else m

    if mask is not None:
        mask = additive(mask)
        mask = mask.unflatten(0, (query.shape[0], -1)) if mask.dim() == 3 else mask[None, None]
    if padding is not None:
        padding = additive(padding).view(-1, 1, 1, key.shape[-2])
        mask = padding if mask is None else mask + padding
    return mask


# -- recurrent layers -------------------------------------------------------------------------------------------------

_State = tuple[Tensor, ...]
_Step = Callable[[Tensor, Tensor, _State], _State]
"""(what the step's input adds, what the state adds, state) -> state; the first tensor of the state is the output."""


def recurrent(step: _Step, states: int) -> Handler:
    """``torch.lstm`` and its kin opened into their steps, each function with its own row of the table.

    So the signal takes all of a gated product (Arras et al. 2017). states: tensors a layer hands on, 2 for LSTM.
    """

    def handler(
        run: Run, function: Handler, input: Tensor, start: Any, weights: Any, has_biases: bool, layers: int,
        dropout: float, training: bool, bidirectional: bool, batch_first: bool = False,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        directions = 2 if bidirectional else 1
        each = len(weights) // (layers * directions)
        if not isinstance(has_biases, bool) or each != (4 if has_biases else 2):
            raise SaywhyError(
                "relevance through packed sequences and projected LSTMs is not supported; use "
                'method="integrated-gradients" for this network'
            )
        begin = (start,) if isinstance(start, Tensor) else tuple(start)
        last: list[_State] = []
        with run.intercepting:
            x = input.transpose(0, 1) if batch_first else input
            for layer in range(layers):
                outputs = []
                for direction in range(directions):
                    n = layer * directions + direction
                    w_in, w_state, *biases = weights[n * each : (n + 1) * each]
                    b_in, b_state = biases or (None, None)
                    state, made = tuple(s[n] for s in begin), []
                    for added in F.linear(x.flip(0) if direction else x, w_in, b_in):
                        state = step(added, F.linear(state[0], w_state, b_state), state)
                        made.append(state[0])
                    outputs.append(torch.stack(made[::-1] if direction else made))
                    last.append(state)
                x = torch.cat(outputs, -1)
            x = x.transpose(0, 1) if batch_first else x
            return (x, *(torch.stack([state[k] for state in last]) for k in range(states)))

    return handler


def _lstm_step(added: Tensor, remembered: Tensor, state: _State) -> _State:
    keep, forget, new, out = (added + remembered).chunk(4, -1)
    cell = torch.sigmoid(forget) * state[1] + torch.sigmoid(keep) * torch.tanh(new)
    return torch.sigmoid(out) * torch.tanh(cell), cell


def _gru_step(added: Tensor, remembered: Tensor, state: _State) -> _State:
    (reset, update, new), (reset_too, update_too, old) = added.chunk(3, -1), remembered.chunk(3, -1)
    update = torch.sigmoid(update + update_too)
    new = torch.tanh(new + torch.sigmoid(reset + reset_too) * old)
    return ((1 - update) * new + update * state[0],)


# -- the table --------------------------------------------------------------------------------------------------------

_products = dict.fromkeys(("matmul", "__matmul__", "__rmatmul__", "bmm", "mm", "mv", "outer", "dot", "vdot"), product)
_multiply = dict.fromkeys(("mul", "multiply", "__mul__", "__rmul__"), multiply)
_add = dict.fromkeys(("add", "__add__", "__radd__"), add)
_subtract = dict.fromkeys(("sub", "subtract", "rsub", "__sub__", "__rsub__"), subtract)
_assembled = dict.fromkeys(("cat", "concat", "concatenate", "stack", "where", "masked_fill", "pad"), assembled)
_divide = dict.fromkeys(("div", "divide", "true_divide", "__truediv__"), divide)
_constant = dict.fromkeys(
    ("rsqrt", "sqrt", "var", "std", "var_mean", "std_mean", "norm", "vector_norm", "linalg_vector_norm"), constant
)

TABLE: dict[str, Handler] = {
    "linear": linear,
    **{f"conv{n}d": convolution(n) for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": convolution(n, transposed=True) for n in (1, 2, 3)},
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "group_norm": group_norm,
    "instance_norm": instance_norm,
    "rms_norm": rms_norm,
    "normalize": normalize,
    "cosine_similarity": cosine_similarity,
    **_constant,
    **dict.fromkeys(("relu", "leaky_relu", "threshold", "rrelu"), piecewise_linear),
    # saturating ones are piecewise linear too, but their gradient is 0 where they saturate: relevance would be lost
    "relu6": activation(1.0, "inplace"),
    "hardtanh": activation(1.0, "min_val", "max_val", "inplace"),
    "clamp": activation(1.0, "min", "max"),
    "clip": activation(1.0, "min", "max"),
    "gelu": activation(0.5),
    "silu": activation(0.5, "inplace"),
    "mish": activation(0.6, "inplace"),
    "hardswish": activation(0.5, "inplace"),
    "elu": activation(1.0, "alpha", "inplace"),
    "celu": activation(1.0, "alpha", "inplace"),
    "selu": activation(1.0507009873554805, "inplace"),
    "tanh": activation(1.0),
    "softsign": activation(1.0),
    "tanhshrink": activation(0.0),
    **dict.fromkeys(("sigmoid", "hardsigmoid", "softplus", "logsigmoid"), sigmoid_like),
    "pow": power,
    "__pow__": power,
    "square": square,
    **_add,
    **_subtract,
    **_assembled,
    **_multiply,
    **_divide,
    **_products,
    "__setitem__": set_item,
    "einsum": einsum,
    **dict.fromkeys(("addmm", "addmv", "addbmm", "baddbmm", "addcmul"), added_product),
    "addcdiv": addcdiv,
    "glu": glu,
    "softmax": softmax,
    "scaled_dot_product_attention": scaled_dot_product_attention,
    "multi_head_attention_forward": multi_head_attention,
    "lstm": recurrent(_lstm_step, 2),
    "gru": recurrent(_gru_step, 1),
    "rnn_tanh": recurrent(lambda added, remembered, state: (torch.tanh(added + remembered),), 1),
    "rnn_relu": recurrent(lambda added, remembered, state: (F.relu(added + remembered),), 1),
}
"""Name of a torch function, method or operator -> its handler. A row here is all that a new function needs."""

GATE_KEEPING = frozenset((*_multiply, *_divide, *_products, *_add, *_subtract, *_assembled, "einsum"))
"""Rows of the table that make a gate of gates; what is not in the table does so too."""

ADDED_AND_MULTIPLIED = frozenset((*_multiply, *_divide, *_add, *_subtract))
"""Functions that are affine in one argument, element by element, where the other is constant."""

ATTENTION = ("scaled_dot_product_attention", "multi_head_attention_forward")
"""Fused functions by which a network attends."""

PRODUCTS = frozenset((*_products, "einsum", "baddbmm"))
"""Products over positions or channels: a network that puts softmax weights into one attends."""

IN_PLACE = {
    name: name.strip("_")
    for name in (
        "add_", "sub_", "mul_", "div_", "pow_", "relu_", "sigmoid_", "tanh_", "clamp_", "clip_", "hardtanh_", "relu6_",
        "leaky_relu_", "elu_", "celu_", "selu_", "silu_", "threshold_", "addcmul_", "addcdiv_", "rsqrt_", "sqrt_",
        "neg_", "square_", "masked_fill_",
    )
} | {f"__i{name}__": name for name in ("add", "sub", "mul", "div", "pow")} | {"__itruediv__": "div"}  # fmt: skip
"""In-place forms: under interception the value before is still needed, so the out-of-place form runs instead."""

OVERWRITABLE = frozenset(("conv1d", "conv2d", "conv3d", "batch_norm", "add", "__add__", "add_", "__iadd__"))
"""What these give may be overwritten by an in-place ReLU that is the first to use it, which spares memory and time.

Where the value is overwritten, its gradient is zero, and so is all that a rule makes of the two.
"""
