"""Which words of a vocabulary the names of classes teach: those that occur in enough of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from saywhy.types import Vocabulary
from saywhy.words.class_names import common_name

MENTIONS = 4  # class names that a word has to occur in
_PATTERN = 0.75  # of a group's phrases that share a word which is then the group's ("wings"), and no content
_FUNCTION = frozenset(
    ["a", "an", "and", "as", "at", "by", "for", "from", "in", "like", "of", "on", "or", "than", "the", "to", "with"]
)


@final
@dataclass(frozen=True)
class GroundedWord:
    """What phrases of a vocabulary have in common, without the part that each is about.

    text:     "black" of "black wings" and "black bill"; "a dog".
    group:    of the first phrase. members: the phrases' indices.
    mentions: class names that every word of its content occurs in, at least.
    """

    text: str
    group: str
    members: tuple[int, ...]
    mentions: int


def grounded_words(vocabulary: Vocabulary, names: Sequence[str]) -> tuple[GroundedWord, ...]:
    """The words of a vocabulary whose content occurs in at least MENTIONS class names, in the vocabulary's order.

    What most phrases of a group share is the group's: "wings" of "red wings" and "blue wings". What remains is the
    content, and phrases of the same content are one word.
    """
    mentions = Counter(word for name in names for word in set(_letters(common_name(name))))
    shared = _shared(vocabulary)
    found: dict[frozenset[str], GroundedWord] = {}
    for n, (phrase, group) in enumerate(zip(vocabulary.phrases, vocabulary.groups, strict=True)):
        content = frozenset(_letters(phrase)) - shared[group] - _FUNCTION
        known = min((mentions[word] for word in content), default=0)
        if known < MENTIONS:
            continue
        pieces = [piece for piece in phrase.split() if not set(_letters(piece)) <= shared[group]]
        if len(pieces) < len(phrase.split()):  # "wood" of "made of wood"
            pieces = [piece for piece in pieces if piece.lower() not in _FUNCTION]
        first = found.get(content, GroundedWord(" ".join(pieces), group, (), known))
        found[content] = replace(first, members=(*first.members, n))
    return tuple(found.values())


def _shared(vocabulary: Vocabulary) -> dict[str, frozenset[str]]:
    """Group -> the words that most of its phrases have, of three phrases or more."""
    counts: dict[str, Counter[str]] = {group: Counter() for group in vocabulary.groups}
    for phrase, group in zip(vocabulary.phrases, vocabulary.groups, strict=True):
        counts[group].update(set(_letters(phrase)) - _FUNCTION)
    sizes = Counter(vocabulary.groups)
    return {
        group: frozenset(word for word, count in words.items() if sizes[group] > 2 and count >= _PATTERN * sizes[group])
        for group, words in counts.items()
    }


def _letters(text: str) -> list[str]:
    """Its words, lower case, in the singular where that is seen."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    return [word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word for word in words]
