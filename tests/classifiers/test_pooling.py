"""Features of parts of pictures: those of the whole are the network's own; where that cannot be had there are none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saywhy.classifiers.classifier import Classifier
from saywhy.classifiers.pooling import find_pool, look
from tests.helpers import Then, TinyNet
from tests.networks import SIZE, calibrated, pixels, resnet, swin, vit


def timm(name: str, **options: int | str) -> nn.Module:
    from timm import create_model

    torch.manual_seed(0)
    return calibrated(create_model(name, num_classes=5, **options))


def torchvision(name: str) -> nn.Module:
    from torchvision import models

    torch.manual_seed(0)
    return calibrated(models.get_model(name, weights=None, num_classes=5))


class Reading(nn.Module):
    """Two convolutions, and a head on what ``read`` makes of the map (N, 16, h, w)."""

    def __init__(self, read: Callable[[Tensor], Tensor], width: int = 16) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = TinyNet().body
        self.read, self.head = read, nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.read(self.body(x)))


def classifier(network: nn.Module) -> Classifier:
    return Classifier.from_module(network.eval(), shape=(3, SIZE, SIZE), name="a network")


POOLING: dict[str, Callable[[], nn.Module]] = {
    "mean": TinyNet,
    "resnet": resnet,
    "channels last": swin,
    "a convolution and an activation behind": lambda: timm("mobilenetv3_small_050"),
    "a linear layer behind": lambda: torchvision("mobilenet_v3_small"),
    "a norm behind": lambda: timm("convnext_atto"),
    "tokens": lambda: timm("test_vit", img_size=SIZE, patch_size=8, global_pool="avg"),
    "the head first": lambda: Then(nn.Sequential(TinyNet().body, nn.Conv2d(16, 5, 1)), lambda x: x.mean((2, 3))),
    "told how many pictures": lambda: Reading(lambda m: m.mean((2, 3)).view(m.shape[0], 16).relu()),
    "by average pooling": lambda: Reading(lambda m: F.avg_pool2d(m, m.shape[2])[..., 0, 0]),
    "in place": lambda: Reading(lambda m: m.mean((2, 3)).mul_(2).relu_()),
}
OTHERS: dict[str, Callable[[], nn.Module]] = {
    "flattened maps": lambda: Reading(lambda m: F.adaptive_avg_pool2d(m, 2).flatten(1), 64),
    "the largest": lambda: Reading(lambda m: m.amax((2, 3))),
    "the mean and the largest": lambda: Reading(lambda m: torch.cat([m.mean((2, 3)), m.amax((2, 3))], 1), 32),
    "something beside it": lambda: Reading(lambda m: m.mean((2, 3)) + m.std((2, 3))),
    "a class token": vit,
    "no single picture": lambda: Reading(lambda m: m.mean((2, 3)).squeeze()),
}


@pytest.mark.parametrize("name", POOLING)
def test_of_all_places_alike_they_are_the_pictures_own(name: str) -> None:
    asked = classifier(POOLING[name]())
    batch = pixels(3)
    seen = look(asked, batch)
    assert seen.pools
    assert torch.equal(seen.features, asked.features(batch))
    assert torch.equal(seen.logits, asked.logits(batch))
    which = [2, 0, 0, 1]  # more than there are pictures, in any order
    whole = seen.pooled(torch.ones(4, SIZE, SIZE) * 7, which)
    torch.testing.assert_close(whole, seen.features[which], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(seen.pooled(torch.zeros(4, SIZE, SIZE), which), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", POOLING)
def test_parts_are_themselves_whatever_stands_beside_them(name: str) -> None:
    asked = classifier(POOLING[name]())
    batch = pixels(3)
    weights = torch.rand(5, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) ** 8
    weights[:, : SIZE // 2] = 0
    which = [0, 2, 1, 1, 0]
    parts = look(asked, batch).pooled(weights, which)
    assert not torch.allclose(parts, look(asked, batch).features[which], rtol=1e-2)
    order = [4, 1, 3, 0, 2]
    turned = look(asked, batch).pooled(weights[order], [which[n] for n in order])
    torch.testing.assert_close(turned, parts[order], rtol=1e-4, atol=1e-5)
    alone = look(asked, batch[2:]).pooled(weights[1:2], [0])
    torch.testing.assert_close(alone, parts[1:2], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", OTHERS)
def test_where_features_are_no_function_of_the_mean_there_are_none(name: str) -> None:
    asked = classifier(OTHERS[name]())
    assert find_pool(asked, (3, SIZE, SIZE)) is None
    seen = look(asked, pixels(2))
    assert not seen.pools
    assert torch.equal(seen.features, asked.features(pixels(2)))


def test_of_disjoint_parts_they_are_means_of_the_map_there() -> None:
    network = TinyNet().eval()
    batch = pixels(2)
    seen = look(classifier(network), batch)
    halves = torch.zeros(2, SIZE, SIZE)
    halves[0, :, : SIZE // 4] = halves[1, :, SIZE // 4 :] = 1
    left, right = seen.pooled(halves, [1, 1])
    with torch.no_grad():
        features = network.body(batch)[1]
    torch.testing.assert_close(left, features[..., : features.shape[2] // 4].mean((1, 2)))
    torch.testing.assert_close(right, features[..., features.shape[2] // 4 :].mean((1, 2)))
    torch.testing.assert_close(left / 4 + 3 * right / 4, seen.features[1])


def test_a_network_that_was_changed_pools_no_more_than_it_can() -> None:
    network = Reading(lambda m: m.mean((2, 3)))
    asked = classifier(network)
    assert look(asked, pixels(2)).pools
    network.read = lambda m: m.amax((2, 3))
    assert not look(asked, pixels(2)).pools


def test_another_size_is_another_grid() -> None:
    asked = classifier(TinyNet())
    for size in (SIZE, 48):
        seen = look(asked, pixels(1, size))
        torch.testing.assert_close(seen.pooled(torch.ones(1, size, size), [0]), seen.features)
