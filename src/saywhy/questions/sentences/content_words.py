"""Which words of a sentence say something, and which only hold it together."""

from __future__ import annotations

import re
from functools import cache

DANGLING = {
    "a", "an", "the", "of", "with", "and", "or", "in", "on", "at", "to", "is", "are", "that", "which", "its", "his",
    "her", "their", "by", "for", "from", "near", "as", "this", "while", "into", "over", "under", "next", "very", "some",
    "two",
}  # fmt: skip
"""Words that lead nowhere at the end of a sentence."""

_SEEN = {
    "back", "bill", "bottom", "cry", "eight", "eleven", "empty", "fifteen", "fifty", "fire", "five", "forty", "four",
    "front", "full", "hundred", "mill", "nine", "side", "six", "sixty", "ten", "thick", "thin", "third", "three",
    "top", "twelve", "twenty", "two",
}  # fmt: skip
"""Of scikit-learn's stop words those that name what can be seen."""


def has_content(word: str) -> bool:
    """Whether a word, with what stands around it ("bill,"), has content of its own."""
    bare = re.sub(r"[^a-z']", "", word.lower())
    return bool(bare) and bare not in _empty()


@cache
def _empty() -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return frozenset((ENGLISH_STOP_WORDS | DANGLING) - _SEEN)
