"""What is known of each picture: words once, colours as measured, and a sample that is even."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saywhy.audits.store import ROWS, Store, View
from saywhy.audits.traits import COLOUR, NEAR, PART, SAID, traits_of
from saywhy.pictures.plain import COLOURS


def stored(folder: Path, rows: list[dict[str, Any]], regions: list[dict[str, Any]] | None = None) -> View:
    vocabulary = {"phrases": ["red wing", "long leg"], "groups": ["wing", "leg"]}
    store = Store.create(folder, {"model": {"labels": ["a", "b"]}, "vocabulary": vocabulary})
    store.commit(ROWS, "00000000", {"pictures": rows, "regions": regions or []})
    return store.view()


@pytest.mark.parametrize("colour", ["red", "yellow", "black"])
def test_colours_are_of_where_the_classifier_looks(tmp_path: Path, colour: str) -> None:
    look = np.full((16, 16, 3), 255, np.uint8)
    look[:8] = COLOURS[colour]
    relevance = np.zeros((16, 16), "<f2")
    relevance[:8] = 1 / 128
    row = {"number": 0, "predicted": 0, "look": look.tobytes(), "relevance": relevance.tobytes()}
    found = traits_of(stored(tmp_path / "a", [row]))
    assert found.of_name(colour)[0] == pytest.approx(1, abs=0.01)
    assert found.of_name("white")[0] == 0
    assert {trait.name for trait in found.traits if trait.kind == COLOUR} == set(COLOURS)


def test_words_are_counted_once_and_facts_apart_from_what_is_near(tmp_path: Path) -> None:
    rows = [{"number": 4, "predicted": 0, "words": ["red wing"], "concepts": ["red wing", "long leg"]},
            {"number": 7, "predicted": 1, "words": [], "concepts": []}]  # fmt: skip
    regions = [{"number": 4, "region": n, "labels": ["red wing", "long leg"]} for n in (1, 2)]
    found = traits_of(stored(tmp_path / "a", rows, regions))
    there = {(trait.kind, trait.name): found.values(n).tolist() for n, trait in enumerate(found.traits)}
    assert there[SAID, "red wing"] == there[NEAR, "red wing"] == there[PART, "wing"] == [1, 0]
    assert (PART, "leg") not in there or there[PART, "leg"] == [0, 0]
    assert found.pictures.tolist() == [4, 7]


def test_a_sample_is_even_and_the_same_in_every_table(tmp_path: Path) -> None:
    rows = [{"number": n, "predicted": n % 2} for n in range(3000)]
    view = stored(tmp_path / "a", rows, [{"number": n, "region": 1, "labels": ["red wing"]} for n in range(3000)])
    found = traits_of(view, 300)
    assert 250 < len(found.pictures) < 350
    assert np.abs(np.histogram(found.pictures, 10, (0, 3000))[0] - 30).max() <= 3
    assert found.has.sum() == 2 * len(found.pictures)
    assert "of 3,000 pictures" in found.sampled
    other = view.sql(f"SELECT number FROM pictures WHERE {view.sampled(300, seed=1)}")["number"].to_pylist()
    assert set(other) != set(found.pictures.tolist())
