"""The drawing of an answer has a column for each rationale, whatever is written in it."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from PIL import Image

from tests.questions.test_why import RED, _cache, asked, painted

__all__ = ["_cache"]


@pytest.mark.parametrize(("method", "maps"), [("lrp", 2), ("gscorecam", 2), ("none", 0)])
def test_a_column_for_each_rationale(method: str, maps: int) -> None:
    found = asked(method=method)
    figure = found.figure()
    assert sum(len(axis.images) for axis in figure.axes) == 1 + maps * len(found.reasons)
    assert " ".join(figure.get_suptitle().split()) == found.sentence


@pytest.mark.parametrize("picture", [RED, painted(red=(0, 0, 64, 48)).resize((400, 60)), RED.resize((40, 300))])
def test_it_is_drawn_at_any_size_and_with_any_words(picture: Image.Image) -> None:
    found = asked(picture, k=1)
    found = replace(found, category="a $very$ long name " * 9, reasons=found.reasons * 6)
    drawn = io.BytesIO()
    found.figure().savefig(drawn, format="png", dpi=50)
    assert Image.open(drawn).width > 300


def test_numbers_stand_on_a_line_of_their_own() -> None:
    figure = asked(k=1).figure()
    titles = [axis.get_title() for axis in figure.axes if "\nfits " in axis.get_title()]
    assert titles
    assert all(
        line.endswith("sd") or line.count(".") == 1 for t in titles for line in t.splitlines() if "fits " in line
    )
    assert all(t.splitlines()[-2].startswith("fits ") for t in titles)
    assert not any("P(" in title for title in titles)
