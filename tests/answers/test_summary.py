"""The summary: an explanation in a few English sentences."""

from __future__ import annotations

from dataclasses import replace

import torch

from saywhy.answers.summary import summarise
from saywhy.types import Heatmap, MapCheck, Prediction
from tests.helpers import claim, explanation


def say(**changes: object) -> str:
    e = replace(explanation(), **changes)
    return summarise(e.picture, e.target, e.predictions, e.regions, e.claims, e.heatmap, silence=e.silence)


def test_the_sentence_says_what_where_and_whose_opinion() -> None:
    said = say()
    assert said.startswith("It says *toucan* (0.90). It looked mostly at the")
    assert "61% of relevance: large toucan)" in said
    assert "then the lower right (20% of relevance)" in said
    assert said.endswith(
        "The words are the opinion of a fake space, each at least 97 % likely to be there, calibrated on nothing."
    )


def test_the_sentence_says_no_word_that_is_not_a_fact() -> None:
    unsure = say(claims=(claim("yellow", there=0.4, said=False),))
    assert "yellow" not in unsure
    assert unsure.endswith("Nothing of what may be there is sure enough for a fake space to be said.")
    unknown = say(claims=(claim("yellow", there=None, said=False),))
    assert "yellow" not in unknown
    assert unknown.endswith("What is there is not said: no calibration.")
    assert say(claims=(), silence="it is noise").endswith("What is there is not said: it is noise.")


def test_the_sentence_says_when_it_is_unsure_or_asked_for_another_class() -> None:
    unsure = (Prediction(0, "toucan", 0.4, 1.0), Prediction(1, "hornbill", 0.35, 0.9))
    assert "not sure: *toucan* (0.40), or *hornbill* (0.35)" in say(predictions=unsure, target=unsure[0])
    assert "what speaks for *other* (0.10)" in say(target=explanation().predictions[1])


def test_the_sentence_says_when_there_is_nothing_to_show() -> None:
    def nothing(values: torch.Tensor, *checks: MapCheck) -> str:
        heatmap = Heatmap(values.view(1, 1, 2), (0,), (5.0,), "lrp", None, checks)
        said = say(regions=(), claims=(), heatmap=heatmap)
        assert "opinion" not in said
        return said

    assert nothing(torch.tensor([-1.0, 0.0])).endswith(
        "All that counts in the picture speaks against it, so there is no region to show."
    )
    assert "What speaks for it is scattered" in nothing(torch.tensor([-1.0, 1.0]))
    empty = MapCheck(5.0, 0.0, empty=True, reason="weights are zero")
    assert nothing(torch.zeros(2), empty).endswith("There is no map: weights are zero.")
    assert nothing(torch.zeros(2)).endswith("There is no map: all of it is zero.")


def test_the_sentence_says_how_much_is_in_no_region_where_that_is_much() -> None:
    first, second = explanation().regions
    assert "elsewhere" not in say()  # 19 % are in none
    assert "; the rest (60%) lies elsewhere in the picture." in say(
        regions=(replace(first, share=0.3), replace(second, share=0.1))
    )


def test_two_regions_are_never_in_places_of_the_same_name() -> None:
    first, second = explanation().regions
    alike = say(regions=(first, replace(second, box=(10, 1, 60, 30))))
    assert "mostly at the upper middle, further down" in alike
    assert "then the upper middle, further up" in alike
