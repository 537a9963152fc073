"""Methods beside each other: each has its name and its tests, and different questions are not compared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from saywhy.answers.drawing import as_png
from saywhy.answers.side_by_side import BELIEVE, side_by_side
from saywhy.errors import SaywhyError
from saywhy.types import BORNE_OUT, Check
from tests.helpers import explanation

USED = Check("filled", BORNE_OUT, 5.0, 10.0, (0.9, 0.4, 0.8), (1, 1))


def test_each_method_stands_under_its_name_with_its_tests() -> None:
    one = explanation()
    tested = replace(one, regions=(replace(one.regions[0], used=USED), one.regions[1]))
    other = replace(one, heatmap=replace(one.heatmap, method="grad-cam", composite=None))
    figure = side_by_side([tested, other])
    picture, first, second = figure.axes
    assert picture.get_title() == "toucan (0.90)"
    assert (first.get_title(), second.get_title()) == (one.heatmap.method, "grad-cam")
    assert first.texts[0].get_text() == "2 places, 81% of relevance\n1 borne out"
    assert second.texts[0].get_text().endswith("not tested")
    assert " ".join(figure.get_supxlabel().split()) == BELIEVE
    assert as_png(figure).startswith(b"\x89PNG")


def test_composites_are_told_apart() -> None:
    one = explanation()
    maps = [replace(one, heatmap=replace(one.heatmap, composite=name)) for name in ("epsilon", "attnlrp")]
    assert [axis.get_title() for axis in side_by_side(maps).axes[1:]] == ["lrp, epsilon", "lrp, attnlrp"]


def test_other_pictures_and_classes_are_refused() -> None:
    one = explanation()
    with pytest.raises(SaywhyError, match="there is no explanation"):
        side_by_side([])
    with pytest.raises(SaywhyError, match="different pictures"):
        side_by_side([one, replace(one, picture=replace(one.picture, jpeg=b"other"))])
    with pytest.raises(SaywhyError, match="compare one class"):
        side_by_side([one, replace(one, target=one.predictions[1])])
