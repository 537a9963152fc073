"""Answers to captions as a record: saved, read back, shown; with the scores of every picture."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from saywhy.answers.captions import Answers
from saywhy.answers.captions_measures import concept_table, kept
from saywhy.errors import SaywhyError
from saywhy.pictures.in_batches import Failure

EVIL = "<script>alert(1)</script>"


def answers(operated: bool = True, **others: object) -> Answers:
    torch.manual_seed(0)
    before = 0.1 * torch.randn(12, 4) + 0.3
    found = Answers(
        groups=(("red", "green"), ("a five", EVIL)), before=before, after=0.5 * before if operated else None,
        pictures=tuple(f"{n}.png" for n in range(12)), classes=("five", "eight") * 6, predicted=("five",) * 12,
        scale=10.0, spaces=("CLIP", "CLIP, operated")[: 1 + operated], model="digits",
        surgery={"strength": 1.0, "unmatched": "mean"} if operated else None,
        matching={"how": "best", "layers": []} if operated else None, failures=(Failure("x.png", f"x.png: {EVIL}"),),
    )  # fmt: skip
    return replace(found, **others)  # type: ignore[arg-type]


@pytest.mark.parametrize("operated", [True, False])
def test_json_gives_the_same_answers_back(operated: bool) -> None:
    found = answers(operated)
    again = Answers.from_json(found.to_json())
    assert again.to_json() == found.to_json()
    assert torch.equal(again.before, found.before)
    assert (again.after is None) == (not operated)
    assert concept_table(again) == concept_table(found)
    same = ("groups", "pictures", "classes", "predicted", "scale", "spaces", "judged", "model", "surgery", "failures")
    assert all(getattr(again, name) == getattr(found, name) for name in same)
    if operated:
        assert kept(again, 0) == kept(found, 0)


def test_json_is_the_document_and_the_record() -> None:
    document = json.loads(answers().to_json())
    record = document.pop("record")
    assert document == json.loads(json.dumps(answers().document()))
    assert len(record["pictures"]) == 12


def test_a_document_without_the_scores_is_refused() -> None:
    with pytest.raises(SaywhyError, match="no scores of single pictures"):
        Answers.from_json(json.dumps(answers().document()))
    with pytest.raises(SaywhyError, match="damaged"):
        Answers.from_json('{"format": "saywhy.answers/1", "record": {}}')


@pytest.mark.parametrize("ending", ["html", "json", "png", "csv"])
def test_it_is_saved_by_the_ending(ending: str, tmp_path: Path) -> None:
    content = answers().save(tmp_path / f"answers.{ending}").read_bytes()
    starts = {
        "html": b"<!doctype html>",
        "json": b'{"format": "saywhy.answers/1"',
        "png": b"\x89PNG",
        "csv": b"name,class",
    }
    assert content.startswith(starts[ending])
    with pytest.raises(SaywhyError, match=r"\.html, \.json, \.png or \.csv"):
        answers().save(tmp_path / "answers.txt")


LAYER = {"layer": "layer4", "channels": 512, "matched": 379}
PUBLISHED = {"how": "best", "images": 60, "decisive": {}, "chance": 1.0, "shuffles": 0, "layers": [LAYER]}


def test_where_nothing_matched_nothing_is_said_of_the_classifier(tmp_path: Path) -> None:
    nothing = {**PUBLISHED, "chance": 0.0, "shuffles": 19, "layers": [{**LAYER, "matched": 0}]}
    found = answers(matching=nothing)
    document = found.document()
    assert [one["kind"] for one in document["findings"]] == ["unmatched"]
    assert "on 60 pictures no channel of CLIP goes with one of its by more than chance" in str(document["findings"])
    assert document["concepts"] == document["claims"] == document["cautions"] == []
    page = found.save(tmp_path / "a.html").read_text()
    assert "Nothing can be said of digits" in page
    assert "→ 0." not in page
    floor = answers(matching={**nothing, "decisive": {"evidence": 0}}).document()["findings"][0]["sentence"]
    assert "varies by more than the floor" in floor
    assert Answers.from_json(found.to_json()).to_json() == found.to_json()


def test_settings_as_published_carry_their_caution(tmp_path: Path) -> None:
    default = {**PUBLISHED, "decisive": {"evidence": 2}, "chance": 0.0, "shuffles": 19}
    assert answers(matching=default).document()["cautions"] == []
    found = answers(surgery={"strength": 1.0, "unmatched": "keep"}, matching=PUBLISHED)
    said = found.document()["cautions"]
    for words, caution in zip(("--layers", "--unmatched keep", "--chance 1", "So it was"), said, strict=True):
        assert words in caution
    assert "Caution: So it was published" in found.save(tmp_path / "a.html").read_text()
    (chance,) = answers(matching={**default, "chance": 0.05}).document()["cautions"]
    assert "26 of 512 channels match by chance" in chance
    (rough,) = answers(matching={**default, "shuffles": 1}).document()["cautions"]
    assert "one shuffle of the pictures one in 2 unrelated" in rough
    (mixed,) = answers(matching=default, surgery={"strength": 0.5, "unmatched": "mean"}).document()["cautions"]
    assert "--strength 0.5" in mixed


def test_captions_are_claims_of_which_none_is_a_fact() -> None:
    for found in (answers(), answers(False)):
        claims = found.document()["claims"]
        assert [claim["text"] for claim in claims] == list(found.captions)
        assert {(claim["there"], claim["said"], claim["about"]) for claim in claims} == {(None, False, "contrast")}
        assert claims[0]["space"] == found.spaces[-1]


def test_noise_of_other_groups_is_refused() -> None:
    found = answers(noise=(0.01, 0.02))
    assert Answers.from_json(found.to_json()).noise == (0.01, 0.02)
    damaged = json.loads(found.to_json()) | {"noise": [0.01]}
    with pytest.raises(SaywhyError, match="damaged"):
        Answers.from_json(json.dumps(damaged))


@pytest.mark.parametrize("operated", [True, False])
def test_pages_escape_every_text_and_ask_nothing_of_anybody(operated: bool, tmp_path: Path) -> None:
    page = answers(operated).save(tmp_path / "a.html").read_text()
    fragment = answers(operated)._repr_html_()
    assert "<script" not in page + fragment
    assert "x.png: &lt;script&gt;" in page
    assert "<html" not in fragment
    assert not re.search(r'(?:src|href)="(?!#)', page + fragment)


def test_it_is_short_in_a_console() -> None:
    assert repr(answers()) == "<Answers: 4 captions of 12 pictures, before and after surgery>"
    assert repr(answers(False)) == "<Answers: 4 captions of 12 pictures, CLIP>"
