"""Transforms of every library become one kind, and what is none of them is refused in a line."""

from __future__ import annotations

import ast
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from saywhy.attribution import attribute
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.pictures.geometry import Transform
from saywhy.pictures.transforms import as_transform, transform_digest
from tests.helpers import TinyNet, picture

OWN = np.random.default_rng(0)
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


def _with(step: Callable[[torch.Tensor], torch.Tensor]) -> Transform:
    return transforms.Compose([PLAIN, transforms.Lambda(step)])


def _times(by: float) -> Transform:
    return _with(lambda x: x * by)


def _different() -> dict[str, Transform]:
    """No two of them make the same of every picture. Many look alike, and some show where they lie in memory."""
    return {
        "plain": PLAIN,
        "half": _times(0.5),
        "less": _times(0.49),
        "other code": _with(lambda x: x + 0.5),
        "rarely another": _with(lambda x: x * 0.5 if x.mean() > 0.9 else x),
        "by the size": lambda image: PLAIN(image) * (image.width < 500),
        "partial": partial(_scaled, by=0.3),
        "another partial": partial(_scaled, by=0.4),
        "cropped": transforms.Compose([transforms.CenterCrop(40), PLAIN]),
        "cropped less": transforms.Compose([transforms.CenterCrop(41), PLAIN]),
        "bicubic": transforms.Compose([transforms.Resize((32, 32), transforms.InterpolationMode.BICUBIC), PLAIN]),
        "in two types": _with(torch.Tensor.double),
        "as array": as_transform(as_array_of_bytes),
    }


def _scaled(image: Image.Image, by: float) -> torch.Tensor:
    return PLAIN(image) * by


def as_array_of_bytes(image: Image.Image) -> np.ndarray:
    return as_bytes(image) // 2


DIGESTS = """
from saywhy.pictures.transforms import transform_digest
from tests.pictures.test_transforms import _different
print({name: transform_digest(transform) for name, transform in _different().items()})
"""


def test_a_digest_is_of_what_a_transform_does_in_every_process() -> None:
    here = {name: transform_digest(transform) for name, transform in _different().items()}
    assert None not in here.values()
    assert len(set(here.values())) == len(here)
    assert here == {name: transform_digest(transform) for name, transform in _different().items()}
    there = subprocess.run([sys.executable, "-c", DIGESTS], capture_output=True, text=True, check=True)
    assert ast.literal_eval(there.stdout) == here


@pytest.mark.parametrize(
    "draws",
    [
        transforms.RandomHorizontalFlip(),
        transforms.RandomHorizontalFlip(0.001),
        transforms.ColorJitter(0.5),
        transforms.Lambda(lambda image: image.rotate(random.random() * 40)),
        transforms.Lambda(lambda image: image.rotate(np.random.rand() * 40)),  # noqa: NPY002
        transforms.Lambda(lambda image: image.rotate(OWN.random() * 40)),
    ],
)
def test_what_draws_at_random_has_no_digest_and_moves_no_generator(draws: Callable[..., Any]) -> None:
    torch.manual_seed(1)
    random.seed(1)
    before = torch.rand(1), random.random()
    torch.manual_seed(1)
    random.seed(1)
    assert transform_digest(transforms.Compose([draws, PLAIN])) is None
    assert (torch.rand(1), random.random()) == before
