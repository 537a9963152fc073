"""The faces of an explanation: sentence, JSON, overlay, figure, HTML."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from saywhy.answers.drawing import heatmap_rgba, overlay
from saywhy.answers.explanation import Explanation, explanation_to_html, save_report
from saywhy.answers.summary import position, summarise
from saywhy.errors import SaywhyError
from saywhy.pictures.in_batches import Failure
from saywhy.pictures.reading import display_copy
from saywhy.types import Contrast, Draft, Finding, Geometry, Heatmap, Label, Prediction, Region, Sentence, Word
from tests.helpers import picture

EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'


def finding(region: int | None, *words: str, fits: bool = True) -> Finding:
    labels = tuple(Label(w, "group", 0.5, n, 4.0 - n if fits else 1.0) for n, w in enumerate(words, 1))
    return Finding(region, labels, "a fake space", fits)


def explanation(text: str = "toucan") -> Explanation:
    """A plausible explanation, made of nothing; ``text`` is in every place that a user's text can reach."""
    mask = np.zeros((32, 32), bool)
    mask[4:12, 8:20] = True
    values = torch.linspace(-1, 1, 1024).view(1, 32, 32)
    predictions = (Prediction(0, text, 0.9, 5.0), Prediction(1, "other", 0.1, 2.0))
    regions = (Region((10, 5, 60, 40), mask, 0.61), Region((40, 30, 90, 60), ~mask, 0.2))
    findings = (finding(0, f"large {text}", "yellow"), finding(1, "nothing", fits=False))
    return Explanation(
        picture=display_copy(picture(), f"{text}.jpg"),
        geometry=Geometry((96, 64), (32, 32), (2.0, 2.0), (16.0, 0.0)),
        predictions=predictions,
        target=predictions[0],
        heatmap=Heatmap(values, (0,), (5.0,), "lrp", "epsilon-plus"),
        regions=regions,
        findings=findings,
        concepts=finding(None, "a bird"),
        summary=f"It says *{text}* (0.90).",
        settings={"model": text, "top": 3, "target": None},
        sentence=sentence(text),
        contrast=Contrast(predictions[1], finding(None, f"striped {text}").labels, ()),
    )


def sentence(text: str) -> Sentence:
    words = (Word("a", None, False), Word(text, 0.2, False), Word("indoors.", -0.1, True))
    drafts = (Draft(f"a {text} indoors.", 0.5, 0.5), Draft("a bird.", 0.4, 0.4))
    said = drafts[0].text
    return Sentence(said, 0.5, 3.0, text, text, 0.5, 9.0, words, drafts, "guided", text, 7)


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
    assert again.to_json() == first.to_json()


def test_json_without_a_sentence_is_read_too() -> None:
    old = json.loads(explanation().to_json())
    del old["sentence"], old["contrast"]  # as written before there were any
    again = Explanation.from_json(json.dumps(old))
    assert again.sentence is None
    assert again.contrast is None


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
        ('{"format": "saywhy.explanation/1"}', "damaged"),
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


def test_what_does_not_fit_is_said_in_the_report() -> None:
    assert "nothing in the vocabulary fits" in explanation_to_html(explanation())


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


# -- pictures ---------------------------------------------------------------------------------------------------------


def test_colours_say_the_sign_and_strength() -> None:
    rgba = heatmap_rgba(np.array([[1.0, -1.0], [0.1, 0.0]]))
    assert rgba[0, 0, 0] > rgba[0, 0, 2]
    assert rgba[0, 1, 2] > rgba[0, 1, 0]
    assert rgba[0, 0, 3] > rgba[1, 0, 3] > rgba[1, 1, 3] == 0
    assert heatmap_rgba(np.full((4, 4), np.nan)).shape == (4, 4, 4)


def test_the_heatmap_lies_where_the_frame_lay() -> None:
    """Relevance in the left upper quarter of a frame that covers the right half of the picture."""
    values = np.zeros((32, 32))
    values[:16, :16] = 1
    drawn = np.asarray(overlay(picture(128, 64), values, Geometry((128, 64), (32, 32), (2.0, 2.0), (64.0, 0.0))), int)
    redness = drawn[..., 0] - drawn[..., 2]
    assert redness[8:24, 70:90].min() > redness[:, :60].max()
    assert redness[8:24, 70:90].min() > redness[40:, 70:].max()


def test_the_figure_shows_every_region() -> None:
    figure = explanation("$toucan$").figure()
    assert len(figure.axes) == 4
    figure.canvas.draw()


# -- the sentence -----------------------------------------------------------------------------------------------------


def say(**changes: object) -> str:
    e = replace(explanation(), **changes)
    return summarise(e.picture, e.target, e.predictions, e.regions, e.findings, e.concepts)


def test_the_sentence_says_what_where_and_whose_opinion() -> None:
    said = say()
    assert said.startswith("It says *toucan* (0.90). It looked mostly at the")
    assert "61% of relevance: large toucan, yellow" in said
    assert "nothing of the vocabulary fits" in said
    assert said.endswith("The words are the opinion of a fake space.")


def test_the_sentence_says_when_it_is_unsure_or_asked_for_another_class() -> None:
    unsure = (Prediction(0, "toucan", 0.4, 1.0), Prediction(1, "hornbill", 0.35, 0.9))
    assert "not sure: *toucan* (0.40), or *hornbill* (0.35)" in say(predictions=unsure, target=unsure[0])
    assert "what speaks for *other* (0.10)" in say(target=explanation().predictions[1])


def test_the_sentence_says_when_there_is_nothing_to_show() -> None:
    said = say(regions=(), findings=(), concepts=finding(None, "x", fits=False))
    assert "no region to show" in said
    assert "opinion" not in said


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((0, 0, 20, 20), "upper left"),
        ((40, 40, 60, 60), "centre"),
        ((80, 45, 100, 55), "right"),
        ((45, 90, 55, 100), "lower middle"),
    ],
)
def test_positions_in_words(box: tuple[int, int, int, int], words: str) -> None:
    assert position(box, (100, 100)) == words
