"""The device that is asked for, or one sentence that says that it is not here."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from saywhy.errors import SaywhyError
from saywhy.plumbing.devices import choose_device, device_of, dtype_of


@pytest.mark.parametrize("gpu", [True, False])
@pytest.mark.parametrize("name", [None, ""])
def test_a_gpu_where_there_is_one(name: str | None, gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert choose_device(name) == torch.device("cuda" if gpu else "cpu")


@pytest.mark.parametrize("name", ["cpu", torch.device("cpu")])
def test_the_device_that_is_named(name: str | torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device(name) == torch.device("cpu")


@pytest.mark.parametrize("name", ["nonsense", "cuda:99", "cuda:x", "hpu", "xpu", "meta", " ", torch.device("cuda", 99)])
def test_a_device_that_is_not_here(name: str | torch.device) -> None:
    """hpu: torch looks for a module of that name; xpu: an assertion; meta: it is there, and holds no numbers."""
    with pytest.raises(SaywhyError) as caught:
        choose_device(name)
    assert str(caught.value) == f"there is no device {str(name)!r} here; cpu is always there, cuda where a GPU is"


def test_a_full_device_is_not_called_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(torch.OutOfMemoryError):
        choose_device("cpu")


def test_where_a_network_is_and_what_it_computes_in() -> None:
    network = nn.Linear(2, 2)
    assert (device_of(network), dtype_of(network)) == (torch.device("cpu"), torch.float32)
    assert dtype_of(network.double()) == torch.float64
    assert device_of(network.to("meta")) == torch.device("meta")


def test_a_network_without_parameters() -> None:
    assert (device_of(nn.ReLU()), dtype_of(nn.ReLU())) == (torch.device("cpu"), torch.float32)


def test_whole_numbers_are_not_what_a_network_computes_in() -> None:
    packed = nn.Parameter(torch.zeros(2, dtype=torch.int8), requires_grad=False)
    assert dtype_of(nn.ParameterList([packed, torch.zeros(2, dtype=torch.float16)])) == torch.float16
    assert dtype_of(nn.ParameterList([packed])) == torch.float32
