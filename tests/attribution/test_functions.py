"""Every row of the table of functions: same values as the plain function, and the identity that its rule states."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saywhy.attribution.composites import COMPOSITES, Composite
from saywhy.attribution.lrp import Interception

CP, ATTN = Composite(), Composite(attention="attnlrp")
W, V = torch.randn(8, 8).double(), torch.randn(8, 8).double()


def relevance(function: Callable[[Tensor], Tensor], x: Tensor, composite: Composite = CP) -> tuple[Tensor, Tensor]:
    """(relevance of x, output) for the sum of the outputs."""
    leaf = x.clone().requires_grad_()
    with Interception(composite):
        y = function(leaf)
    (gradient,) = torch.autograd.grad(y.sum(), leaf)
    return x * gradient, y.detach()


def rms(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


# each maps (2, 4, 8) and conserves: the relevance of x sums to the sum of the output
CONSERVING: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu in place": lambda x: F.relu(x * 1.0, inplace=True),
    "relu_": lambda x: torch.relu_(x * 1.0),
    "leaky_relu": lambda x: F.leaky_relu(x, 0.1),
    "relu6": lambda x: F.relu6(4 * x),
    "hardtanh": lambda x: F.hardtanh(3 * x, -1.0, 2.0),
    "clamp": lambda x: (3 * x).clamp(-1, 2),
    "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "hardswish": lambda x: F.hardswish(3 * x),
    "elu": F.elu,
    "selu": F.selu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "hardsigmoid": F.hardsigmoid,
    "softplus": F.softplus,
    "layer_norm": lambda x: F.layer_norm(x, (8,), W[0], None) @ V,
    "layer_norm of two axes": lambda x: F.layer_norm(x, (4, 8)) @ V,
    "group_norm": lambda x: F.group_norm(x, 2, W[0, :4]) @ V,
    "instance_norm": lambda x: F.instance_norm(x) @ V,
    "rms_norm": lambda x: F.rms_norm(x, (8,), W[0]),
    "rms norm by hand": rms,
    "batch_norm": lambda x: F.batch_norm(x, torch.zeros(4).double(), W[0, :4].abs(), W[1, :4], None),
    "batch_norm by the batch": lambda x: F.batch_norm(x, None, None, W[0, :4], None, True) @ V,
    "normalize": lambda x: F.normalize(x, dim=-1),
    "divided by its norm": lambda x: x / x.norm(dim=-1, keepdim=True),
    "cosine": lambda x: F.cosine_similarity(x, F.linear(x, W), dim=-1),
    "product": lambda x: F.linear(x, W) * F.linear(x, V),
    "square": lambda x: x.square() + x**2 + x.pow(3),
    "gate": lambda x: F.linear(x, W) * torch.sigmoid(F.linear(x, V)),
    "broadcast gate": lambda x: x * torch.sigmoid(F.linear(x, V).mean(1, keepdim=True)).expand_as(x),
    "gate in place": lambda x: F.linear(x, W).mul_(torch.sigmoid(F.linear(x, V))),
    "gate resized": lambda x: x * F.interpolate(torch.sigmoid(F.avg_pool1d(F.linear(x, V), 2)), size=8, mode="nearest"),
    "gate split": lambda x: x.chunk(2, 1)[0] * torch.sigmoid(F.linear(x, V)).split(2, 1)[1],
    "gates mix weights": lambda x: torch.cat([_mixed(one) for one in x[:, None]]),
    "lstm": lambda x: _recurrent(torch.lstm, x, 4, True),
    "gru": lambda x: _recurrent(torch.gru, x, 3, False),
    "rnn": lambda x: _recurrent(torch.rnn_tanh, x, 1, True),
    "glu": lambda x: F.glu(F.linear(x, torch.cat([W, V]))),
    "swiglu": lambda x: F.silu(F.linear(x, W)) * F.linear(x, V),
    "residual": lambda x: x + F.relu(F.linear(x, W)),
    "residual in place": lambda x: F.linear(x, W).add_(x),
    "+=": lambda x: _plus_equals(F.linear(x, W), x),
    "matmul": lambda x: x @ F.linear(x, W).transpose(1, 2),
    "einsum": lambda x: torch.einsum("nld,nmd->nlm", x, F.linear(x, W)),
    "bmm": lambda x: torch.bmm(x, F.linear(x, W).transpose(1, 2)),
    "baddbmm": lambda x: torch.baddbmm(torch.zeros(1).double(), x, F.linear(x, W).transpose(1, 2)),
    "addcmul": lambda x: torch.addcmul(x, x, F.linear(x, W)),
    "max pool": lambda x: F.max_pool1d(x, 2),
    "average pool": lambda x: F.adaptive_avg_pool1d(x, 3),
    "amax": lambda x: x.amax(-1),
    "cat, roll, pad": lambda x: F.pad(torch.cat([x.roll(1, 1), x], 1), (1, 1)),
    "interpolate": lambda x: F.interpolate(x, scale_factor=2.0, mode="linear", align_corners=False),
    "attention weights held": lambda x: torch.softmax(x @ x.transpose(1, 2), -1) @ F.linear(x, W),
    "fused attention": lambda x: F.scaled_dot_product_attention(F.linear(x, W), F.linear(x, V), x),
    "layer scale": lambda x: W[0] * x,
    "conv, batch norm": lambda x: F.batch_norm(
        F.conv1d(x, W[:4, :4, None]), torch.zeros(4).double(), W[0, :4].abs(), W[1, :4], None
    ),
    "transposed conv": lambda x: F.conv_transpose1d(x, W[:4, :4, None], stride=2),
    "conv same": lambda x: F.conv1d(x, W[:4, :8].view(4, 4, 2), padding="same"),
}


def _mixed(x: Tensor) -> Tensor:
    """Conditional convolution: a weight that gates mix from several."""
    gates = torch.sigmoid(F.linear(x.mean(1), V[:2]))
    return F.conv1d(x, (gates @ torch.stack([W, V])[:, :4, :4].flatten(1)).view(4, 4, 1))


def _recurrent(function: Callable[..., tuple[Tensor, ...]], x: Tensor, gates: int, bidirectional: bool) -> Tensor:
    """A layer of three units each way, without biases."""
    ways = 2 if bidirectional else 1
    weights = [m for _ in range(ways) for m in (W.repeat(2, 1)[: 3 * gates], V.repeat(2, 1)[: 3 * gates, :3])]
    start = torch.zeros(ways, 2, 3).double()
    start = (start, start) if function is torch.lstm else start
    return function(x, start, weights, False, 1, 0.0, False, bidirectional, True)[0]


def _plus_equals(x: Tensor, y: Tensor) -> Tensor:
    x += y
    return x


@pytest.mark.parametrize("name", CONSERVING)
def test_values_stay_and_relevance_is_conserved(name: str) -> None:
    function, x = CONSERVING[name], torch.randn(2, 4, 8).double()
    r, y = relevance(function, x)
    torch.testing.assert_close(y, function(x.clone()))
    assert y.abs().sum() > 0
    torch.testing.assert_close(r.sum(), y.sum(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["gate", "broadcast gate", "glu", "swiglu"])
def test_uniform_gates_conserve_too(name: str) -> None:
    x = torch.randn(2, 4, 8).double()
    r, y = relevance(CONSERVING[name], x, Composite(gate="uniform"))
    torch.testing.assert_close(r.sum(), y.sum(), rtol=1e-4, atol=1e-4)


def test_a_signal_takes_all_of_a_gated_product() -> None:
    x = torch.randn(2, 4, 8).double()
    gate = torch.sigmoid(F.linear(x, V))
    signal, _ = relevance(CONSERVING["gate"], x)
    expected, _ = relevance(lambda x: F.linear(x, W) * gate, x)
    torch.testing.assert_close(signal, expected)


def test_softmax_by_taylor_does_not_conserve_and_this_is_by_how_much() -> None:
    """AttnLRP, Proposition 3.1: R_i = x_i (R_i' - s_i sum_j R_j'), with R' = s g the relevance of the output."""
    x, g = torch.randn(5, 7).double(), torch.randn(5, 7).double()
    s = x.softmax(-1)
    out = s * g
    r, _ = relevance(lambda x: x.softmax(-1) * g, x, ATTN)
    torch.testing.assert_close(r, x * (out - s * out.sum(-1, keepdim=True)))
    assert (r.sum() - out.sum()).abs() > 0.1


