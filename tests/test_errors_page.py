"""The lines that docs/reference-errors.md explains are lines that the sources can say."""

from __future__ import annotations

import ast
import re
from functools import lru_cache

import pytest

from tests.pages import ROOT

PAGE = (ROOT / "docs" / "reference-errors.md").read_text(encoding="utf-8")
LINES = re.findall(r"^\| `([^`]*)` \| ", PAGE.partition("## What the lines mean")[2], re.MULTILINE)


@lru_cache
def texts() -> str:
    """All texts of the sources, the parts of each f-string joined, a line each."""
    found = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(str(one.value) if isinstance(one, ast.Constant) else "\0" for one in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_there_are_lines() -> None:
    assert len(LINES) >= 25


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_said_somewhere(line: str) -> None:
    for part in line.split("..."):
        words = part.strip(" ();:,'[]")
        assert len(words) < 4 or words in texts(), words
