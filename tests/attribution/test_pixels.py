"""Normalised outside the network or in it, in whichever way: the same logits, and the same map."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import functional as vision

from saywhy.attribution import attribute
from saywhy.attribution.account import CONSTANTS
from saywhy.attribution.composites import COMPOSITES
from saywhy.attribution.lrp import lrp, trace
from saywhy.classifiers.classifier import Classifier
from tests.attribution.test_lrp import Attends
from tests.helpers import TRANSFORM, TinyNet, silence_biases

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
M, S = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))
RANGE = (torch.zeros(3), torch.ones(3))


def by_module() -> nn.Module:
    """A BatchNorm that is not trained."""
    norm = nn.BatchNorm2d(3, eps=0.0, affine=False)
    norm.running_mean, norm.running_var = torch.tensor(MEAN), torch.tensor(STD) ** 2
    return norm


def by_convolution(grouped: bool) -> nn.Module:
    convolution = nn.Conv2d(3, 3, 1, groups=3 if grouped else 1)
    with torch.no_grad():
        weight = 1 / torch.tensor(STD)
        convolution.weight.copy_((weight[:, None] if grouped else weight.diag())[..., None, None])
        convolution.bias.copy_(-torch.tensor(MEAN) * weight)
    return convolution


def by_slices(x: Tensor) -> Tensor:
    """As torchvision's GoogLeNet and Inception do."""
    return torch.cat([(x[:, c].unsqueeze(1) - MEAN[c]) / STD[c] for c in range(3)], 1)


def in_place(x: Tensor) -> Tensor:
    x = x.clone()
    x.sub_(M).div_(S)
    return x


def by_tokens(x: Tensor) -> Tensor:
    """Of pixels whose channels are the last axis."""
    return ((x.permute(0, 2, 3, 1) - M.flatten()) / S.flatten()).permute(0, 3, 1, 2).contiguous()


def turned_round(x: Tensor) -> Tensor:
    """By a negative factor, which puts white below black."""
    return (M - x) * (-1 / S)


WAYS: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    "operators": lambda: lambda x: (x - M) / S,
    "one factor and shift": lambda: lambda x: x.mul(1 / S).add(-M / S),
    "in place": lambda: in_place,
    "in place on what it is given": lambda: lambda x: x.sub_(M).div_(S),
    "torchvision": lambda: lambda x: vision.normalize(x, list(MEAN), list(STD)),
    "batch norm": by_module,
    "depthwise convolution": lambda: by_convolution(True),
    "diagonal convolution": lambda: by_convolution(False),
    "slices": lambda: by_slices,
    "channels last": lambda: by_tokens,
    "turned round": lambda: turned_round,
}


class Padded(TinyNet):
    """A network that pads by itself, as TensorFlow's do."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.pad(x, (0, 3, 0, 3)))


class Inside(nn.Module):
    def __init__(self, way: Callable[[Tensor], Tensor], network: nn.Module) -> None:
        super().__init__()
        self.way, self.network = way, network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(self.way(x))


def explained(network: nn.Module, x: Tensor, composite: str, ends: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return lrp(network.eval(), x.clone(), lambda y: y[:, 1], COMPOSITES[composite], ends)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("composite", COMPOSITES)
def test_inside_or_outside_the_map_is_the_same(way: str, composite: str) -> None:
    network, pixels = Attends() if composite.startswith("attnlrp") else Padded(), torch.rand(2, 3, 32, 32)
    pixels[0, :, :4] = 0  # black, and one value that is normalised to zero
    pixels[1, 0, :4] = MEAN[0]
    black, white = ((side - torch.tensor(MEAN)) / torch.tensor(STD) for side in RANGE)
    expected, logits = explained(network, (pixels - M) / S, composite, (black, white))
    relevance, same = explained(Inside(WAYS[way](), network), pixels, composite, RANGE)
    torch.testing.assert_close(same, logits)
    torch.testing.assert_close(relevance, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_padding_before_the_normalisation_is_counted_with_the_constants() -> None:
    way = WAYS["operators"]()
    network = Inside(lambda x: way(nn.functional.pad(x, (2, 2, 2, 2))), silence_biases(TinyNet())).double().eval()
    found = trace(network, torch.rand(2, 3, 32, 32).double(), lambda y: y[:, 1], COMPOSITES["epsilon"])
    taken = found.account.totals(CONSTANTS)
    assert taken.abs().min() > 1e-6
    torch.testing.assert_close(found.relevance.sum((1, 2, 3)) + taken, found.logits, rtol=1e-4, atol=1e-8)


def test_what_reads_the_raw_pixels_too_is_counted_beside() -> None:
    """Two stems, one of raw and one of normalised pixels: the map is the sum of theirs."""

    class Stems(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.raw, self.normalised, self.pool = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1)

        def forward(self, x: Tensor) -> Tensor:
            return self.pool(self.raw(x) + self.normalised((x - M) / S)).flatten(1)

    stems, x = Stems(), torch.rand(1, 3, 8, 8)
    found, _ = explained(stems, x, "epsilon", RANGE)
    first, _ = explained(nn.Sequential(stems.raw, stems.pool, nn.Flatten()), x, "epsilon", RANGE)
    second, _ = explained(nn.Sequential(stems.normalised, stems.pool, nn.Flatten()), (x - M) / S, "epsilon", RANGE)
    torch.testing.assert_close(found, first + second)


@pytest.mark.parametrize("change", [
    lambda x: nn.functional.avg_pool2d(x, 3, 1, 1),
    lambda x: x + torch.linspace(0, 1, x[0].numel()).view(x[0].shape),
    lambda x: x - x.mean((1, 2, 3), keepdim=True),
], ids=["blurred", "a picture added", "its own mean"])  # fmt: skip
def test_what_is_no_normalisation_is_part_of_the_network(change: Callable[[Tensor], Tensor]) -> None:
    network, x = TinyNet(), torch.rand(1, 3, 32, 32)
    relevance, _ = explained(Inside(change, network), x, "epsilon", RANGE)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network.eval()(change(leaf))[:, 1].sum(), leaf)
    torch.testing.assert_close(relevance, x * gradient)


def test_a_network_that_normalises_in_place_leaves_the_pixels_as_they_are() -> None:
    classifier = Classifier.from_module(Inside(WAYS["in place on what it is given"](), TinyNet()), transform=TRANSFORM)
    pixels = torch.rand(2, 3, 32, 32)
    before = pixels.clone()
    classifier.logits(pixels), classifier.features(pixels)
    for composite in ("epsilon-plus", "epsilon-gamma-box"):
        attribute(classifier, pixels, target=1, composite=composite)
    assert torch.equal(pixels, before)
