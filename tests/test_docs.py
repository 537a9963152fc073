"""What README and docs/ tell a reader to type is what there is, and does what it says: read from the files.

Every command is parsed by the command line's own parser, and every block of Python compiled (fast). Slow: all that a
reader can run in seconds without a hub is run, page by page, in a folder with stand-ins (tests/stand_ins.py).
"""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer.main

from saywhy.bench import BENCHMARKS
from saywhy.cli.app import app
from tests.cli.test_app import saywhy
from tests.pages import PAGES, ROOT, Block, Command, blocks, commands, commands_of, python_of
from tests.stand_ins import furnish, replaced, run_python

REASONS = (
    "needs a hub", "needs a GPU", "needs a cluster", "needs another package", "needs your model", "takes minutes",
    "takes hours", "installs packages", "is not installed with saywhy", "does not import", "is a repository",
    "starts Ray", "starts its database", "starts a server",
)  # fmt: skip
"""What a block may need that is not run: ``<!-- not run: needs a hub -->``."""

COMMANDS = [command for page in PAGES for command in commands(page)]
SAID = [command for command in COMMANDS if command.words[0] == "saywhy"]
OTHERS = [command for command in COMMANDS if command.words[0] != "saywhy" and not command.block.excuse]
PYTHON = [block for page in PAGES for block in python_of(page)]
FREE = (
    ".",
    "cd",
    "jupyter",
    "find",
    "git",
    "jq",
    "ls",
    "head",
    "source",
    "export",
    "xargs",
    "open",
    "echo",
    "mkdir",
    "unzip",
)
"""Programs of others, whose options are theirs."""


def test_all_commands_are_found() -> None:
    assert len(SAID) >= 100
    assert len(PYTHON) >= 20
    assert {command.words[1] for command in SAID} >= {"explain", "ask", "why", "train", "bench", "audit", "query"}


@pytest.mark.parametrize("command", SAID, ids=str)
def test_every_command_has_the_options_it_is_given(command: Command) -> None:
    parse(command.words)


def parse(words: Sequence[str]) -> None:
    """Raises for what the command line does not know, or would refuse before it does anything."""
    command: Any = typer.main.get_command(app)
    rest = list(words[1:])
    if rest[:1] == ["bench"] and rest[1:]:
        assert any(word in BENCHMARKS for word in rest), f"no benchmark in {rest}"
        shown = saywhy(*rest, "--help")  # parsed before help is shown
        assert shown.returncode == 0, shown.stderr
        return
    if rest[0].startswith("-"):
        assert rest[0] in [*command.get_help_option_names(None), *(o for p in command.params for o in p.opts)], rest[0]
        return
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"saywhy has no command {rest[0]}"
        command, rest = command.commands[rest[0]], rest[1:]
    if "--help" not in rest and "-h" not in rest:
        command.make_context(words[0], rest)


@pytest.mark.parametrize("command", OTHERS, ids=str)
def test_what_is_not_saywhy_is_there_too(command: Command) -> None:
    program, *rest = command.words
    while "=" in program and rest:  # VARIABLE=value before a program
        program, *rest = rest
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert {word for word in rest if "=" not in word and not word.startswith("-")} <= set(targets)
    elif program.startswith("python"):
        if "-m" in rest:
            module = rest[rest.index("-m") + 1]
            assert module in ("pip", "venv") or find_spec(module), module
        elif rest and rest[0].endswith(".py"):
            assert (ROOT / rest[0]).is_file(), rest[0]
    elif program in ("pip", "uv", "pipx"):
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
            "optional-dependencies"
        ]
        for asked in re.findall(r"(?:saywhy|\.)\[([\w,-]+)\]", " ".join(rest)):
            assert set(asked.split(",")) <= set(extras), f"no extra {asked}"
    else:
        assert program in (*FREE, "docker", "kubectl", "curl"), f"what is {program}?"


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.where)
def test_every_block_of_python_compiles(block: Block) -> None:
    compile(block.text, block.where, "exec")


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_what_is_not_run_has_one_of_the_allowed_reasons(file: Path) -> None:
    for block in blocks(file):
        assert not block.excuse or any(reason in block.excuse for reason in REASONS), f"{block.where}: {block.excuse}"
        assert not (
            block.language == "indented" and re.match(r"(import|from) \w+|\w+ = saywhy\.|saywhy\.", block.text)
        ), f"{block.where}: Python stands in a ```python block, so that it is run"


LONG = ("bench", "train", "calibrate", "serve", "demo")
"""Commands that take minutes, or do not end: parsed, and not run."""


WRITTEN = ("--out", "-o", "--junit", "--save")
"""Options whose file or folder the command itself makes."""


COUNTS = ("--limit", "-n", "--train", "--test")
"""Options that say of how many pictures: a command with more than a hundred takes minutes."""


def runs(command: Command) -> bool:
    words = command.words
    return (
        words[0] == "saywhy"
        and (words[1] not in LONG or "--epochs" in words)  # a small training, as a page shows it
        and not command.block.excuse
        and not command.fed
        and not any(option in COUNTS and int(word) > 100 for option, word in pairwise(words))
        and not any(word.startswith(("../shared", "/shared", "tuned:", "concepts:", "operated:")) for word in words)
    )


PARSED = ("reference-commands.md",)
"""Pages of examples that other pages run too."""
PAGES_THAT_RUN = [page for page in PAGES if page.name not in PARSED]
PAGES_THAT_RUN = [page for page in PAGES_THAT_RUN if any(map(runs, commands(page))) or python_of(page)]


@pytest.mark.slow
@pytest.mark.parametrize("file", PAGES_THAT_RUN, ids=lambda file: file.name)
def test_a_page_does_what_it_says(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a page says to type, top to bottom, in one folder and one Python."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path / "cache"))
    names: dict[str, Any] = {}
    for block in blocks(file):
        if block.excuse:
            continue
        if block.language in ("python", "py"):
            run_python(block.text, block.where, names, tmp_path)
            continue
        for command in commands_of(block):
            if runs(command):
                words = [replaced(word) for word in command.words[1:]]
                made = {word for option, word in pairwise(words) if option in WRITTEN}
                if words[0] == "audit":  # the pages show one folder for many audits, which a reader makes one of
                    for folder in made:
                        shutil.rmtree(folder, ignore_errors=True)
                furnish(tmp_path, [word for word in command.words if word not in made])
                result = saywhy(*words)
                assert result.returncode == 0, f"{block.where}: {command}\n{result.stderr}"
