"""Networks are given back as they were found, and a copy that has learned nothing is one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from saywhy.classifiers.borrowing import frozen, untrained
from tests.networks import pixels, resnet, swin, vit


def test_frozen_and_given_back_even_after_an_error() -> None:
    network = resnet().train()
    network.get_submodule("layer2").eval()
    network.get_submodule("fc").requires_grad_(False)

    def state() -> tuple[list[bool], list[bool]]:
        return [m.training for m in network.modules()], [p.requires_grad for p in network.parameters()]

    before = state()
    with frozen(network) as same:
        assert same is network
        assert not any(state()[0] + state()[1])
    assert state() == before
    with pytest.raises(ZeroDivisionError), frozen(network):
        raise ZeroDivisionError
    assert state() == before


def values(network: nn.Module) -> list[Tensor]:
    return [tensor.clone() for tensor in network.state_dict().values()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("make", [resnet, vit, swin])
def test_a_copy_is_drawn_by_its_seed_and_leaves_everything_alone(make: Callable[[], nn.Module]) -> None:
    network = make()
    before, state = values(network), torch.get_rng_state()
    copies = [untrained(network, seed) for seed in (1, 1, 2)]
    assert same(values(network), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert same(values(copies[0]), values(copies[1]))
    assert not same(values(copies[0]), values(copies[2]))
    x = pixels(2)
    with torch.no_grad():
        one, _, other = (copy(x) for copy in copies)
    assert torch.isfinite(one).all()
    assert not torch.allclose(one, other)
    assert copies[0].training == network.training


def test_every_weight_is_another_and_statistics_are_none() -> None:
    network = resnet()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))
    copy = untrained(network, 0)
    for (name, parameter), own in zip(copy.named_parameters(), network.parameters(), strict=True):
        assert not torch.equal(parameter, own), name
    for module in copy.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            assert not module.running_mean.any()
            assert (module.running_var == 1).all()
            assert (module.weight == 1).all()


def test_what_no_layer_draws_has_its_own_values_dealt_anew() -> None:
    network = vit()
    with torch.no_grad():
        network.get_parameter("cls_token").normal_()
    copy = untrained(network, 0)
    for name in ("cls_token", "pos_embed"):
        own, dealt = (some.get_parameter(name).flatten() for some in (network, copy))
        assert not torch.equal(own, dealt)
        assert torch.equal(own.sort().values, dealt.sort().values)


def test_modes_and_requirements_are_those_of_the_network() -> None:
    network = resnet().half()
    network.get_submodule("layer2").train()
    network.get_submodule("fc").requires_grad_(False)
    copy = untrained(network, 0)
    for a, b in zip(copy.modules(), network.modules(), strict=True):
        assert a.training == b.training
    for p, q in zip(copy.parameters(), network.parameters(), strict=True):
        assert (p.requires_grad, p.dtype) == (q.requires_grad, q.dtype)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_copy_on_a_gpu_leaves_its_generator_alone() -> None:
    network, state = resnet().cuda(), torch.cuda.get_rng_state()
    copies = [untrained(network, 1) for _ in range(2)]
    assert torch.equal(torch.cuda.get_rng_state(), state)
    assert same(values(copies[0]), values(copies[1]))
