"""What README and the pages of docs/ tell a reader to type: their commands and their Python, read from the files.

Commands are the lines of a ```console, ```bash, ```sh or ```shell block, all lines of an indented block that begins
with a command, and those lines of other indented or plain blocks that begin with one; where a block has lines that
begin with "$ ", only these. Python is a ```python block. What a reader cannot run without a hub, a GPU or hours is
excused, with its reason, on the line before the block: ``<!-- not run: REASON -->``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

PROGRAMS = ("saywhy", "python", "pip", "uv", "pipx", "make", "docker", "kubectl", "curl")
"""What a line of an indented block begins with that is a command, and not output or a formula."""
_BEGINNINGS = tuple(f"{program} " for program in PROGRAMS)
_SHELL = ("console", "bash", "sh", "shell")
_FENCE = re.compile(r"^( *)(```+|~~~+) *([\w+-]*)")
_EXCUSE = re.compile(r"<!-- not run: (.+?) -->")


@dataclass(frozen=True)
class Block:
    """A block of code of a page. line: of its first line, from 1. excuse: why it is not run, or ""."""

    page: str
    line: int
    language: str
    text: str
    excuse: str = ""

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command of a block: its words, without comments, redirections and what stands before and after pipes."""

    block: Block
    words: tuple[str, ...]
    fed: bool = False  # it reads what another command writes

    def __str__(self) -> str:
        return f"{self.block.page}: {shlex.join(self.words)}"


def blocks(path: Path) -> list[Block]:
    """All blocks of code, fenced and indented, in their order."""
    return list(_blocks(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8").splitlines()))


def _blocks(page: str, lines: list[str]) -> Iterator[Block]:
    n, excuse, listed = 0, "", False
    while n < len(lines):
        line = lines[n]
        if opened := _FENCE.match(line):
            indent, fence, language = opened.groups()
            end = next(k for k in range(n + 1, len(lines)) if lines[k].strip() == fence)
            text = "\n".join(inner.removeprefix(indent) for inner in lines[n + 1 : end])
            yield Block(page, n + 2, language or "text", text, excuse)
            n, excuse = end + 1, ""
        elif line.startswith("    ") and line.strip() and not listed and (n == 0 or not lines[n - 1].strip()):
            end = n
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            yield Block(page, n + 1, "indented", "\n".join(inner[4:] for inner in lines[n:end]).rstrip(), excuse)
            n, excuse = end, ""
        else:
            if line.strip():  # empty lines may stand between an excuse and its block
                excuse = found[1] if (found := _EXCUSE.search(line)) else ""
                listed = line.lstrip().startswith(("- ", "* ", "1. ")) or (listed and line.startswith(" "))
            n += 1


def commands(path: Path) -> list[Command]:
    """Every command of a page, in order."""
    return [command for block in blocks(path) for command in commands_of(block)]


def commands_of(block: Block) -> list[Command]:
    lines = block.text.replace("\\\n", " ").splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    elif block.language in ("indented", "text"):
        if not lines or not lines[0].startswith(_BEGINNINGS):
            lines = [line for line in lines if line.startswith(_BEGINNINGS)]
    elif block.language not in _SHELL:
        return []
    return [command for line in lines for command in _split(block, line)]


def _split(block: Block, line: str) -> Iterator[Command]:
    reader = shlex.shlex(line, posix=True, punctuation_chars="|;&<>")
    reader.whitespace_split, reader.commenters = True, "#"
    words: list[str] = []
    fed = skip = False
    for word in [*reader, ";"]:
        if word in ("|", ";", "&&", "||", "&"):
            if words:
                yield Command(block, tuple(words), fed)
            words, fed, skip = [], word == "|", False
        elif word in (">", ">>", "<", "2>"):
            skip = True
        elif skip:
            skip = False
        else:
            words.append(word)


def python_of(path: Path) -> list[Block]:
    """The blocks of Python that a reader can run."""
    return [block for block in blocks(path) if block.language in ("python", "py")]
