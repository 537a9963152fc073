"""Texts of every kind, whatever befalls them, are read or refused; what once went wrong is in the corpus."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from saywhy.errors import SaywhyError
from saywhy.plumbing.texts import read_lines
from tests.cli.test_app import saywhy
from tests.fuzz.kinds import models, texts
from tests.fuzz.surviving import Survival, survive
from tests.fuzz.texts import CORPUS, Kind, corpus, mutated
from tests.helpers import sample_images

MOST_GROWTH = 1.5 * 2**30  # bytes

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of what was left out of a vocabulary


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path / "cache"))


def survived(kind: Kind, count: int, seed: int) -> Survival:
    found = survive(((kind.path, text) for text in mutated(kind, count, seed)), kind.read)
    assert found.grown < MOST_GROWTH
    return found


def test_a_few_of_every_kind(tmp_path: Path) -> None:
    kinds = list(texts(tmp_path))
    total = [survived(kind, max(6, len(kind.seeds)), seed=1) for kind in kinds]
    assert min(sum(one.read for one in total), sum(one.refused for one in total)) > len(kinds)


@pytest.mark.slow
def test_many_of_every_kind(tmp_path: Path) -> None:
    for kind in texts(tmp_path):
        found = survived(kind, 100, seed=2)
        assert found.read, kind.name  # the mutations leave something whole
        assert found.refused, kind.name


@pytest.mark.slow
def test_settings_of_models_folders(tmp_path: Path) -> None:
    for kind in models(tmp_path):
        found = survived(kind, 60, seed=3)
        assert found.read, kind.name
        assert found.refused, kind.name


def odd_paths(folder: Path) -> Iterator[Path]:
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    yield from (folder, folder / "pipe", folder / "loop", folder / "none", folder / ("x" * 5000), folder / "a\0b")
    yield from (Path("/dev/zero"), folder / "a\n\x1b[31m", folder / "none" / "none", folder / os.fsdecode(b"\xff"))


def test_what_is_no_file_is_refused_by_every_reader(tmp_path: Path) -> None:
    (tmp_path / "kinds").mkdir()
    readers = {kind.read: kind.name for kind in texts(tmp_path / "kinds") if kind.path.parent == tmp_path / "kinds"}
    for path in odd_paths(tmp_path):
        for read, name in readers.items():
            if "_" in name or name in ("explanation", "why", "answers"):  # these are given a text, not a path
                continue
            with pytest.raises(SaywhyError) as caught:
                read(path)
            assert str(caught.value).isprintable(), name


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--labels", "--vocabulary"])
def test_the_command_line_says_it_in_a_line(tmp_path: Path, option: str) -> None:
    picture = sample_images()[0]
    for ending in (".txt", ".json", ".csv"):
        name = {"--labels": "labels", "--vocabulary": "vocabulary"}[option]
        kind = Kind(name, tmp_path, corpus(name, ending), read_lines)
        for n, text in enumerate(mutated(kind, 12, seed=4) if kind.seeds else ()):
            (tmp_path / f"{n}{ending}").write_bytes(text)
            done = saywhy(
                "explain", picture, "--model", "world:aviary", "--writer", "none", option, tmp_path / f"{n}{ending}"
            )
            assert done.returncode in (0, 2), done.stderr
            assert "Traceback" not in done.stderr
            lines = [line for line in done.stderr.splitlines() if not line.startswith("note:")]
            assert len(lines) == (done.returncode == 2), done.stderr


def test_the_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in CORPUS.iterdir()) < 100_000
