"""The check that comes with a map: what adds up is quiet, what does not is said with its place, no map has a reason."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from saywhy.attribution import METHODS, MapWarning, attribute
from saywhy.attribution.composites import COMPOSITES, Composite
from saywhy.attribution.rules import Epsilon
from saywhy.attribution.self_check import arrives, said
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.pictures.reading import read_picture
from saywhy.types import Heatmap, MapCheck
from tests.attribution.test_account import Branches, TokensFirst, biased
from tests.helpers import TRANSFORM, TinyNet

PIXELS = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def mapped(network: nn.Module, pixels: Tensor = PIXELS, **options: Any) -> Heatmap:
    return attribute(Classifier.from_module(network, transform=TRANSFORM), pixels, **{"target": 1} | options)


def checked(network: nn.Module, pixels: Tensor = PIXELS, **options: Any) -> MapCheck:
    """The first picture's check; whatever is wrong is not warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MapWarning)
        return mapped(network, pixels, **options).checks[0]


class Body(nn.Module):
    """A network with one function in its middle."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.stem, self.act = nn.Conv2d(3, 8, 3, 2, 1), Called(function)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.stem(x)).mean((2, 3)))


class Called(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


# -- maps that add up -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [TinyNet, TokensFirst])
@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.filterwarnings("error::saywhy.attribution.MapWarning")
def test_a_map_that_adds_up_is_no_alarm(network: type[nn.Module], composite: str) -> None:
    found = mapped(biased(network()), composite=composite)
    for n, check in enumerate(found.checks):
        assert check.holds
        assert check.explained == pytest.approx(found.logits[n])
        assert check.relevance == pytest.approx(float(found.values[n].sum()), rel=1e-3, abs=1e-4)
        assert abs(check.lost) < 1e-4 * check.scale
    assert found[1].checks == found.checks[1:2]


@pytest.mark.slow
@pytest.mark.parametrize("composite", [None, "epsilon"])
@pytest.mark.parametrize("source", ["timm:{}/models/mobilenetv2_imagenet", "world:aviary", "world:aviary/vit"])
@pytest.mark.filterwarnings("error::saywhy.attribution.MapWarning")
def test_no_photograph_is_an_alarm(source: str, composite: str | None, pack: Path) -> None:
    classifier = Classifier.load(source.format(pack))
    paths = sorted((pack / "imagenet-samples" / "images").iterdir())[:100]
    found = attribute(classifier, [read_picture(path) for path in paths], composite=composite)
    assert len(found.checks) == 100
    assert max(abs(check.lost / check.explained) for check in found.checks if check.explained) < 1e-4


@pytest.mark.filterwarnings("error::saywhy.attribution.MapWarning")
def test_a_logit_near_zero_is_no_alarm() -> None:
    network = biased(TinyNet())
    with torch.no_grad():
        logits = network.eval()(PIXELS[:1])[0]
        network.head.bias[1] -= logits[1] - 1e-6
    (check,) = mapped(network, PIXELS[:1], composite="epsilon").checks
    assert abs(check.explained) < 1e-5 < 1e-2 < check.scale
    assert "of the logit, which is" in said(check)


def test_integrated_gradients_account_for_the_way_from_the_baseline() -> None:
    network = biased(TinyNet())
    check = checked(network, method="integrated-gradients", steps=200)
    with torch.no_grad():
        logits = network.eval()(torch.cat([PIXELS[:1], torch.zeros_like(PIXELS[:1])]))[:, 1]
    assert check.holds
    assert check.explained == pytest.approx(float(logits[0] - logits[1]), rel=1e-4)
    assert check.relevance == pytest.approx(check.explained, rel=0.02)


def test_methods_that_promise_nothing_are_not_held_to_it() -> None:
    check = checked(Body(torch.exp), method="gradient-x-input")
    assert check.holds
    assert check.allowed is None
    assert checked(TinyNet(), method="grad-cam").explained is None
    assert said(checked(TinyNet(), method="grad-cam")) == ""


# -- maps that do not ------------------------------------------------------------------------------------------------


def test_a_function_without_a_rule_is_said_with_its_place() -> None:
    with pytest.warns(MapWarning, match=r"bird\.jpg: the map accounts for .* is lost, most of it by exp in act, which"):
        mapped(Body(torch.exp), PIXELS[:1], names=["bird.jpg"])


def test_a_rule_that_does_not_conserve_is_said_with_its_layer() -> None:
    """A large epsilon keeps relevance to itself, also where a BatchNorm is merged into the convolution."""
    check = checked(biased(TinyNet()), composite=Composite(convolution=Epsilon(0.5)))
    assert not check.holds
    assert re.fullmatch(r"most of it by conv2d in body\.[03], whose rule does not conserve there", check.reason)


def test_parts_that_cancel_beyond_all_rounding_are_said() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 2, bias=False))
    with torch.no_grad():
        network[1].weight.zero_()[1, :2] = torch.tensor([1e9, -1e9])
    with pytest.warns(MapWarning, match="the map is noise: its parts, of 2e\\+09 together, cancel to a logit"):
        mapped(network, torch.ones(1, 3, 32, 32))


@pytest.mark.parametrize("by", ["detach", "no_grad"])
def test_a_branch_that_is_cut_is_said_with_its_place(by: str) -> None:
    with pytest.warns(MapWarning, match=r"picture 2 of 3: .* no gradient comes back .*, cut after stem, in left"):
        mapped(biased(Branches(by)))
    with pytest.warns(MapWarning, match=r"is missing, as the gradient is cut after stem, in left"):
        mapped(biased(Branches(by)), method="integrated-gradients")


def test_a_scripted_function_is_said_to_be_unseen() -> None:
    @torch.jit.script
    def hidden(x: Tensor) -> Tensor:
        return torch.exp(x) - x * x

    check = checked(Body(hidden))
    assert not check.holds
    assert "in no function that is seen" in check.reason


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -gradient


def test_a_gradient_that_is_not_the_functions_own_is_noticed_by_integrated_gradients() -> None:
    check = checked(Body(_Reversal.apply), method="integrated-gradients")
    assert not check.holds
    assert check.relevance == pytest.approx(-check.explained, rel=0.01)


def test_a_layout_that_mixes_pictures_up_is_settled_by_the_picture_alone() -> None:
    class Mixed(nn.Module):
        """Tokens first, all in one axis: (L N, E)."""

        def __init__(self) -> None:
            super().__init__()
            self.stem, self.mix, self.head = nn.Conv2d(3, 8, 8, 8), nn.Linear(8, 8), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.stem(x).flatten(2).permute(2, 0, 1)
            return self.head(self.mix(tokens.reshape(-1, 8)).relu().view(tokens.shape).mean(0))

    network = biased(Mixed())
    with warnings.catch_warnings():
        warnings.simplefilter("error", MapWarning)
        together = mapped(network, 3 * PIXELS, composite="epsilon")
    for n, check in enumerate(together.checks):
        assert check.holds
        torch.testing.assert_close(together.values[n], mapped(network, 3 * PIXELS[n : n + 1]).values[0], atol=1, rtol=1)


# -- no map -----------------------------------------------------------------------------------------------------------


def constant(network: TinyNet) -> Tensor:
    nn.init.zeros_(network.head.weight)
    return PIXELS[:1]


def dead(network: TinyNet) -> Tensor:
    nn.init.constant_(network.body[1].bias, -100)
    return PIXELS[:1]


def black(network: TinyNet) -> Tensor:
    return torch.zeros_like(PIXELS[:1])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (constant, r"the logit is a constant, whatever .* gives: weights are zero"),
        (dead, r"the gradient vanishes in body\.2: its units are saturated"),
        (black, "the picture is zero everywhere in the network's input"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_a_map_of_zeros_is_none_and_has_a_reason(make: Any, reason: str, method: str) -> None:
    network = biased(TinyNet())
    with torch.no_grad():
        pixels = make(network)
    if method == "grad-cam" and make is not constant:
        pytest.skip("sees the last feature map, which is not zero")
    with pytest.warns(MapWarning, match=f"there is no map: {reason}"):
        found = mapped(network, pixels, method=method)
    assert found.checks[0].empty
    assert not found.values.any()


def test_a_map_of_float16_that_underflows_is_said_to() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))
    with torch.no_grad():
        network[1].weight.fill_(1e-7)
        network[1].bias.fill_(1)
    with pytest.warns(MapWarning, match="there is no map: float16 underflows; use float32 or bfloat16"):
        mapped(network.half(), torch.full((1, 3, 32, 32), 0.01))


def test_infinite_relevance_is_refused_with_its_cause() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 2, bias=False))
    with torch.no_grad():
        network[1].weight.zero_()[1, :2] = torch.tensor([300.0, -300.0])
    with pytest.raises(SaywhyError, match="map of picture 1 of 1 is not finite: float16 overflows; use float32 or bf"):
        mapped(network.half(), torch.full((1, 3, 32, 32), 300.0))


# -- the values of the pass that is explained -------------------------------------------------------------------------


class OtherwiseForBrightPictures(TinyNet):
    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if x.mean() > 0:
            y = 3 * y.relu() if y.requires_grad else y.relu()  # traced, it is another network
        return self.head(y.mean((2, 3)))


def test_a_path_that_only_a_later_picture_takes_is_compared_too() -> None:
    network = OtherwiseForBrightPictures()
    classifier = Classifier.from_module(network, transform=TRANSFORM)
    assert attribute(classifier, PIXELS - 1, target=1).checks[0].holds
    with pytest.raises(SaywhyError, match="computes different values while its relevance is traced"):
        attribute(classifier, PIXELS + 1, target=1)


class Capped(TinyNet):
    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        y = y.clamp(max=1.0) if y.requires_grad else y  # traced, it is another network
        return self.head(y.mean((2, 3)))


def test_plain_logits_that_are_known_are_compared_for_every_picture() -> None:
    classifier = Classifier.from_module(biased(Capped()), transform=TRANSFORM)
    for pixels, fits in ((0.01 * PIXELS, True), (100 * PIXELS, False)):
        plain = classifier.logits(pixels)
        if fits:
            check = attribute(classifier, pixels, target=1, plain=plain).checks[0]
            assert check.difference is not None
            assert check.difference < 1e-4
        else:
            with pytest.raises(SaywhyError, match="computes different values"):
                attribute(classifier, pixels, target=1, plain=plain)


@pytest.mark.parametrize(
    ("relevance", "said_of_it"),
    [(0.002, "0.02 % of the logit arrives"), (0.2, "2 % of the logit arrives"), (0.6, ""), (9.0, "")],
)
def test_how_little_arrives_is_a_sentence(relevance: float, said_of_it: str) -> None:
    check = MapCheck(10.0, relevance, 10.0 - relevance, 0.0, 0.0, 10.0, 0.2)
    assert check.holds
    assert arrives(check).startswith(said_of_it)
    assert bool(arrives(check)) == bool(said_of_it) == ("where, not how much" in said(check))
