"""What only some commands need is not needed by the others, and a line says which extra brings it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from saywhy.errors import SaywhyError
from saywhy.plumbing.extras import EXTRAS, need

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=]", one)[0].replace("-", "_") for one in requirements}


def test_every_extra_brings_what_it_is_named_for() -> None:
    brought = PROJECT["optional-dependencies"]
    for module, extra in EXTRAS.items():
        assert module in names(brought[extra])
        assert module not in names(PROJECT["dependencies"])


def test_a_missing_package_is_one_line_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(SaywhyError, match=r"^an audit needs duckdb: pip install 'saywhy\[audit\]'$"):
        need("an audit", "duckdb")
    assert need("this test", "json").dumps([]) == "[]"


WITHOUT = """
import sys
from importlib.machinery import PathFinder

from saywhy.plumbing.extras import EXTRAS

without = {*EXTRAS, "pandas"}


class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, *rest):
        return None if name.partition(".")[0] in without else PathFinder.find_spec(name, *rest)

    @staticmethod
    def find_distributions(*rest):
        found = PathFinder.find_distributions(*rest)
        return (one for one in found if one.metadata["Name"].replace("-", "_") not in without)


sys.meta_path[sys.meta_path.index(PathFinder)] = Without
from saywhy.cli.app import main

main()
"""


def bare(*words: str) -> subprocess.CompletedProcess[str]:
    """The command line, where no package of an extra can be found."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *words], capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"}
    )


def test_an_explanation_needs_no_extra(tmp_path: Path) -> None:
    result = bare("explain", "world:aviary", "--model", "world:aviary", "--limit", "2", "--out", str(tmp_path / "why"))
    assert result.returncode == 0, result.stderr
    made = {path.name for path in (tmp_path / "why").iterdir()}
    assert {"index.html", "pictures.csv", "regions.csv"} <= made
    assert "pictures.parquet" not in made


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (("audit", "world:aviary", "--model", "world:aviary", "--out", "audit"), "audit"),
        (
            ("explain", "world:aviary", "--model", "world:aviary", "-n", "1", "--method", "integrated-gradients"),
            "peers",
        ),
    ],
)
def test_what_needs_an_extra_says_so(words: tuple[str, ...], extra: str) -> None:
    result = bare(*words)
    assert result.returncode in (1, 2)  # of a picture, of all
    assert f"pip install 'saywhy[{extra}]'" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_demo_why_and_the_classifiers_own_space_need_no_extra(tmp_path: Path) -> None:
    rationales = tmp_path / "lists.json"
    rationales.write_text('{"a red bird": ["a red wing"], "a blue bird": ["a blue wing"]}')
    picture = Path(__file__).parents[2] / "src/saywhy/worlds/samples/aviary"
    one = str(sorted(picture.glob("*.jpg"))[0])
    for words in (
        ("demo", "--out", str(tmp_path / "demo")),
        ("why", one, "--space", "world:aviary", "--rationales", str(rationales)),
        ("explain", one, "--model", "world:aviary", "--space", "own"),
    ):
        result = bare(*words)
        assert result.returncode == 0, result.stderr
