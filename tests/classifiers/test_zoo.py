"""All 38 classifiers of the paper build, their head is found, and ``f @ W.T + b == logits``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from saywhy.classifiers.classifier import Classifier
from tests.helpers import picture
from tests.zoo import ZOO

MODELS = Path(__file__).parents[2] / "docs" / "models.md"


def local_huggingface(name: str, folder: Path) -> Path:
    """What the hub has under that name, without the weights: configuration and image processor."""
    from transformers import BitImageProcessor, ConvNextImageProcessor, CvtConfig, Dinov2Config

    width = 384 if "small" in name else 768
    config = (
        CvtConfig(depth=[1, 4, 16], num_labels=1000)
        if name.startswith("cvt")
        else Dinov2Config(
            hidden_size=width, num_attention_heads=width // 64, image_size=518, patch_size=14, num_labels=1000
        )
    )
    config.save_pretrained(folder)
    processor = ConvNextImageProcessor if name.startswith("cvt") else BitImageProcessor
    processor(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}).save_pretrained(folder)
    return folder


def test_there_are_38_and_the_documentation_lists_each() -> None:
    assert len(ZOO) == 38
    text = MODELS.read_text()
    for name, source, weights in ZOO:
        assert f"| {name} | `{source}` | `{weights}` |" in text


@pytest.mark.slow
@pytest.mark.parametrize("source", sorted({source for _, source, _ in ZOO}))
def test_the_head_is_found_and_makes_the_logits(source: str, tmp_path: Path) -> None:
    origin, _, name = source.partition(":")
    if origin == "hf":
        source = f"hf:{local_huggingface(name, tmp_path)}"
    classifier = Classifier.load(source, pretrained=False)
    pixels = classifier.preprocess([picture(seed=1), picture(seed=2)])
    logits, head = classifier.logits(pixels), classifier.head
    features = classifier.features(pixels)
    assert logits.shape == (2, 1000)
    assert logits.std() > 0
    assert head.weight.shape == (1000, features.shape[1])
    torch.testing.assert_close(
        features @ head.weight.T + head.bias, logits, rtol=1e-4, atol=1e-5 * float(logits.abs().max())
    )
