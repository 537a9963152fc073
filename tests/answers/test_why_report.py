"""The page about answers is one file that asks for nothing, and whose texts are escaped."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from saywhy.answers.why import save_why_report
from saywhy.errors import SaywhyError
from saywhy.pictures.in_batches import Failure
from tests.questions.test_why import USUAL, _cache, asked

__all__ = ["_cache"]


def test_it_shows_everything_that_was_found(tmp_path: Path) -> None:
    found = asked(usual=USUAL)
    page = save_why_report([found, asked(method="none")], tmp_path / "new" / "index.html", title="Why?").read_text()
    for words in (found.sentence, *(reason.rationale for reason in found.reasons), found.space, "Also considered"):
        assert words in page
    assert page.count("<section") == 2
    assert page.count('alt="Where ') == 2 * len(found.reasons)
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "<script" not in page


def test_texts_are_escaped_and_failures_told(tmp_path: Path) -> None:
    found = replace(asked(), sentence="<b>&</b>")
    page = save_why_report([found], tmp_path / "a.html", failures=[Failure("x.png", "x.png: <no>")]).read_text()
    assert "&lt;b&gt;&amp;&lt;/b&gt;" in page
    assert "x.png: &lt;no&gt;" in page


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SaywhyError, match="cannot be written"):
        save_why_report([], tmp_path / "file" / "index.html")
