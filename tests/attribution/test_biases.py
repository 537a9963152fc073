"""What biases take does not move a map: with nothing left for them it lies at the same places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from saywhy.classifiers.classifier import Classifier
from saywhy.pictures.reading import read_picture
from tests.biases import measured


@pytest.mark.slow
def test_a_map_lies_where_it_would_if_biases_took_nothing(pack: Path) -> None:
    """MobileNetV2 of ImageNet, whose maps add up to next to nothing."""
    paths = sorted((pack / "imagenet-samples" / "images").iterdir())[::100]
    found = measured(
        Classifier.load(f"timm:{pack}/models/mobilenetv2_imagenet"), [read_picture(path) for path in paths]
    )
    default, unbiased, *_, noise = found.values()
    assert np.median(np.abs(default[:, 0])) < 0.01  # biases do take nearly all
    assert np.median(unbiased[:, 1]) > 0.85
    assert default[:, 2].mean() > 0.2 > abs(noise[:, 2].mean())
