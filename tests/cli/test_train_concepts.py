"""``saywhy train concepts`` from a table to a page that says what is there; what it refuses, it refuses in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_app import saywhy


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red and blue pictures of twelve classes."""
    folder, rng = tmp_path_factory.mktemp("table"), np.random.default_rng(0)
    rows = ["picture,phrase,there,class"]
    for n in range(72):
        light = int(rng.integers(120, 250))
        Image.new("RGB", (64, 64), (light, 30, 30) if n % 2 else (30, 30, light)).save(folder / f"{n}.png")
        rows += [f"{n}.png,a red thing,{n % 2},{n % 12}", f"{n}.png,a green thing,0,"]
    (folder / "table.csv").write_text("\n".join([*rows, "gone.png,a red thing,1,"]) + "\n")
    return folder / "table.csv"


def test_from_a_table_to_what_is_said(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "probes.safetensors"
    trained = saywhy("train", "concepts", "--model", "world:aviary", "--data", str(table), "--out", str(out))
    assert trained.returncode == 0, trained.stderr
    measured = json.loads(trained.stdout)
    assert (measured["phrases"], measured["held"], measured["left out"]) == (1, 1, 1)
    assert "gone.png is left out: listed in the table, and there is no such file" in trained.stderr
    asked = ("explain", str(table.parent / "1.png"), "--model", "world:aviary", "--space", f"concepts:{out}", "--json")
    explained = saywhy(*asked, "--phrase", "a red thing")
    assert explained.returncode == 0, explained.stderr
    (claim,) = json.loads(explained.stdout)["claims"]
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
        (("--precision", "0.2"), "0.5<=x<=0.999"),
    ],
)
def test_what_does_not_go_together_is_refused(table: Path, tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    result = saywhy(
        "train", "concepts", "--model", "world:aviary", "--data", str(table), "--out", str(tmp_path / "p"), *words
    )  # fmt: skip
    assert result.returncode == 2
    assert says in " ".join(result.stderr.split())
