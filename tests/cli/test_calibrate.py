"""saywhy calibrate: from a table to a file that explain takes, and what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

from saywhy.questions.calibrate import read_known
from tests.cli.test_app import saywhy


def write_table(folder: Path, count: int) -> Path:
    known = read_known("world:digits", limit=count)
    lines = ["picture,phrase"]
    for n, picture in enumerate(known.pictures):
        picture.open().save(folder / f"{n}.png")
        lines += [f"{n}.png,{p}" for p, there in zip(known.vocabulary.phrases, known.truth[n], strict=True) if there]
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    return folder / "t.csv"


def test_a_table_makes_a_file_that_explain_takes(tmp_path: Path) -> None:
    table, out = write_table(tmp_path, 60), tmp_path / "c.safetensors"
    options = ("--model", "world:digits", "--space", "world:digits", "--vocabulary", "world:digits")
    made = saywhy("calibrate", "--data", table, *options, "--model-kind", "logistic", "--out", out)
    assert made.returncode == 0, made.stderr
    assert "a digit five" in made.stdout
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert out.with_suffix(".csv").read_text().startswith("phrase,pictures,base rate,AUC,said,precision when said\n")
    told = saywhy("explain", tmp_path / "0.png", *options, "--calibration", out, "--json", "--writer", "none")
    claims = json.loads(told.stdout)["claims"]
    assert {claim["basis"] for claim in claims} == {"calibrated on 60 pictures of t.csv by their labels"}
    other = saywhy("explain", tmp_path / "0.png", *options[:4], "--vocabulary", "concepts", "--calibration", out)
    assert (other.returncode, other.stderr.count("\n")) == (2, 1)
    assert "is of the vocabulary world:digits" in other.stderr


def test_what_is_missing_or_wrong_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("picture,phrase\nnone.png,a wing\n")
    for options, says in (
        (("--data", tmp_path / "t.csv"), "--model"),
        (("--data", "world:aviary", "--target-precision", 2), "between 0 and 1"),
        (("--data", "world:aviary", "--model-kind", "forest"), "model kind"),
        (("--data", tmp_path / "absent", "--model", "world:digits"), "no such table"),
    ):
        result = saywhy("calibrate", *options, "--out", tmp_path / "c")
        assert result.returncode == 2
        assert says in result.stderr
        assert result.stderr.strip().count("\n") == 0, result.stderr
