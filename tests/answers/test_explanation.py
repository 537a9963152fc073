"""What an explanation turns into: JSON, HTML, a figure."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from saywhy.answers.explanation import Explanation, explanation_to_html, save_report
from saywhy.errors import SaywhyError
from saywhy.pictures.in_batches import Failure
from saywhy.types import Heatmap, MapCheck, Prediction
from tests.helpers import explanation, sentence

EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'


# -- JSON -------------------------------------------------------------------------------------------------------------


def test_json_gives_the_same_explanation_back() -> None:
    first = explanation()
    again = Explanation.from_json(first.to_json())
    assert torch.equal(again.heatmap.values, first.heatmap.values)
    for one, other in zip(again.regions, first.regions, strict=True):
        assert np.array_equal(one.mask, other.mask)
        assert (one.box, one.share) == (other.box, other.share)
    same = ("picture", "geometry", "predictions", "target", "findings", "concepts", "summary", "sentence", "contrast")
    assert all(getattr(again, name) == getattr(first, name) for name in same)
    assert dict(again.settings) == dict(first.settings)
    assert again.heatmap.targets == (0,)
    assert again.heatmap.checks == first.heatmap.checks
    for phrase, before in zip(again.phrases, first.phrases, strict=True):
        assert torch.equal(phrase.heatmap.values, before.heatmap.values)
        assert phrase.heatmap.targets == (before.text,)
        assert replace(phrase, heatmap=before.heatmap).__dict__ == before.__dict__
    assert again.to_json() == first.to_json()


def test_json_without_a_sentence_is_read_too() -> None:
    old = json.loads(explanation().to_json())
    del old["sentence"], old["contrast"], old["phrases"], old["heatmap"]["checks"]  # as written before there were any
    again = Explanation.from_json(json.dumps(old))
    assert again.heatmap.checks == ()
    assert "adds up" not in explanation_to_html(again)
    assert again.sentence is None
    assert again.contrast is None
    assert again.phrases == ()


def test_page_figure_and_json_say_whether_the_map_adds_up() -> None:
    one = explanation()
    assert "The map adds up to 80 % of the logit, biases and other constants took 18 %." in explanation_to_html(one)
    assert not any("The map" in text for text in texts_of(one))  # a figure has room for what is wrong
    check = replace(one.heatmap.checks[0], constants=0.0)
    wrong = replace(one, heatmap=replace(one.heatmap, checks=(check,)))
    assert any("The map accounts for 80 %" in text for text in texts_of(wrong))
    assert json.loads(one.to_json())["heatmap"]["checks"][0]["constants"] == 0.9


def test_a_map_of_zeros_is_said_to_be_none_on_every_face() -> None:
    check = MapCheck(5.0, 0.0, 5.0, scale=5.0, allowed=0.25, empty=True, reason="the logit is a constant")
    heatmap = Heatmap(torch.zeros(1, 32, 32), (0,), (5.0,), "lrp", "epsilon-plus", (check,))
    one = replace(explanation(), heatmap=heatmap, regions=(), findings=())
    page = explanation_to_html(one)
    assert page.count("There is no map: the logit is a constant.") == 1
    assert "for this class" not in page
    assert "no map" in texts_of(one)


def texts_of(one: Explanation) -> list[str]:
    """What stands on the axes of a figure."""
    return [t.get_text() for axis in one.figure().axes for t in (axis.title, *axis.texts)]


def test_a_refused_sentence_says_why() -> None:
    refused = replace(sentence("x"), text="", score=float("nan"), words=(), drafts=(), refusal="the picture is flat")
    one = replace(explanation(), sentence=refused)
    assert "the picture is flat" in explanation_to_html(one, page=True)
    assert Explanation.from_json(one.to_json()).sentence.refusal == "the picture is flat"


def test_idle_words_are_struck_in_the_report() -> None:
    assert re.search(r'class="idle"[^>]*>indoors\.<', explanation_to_html(explanation(), page=True))


def test_json_is_strict_where_numbers_are_not() -> None:
    broken = replace(explanation(), target=Prediction(0, "x", float("nan"), float("inf")))
    document = json.loads(broken.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert document["target"]["probability"] is None
    assert np.isnan(Explanation.from_json(broken.to_json()).target.probability)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "format"),
        ('{"format": "other"}', "format"),
        ('{"format": "saywhy.explanation/2"}', "damaged"),
    ],
)
def test_what_is_no_explanation_is_refused(text: str, message: str) -> None:
    with pytest.raises(SaywhyError, match=message):
        Explanation.from_json(text)


# -- HTML -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [True, False])
def test_every_text_is_escaped(page: bool) -> None:
    html = explanation_to_html(explanation(EVIL), page=page)
    assert "<script" not in html
    assert "<img src=x" not in html
    assert html.count("&lt;script&gt;") >= 6  # file name, sentence, class, label, alt text, settings


def test_a_report_asks_nothing_of_anybody(tmp_path: Path) -> None:
    page = save_report(
        [explanation(), explanation(EVIL)], tmp_path / "why.html", failures=[Failure(EVIL, f"{EVIL}: gone")]
    )
    html = page.read_text()
    assert "<script" not in html
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", html)
    assert "url(" not in html
    assert "could not be explained" in html


def test_a_page_says_whose_answers_follow_where_several_classifiers_were_asked(tmp_path: Path) -> None:
    birds, cars = explanation(), replace(explanation(), settings={"model": "cars"})
    page = save_report([birds, birds, cars], tmp_path / "several.html").read_text()
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", page) == ["What toucan says", "What cars says"]
    assert "<h2" not in save_report([birds, birds], tmp_path / "one.html").read_text()


def test_a_phrase_that_does_not_stand_out_says_so_in_the_report() -> None:
    html = explanation_to_html(explanation())
    assert html.count("does not stand out in this picture") == 1
    assert "Relevance of each pixel for a red toucan" in html


def test_facts_stand_in_bold_and_what_is_not_sure_small_under_its_heading() -> None:
    html = explanation_to_html(explanation())
    assert re.search(r"<b>large toucan</b><span[^>]*>97 %<", html)
    sure, unknown = html.index("near, and not sure enough to be said"), html.index("uncalibrated: what the space finds")
    assert sure < html.index("<span>yellow</span>") < unknown < html.index("<span>nothing</span>")
    assert "<b>yellow" not in html


def test_a_picture_the_space_cannot_speak_of_gets_one_line_and_no_words() -> None:
    e = explanation()
    silent = replace(e, claims=(), silence="it is noise", findings=tuple(replace(f, labels=()) for f in e.findings))
    silent = replace(silent, concepts=replace(e.concepts, labels=()), sentence=None, contrast=None, phrases=())
    html = explanation_to_html(silent, page=False)
    assert html.count("Nothing is said of what is there: it is noise.") == 1
    assert not any(word in html for word in ("uncalibrated", "opinion", "yellow", "a bird"))
    assert Explanation.from_json(silent.to_json()).silence == "it is noise"


@pytest.mark.parametrize("name", ["why.html", "why.json", "why.png", "deep/er/why.HTML"])
def test_save_goes_by_the_ending(tmp_path: Path, name: str) -> None:
    path = explanation().save(tmp_path / name)
    start = path.read_bytes()[:15]
    assert {"html": b"<!doctype html>", "json": b'{"format": "say', "png": b"\x89PNG"}[path.suffix[1:].lower()] in start


def test_save_refuses_other_endings_and_folders(tmp_path: Path) -> None:
    with pytest.raises(SaywhyError, match=r"\.html, \.json or \.png"):
        explanation().save(tmp_path / "why.pdf")
    (tmp_path / "taken.html").mkdir()
    with pytest.raises(SaywhyError, match="cannot be written"):
        explanation().save(tmp_path / "taken.html")


def test_a_notebook_shows_a_fragment_with_its_style() -> None:
    html = explanation()._repr_html_()
    assert "<html" not in html
    assert "<style>" in html


# -- the figure -------------------------------------------------------------------------------------------------------


def test_the_figure_shows_every_region_and_phrase() -> None:
    figure = explanation("$toucan$").figure()
    assert len(figure.axes) == 6
    assert [axis.get_title() for axis in figure.axes[4:]] == [r"a red \$toucan\$", "nothing"]
    figure.canvas.draw()
