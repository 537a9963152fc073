"""Evidence: the logits taken apart over positions, of networks where that can be done, and never something else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import transforms

from saywhy.classifiers.borrowing import frozen, untrained
from saywhy.classifiers.classifier import Classifier
from saywhy.classifiers.evidence import EVIDENCE, ClassEvidence, class_evidence
from saywhy.classifiers.layers import recorded
from tests.helpers import TRANSFORM, TinyNet, tiny_classifier
from tests.networks import SIZE, calibrated, pixels, resnet, swin, vit


def made(name: str, **options: int | str) -> nn.Module:
    import timm

    return calibrated(timm.create_model(name, num_classes=5, **options))


def torchvision(name: str, **options: float) -> nn.Module:
    from torchvision import models

    return calibrated(models.get_model(name, weights=None, num_classes=5, **options))


def densenet() -> nn.Module:
    from torchvision.models import DenseNet

    return calibrated(DenseNet(8, (1, 1, 1, 1), 16, num_classes=5))


class ConvHead(nn.Module):
    """The head is a convolution of one pixel, after the pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(True))
        self.head = nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.adaptive_avg_pool2d(self.body(x), 1)).flatten(1)


class Headless(nn.Module):
    """Logits that are no linear layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(True), nn.Conv2d(8, 5, 3, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).mean((2, 3)).tanh()


def classifier_of(network: nn.Module, size: int = SIZE) -> Classifier:
    return Classifier.from_module(
        network, transform=transforms.Compose([transforms.Resize((size, size)), transforms.ToTensor()])
    )


def evidence_of(network: ClassEvidence, x: Tensor) -> tuple[Tensor, Tensor]:
    """(what the module returns, the maps of its layer)."""
    with torch.no_grad(), frozen(network), recorded(network, [EVIDENCE]) as maps:
        return network(x), maps[EVIDENCE]


def centred(logits: Tensor) -> Tensor:
    return logits - logits.mean(1, keepdim=True)


@pytest.mark.parametrize(
    ("make", "grid"),
    [
        (resnet, 2), (lambda: torchvision("resnet18"), 2), (densenet, 2), (lambda: made("test_efficientnet"), 2),
        (lambda: torchvision("mobilenet_v2", width_mult=0.25), 2), (swin, 2), (ConvHead, 32), (TinyNet, 16),
    ],
    ids=["timm resnet", "resnet18", "densenet", "efficientnet", "mobilenet", "swin", "convolution as head", "tiny"],
)  # fmt: skip
def test_the_means_of_the_maps_are_the_logits_without_biases(make: Callable[[], nn.Module], grid: int) -> None:
    network, x = make().eval(), pixels(3)
    classifier = classifier_of(network)
    found, maps = evidence_of(class_evidence(classifier, x[:1]), x)
    expected = centred(classifier.logits(x) - classifier.head.bias)
    assert maps.shape[2:] == (grid, grid)
    assert maps.flatten(2).std(2).min() > 0
    torch.testing.assert_close(maps.mean((2, 3)), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(maps.sum(1), torch.zeros_like(maps[:, 0]), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        vit,
        lambda: made("test_convnext"),
        lambda: made("mobilenetv3_small_050"),
        Headless,
        lambda: made("test_vit", img_size=SIZE, patch_size=8, class_token=False, global_pool="avg"),
    ],
    ids=["ViT", "ConvNeXt", "MobileNetV3", "no head", "ViT without class token"],
)
def test_of_another_network_it_is_the_logits_at_one_position(make: Callable[[], nn.Module]) -> None:
    """Something stands between the maps and the head, or there is no head, or no maps."""
    network, x = make().eval(), pixels(2)
    classifier = classifier_of(network)
    found, maps = evidence_of(class_evidence(classifier, x), x)
    assert maps.shape == (2, 5, 1, 1)
    torch.testing.assert_close(found, centred(classifier.logits(x)), rtol=1e-5, atol=1e-6)


def test_a_network_without_maps_has_evidence_too() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5))
    evidence = class_evidence(classifier_of(network, 32), pixels(1, 32))
    found, maps = evidence_of(evidence, pixels(2, 32))
    assert maps.shape == (2, 5, 1, 1)
    torch.testing.assert_close(found, centred(network(pixels(2, 32))))


def test_pictures_too_small_for_positions_have_one() -> None:
    network = resnet()
    found, maps = evidence_of(class_evidence(classifier_of(network, 32), pixels(1, 32)), pixels(2, 32))
    assert maps.shape == (2, 5, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(found, centred(network(pixels(2, 32))), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    """The pictures to find it by may have any type."""
    network, x = resnet(), pixels(2)
    expected, _ = evidence_of(class_evidence(classifier_of(network), x), x)
    found, maps = evidence_of(class_evidence(classifier_of(network.to(dtype)), x), x.to(dtype))
    assert maps.shape == (2, 5, 2, 2)
    assert maps.dtype == dtype
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.02)


def test_a_head_whose_weight_is_computed() -> None:
    network = resnet()
    nn.utils.parametrizations.weight_norm(network.get_submodule("fc"))
    x, classifier = pixels(2), classifier_of(network)
    found, maps = evidence_of(class_evidence(classifier, x), x)
    assert maps.shape == (2, 5, 2, 2)
    torch.testing.assert_close(found, centred(classifier.logits(x) - classifier.head.bias), rtol=1e-4, atol=1e-5)


def test_the_network_is_given_back_as_it_was() -> None:
    network = resnet().train()
    network.get_submodule("layer2").eval()
    network.get_submodule("fc").requires_grad_(False)

    def state() -> tuple[list[bool], list[bool], int, list[Tensor]]:
        return (
            [module.training for module in network.modules()],
            [parameter.requires_grad for parameter in network.parameters()],
            sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()),
            [tensor.clone() for tensor in network.state_dict().values()],
        )

    classifier = classifier_of(network)
    before = state()
    evidence = class_evidence(classifier, pixels(1))
    with pytest.raises(RuntimeError):
        evidence.eval()(torch.zeros(1, 7, SIZE, SIZE))
    for module, training in zip(network.modules(), before[0], strict=True):
        module.training = training
    after = state()
    assert after[:3] == before[:3]
    assert all(torch.equal(a, b) for a, b in zip(after[3], before[3], strict=True))


def test_it_follows_the_weights() -> None:
    """They are read when it runs: later changes of the head count, and a copy at random weights has its own."""
    network, x = resnet(), pixels(2)
    classifier = classifier_of(network)
    evidence = class_evidence(classifier, x)
    before, _ = evidence_of(evidence, x)
    copy = untrained(evidence, 0)
    assert isinstance(copy, ClassEvidence)
    other, maps = evidence_of(copy, x)
    assert not torch.allclose(other, before, atol=1e-2)
    with torch.no_grad():
        head = copy.network.get_submodule("fc")
        assert isinstance(head, nn.Linear)
        torch.testing.assert_close(other, centred(copy.network(x) - head.bias), rtol=1e-4, atol=1e-5)
        assert maps.shape == (2, 5, 2, 2)
        network.get_submodule("fc").get_parameter("weight").mul_(2)
    torch.testing.assert_close(evidence_of(evidence, x)[0], 2 * before)


def test_a_classifier_with_another_network_has_that_ones_head_and_evidence() -> None:
    classifier, x = tiny_classifier(), pixels(2, 32)
    other = replace(classifier, network=untrained(classifier.network, 1))
    assert not torch.allclose(other.head.weight, classifier.head.weight)
    found, _ = evidence_of(class_evidence(other, x), x)
    torch.testing.assert_close(found, centred(other.logits(x) - other.head.bias), rtol=1e-4, atol=1e-5)
    features = other.features(x) @ other.head.weight.T + other.head.bias
    torch.testing.assert_close(features, other.logits(x), rtol=1e-4, atol=1e-5)


def test_labels_that_do_not_compete_have_evidence_each() -> None:
    network, x = resnet(), pixels(2)
    classifier = replace(classifier_of(network), task="multi-label")
    found, maps = evidence_of(class_evidence(classifier, x), x)
    torch.testing.assert_close(found, classifier.logits(x) - classifier.head.bias, rtol=1e-4, atol=1e-5)
    assert maps.shape == (2, 5, 2, 2)


def test_one_logit_has_evidence_for_and_against() -> None:
    classifier, x = Classifier.from_module(TinyNet(1), transform=TRANSFORM), pixels(2, 32)
    found, maps = evidence_of(class_evidence(classifier, x), x)
    assert maps.shape[2:] == (8, 8)
    torch.testing.assert_close(found, classifier.logits(x) - classifier.head.bias, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(maps[:, 0], -maps[:, 1])
