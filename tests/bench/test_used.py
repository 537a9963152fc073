import numpy as np
import pytest
from torch import Tensor

from saywhy.bench import run_benchmark
from saywhy.bench.used import scene_regions, truly_used
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.worlds.drawing import PARTS

SEED = 5_600_000


def test_the_truth_of_a_planted_world_is_its_cause() -> None:
    classifier = Classifier.load("world:aviary-bill")
    used = {"bill": list[bool](), "leg": list[bool]()}
    for seed in range(SEED + 1, SEED + 12, 3):  # of the classes that the bill decides
        found = scene_regions(classifier, "bill", seed)
        if found is None:
            continue
        scene, pixels, target, _ = found
        for part, hits in used.items():
            hits += truly_used(classifier, scene, pixels, target, _part(scene.parts, part, pixels)[None], seed).tolist()
    assert np.mean(used["bill"]) > 0.5
    assert np.mean(used["leg"]) < 0.5


def _part(parts: np.ndarray, part: str, pixels: Tensor) -> np.ndarray:
    """(h, w) bool, at the size of the frame."""
    rows, columns = (np.arange(side) * parts.shape[0] // side for side in pixels.shape[2:])
    return np.isin(parts, [PARTS.index(part)])[rows][:, columns]


def test_a_row_for_each_world_and_kind_of_claim() -> None:
    report = run_benchmark("used", 1, on="worlds")
    assert {row["world"] for row in report.rows} >= {"all"}
    assert {row["claims"] for row in report.rows} >= {"its regions", "random places"}


def test_what_is_not_known_is_named() -> None:
    with pytest.raises(SaywhyError, match="--on is"):
        run_benchmark("used", 1, on="moon")
    with pytest.raises(SaywhyError, match="--model here is"):
        run_benchmark("used", 1, model="vgg")
