"""What a text claims, and sentences that state facts and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from saywhy.questions.sentences.facts import state_facts, stated
from saywhy.types import Claim, Draft, Vocabulary
from saywhy.worlds import world_vocabulary
from saywhy.worlds.aviary import BACKGROUNDS, VALUES, phrases_of, random_plumage
from saywhy.worlds.sentences import PLACES, describe_bird

AVIARY = world_vocabulary("aviary")


class Shortest:
    """A writer that finds short texts fluent."""

    def perplexities(self, texts: Sequence[str]) -> list[float]:
        return [float(len(text)) for text in texts]


WRITER: Any = Shortest()


def claims(**there: float) -> list[Claim]:
    return [Claim(t.replace("_", " "), "picture", "a space", 0.5, p, "", p >= 0.9) for t, p in there.items()]


def drafts(*texts: str) -> list[Draft]:
    return [Draft(text, 1.0 - n / 10, 1.0 - n / 10) for n, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("text", "phrases", "others"),
    [
        ("A bird with striped wings.", {"striped wing"}, []),
        ("a photo of a bird with red, striped wings", {"red wing", "striped wing"}, []),
        ("a bird with a red and black bill on the grass.", {"red bill", "black bill", "grass"}, []),
        ("red breast and black wing", {"red breast", "black wing"}, []),
        ("a bird with a red upper tail", {"red upper tail"}, []),
        ("a bird with a forked tail", {"forked tail"}, []),
        ("a letter in the corner", {"a letter in the corner"}, []),
        ("a bird on a branch breast.", {"branch"}, ["breast"]),
        ("a bird perched on spotted snow.", {"snow"}, ["perched", "spotted"]),
        ("a bird in a meadow.", set(), ["meadow"]),
        ("the crown is red.", set(), ["crown", "red"]),
        ("", set(), []),
    ],
)
def test_what_a_text_claims(text: str, phrases: set[str], others: list[str]) -> None:
    said = stated(text, AVIARY)
    assert set(said.phrases) == phrases
    assert list(said.others) == others


def test_the_descriptions_of_the_aviary_claim_what_they_were_made_of() -> None:
    import numpy as np

    rng = np.random.default_rng(5)
    loose = {word for places in PLACES.values() for place in places for word in place.split()}
    for _ in range(200):
        has, background = random_plumage(rng), str(rng.choice(BACKGROUNDS))
        said = stated(describe_bird(has, background, "", rng), AVIARY)
        assert set(said.phrases) <= set(phrases_of(has)) | {background, "sky", "water", "branch"}
        assert set(said.others) <= loose | {word.removesuffix("s") for word in loose} | {"small"}
    assert len(VALUES) > 10


def test_of_phrases_of_one_word_none_is_stated_by_an_empty_place() -> None:
    assert stated("nothing here", Vocabulary(("fur",), ("",))).phrases == ()
    assert stated("fur", Vocabulary(("fur", "wet fur"), ("", ""))).phrases == ("fur",)
    assert set(stated("wet fur", Vocabulary(("fur", "wet fur"), ("", ""))).phrases) == {"wet fur"}


def test_a_draft_that_states_facts_alone_is_said_as_it_is() -> None:
    facts = claims(red_wing=0.95, grass=0.99)
    said = state_facts(drafts("a bird in a meadow.", "a bird with red wings on the grass."), facts, AVIARY, WRITER)
    assert said is not None
    assert (said.text, set(said.facts), said.written) == (
        "a bird with red wings on the grass.", {"red wing", "grass"}, True,
    )  # fmt: skip


def test_facts_of_the_best_draft_are_kept_and_topped_up_and_nothing_else_is_said() -> None:
    facts = claims(red_wing=0.91, grass=0.92, hooked_bill=0.93, black_bill=0.98, white_belly=0.99, pink_leg=0.5)
    said = state_facts(drafts("a bird with red wings, pink legs and blue eyes."), facts, AVIARY, WRITER)
    assert said is not None
    assert not said.written
    assert said.facts == ("red wing", "white belly", "black bill", "grass"), (
        "one thing each, before another of the bill"
    )
    back = stated(said.text, AVIARY)
    assert set(back.phrases) == set(said.facts)
    assert back.others == ("background",)


def test_nothing_is_said_where_nothing_may_be() -> None:
    assert state_facts(drafts("a bird with red wings."), claims(red_wing=0.5), AVIARY, WRITER) is None
    assert state_facts([], claims(red_wing=0.95), AVIARY, WRITER) is not None


def test_phrases_of_any_form_are_put_together() -> None:
    words = Vocabulary(("made of wood", "wheels", "a long tail", "striped pattern", "old"), ("", "", "", "", ""))
    facts = [Claim(t, "picture", "a space", 0.5, 0.99 - n / 100, "", True) for n, t in enumerate(words.phrases)]
    said = state_facts([], facts, words, WRITER)
    assert said is not None
    assert said.text == "a picture with made of wood, wheels, a long tail and a striped pattern."