@pytest.mark.parametrize("composite", [CP, ATTN], ids=["cp", "attnlrp"])
@pytest.mark.parametrize("masked", [False, True])
def test_fused_attention_is_open_attention(composite: Composite, masked: bool) -> None:
    mask = torch.randn(4, 4).double() if masked else None

    def fused(x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x @ W, x @ V, x, mask)

    def opened(x: Tensor) -> Tensor:
        scores = (x @ W) @ (x @ V).transpose(1, 2) / 8**0.5
        return (scores if mask is None else scores + mask).softmax(-1) @ x

    x = torch.randn(2, 4, 8).double()
    for a, b in zip(relevance(fused, x, composite), relevance(opened, x, composite), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("composite", ["cp-lrp", "attnlrp"])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("separate", [False, True])
def test_multi_head_attention_is_opened_faithfully(
    composite: str, batch_first: bool, need_weights: bool, separate: bool
) -> None:
    kwargs = {"kdim": 8, "vdim": 8} if not separate else {"kdim": 6, "vdim": 6}
    attention = nn.MultiheadAttention(8, 2, batch_first=batch_first, **kwargs).double().eval().requires_grad_(False)
    padding = torch.tensor([[False, False, False, True], [False] * 4])
    causal = torch.ones(4, 4).triu(1).bool()

    def attend(x: Tensor) -> Tensor:
        other = x[..., :6] if separate else x
        out, weights = attention(
            x, other, other, need_weights=need_weights, attn_mask=causal,
            key_padding_mask=padding if batch_first else None,
        )  # fmt: skip
        assert (weights is not None) == need_weights
        return out

    x = torch.randn(2, 4, 8).double() if batch_first else torch.randn(4, 3, 8).double()
    r, y = relevance(attend, x, COMPOSITES[composite])
    torch.testing.assert_close(y, attend(x))
    assert r.abs().sum() > 0


@pytest.mark.parametrize("composite", ["epsilon-plus", "cp-lrp-gamma", "alpha2-beta1"])
def test_batch_norm_is_merged_into_the_convolution_before_it(composite: str) -> None:
    """The rule sees one convolution: the same relevance as for weights that were merged by hand."""
    x = torch.randn(2, 4, 9).double()
    w, scale, shift = torch.randn(6, 4, 3).double(), torch.randn(6).double(), torch.randn(6).double()
    mean, var = torch.randn(6).double(), torch.rand(6).double() + 0.5
    k = scale / (var + 1e-5).sqrt()

    def apart(x: Tensor) -> Tensor:
        return F.relu(F.batch_norm(F.conv1d(x, w), mean, var, scale, shift))

    def merged(x: Tensor) -> Tensor:
        return F.relu(F.conv1d(x, w * k[:, None, None], shift - mean * k))

    for a, b in zip(
        relevance(apart, x, COMPOSITES[composite]), relevance(merged, x, COMPOSITES[composite]), strict=True
    ):
        torch.testing.assert_close(a, b)
