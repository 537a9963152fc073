"""Clusters of maps: a class that is explained in two ways is found and named by place; shuffled maps give nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saywhy.audits.findings.clusters import clusters, comparable, eigenvalues, find
from saywhy.audits.tables import GRID
from tests.audits.made import view_of

CLASSES = ("crow", "gull", "wren", "finch", "heron")
COUNT = 60  # of each class


def _maps(count: int, rng: np.random.Generator, corner: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """(count, cells) maps of something about the centre, and (count,) in which most lies in the upper right corner."""
    rows, columns = np.mgrid[:GRID, :GRID]
    spot = rng.uniform(5, 11, (count, 2, 1, 1))
    maps = np.exp(-((rows - spot[:, 0]) ** 2 + (columns - spot[:, 1]) ** 2) / rng.uniform(4, 12, (count, 1, 1)))
    maps *= rng.uniform(0.5, 1.5, maps.shape)
    maps /= maps.sum((1, 2), keepdims=True)
    pasted = rng.random(count) < corner
    maps[pasted] *= 0.4
    maps[np.ix_(pasted, range(1, 3), range(13, 15))] += 0.15
    return maps.reshape(count, -1), pasted


def _rows(seed: int = 0, corner: float = 0.5, classes: int = len(CLASSES)) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Pictures of each class; those of the first have a corner in some of their maps, and "a square" said of them."""
    rng = np.random.default_rng(seed)
    maps, pasted = zip(*(_maps(COUNT, rng, 0.0 if n else corner) for n in range(classes)), strict=True)
    rows = [
        {
            "number": n * COUNT + i, "file": f"{n}-{i}.jpg", "prediction": CLASSES[n], "predicted": n,
            "relevance": maps[n][i].astype("<f2").tobytes(), "words": ["a square"] if pasted[n][i] else ["a bird"],
        }
        for n in range(classes)
        for i in range(COUNT)
    ]  # fmt: skip
    return rows, np.concatenate(pasted)


@pytest.mark.parametrize("classes", [5, 2])
def test_a_class_with_two_reasons_is_found_and_named(tmp_path: Path, classes: int) -> None:
    rows, pasted = _rows(classes=classes)
    (finding,) = find(view_of(tmp_path / "a", rows, labels=CLASSES)).findings
    assert finding.about == ("crow",)
    assert finding.place == "upper right"
    assert finding.words[0] == "a square"
    assert "are of 2 kinds" in finding.sentence
    assert "go with relevance in the upper right" in finding.sentence
    assert pasted[list(finding.examples)].all()
    assert not pasted[list(finding.counters)].any()
    assert finding.effect.low > 0.8
    assert finding.effect.value >= finding.null
    assert not finding.decides


def test_shuffled_maps_give_nothing(tmp_path: Path) -> None:
    found = 0
    for seed in range(8):
        rows, _ = _rows(seed)
        order = np.random.default_rng(seed).permutation(len(rows))
        shuffled = [row | {"relevance": rows[other]["relevance"]} for row, other in zip(rows, order, strict=True)]
        found += bool(find(view_of(tmp_path / str(seed), shuffled, labels=CLASSES)).findings)
    assert found <= 1


def test_clusters_are_those_that_were_put_in(tmp_path: Path) -> None:
    maps, pasted = _maps(80, np.random.default_rng(3), 0.3)
    points = comparable(maps)
    values = eigenvalues(points)
    assert values[0] == pytest.approx(0, abs=1e-9)
    assert values[1] < 0.04 < values[2]
    found = clusters(points, 2)
    assert (found[pasted] == 1).all()
    assert (found[~pasted] == 0).all()


def test_too_few_pictures_give_a_note(tmp_path: Path) -> None:
    rows, _ = _rows()
    tested = find(view_of(tmp_path / "a", rows[:10], labels=CLASSES))
    assert not tested.findings
    assert "not clustered" in tested.note
