"""``saywhy train concepts`` from a table to a page that says what is there; what it refuses, it refuses in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_app import model as model
from tests.cli.test_app import saywhy
from tests.helpers import picture


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red and blue pictures of twelve classes."""
    folder = tmp_path_factory.mktemp("table")
    rows = ["picture,phrase,there,class"]
    for n in range(72):
        drawn = np.asarray(picture(64, 64, seed=n)) * np.array([n % 2, 0.5, 1 - n % 2])
        Image.fromarray(drawn.astype(np.uint8)).save(folder / f"{n}.png")
        rows += [f"{n}.png,a red thing,{n % 2},{n % 12}", f"{n}.png,a green thing,0,"]
    (folder / "table.csv").write_text("\n".join([*rows, "gone.png,a red thing,1,"]) + "\n")
    return folder / "table.csv"


def test_from_a_table_to_what_is_said(table: Path, model: str, tmp_path: Path) -> None:
    out = tmp_path / "probes.safetensors"
    trained = saywhy("train", "concepts", "--model", model, "--data", str(table), "--out", str(out))
    assert trained.returncode == 0, trained.stderr
    measured = json.loads(trained.stdout)
    assert (measured["phrases"], measured["held"], measured["left out"]) == (1, 1, 1)
    assert "gone.png is left out: listed in the table, and there is no such file" in trained.stderr
    asked = ("explain", str(table.parent / "1.png"), "--model", model, "--space", f"concepts:{out}", "--json")
    explained = saywhy(*asked, "--phrase", "a red thing")
    assert explained.returncode == 0, explained.stderr
    found = json.loads(explained.stdout)
    assert not found["silence"]
    (claim,) = found["claims"]
    assert claim["text"] == "a red thing"
    assert claim["there"] > 0.9
    stranger = saywhy(*asked, "--phrase", "a red thong")
    assert stranger.returncode == 2
    assert "there is no probe for 'a red thong'; did you mean a red thing?" in stranger.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--vocabulary", "birds"), "--vocabulary is for --labels-from"),
        (("--labels-from", "own"), "only a CLIP can label pictures"),
        (("--labels-from", "nothing"), "there is no space 'nothing'"),
    ],
)
def test_what_does_not_go_together_is_refused(table: Path, tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    result = saywhy(
        "train", "concepts", "--model", "world:aviary", "--data", str(table), "--out", str(tmp_path / "p"), *words
    )  # fmt: skip
    assert result.returncode == 2
    assert says in " ".join(result.stderr.split())
