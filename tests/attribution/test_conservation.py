"""Relevance is conserved on whole, unmodified networks of every family, and what is not is accounted for exactly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from transformers import CvtConfig, CvtForImageClassification

from saywhy.attribution.composites import COMPOSITES
from saywhy.attribution.lrp import Interception, lrp
from saywhy.classifiers.borrowing import frozen
from tests.helpers import silence_biases

pytestmark = pytest.mark.slow
tv = torchvision.models


class Cvt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = CvtForImageClassification(CvtConfig(num_labels=1000))  # its defaults are CvT-13

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x).logits


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ResNet-50": tv.resnet50,
    "VGG-16-BN": tv.vgg16_bn,
    "DenseNet-121": tv.densenet121,
    "ConvNeXt-T": tv.convnext_tiny,
    "MobileNetV3-L": tv.mobilenet_v3_large,
    "EfficientNetV2-S": tv.efficientnet_v2_s,
    "ViT-B/16 (torchvision)": tv.vit_b_16,
    "ViT-B/16 (timm)": lambda: timm.create_model("vit_base_patch16_224"),
    "Swin-T": tv.swin_t,
    "BEiT-B": lambda: timm.create_model("beit_base_patch16_224"),
    "DINOv2-S": lambda: timm.create_model("vit_small_patch14_dinov2", num_classes=1000, img_size=224),
    "CvT-13": Cvt,
}


def predicted(output: Tensor) -> Tensor:
    return output.max(1).values


@pytest.mark.parametrize("name", NETWORKS)
def test_relevance_over_the_logit_is_one(name: str) -> None:
    network = silence_biases(NETWORKS[name]()).eval()
    x = torch.randn(2, 3, 224, 224)
    for composite in ("epsilon", "cp-lrp-gamma", "epsilon-plus", "alpha2-beta1"):
        relevance, logits = lrp(network, x, predicted, COMPOSITES[composite])
        ratio = relevance.sum((1, 2, 3)) / logits
        assert logits.abs().min() > 0
        assert (ratio - 1).abs().max() < 0.01, f"{composite}: {ratio.tolist()}"


@pytest.mark.parametrize("name", ["ViT-B/16 (timm)", "DINOv2-S"])
def test_what_position_embeddings_and_tokens_take_is_all_that_is_missing(name: str) -> None:
    """Relevance that ends on parameters leaves the picture: without biases, the two share the logit."""
    network = NETWORKS[name]().eval()
    for key, parameter in network.named_parameters():
        if key.endswith("bias"):
            nn.init.zeros_(parameter)
    added = [p for key, p in network.named_parameters() if "pos_embed" in key or "token" in key]
    x = torch.randn(1, 3, 224, 224).requires_grad_()
    with frozen(network):
        for p in added:
            p.requires_grad_(True)
        with Interception(COMPOSITES["cp-lrp"]):
            logit = predicted(network(x)).sum()
        gradients = torch.autograd.grad(logit, [x, *added])
        for p in added:
            p.requires_grad_(False)
    shares = [float((t * g).sum() / logit) for t, g in zip([x, *added], gradients, strict=True)]
    assert abs(sum(shares) - 1) < 0.01
    assert abs(shares[0] - 1) > 1e-4


@pytest.mark.parametrize("name", ["ViT-B/16 (timm)", "Swin-T"])
def test_attnlrp_loses_what_its_softmax_loses_and_no_more(name: str) -> None:
    """sum R = logit - sum over all softmaxes of (R of its output - R of its input), both read off the same pass."""
    network = silence_biases(NETWORKS[name]()).eval()
    for module in network.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # so that the softmax is a function of its own, to be watched
    kept: list[tuple[Tensor, Tensor]] = []

    class Watching(Interception):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = super().__torch_function__(func, types, args, kwargs)
            if getattr(func, "__name__", "") == "softmax" and result.requires_grad:
                kept.append((args[0], result))
            return result

    x = torch.randn(1, 3, 224, 224).requires_grad_()
    with frozen(network):
        with Watching(COMPOSITES["attnlrp-epsilon"]):
            logit = predicted(network(x)).sum()
        tensors = [x, *(t for pair in kept for t in pair)]
        gradients = torch.autograd.grad(logit, tensors)
    relevance = [float((t.nan_to_num(neginf=0) * g).sum()) for t, g in zip(tensors, gradients, strict=True)]
    lost = sum(relevance[2::2]) - sum(relevance[1::2])
    assert len(kept) == 12
    assert abs(lost) > 1e-3 * abs(float(logit))
    assert abs(relevance[0] + lost - float(logit)) < 0.01 * abs(float(logit))
