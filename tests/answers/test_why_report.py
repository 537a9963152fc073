"""The page about answers is one file that asks for nothing, and whose texts are escaped."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from saywhy.answers.why import Why, save_why_report
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


@pytest.mark.parametrize("method", ["lrp", "none"])
def test_json_gives_the_same_answer_back(method: str) -> None:
    found = asked(usual=USUAL, method=method)
    again = Why.from_json(found.to_json())
    assert again.to_json() == found.to_json()
    same = ("picture", "geometry", "category", "probability", "visible", "sentence", "alternatives", "space")
    assert all(getattr(again, name) == getattr(found, name) for name in same)
    for one, other in zip(again.reasons, found.reasons, strict=True):
        assert vars(replace(one, heat=None)) == vars(replace(other, heat=None))
        assert (one.heat is None) == (other.heat is None) == (method == "none")
        assert one.heat is None or torch.equal(one.heat, other.heat)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ('{"format": "x"}', "not an answer"), ('{"format": "saywhy.why/1"}', "damaged")],
)
def test_what_is_no_answer_is_refused(text: str, message: str) -> None:
    with pytest.raises(SaywhyError, match=message):
        Why.from_json(text)


@pytest.mark.parametrize("ending", ["html", "json", "png"])
def test_it_is_saved_by_the_ending(ending: str, tmp_path: Path) -> None:
    start = asked().save(tmp_path / f"why.{ending}").read_bytes()[:16]
    assert {"html": b"<!doctype html>", "json": b'{"format": "say', "png": b"\x89PNG"}[ending] in start
    with pytest.raises(SaywhyError, match=r"\.html, \.json or \.png"):
        asked().save(tmp_path / "why.txt")


def test_it_shows_itself_in_a_notebook_and_is_short_in_a_console() -> None:
    found = asked()
    html = found._repr_html_()
    assert "<html" not in html
    assert found.sentence in html
    assert html.count("<style>") == 2
    assert len(repr([found, found])) < 400
    assert found.category in repr(found)
