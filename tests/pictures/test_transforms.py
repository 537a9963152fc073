"""Transforms of every library become one kind, and what is none of them is refused in a line."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from saywhy.attribution import attribute
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.pictures.transforms import as_transform
from tests.helpers import TinyNet, picture

PLAIN = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])


class ByName:
    """As albumentations has it: keywords alone, arrays in, a dict out."""

    def __call__(self, *args: Any, **data: Any) -> dict[str, Any]:
        if args:
            raise KeyError("You have to pass data to augmentations as named arguments")
        small = Image.fromarray(data["image"]).resize((32, 32), Image.Resampling.BILINEAR)
        return {"image": np.asarray(small, np.float32) / 255}


def as_array(image: Image.Image) -> np.ndarray:
    return PLAIN(image).numpy()


def as_bytes(image: Image.Image) -> np.ndarray:
    return np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR))


def as_batch(image: Image.Image) -> dict[str, Any]:
    return {"pixel_values": PLAIN(image)[None]}


def test_a_transform_that_makes_a_tensor_stays_itself() -> None:
    assert as_transform(PLAIN) is PLAIN


@pytest.mark.parametrize("transform", [ByName(), as_array, as_bytes, as_batch])
def test_others_give_the_same_maps(transform: Callable[..., Any]) -> None:
    network, image = TinyNet(5).eval(), picture()
    classifier = Classifier.from_module(network, transform=transform)
    plain = Classifier.from_module(network, transform=PLAIN)
    pixels, expected = classifier.preprocess([image]), plain.preprocess([image])
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(pixels, expected, atol=0.02, rtol=0)
    assert attribute(classifier, [image]).values.shape == (1, 32, 32)
    assert classifier.geometry(image.size).frame == (32, 32)
    assert torch.equal(pickle.loads(pickle.dumps(classifier.transform))(image), pixels[0])


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda image: "no tensor", "gives a str; expected a \\(C, h, w\\) tensor"),
        (lambda image: torch.zeros(2, 3, 8, 8), "Tensor of shape \\(2, 3, 8, 8\\)"),
        (lambda image: {"label": 3}, "gives a dict"),
        (lambda image: 1 / 0, "does not run on an RGB picture \\(ZeroDivisionError"),
        (lambda: None, "does not run on an RGB picture \\(TypeError"),
    ],
)
def test_what_is_no_transform_is_refused(transform: Callable[..., Any], message: str) -> None:
    with pytest.raises(SaywhyError, match=message):
        Classifier.from_module(TinyNet(5), transform=transform)


def test_pictures_of_several_shapes_are_refused_together() -> None:
    classifier = Classifier.from_module(TinyNet(5), transform=transforms.ToTensor())
    assert len(classifier.predict([picture(32, 32)])) == 1
    with pytest.raises(SaywhyError, match=r"several shapes, .* give it a Resize and a CenterCrop"):
        classifier.predict([picture(32, 32), picture(40, 32)])
