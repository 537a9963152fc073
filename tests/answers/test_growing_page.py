"""A page that grows: one file for a few pictures, files beside it for many, the same cards in both."""

from __future__ import annotations

import gc
import re
import weakref
from pathlib import Path

import pytest

from saywhy.answers import growing_page
from saywhy.answers.explanation import new_report
from saywhy.answers.growing_page import MANY
from saywhy.errors import SaywhyError
from tests.helpers import explanation


def test_few_pictures_are_in_the_page_and_many_beside_it(tmp_path: Path) -> None:
    texts = []
    for count in (MANY - 1, MANY):
        page = new_report(tmp_path / str(count) / "index.html", count)
        for _ in range(3):  # as after Ctrl-C
            page.add(explanation())
        html = page.save().read_text()
        texts.append(re.sub(r'src="[^"]*"', "", html))
        sources = re.findall(r'src="([^"]*)"', html)
        assert all(source.startswith("data:image/jpeg") for source in sources) == (count < MANY)
        assert html.count("<img loading=") + html.count('alt="" loading="lazy"') == len(sources)
    assert len(sources) == len(set(sources))
    assert all((tmp_path / str(MANY) / source).is_file() for source in sources)
    assert len(html) < 40_000
    assert texts[0] == texts[1].replace(" 'self' file:", "")


def test_what_is_wrong_is_marked(tmp_path: Path) -> None:
    page = new_report(tmp_path / "index.html", 2)
    page.add(explanation())
    page.add(explanation(), wrong="it says a <b>, and is b")
    html = page.save(note="1 of 2 right").read_text()
    assert html.count('class="wrong"') == 1
    assert "<b>wrong: it says a &lt;b&gt;, and is b</b>" in html
    assert "<b>1 of 2 right.</b>" in html


def test_a_page_holds_no_answer(tmp_path: Path) -> None:
    page = new_report(tmp_path / "index.html", MANY)
    answer = explanation()
    gone = weakref.ref(answer.picture)
    page.add(answer)
    del answer
    gc.collect()
    assert gone() is None


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SaywhyError, match="cannot be written"):
        new_report(tmp_path / "file" / "index.html", 1)
    (tmp_path / growing_page.FOLDER).touch()
    page = new_report(tmp_path / "index.html", MANY)
    with pytest.raises(SaywhyError, match="pictures"):
        page.add(explanation())
