"""Influence: by hand on a linear network, zero where nothing depends on a channel, and a floor of copies untrained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from saywhy.channel_influence import DecisiveChannels, InfluenceMeter
from saywhy.class_evidence import EVIDENCE, class_evidence
from saywhy.classifiers import Classifier
from saywhy.errors import SaywhyError
from saywhy.modules import untrained
from saywhy.worlds.digits import digits
from tests.networks import pixels, resnet, vit


class Linear(nn.Module):
    """Channels by a convolution, summed over positions with a weight of each class and position."""

    def __init__(self, channels: int = 6, classes: int = 3, side: int = 4) -> None:
        super().__init__()
        self.maps = nn.Conv2d(3, channels, 1)
        self.head = nn.Linear(channels * side * side, classes)
        with torch.no_grad():
            self.head.weight.unflatten(1, (channels, side, side))[:, 2] = 0  # one that no class looks at
            self.head.weight.unflatten(1, (channels, side, side))[:, 4] = 0.7  # one that all classes look at alike

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.maps(x).flatten(1))


def influence(network: nn.Module, layers: Sequence[str], *batches: Tensor) -> dict[str, Tensor]:
    meter = InfluenceMeter(network, layers)
    for batch in batches:
        meter.add(batch)
    return meter.influence()


@torch.no_grad()
def by_hand(network: Linear, x: Tensor, mean_of: Tensor) -> Tensor:
    maps, mean = network.maps(x), network.maps(mean_of).mean((0, 2, 3), keepdim=True)
    weight = network.head.weight.unflatten(1, maps.shape[1:])
    margin = weight[network(x).argmax(1)] - weight.mean(0)
    return ((maps - mean) * margin).sum((2, 3)).double().square().mean(0).sqrt()


def test_on_a_linear_network_it_is_what_the_channel_moves() -> None:
    network, x = Linear(), pixels(12, 4)
    found = influence(network, ["maps"], x)["maps"]
    torch.testing.assert_close(found, by_hand(network, x, x), rtol=1e-5, atol=1e-6)
    assert found[2] == 0
    assert found[4] < 1e-6
    assert (found[[0, 1, 3, 5]] > 1e-3).all()


def test_batches_are_centred_by_the_first_of_them() -> None:
    """In pieces it is the same only as far as the first piece's mean is that of all; which it is here, nearly."""
    network, x = Linear(), pixels(200, 4)
    whole = influence(network, ["maps"], x)["maps"]
    pieces = influence(network, ["maps"], *x.split(60))["maps"]
    torch.testing.assert_close(pieces, by_hand(network, x, x[:60]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(pieces, whole, rtol=0.1, atol=1e-6)
    twice = influence(network, ["maps"], x, *x.split(60))["maps"]
    torch.testing.assert_close(twice, whole, rtol=1e-5, atol=1e-6)


def test_a_channel_that_is_added_to_all_classes_alike_decides_nothing() -> None:
    network = resnet()
    head = network.get_submodule("fc")
    with torch.no_grad():
        head.get_parameter("weight")[:, :7] = 3
        head.get_parameter("weight")[:, 7:9] = 0
    found = influence(network, ["layer4"], pixels(6))["layer4"]
    assert found[:9].max() < 1e-4
    assert found[9:].max() > 1e-2


def test_tokens_class_tokens_and_layers_in_place() -> None:
    network, x = vit(), pixels(3)
    found = influence(network, ["blocks.2", "blocks.2:class", "blocks.5", "blocks.5:class"], x)
    assert all(one.shape == (64,) and one.dtype == torch.float64 for one in found.values())
    assert found["blocks.5"].max() == 0  # after the last block only the class token is read
    assert all(found[name].min() > 0 for name in ("blocks.2", "blocks.2:class", "blocks.5:class"))
    network = resnet()
    named = ["conv1.2", "bn1", "act1", "layer1.0.act2", "layer1"]  # ReLUs work in place on what is before them
    assert all(bool(one.any()) for one in influence(network, named, x).values())


class Aside(nn.Module):
    """Layers that no logit depends on, that do not depend on the picture, that return more, and that never run."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.unread, self.never = (nn.Conv2d(3, 4, 1) for _ in range(3))
        self.constant, self.dictionary = Constant(), Dictionary()
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.unread(x)
        self.dictionary(x)
        maps = self.body(x)
        return self.head((maps + self.constant(maps)).mean((2, 3)))


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)


class Dictionary(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"map": x}


def test_what_nothing_depends_on_has_no_influence() -> None:
    found = influence(Aside(), ["body", "unread", "constant"], pixels(4, 8))
    assert found["body"].min() > 0
    assert not found["unread"].any()
    assert not found["constant"].any()


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("never", "layer never does not run"), ("dictionary", "its output, dict, is not a map"),
        ("head", "layer head: its output of shape .* is not a map"), ("heads", "no layer 'heads'; head"),
        ("body:class", "has no class token"),
    ],
)  # fmt: skip
def test_layers_that_cannot_be_measured_are_refused(layer: str, message: str) -> None:
    with pytest.raises(SaywhyError, match=message):
        influence(Aside(), [layer], pixels(2, 8))
    with pytest.raises(SaywhyError, match=message):
        influence(Aside(), ["body", layer], pixels(2, 8))


def test_a_network_without_gradients_is_refused() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = resnet()

        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)

    with pytest.raises(SaywhyError, match="Fixed runs without gradients"):
        influence(Fixed(), ["inner.layer4"], pixels(1))


def test_the_network_is_given_back_as_it_was() -> None:
    network = resnet().train()
    network.get_submodule("layer2").eval()
    network.get_submodule("fc").requires_grad_(False)

    def state() -> Any:
        return (
            [module.training for module in network.modules()],
            [(p.requires_grad, p.grad is None) for p in network.parameters()],
            sum(len(m._forward_hooks) for m in network.modules()),
            [tensor.tolist() for tensor in network.state_dict().values()],
        )

    before, x = state(), pixels(2)
    with torch.no_grad():  # as where it is called from
        assert influence(network, ["layer4"], x)["layer4"].any()
    assert state() == before
    assert not x.requires_grad
    for layers, wrong in ((["layer4"], torch.zeros(1, 7, 64, 64)), (["layer4", "fc"], x), (["layer4", "none"], x)):
        with pytest.raises((RuntimeError, SaywhyError)):
            influence(network, layers, wrong)
        assert state() == before


# -- decisive ones ----------------------------------------------------------------------------------------------------


def decisive(network: nn.Module, layers: Sequence[str], *batches: Tensor, copies: int = 2) -> dict[str, Tensor]:
    found = DecisiveChannels(network, layers, copies)
    for batch in batches:
        found.add(batch)
    assert found.images == sum(len(batch) for batch in batches)
    return found.masks()


def coloured() -> tuple[Classifier, Tensor]:
    from PIL import Image

    classifier = Classifier.load("world:digits-coloured", device="cpu")
    test = digits("test", 0.0, 64)
    return classifier, classifier.preprocess([Image.fromarray(one) for one in test.pixels])


def test_a_trained_network_has_decisive_channels_and_an_untrained_one_hardly_any() -> None:
    classifier, x = coloured()
    layers = ["layer3", "layer4"]
    trained = decisive(classifier.network, layers, x[:32], x[32:])
    assert all(mask.dtype == torch.bool for mask in trained.values())
    assert trained["layer4"].float().mean() > 0.2
    for seed in (100, 101):
        mask = decisive(untrained(classifier.network, seed), layers, x[:32])["layer4"]
        assert mask.float().mean() < 0.1


def test_so_it_is_with_evidence() -> None:
    """Which has few channels: an untrained network's may surpass both copies' by chance, a trained one's do always."""
    classifier, x = coloured()
    evidence = class_evidence(classifier, x)
    assert decisive(evidence, [EVIDENCE], x)[EVIDENCE].all()
    chosen = [bool(decisive(untrained(evidence, 100 + n), [EVIDENCE], x[:32])[EVIDENCE].any()) for n in range(5)]
    assert sum(chosen) <= 3


def test_class_tokens_may_be_decisive() -> None:
    """Of a ViT whose head is ten times as strong as it is drawn."""
    network, x = vit(), pixels(4)
    with torch.no_grad():
        for parameter in network.get_submodule("head").parameters():
            parameter.mul_(30)
    found = decisive(network, ["blocks.5", "blocks.5:class"], x)
    assert not found["blocks.5"].any()
    assert found["blocks.5:class"].any()
