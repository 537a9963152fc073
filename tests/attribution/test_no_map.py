"""A network whose relevance cannot be followed is refused in one line by every method that needs it: no wrong map."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import transforms

from saywhy.attribution import attribute
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError

TRANSFORM = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
PIXELS = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def layers() -> list[nn.Module]:
    body = [nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return [*body, nn.Linear(8, 3)]


def explained(network: nn.Module, **options: Any) -> Tensor:
    return attribute(Classifier.from_module(network, transform=TRANSFORM), PIXELS, target=1, **options).values


class _Swish(torch.autograd.Function):
    """As EfficientNet-PyTorch writes it, to save memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        gate = x.sigmoid()
        return gradient * gate * (1 + x * (1 - gate))


class Swish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return _Swish.apply(x)


class Cut(nn.Module):
    """A frozen backbone, written as one often writes it."""

    def __init__(self, by: str) -> None:
        super().__init__()
        self.stem, self.backbone, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1), nn.Linear(8, 3)
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if self.by == "detach":
            x = self.backbone(x.detach())
        else:
            with torch.no_grad():
                x = self.backbone(x)
        return self.head(x.relu().mean((2, 3)))


@pytest.mark.parametrize("make", [torch.jit.script, lambda net: torch.jit.trace(net.eval(), PIXELS)])
def test_scripted_networks_hide_their_functions(make: Any) -> None:
    network = make(nn.Sequential(*layers()))
    with pytest.raises(SaywhyError, match=r"hides its functions \(torch.jit\).* explain the plain module"):
        explained(network)
    assert explained(network, method="gradient-x-input").any()  # needs to see no function


def test_an_autograd_function_of_ones_own_is_named() -> None:
    network = nn.Sequential(*layers())
    network[2] = Swish()
    with pytest.raises(SaywhyError, match="computes _Swish by an autograd function of its own"):
        explained(network)
    assert explained(network, method="integrated-gradients").any()
    network[2] = nn.SiLU()
    assert explained(network).any()


@pytest.mark.parametrize("by", ["detach", "no_grad"])
@pytest.mark.parametrize("method", ["lrp", "gradient-x-input", "integrated-gradients", "grad-cam"])
def test_a_gradient_that_is_cut_is_said_with_the_place(by: str, method: str) -> None:
    with pytest.raises(SaywhyError, match=r"Cut cuts the gradient after stem, by torch\.no_grad, detach"):
        explained(Cut(by), method=method)


@pytest.mark.parametrize("method", ["lrp", "gradient-x-input"])
def test_quantised_layers_are_named(method: str) -> None:
    network = torch.ao.quantization.quantize_dynamic(nn.Sequential(*layers()).eval(), {nn.Linear})
    with pytest.raises(SaywhyError, match="quantised"):
        explained(network, method=method)
