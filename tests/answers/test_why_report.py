"""The page about answers is one file that asks for nothing, and whose texts are escaped."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from saywhy.answers.why import Why, reasons_tested, save_why_report
from saywhy.errors import SaywhyError
from saywhy.pictures.in_batches import Failure
from saywhy.types import Check, RationaleUse
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


def with_uses() -> Why:
    """An answer whose first reason is borne out, and whose others could not be tested."""
    text = Check("another text", "borne out", 1.2, 0.3, (0.74, 0.31, None), (1, 2), p=0.01)
    picture = Check("covered", "borne out", 0.9, 0.3, (0.74, 0.4, 0.72), (1, 1), control=0.0, p=0.02, passes=51)
    missing = Check("covered", "not testable", float("nan"), 0.3, (0.74, 0.74, None), (1, 1), reason="no place")
    held = RationaleUse("borne out", 0.02, 0.04, text, picture)
    unknown = RationaleUse("not testable", None, None, text, missing)
    first, *others = asked(usual=USUAL, k=12).reasons
    reasons = (replace(first, used=held), *(replace(other, used=unknown) for other in others))
    return replace(asked(usual=USUAL, k=12), reasons=reasons)


def test_what_answers_rest_on_is_shown_and_written() -> None:
    found = with_uses()
    assert len(found.reasons) > 1
    said = reasons_tested(found)
    rest = len(found.reasons) - 1
    assert said == f"1 of {rest + 1} reasons is borne out: {found.reasons[0].rationale}; {rest} cannot be tested"
    page = found._repr_html_()
    assert said in page
    assert "borne out</span> other rationales in the text: 0.74 to 0.31; its place covered: 0.74 to 0.40" in page
    assert "no place" in page
    again = Why.from_json(found.to_json())
    assert again.to_json() == found.to_json()
    assert again.reasons[0].used == found.reasons[0].used
    assert any("borne out" in axis.get_title() for axis in found.figure().axes)
    assert reasons_tested(asked(usual=USUAL)) == ""


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
    assert html.count("<style>") == 1
    assert len(repr([found, found])) < 400
    assert found.category in repr(found)
