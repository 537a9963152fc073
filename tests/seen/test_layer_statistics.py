"""Statistics are those of the layers, of any network, and cost no more than its first layers."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

from saywhy.classifiers.classifier import Classifier
from saywhy.classifiers.layers import recorded
from saywhy.seen.layer_statistics import eyes_of, pixel_statistics
from saywhy.spaces.clip import load_clip
from saywhy.spaces.own import ClassifierSpace
from saywhy.spaces.text_encoder import load_encoder

PICTURES = [Image.fromarray(np.random.default_rng(n).integers(0, 255, (90, 120, 3), dtype=np.uint8)) for n in range(3)]


def classifier(name: str, **settings: int) -> Classifier:
    network = timm.create_model(name, pretrained=False, num_classes=5, **settings).eval()
    return Classifier.from_module(network, transform=partial(_prepared, side=settings.get("img_size", 64)), name=name)


def _prepared(image: Image.Image, side: int) -> torch.Tensor:
    values = np.asarray(image.resize((side, side)), np.float32) / 255
    return torch.from_numpy(values).permute(2, 0, 1)


def test_they_are_the_mean_and_deviation_of_each_channel_of_the_layers() -> None:
    (eye,) = eyes_of(None, classifier("resnet10t"))
    found = eye.statistics(PICTURES)
    layers, pixels = eye.early(PICTURES), eye.prepare(PICTURES)
    with torch.no_grad(), recorded(eye.network, layers) as maps:
        eye.network(pixels)
    moments = [moment for name in layers for moment in (maps[name].mean((2, 3)), maps[name].std((2, 3), correction=0))]
    torch.testing.assert_close(found, torch.cat([*pixel_statistics(pixels), *moments], 1), rtol=1e-4, atol=1e-5)
    assert layers == ("layer1", "layer2")


@pytest.mark.parametrize(
    "name", ["resnet10t", "test_vit", "test_convnext", "mobilenetv3_small_050", "swin_s3_tiny_224"]
)
def test_any_network_has_them_and_the_rest_of_it_does_not_run(name: str) -> None:
    settings = {"img_size": 224} if "swin" in name else {"img_size": 160} if "vit" in name else {}
    made = classifier(name, **settings)
    last = [module for module in made.network.modules() if isinstance(module, nn.Linear)][-1]
    ran: list[bool] = []
    (eye,) = eyes_of(None, made)
    eye.statistics(PICTURES[:1])  # finds the layers, which takes a run
    last.register_forward_hook(lambda *given: ran.append(True))
    found = eye.statistics(PICTURES)
    assert torch.isfinite(found).all()
    assert found.std(0).count_nonzero() > 50
    assert not ran
    assert len(eye.early(PICTURES)) == (1 if "vit" in name else 2)


def test_each_picture_has_its_own_whatever_stands_beside_it() -> None:
    (eye,) = eyes_of(None, classifier("resnet10t"))
    together = eye.statistics(PICTURES)
    alone = torch.cat([eye.statistics([picture]) for picture in PICTURES])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_a_network_without_maps_is_known_by_its_pixels() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))
    made = Classifier.from_module(network, transform=partial(_prepared, side=8))
    (eye,) = eyes_of(None, made)
    assert eye.early(PICTURES) == ()
    assert eye.statistics(PICTURES).shape == (3, len(torch.cat(pixel_statistics(torch.zeros(1, 3, 8, 8)), 1)[0]))


def test_pixels_have_as_many_numbers_whatever_their_size() -> None:
    shapes = {torch.cat(pixel_statistics(torch.rand(2, 3, *size)), 1).shape for size in ((1, 1), (3, 9), (224, 100))}
    assert len(shapes) == 1


def test_the_eyes_of_a_question_are_its_networks_each_once() -> None:
    clip, made = load_clip("world:aviary", "cpu"), Classifier.load("world:aviary", device="cpu")
    assert [eye.network for eye in eyes_of(clip, made)] == [clip.image_tower, made.network]
    own = ClassifierSpace(made, load_encoder())
    assert [eye.network for eye in eyes_of(own, made)] == [made.network]
    assert eyes_of(None, None) == []
