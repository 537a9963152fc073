from dataclasses import replace

import numpy as np
import pytest

import saywhy
from saywhy.checks.words import untold
from saywhy.questions.names_and_defaults import resolve_space
from saywhy.questions.verify import verify
from saywhy.questions.words_tested import FAST_WORDS, NO_SPACE
from saywhy.types import BORNE_OUT, NOT_TESTABLE, Space
from saywhy.worlds.aviary import render


@pytest.fixture(scope="module")
def classifier() -> saywhy.Classifier:
    return saywhy.Classifier.load("world:aviary")


@pytest.fixture(scope="module")
def space(classifier: saywhy.Classifier) -> Space:
    return resolve_space("world:aviary", classifier)


def test_each_word_that_is_said_has_its_check_and_what_is_not_said_has_none(
    classifier: saywhy.Classifier, space: Space
) -> None:
    image = render("Red-crowned Finch", 5, 160).image
    explanation = saywhy.explain(image, model=classifier, space=space)
    assert any(claim.said for claim in explanation.claims)
    for claim in explanation.claims:
        assert (claim.used is not None) == claim.said
        if claim.used is not None and untold(claim.text):
            assert (claim.used.verdict, claim.used.passes) == (NOT_TESTABLE, 0)
            assert claim.used.reason == untold(claim.text)
    spent = sum(claim.used.passes for claim in explanation.claims if claim.used)
    assert spent <= FAST_WORDS


def test_without_its_space_a_word_of_colour_is_not_testable_and_with_it_it_is_as_before(
    classifier: saywhy.Classifier, space: Space
) -> None:
    image = render("Red-crowned Finch", 5, 160).image
    explanation = saywhy.explain(image, model=classifier, space=space)
    coloured = [claim.text for claim in explanation.claims if claim.said and not untold(claim.text)]
    assert coloured
    alone = verify(explanation, classifier, image)
    assert {claim.used.reason for claim in alone.claims if claim.used and claim.text in coloured} == {NO_SPACE}
    again = verify(explanation, classifier, image, space=space)
    for one, other in zip(explanation.claims, again.claims, strict=True):
        assert (one.used is None) == (other.used is None)
        if one.used and other.used:
            assert one.used.verdict == other.used.verdict
            assert np.isclose(one.used.effect, other.used.effect, atol=1e-4, equal_nan=True)


def test_no_false_word_of_colour_is_borne_out_of_a_bird_without_that_colour(
    classifier: saywhy.Classifier, space: Space
) -> None:
    scene = render("Red-crowned Finch", 5, 160)
    shown = " ".join(scene.attributes.values())
    absent = next(colour for colour in ("pink", "purple", "orange", "yellow") if colour not in shown)
    explanation = saywhy.explain(scene.image, model=classifier, space=space)
    claim = next(claim for claim in explanation.claims if claim.said)
    false = tuple(replace(claim, text=f"{absent} {part}") for part in ("crown", "wing", "breast"))
    planted = replace(explanation, claims=false + explanation.claims)
    for one in verify(planted, classifier, scene.image, space=space).claims[: len(false)]:
        assert one.used is not None
        assert one.used.verdict != BORNE_OUT
