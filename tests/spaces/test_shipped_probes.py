"""The probes that are shipped for the classifier of ImageNet: facts of photographs, and none of anything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import saywhy
from saywhy.answers.explanation import Explanation
from saywhy.classifiers.classifier import Classifier
from saywhy.pictures.sources import read_sources
from saywhy.questions.names_and_defaults import concepts_file, default_space, explaining_space

THERE = {
    "coffee.png": {"metal", "wood", "red", "a room"},
    "chelsea.png": {"fur", "ears", "an eye", "an animal"},
    "rocket.jpg": {"sky", "blue", "metal"},
    "motorcycle_left.png": {"metal", "red", "lettering", "leaves", "glass"},
    "china.jpg": {"sky", "leaves", "green", "blue", "red"},
    "flower.jpg": {"green", "leaves", "grass", "yellow", "orange"},
}
"""What a person sees in the installed photographs, of the twenty phrases."""


@pytest.fixture(scope="module")
def imagenet() -> Classifier:
    return Classifier.load("imagenet", device="cpu")


def test_they_are_the_default_of_their_classifier(imagenet: Classifier) -> None:
    assert explaining_space(imagenet) == explaining_space(imagenet, None, ("fur", "a red")) == "concepts:imagenet"
    assert explaining_space(imagenet, "birds") == explaining_space(imagenet, None, ("a beak",)) == "own"
    assert default_space(imagenet) == "own", "where any words may be asked for"
    assert concepts_file("concepts:imagenet").stat().st_size < 1_000_000
    assert default_space(Classifier.load("world:digits", device="cpu")) == "world:digits"


def test_what_is_said_of_the_installed_photographs_is_there(imagenet: Classifier) -> None:
    pictures = read_sources(["photos:all"])
    said = []
    for picture in pictures:
        e = saywhy.explain(picture.open(), model=imagenet)
        assert isinstance(e, Explanation)
        facts = {claim.text for claim in e.claims if claim.said}
        assert facts <= THERE[Path(picture.name).name]
        assert all(fact in e.summary for fact in facts)
        said += facts
    assert len(said) >= 4


def test_noise_and_flat_pictures_get_no_words(imagenet: Classifier) -> None:
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 256, (200, 200, 3), dtype=np.uint8))
    for image in (noise, Image.new("RGB", (200, 200), (90, 120, 60))):
        e = saywhy.explain(image, model=imagenet)
        assert e.silence
        assert e.claims == ()
