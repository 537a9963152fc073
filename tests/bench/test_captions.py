"""The benchmark of captions: its forms of --data, its regression, and writing captions with a stand-in writer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from saywhy.bench import run_benchmark
from saywhy.bench.captions import find_picture, read_pair
from saywhy.errors import SaywhyError
from tests.helpers import picture


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Results, Karpathy-like references, both in one as MAGIC has it, and two of the three pictures."""
    names, texts = (
        ["a.jpg", "b.jpg", "c.jpg"],
        ["a red cat sleeps on a mat", "two dogs run on a beach", "an old man reads"],
    )
    images = [
        {"filename": name, "filepath": "val2014", "cocoid": n, "split": "test", "sentences": [{"raw": text}]}
        for n, (name, text) in enumerate(zip(names, texts, strict=True))
    ]
    magic = [
        {"image_name": name, "captions": [text], "prediction": text} for name, text in zip(names, texts, strict=True)
    ]
    for name, content in (
        ("references", {"images": images}),
        ("magic", magic),
        ("results", [{"image_id": 0, "caption": texts[0]}, {"image_id": 1, "caption": "a cat"}]),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "pictures" / "val2014").mkdir(parents=True)
    picture().save(tmp_path / "pictures" / "val2014" / "a.jpg")
    picture().save(tmp_path / "pictures" / "b.jpg")
    return tmp_path


@pytest.fixture
def _scorers() -> None:
    pytest.importorskip("pycocoevalcap", reason="needs the optional package pycocoevalcap")
    if not shutil.which("java"):
        pytest.skip("needs Java")


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """METEOR takes ten seconds to start."""
    monkeypatch.setattr("saywhy.bench.captions.USUAL", ("B@4", "CIDEr", "ROUGE-L"))


@pytest.mark.usefixtures("_scorers", "_quick")
def test_a_file_of_ones_own(files: Path) -> None:
    (row,) = run_benchmark("captions", data=str(files / "magic.json")).rows
    assert (row["captions"], row["numbers"], row["pictures"]) == ("magic", "measured", 3)
    assert row["B@4"] == pytest.approx(100)


def test_results_and_references(files: Path) -> None:
    candidates, references, count = read_pair(f"{files / 'results.json'},{files / 'references.json'}")
    assert candidates == {"0": "a red cat sleeps on a mat", "1": "a cat"}
    assert count == 3
    assert references["1"] == ("two dogs run on a beach",)
    with pytest.raises(SaywhyError, match=r"holds references and no captions\. Give RESULTS\.json"):
        read_pair(str(files / "references.json"))


def test_pictures_are_found_by_path_name_or_stem(files: Path) -> None:
    folder = files / "pictures"
    assert find_picture(folder, "val2014/a.jpg") == folder / "val2014" / "a.jpg"
    assert find_picture(folder, "val2014/b.jpg") == folder / "b.jpg"
    assert find_picture(folder, "b") == folder / "b.jpg"
    assert find_picture(folder, "c.jpg") is None


@pytest.fixture
def _writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the modules that write, with their interface."""

    def narrate(images: Any, space: Any, writer: Any, *, method: str = "guided") -> list[SimpleNamespace]:
        assert space.name
        return [SimpleNamespace(text=f"a {writer} on a mat") for _ in images]

    monkeypatch.setattr("saywhy.questions.narrate.narrate", narrate)
    monkeypatch.setattr("saywhy.questions.sentences.language_model.load_language_model", lambda source: source.upper())


@pytest.mark.usefixtures("_scorers", "_quick", "_writer")
@pytest.mark.parametrize("references", ["references.json", "magic.json"])
def test_captions_written_now(files: Path, references: str) -> None:
    options = {"data": str(files / references), "images": str(files / "pictures"), "writer": "cat"}
    if references == "magic.json":  # its pictures have no folder
        (files / "pictures" / "val2014" / "a.jpg").rename(files / "pictures" / "a.jpg")
    report = run_benchmark("captions", space="world:aviary", **options)
    (row,) = report.rows
    assert row["pictures"] == 2
    assert set(report.summary["sentences"].values()) == {"a CAT on a mat"}
    assert 0 < row["ROUGE-L"] < 100
    assert {"note": f"2 of the 3 pictures of {options['data']} are in {options['images']}"} in report.more[0][2]


def test_what_writing_needs(files: Path) -> None:
    with pytest.raises(SaywhyError, match="writing captions needs --data"):
        run_benchmark("captions", writer="lm")
    with pytest.raises(SaywhyError, match="with --writer and --images only"):
        run_benchmark("captions", model="world:aviary")
    references = str(files / "references.json")
    with pytest.raises(SaywhyError, match=r"none of the 3 pictures of .* is in this folder, e\.g\. val2014/a\.jpg"):
        run_benchmark("captions", data=references, images=str(files), writer="lm", model="world:aviary")
    with pytest.raises(SaywhyError, match="name it with --model"):
        run_benchmark("captions", data=references, images=str(files / "pictures"), writer="lm", space="own")


@pytest.mark.slow
@pytest.mark.usefixtures("_scorers")
def test_published_captions_are_scored_as_published(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_PACK", str(pack))
    rows = {(row["captions"], row["numbers"]): row for row in run_benchmark("captions").rows}
    for name in ("ZeroCap", "MAGIC"):
        for metric in ("B@4", "METEOR", "CIDEr"):
            assert round(rows[name, "measured"][metric], 1) == rows[name, "published"][metric]


@pytest.mark.usefixtures("_scorers", "_quick")
def test_a_part_of_the_pictures_is_not_compared_with_what_was_published(
    pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAYWHY_PACK", str(pack))
    report = run_benchmark("captions", 20)
    assert [(row["captions"], row["numbers"], row["pictures"]) for row in report.rows] == [
        ("ZeroCap", "measured", 20),
        ("MAGIC", "measured", 20),
    ]
