"""Words that class names teach."""

from __future__ import annotations

from saywhy.types import Vocabulary
from saywhy.words.grounding import MENTIONS, grounded_words

NAMES = [
    *("Black Swan", "Black-necked Grebe", "Blacks' Finch", "Podiceps nigricollis (Black Grebe)"),
    *("Red Kite", "red fox", "Red Admiral"),
    *("Wood Duck", "Wood Stork", "Wood Thrush", "Wood Owl", "Owl", "Owl", "Owl"),
]


def test_phrases_of_one_content_are_one_word_without_the_part() -> None:
    vocabulary = Vocabulary(
        ("black wings", "red wings", "blue wings", "black bill", "red bill", "blue bill", "made of wood", "an owl"),
        ("wing", "wing", "wing", "bill", "bill", "bill", "material", "animal"),
    )
    words = {word.text: word for word in grounded_words(vocabulary, NAMES)}
    assert set(words) == {"black", "an owl"}  # red in three names only; of "made of wood" the making in none
    assert words["black"].members == (0, 3)
    assert words["black"].group == "wing"
    assert words["black"].mentions == MENTIONS == 4
    assert words["an owl"].members == (7,)


def test_a_groups_own_words_are_no_content() -> None:
    vocabulary = Vocabulary(("made of wood", "made of stone", "made of glass", "owl-like"), ("m", "m", "m", "shape"))
    assert [word.text for word in grounded_words(vocabulary, NAMES)] == ["wood", "owl-like"]


def test_where_no_name_mentions_anything_there_is_no_word() -> None:
    assert grounded_words(Vocabulary(("a beak", "the of"), ("part", "part")), NAMES) == ()
    assert grounded_words(Vocabulary(("wings", "wings and tail", "tail"), ("a", "a", "a")), ["wings"] * 9) != ()
