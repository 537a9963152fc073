"""What the embedded aviary's CLIP answers, with reasons that it states: "This is a ... because there is ..."."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from saywhy.answers.why import Why, why_to_html
from saywhy.pictures.sources import read_sources
from saywhy.questions.options import WhyOptions
from saywhy.questions.why import why_pictures
from saywhy.spaces.clip import load_clip
from saywhy.spaces.pairs.on_disk import build_bank
from saywhy.spaces.similarity import usual_scores
from saywhy.words.rationale_words import RationaleWords, with_article
from saywhy.worlds.aviary import SPECIES, phrases_of

NAMES = list(SPECIES)[::7]
VISIBLE_FROM = 2.0  # standard deviations, as a user asks for it: nobody measured it in this CLIP


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Why]]:
    """(species, answer) of held-out scenes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAYWHY_CACHE", str(tmp_path_factory.mktemp("cache")))
        clip = load_clip("world:aviary")
        phrases = list(dict.fromkeys(phrase for name in NAMES for phrase in phrases_of(SPECIES[name])))
        lists = tuple(tuple(phrases.index(phrase) for phrase in phrases_of(SPECIES[name])) for name in NAMES)
        words = RationaleWords(tuple(NAMES), tuple(phrases), lists)
        scenes = read_sources(["world:aviary"], 100)
        usual = usual_scores(
            torch.cat([clip.encode_images([one.open()]) for one in scenes]), clip.encode_texts(words.rationale_texts())
        )
        asked = [one for one in scenes if one.label in NAMES]
        options = WhyOptions(method="none", checks="none", visible_from=VISIBLE_FROM)
        pictures = [(one.name, one.open()) for one in asked]
        found = why_pictures(pictures, clip, words, build_bank(clip, words), options, usual=usual)
        return [(str(one.label), answer) for one, answer in zip(asked, found, strict=True)]


def test_it_states_reasons_of_the_category_that_stand_out(answers: list[tuple[str, Why]]) -> None:
    stated = [answer for _, answer in answers if " because there is " in answer.sentence]
    assert 3 <= len(stated) < len(answers)
    for answer in stated:
        begins, reasons = answer.sentence.partition(";")[0].rstrip(".").split(" because there is ")
        assert begins == f"This is {with_article(answer.category)}"
        said = [claim.text for claim in answer.claims if claim.said]
        assert reasons.split(" and ") == said[:2]
        assert set(said) <= set(phrases_of(SPECIES[answer.category]))
        assert all(reason.unusual >= VISIBLE_FROM for reason in answer.reasons if reason.rationale in said)


def test_the_page_has_under_because_of_what_the_sentence_may_state(answers: list[tuple[str, Why]]) -> None:
    for _, answer in answers:
        below = re.search(r"<h3>Because of</h3>(.*?)(<h3>|<details>)", why_to_html(answer), re.DOTALL)
        said = {claim.text for claim in answer.claims if claim.said}
        assert set(re.findall(r'<div class="share"><b>(.*?)</b>', below[1] if below else "")) == said


def test_what_it_states_is_there_more_often_than_in_other_birds(answers: list[tuple[str, Why]]) -> None:
    """Held against the species of the scene, and beside it against all others."""
    stated = [(species, claim.text) for species, answer in answers for claim in answer.claims if claim.said]
    here = [text in phrases_of(SPECIES[species]) for species, text in stated]
    elsewhere = [text in phrases_of(SPECIES[name]) for species, text in stated for name in NAMES if name != species]
    assert sum(here) / len(here) > 2 * sum(elsewhere) / len(elsewhere)


def test_it_can_be_saved(answers: list[tuple[str, Why]], tmp_path: Path) -> None:
    answer = next(answer for _, answer in answers if " because there is " in answer.sentence)
    assert Why.from_json(answer.to_json()).sentence == answer.sentence
    assert answer.save(tmp_path / "why.png").stat().st_size > 1000
