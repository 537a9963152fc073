"""Obscene words are found however they are written; birds are not obscene."""

from __future__ import annotations

import pytest

from saywhy.questions.names_and_defaults import load_vocabulary
from saywhy.questions.sentences.language_filter import inappropriate_words, is_appropriate

BIRDS = [
    "woodcock", "peacock", "cockatoo", "titmouse", "blue tit", "great tits", "booby", "blue-footed boobies", "bustard",
    "shag", "swallow", "pussy willow", "jackass penguin", "Maine Coon", "dickcissel", "scissor-tailed flycatcher",
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a crane with cock p***s d**k", {"cock", "penis", "dick"}),
        ("Cocks on a fence", {"cocks"}),
        ("a cock of the rock", {"cock"}),
        ("it is f*cking sh1t.", {"fucking", "shit", "sh1t"}),
        ("f.u.c.k and fuuuck", {"fuck"}),
        ("two bastards, wankers and whores", {"bastards", "wankers", "whores"}),
        ("an ass on a dyke", {"ass", "dyke"}),
        ("a giant cock", {"cock"}),
    ],
)
def test_words_are_found(text: str, found: set[str]) -> None:
    assert set(inappropriate_words(text)) == found
    assert not is_appropriate(text)


@pytest.mark.parametrize("name", BIRDS)
def test_animals_are_no_false_alarms(name: str) -> None:
    assert is_appropriate(f"This is a {name} because it has a red rump, an erect tail and a white breast.")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A boat is tied up on the lake.",
        "A girl on a swing beside a big black dog.",
        "The ankle strap on a beach; glass, grass and a bass.",
        "A fish with dorsal and anal fins.",
        "Two crappies in a pond.",
        "A hummingbird sucks nectar; both sexes are alike.",
    ],
)
def test_captions_are_no_false_alarms(text: str) -> None:
    assert inappropriate_words(text) == []


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("a cock", ["cock"]),
        ("a giant black cock among cocks", ["cock"]),
        ("a Cock-of-the-rock", ["cock of the rock"]),
        ("two long tailed tits", ["Aegithalos caudatus (Long-tailed Tit)"]),
        ("a wood pussy", ["skunk, polecat, wood pussy"]),
        ("asses with hoes on a dyke", ["ass", "hoe", "dyke"]),
    ],
)
def test_names_of_classes_may_be_allowed(text: str, allowed: list[str]) -> None:
    assert not is_appropriate(text)
    assert is_appropriate(text, allowed)


def test_allowing_a_name_allows_no_more() -> None:
    assert set(inappropriate_words("a crane with cock p***s d**k", ["cock"])) == {"penis", "dick"}
    assert inappropriate_words("a cock of the rock has a cock", ["cock of the rock"]) == ["cock"]
    assert inappropriate_words("a cock") == ["cock"]


@pytest.mark.parametrize("name", ["birds", "concepts", "descriptors"])
def test_the_built_in_vocabularies_are_fit_to_be_said(name: str) -> None:
    assert not [phrase for phrase in load_vocabulary(name).phrases if not is_appropriate(phrase)]
