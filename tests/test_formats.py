"""The fields that docs/reference-formats.md names are the fields that are written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pytest

from saywhy import types
from saywhy.answers.captions import answers_to_json
from saywhy.answers.explanation import Explanation
from saywhy.answers.why import Why
from saywhy.classifiers import sae
from saywhy.plumbing import tensors
from saywhy.seen import calibration
from saywhy.spaces import concepts
from saywhy.spaces.text_to_weights import files
from tests import formats
from tests.answers.test_captions import answers
from tests.answers.test_why_report import with_uses
from tests.formats import ANSWERS, EXPLANATION, RECORDS, meanings, type_in_words
from tests.helpers import explanation
from tests.pages import ROOT

PAGE = (ROOT / "docs" / "reference-formats.md").read_text(encoding="utf-8")


def documented(name: str) -> set[str]:
    more, without = RECORDS[name]
    return {one.name for one in fields(getattr(types, name))} - set(without) | set(more)


WHERE = {
    "Prediction": ["target"], "Region": ["regions"], "Claim": ["claims"], "Finding": ["concepts"],
    "Label": ["concepts", "labels"], "Heatmap": ["heatmap"], "Geometry": ["geometry"], "Picture": ["picture"],
    "Sentence": ["sentence"], "Word": ["sentence", "words"], "Draft": ["sentence", "drafts"],
    "Contrast": ["contrast"], "PhraseMap": ["phrases"],
}  # fmt: skip
"""Records -> where one of them stands in an explanation."""


def test_an_explanation_has_the_fields_that_the_page_names() -> None:
    document = json.loads(explanation().to_json())
    names = {one.name for one in fields(Explanation)} | set(EXPLANATION)
    assert set(document) == names - {"more"}
    assert set(document["borne_out"]) == {"made", "borne_out", "not_testable"}
    for name, path in WHERE.items():
        found: Any = document
        for key in path:
            found = found[key]
        found = found[0] if isinstance(found, list) else found
        assert isinstance(found, Mapping), name
        assert set(found) == documented(name), name


def test_an_answer_of_why_has_the_fields_that_the_page_names() -> None:
    document = json.loads(with_uses().to_json())
    assert set(document) == {one.name for one in fields(Why)} | {"format"}


@pytest.mark.parametrize("operated", [False, True])
def test_an_answer_of_ask_has_the_fields_that_the_page_names(operated: bool) -> None:
    document = json.loads(answers_to_json(answers(operated)))
    assert set(document) == set(ANSWERS) - (set() if operated else {"surgery", "matching"})


def test_the_keys_of_safetensors_are_those_of_the_page() -> None:
    keys = {concepts._STORY, calibration._KEY, files._STORY, tensors.STORY}
    assert all(f"| `{key}` |" in PAGE for key in keys)
    assert f"`{sae.KIND}`" in PAGE or "sparse autoencoder" in PAGE


def test_meanings_are_read_from_docstrings() -> None:
    text = """What it is.

    one, other: the first
               and more. third: whether it is.
    """
    said = {"one": "the first\nand more.", "other": "the first\nand more.", "third": "whether it is."}
    assert meanings(text, ["one", "other", "third", "fourth"]) == said


def test_types_are_said_in_words() -> None:
    assert type_in_words("tuple[Region, ...]") == "list of [Region](#region)"
    assert type_in_words("tuple[float, float] | None") == "[number, number], or null"


def test_a_field_without_a_meaning_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(formats.PLAIN, "index")
    with pytest.raises(KeyError):
        formats.records()
