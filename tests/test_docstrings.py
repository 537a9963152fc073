"""Docstrings are shown as code and lists, and what is neither stays as it is."""

from __future__ import annotations

import pytest

pytest.importorskip("griffe")

from tests.docstrings import as_markdown


def test_examples_and_arguments_are_no_running_text() -> None:
    text = "What it does.\n\n>>> f(1)\n2\n\na:   one,\n     or two.\nb, c: others. d: 0.\n\nRaises X: never."
    code, listed = "```pycon\n>>> f(1)\n2\n```", "- `a`: one,\n     or two.\n- `b, c`: others.\n- `d`: 0."
    assert as_markdown(text) == f"What it does.\n\n{code}\n\n{listed}\n\nRaises X: never."


def test_a_paragraph_with_a_colon_is_no_list() -> None:
    text = "Files: .txt, a phrase a line;\n.json, a list of them."
    assert as_markdown(text) == text
