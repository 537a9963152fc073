"""The summary: an explanation in a few English sentences."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
import torch

from saywhy.answers.claims import MEASURED
from saywhy.answers.summary import summarise
from saywhy.types import BORNE_OUT, NOT_BORNE_OUT, NOT_TESTABLE, Check, Heatmap, MapCheck, Prediction
from tests.helpers import claim, explanation


def say(**changes: object) -> str:
    e = replace(explanation(), **changes)
    return summarise(e.picture, e.target, e.predictions, e.regions, e.claims, e.heatmap, silence=e.silence)


def test_the_sentence_says_what_where_and_whose_opinion() -> None:
    said = say()
    assert said.startswith("It says *toucan* (0.90). It looked mostly at the")
    assert "61% of relevance: large toucan)" in said
    assert "then the lower right (20%)." in said
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
    assert "; the rest (40%) lies elsewhere in the picture." in say(
        regions=(replace(first, share=0.4), replace(second, share=0.2))
    )


@pytest.mark.parametrize("shares", [(0.9, 0.1), (0.5, 0.0), (0.3, 0.2), (0.2, 0.2), (0.06, 0.05), (0.45,)])
def test_mostly_is_said_of_what_holds_half_or_more(shares: tuple[float, ...]) -> None:
    regions = tuple(replace(r, share=share) for r, share in zip(explanation().regions, shares, strict=False))
    said = say(regions=regions)
    assert ("mostly at the upper middle (" in said) == (shares[0] >= 0.5)
    assert ("mostly at 2 places: the upper middle (" in said) == (shares[0] < 0.5 <= sum(shares))
    spread = f"Relevance is spread over the picture: no place holds more than {shares[0]:.0%} of it."
    assert (spread in said) == (sum(shares) < 0.5)
    assert all(f"({share:.0%}" in said for share in shares)


def check(verdict: str, effect: float = 2.0) -> Check:
    return Check("filled", verdict, effect, 10.0, (0.9, 0.4, 0.8), (1, 2), reason="too small")


@pytest.mark.parametrize("verdicts", list(product((BORNE_OUT, NOT_BORNE_OUT, NOT_TESTABLE, ""), repeat=3)))
def test_what_was_tested_can_be_counted(verdicts: tuple[str, ...]) -> None:
    """The parts add up to what is named, and every claim that is borne out, or could not be tested, has its name."""
    used = [check(verdict) if verdict else None for verdict in verdicts]
    regions = tuple(replace(r, used=u) for r, u in zip(explanation().regions, used, strict=False))
    said = say(regions=regions, claims=(replace(claim("metal"), used=used[2]),))
    made = [verdict for verdict in verdicts if verdict]
    assert ("Put to the test" in said) == bool(made)
    counts = {verdict: int(n) for n, verdict in re.findall(r"(\d) (not borne out|borne out|not testable)", said)}
    assert counts == dict(Counter(made))
    if made:
        (kinds,) = re.findall(r"Put to the test[^:]*: ([^.]*)\.", said)
        assert sum(map(int, re.findall(r"\d", kinds))) == len(made)
        assert ("None of them is shown" in said or "It is not shown to count" in said) == (BORNE_OUT not in made)
    for verdict, name in zip(verdicts, ("the upper middle", "the lower right", '"metal"'), strict=True):
        named = re.findall(rf"{verdict} \(([^)]*)\)", said) if verdict else [""]
        assert (name in " ".join(named)) == (verdict in (BORNE_OUT, NOT_TESTABLE))


def test_of_many_claims_a_few_are_named_and_the_others_counted() -> None:
    claims = tuple(replace(claim(f"word {n}"), used=check(BORNE_OUT)) for n in range(9))
    assert '9 borne out ("word 0"; "word 1"; "word 2"; and 6 more).' in say(regions=(), claims=claims)


def test_surroundings_are_said_and_not_counted() -> None:
    e = explanation()
    regions = (replace(e.regions[0], used=check(BORNE_OUT)), e.regions[1])
    said = summarise(
        e.picture, e.target, e.predictions, regions, (), e.heatmap, silence="noise", surroundings=check(BORNE_OUT)
    )
    assert "Put to the test: 1 place. It is shown to count: 1 borne out (the upper middle)." in said
    assert "It rests most on the upper middle: without it the score falls from 0.90 to 0.40" in said
    assert "It rests on its surroundings: in other surroundings" in said


def decisive(share: float, ranks: tuple[int, int] = (1, 1), verdict: str = BORNE_OUT) -> Check:
    return Check("filled", verdict, 10 * share, 10.0, (0.9, 0.4, 0.8), ranks)


def said_of(region: Check | None = None, fact: Check | None = None, around: Check | None = None) -> str:
    e = explanation()
    regions = (replace(e.regions[0], used=region), e.regions[1])
    frame = () if fact is None else (replace(claim("a red frame"), space=MEASURED, there=None, used=fact),)
    return summarise(
        e.picture, e.target, e.predictions, regions, frame, e.heatmap, silence="noise", surroundings=around
    )


FRAME = 'It rests most on "a red frame", measured in the picture and no network\'s opinion: without it'
PLACE, AROUND = (
    "It rests most on the upper middle: without it",
    "It rests most on its surroundings: in other surroundings",
)


@pytest.mark.parametrize(
    ("checks", "first"),
    [
        ((decisive(0.6), decisive(0.9), decisive(0.7)), FRAME),
        ((decisive(0.9), decisive(0.6), decisive(0.7)), PLACE),
        ((decisive(0.6), decisive(0.7), decisive(0.9)), FRAME),  # what has a name says more than all that is around
        ((decisive(0.4), None, decisive(0.9)), AROUND),
        ((None, None, decisive(0.5)), AROUND),
        ((None, decisive(0.2, (1, 3)), decisive(0.3)), FRAME),  # another class comes first
        ((decisive(0.9, verdict=NOT_BORNE_OUT), decisive(0.3), None), ""),
        ((None, decisive(0.49), decisive(0.2, (2, 3))), ""),
        ((None, None, None), ""),
    ],
)
def test_what_decides_is_said_before_where_it_looked_and_once(checks: tuple[Check | None, ...], first: str) -> None:
    said = said_of(*checks)
    after = said.removeprefix("It says *toucan* (0.90). ")
    assert ("rests most on" in said) == bool(first)
    assert after.startswith(first or "It looked mostly")
    for name, check in zip(
        ("Without the upper middle", '"a red frame": without', "on its surroundings:"), checks, strict=True
    ):
        if check is not None and check.verdict == BORNE_OUT:
            named = {"Without the upper middle": PLACE, '"a red frame": without': FRAME, "on its surroundings:": AROUND}
            assert said.count(name) == (first != named[name] or name == "on its surroundings:")


def test_two_regions_are_never_in_places_of_the_same_name() -> None:
    first, second = explanation().regions
    alike = say(regions=(first, replace(second, box=(10, 1, 60, 30))))
    assert "mostly at the upper middle, further down" in alike
    assert "then the upper middle, further up" in alike
