"""Networks are given back as they were found, and a copy that has learned nothing is one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from saywhy.classifiers.borrowing import borrowed, frozen, shadow, untrained
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


class Knotted(nn.Module):
    """Modules where a tree of modules does not show them: lists, dicts, bound methods, partial functions, itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.again = self.first  # shared
        self.listed = [self.second, (self.first,)]
        self.named = {"second": self.second}
        self.method = self.second.forward
        self.later = partial(self.first.forward)
        self.norm = nn.BatchNorm1d(4)
        self.__dict__["whole"] = self

    def forward(self, x: Tensor) -> Tensor:
        x = self.later(self.method(self.named["second"](self.listed[0](self.again(x)))))
        return self.norm(self.listed[1][0](x))


def test_a_shadow_reaches_every_module_and_parameter() -> None:
    network = Knotted().train()
    twin: Any = shadow(network)
    assert twin.whole is twin
    assert twin.again is twin.first is twin.listed[1][0] is not network.first
    assert twin.named["second"] is twin.listed[0] is twin.method.__self__ is twin.second
    assert twin.later.func.__self__ is twin.first
    assert not any(parameter.requires_grad for parameter in twin.parameters())
    assert not any(module.training for module in twin.modules())
    leaf = torch.randn(3, 4, requires_grad=True)
    twin(leaf).sum().backward()
    assert leaf.grad is not None
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert all(module.training for module in network.modules())
    assert int(network.norm.num_batches_tracked) == 0


@pytest.mark.parametrize("make", [resnet, vit, swin])
def test_a_shadow_is_the_network_with_the_same_memory(make: Callable[[], nn.Module]) -> None:
    network, x = make().eval(), pixels(2)
    twin = shadow(network)
    with torch.no_grad():
        assert torch.equal(twin(x), network(x))
        for parameter in network.parameters():
            parameter.mul_(1.1)
        assert torch.equal(twin(x), network(x))  # trained on: seen at once
    assert [name for name, _ in twin.named_modules()] == [name for name, _ in network.named_modules()]
    assert all(a.data_ptr() == b.data_ptr() for a, b in zip(twin.parameters(), network.parameters(), strict=True))


def test_hooks_of_the_network_run_and_those_of_the_shadow_stay_with_it() -> None:
    network, calls = resnet(), []
    network.register_forward_hook(lambda *_: calls.append("network"))
    with borrowed(network) as twin:
        twin.register_forward_hook(lambda *_: calls.append("shadow"))
        twin(pixels(1))
    assert calls == ["network", "shadow"]
    network(pixels(1))
    assert calls == ["network", "shadow", "network"]


def test_a_scripted_network_is_lent_itself_and_given_back() -> None:
    network = torch.jit.script(nn.Sequential(nn.Linear(4, 4))).train()
    with borrowed(network) as same:
        assert same is network
        assert not network.training
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())


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
