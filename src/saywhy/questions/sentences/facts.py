"""Sentences that state facts and nothing else: what a draft claims, and how a sentence is made of what may be said.

A language model writes what fits a picture, which is not always there. So of its best draft the claims that may be said
are kept, others that may be said are added, and the sentence is a draft that states all of these and nothing else,
or, where there is none, a template that the language model finds the most fluent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from saywhy.questions.sentences.content_words import has_content
from saywhy.questions.sentences.language_model import LanguageModel
from saywhy.types import Claim, Draft, Vocabulary
from saywhy.words.rationale_words import with_article

COUNT = 4  # facts of a sentence; docs/sentences.md says how many were tried
_ARTICLES = {"a", "an", "the"}
_JOINED = {"and", ","}
_SCENES = {"background", "scene", "place", "setting", "surroundings"}  # groups of phrases that stand behind the thing
_ABOUT_PICTURES = {"photo", "picture", "image", "close-up", "shows"}  # words that claim nothing


@final
@dataclass(frozen=True)
class Stated:
    """What a text claims: phrases of the vocabulary in the order of the text, and words of content outside of it."""

    phrases: tuple[str, ...]
    others: tuple[str, ...]


@final
@dataclass(frozen=True)
class Factual:
    """A sentence of facts. facts: what it states. written: whether a draft of the writer's, else a template."""

    text: str
    facts: tuple[str, ...]
    written: bool


def stated(text: str, vocabulary: Vocabulary) -> Stated:
    """What a text claims, as far as words tell.

    A phrase is stated where its words stand in order, articles apart and in singular or plural; of several joined
    before one noun each is ("red, striped and long wings" state "striped wing").
    """
    words = _words(text)
    split = [[word for word in _words(phrase) if word != ","] for phrase in vocabulary.phrases]
    modifiers: dict[tuple[str, ...], set[str]] = {}
    for first, *rest in split:
        modifiers.setdefault(tuple(rest), set()).add(first)
    found: list[tuple[int, str]] = []
    covered: set[int] = set()
    for m in sorted(range(len(split)), key=lambda m: -len(split[m])):
        first, *rest = split[m]
        for place in range(len(words) - len(rest) + 1):  # of the noun; of one word alone, of what would follow it
            if words[place : place + len(rest)] != rest:
                continue
            before = _joined_before(words, place, modifiers[tuple(rest)]) if rest else [place - 1]
            at = next((n for n in before if n >= 0 and words[n] == first and n not in covered), None)
            if at is not None:
                found.append((place, vocabulary.phrases[m]))
                covered |= {at, *range(place, place + len(rest))}
                break
    frame = _ABOUT_PICTURES | {w for templates in vocabulary.templates.values() for t in templates for w in _words(t)}
    others = [w for n, w in enumerate(words) if n not in covered and w not in frame and has_content(w)]
    return Stated(tuple(phrase for _, phrase in sorted(found, key=lambda one: one[0])), tuple(others))


def state_facts(
    drafts: Sequence[Draft], claims: Sequence[Claim], vocabulary: Vocabulary, writer: LanguageModel, count: int = COUNT
) -> Factual | None:
    """A sentence that states up to ``count`` facts and nothing else; None where nothing may be said.

    drafts: of the writer, best first. claims: of the picture; those that are said are facts.
    """
    sure = {claim.text: claim.there or 0.0 for claim in claims if claim.said}
    if not sure:
        return None
    read = [(draft, stated(draft.text, vocabulary)) for draft in drafts]
    kept = [phrase for phrase in read[0][1].phrases if phrase in sure] if read else []
    facts = _topped_up(kept, sure, count)
    passing = [
        (draft, says) for draft, says in read if says.phrases and not says.others and set(says.phrases) <= set(sure)
    ]
    longest = max(passing, key=lambda one: len(one[1].phrases), default=None)
    if longest is not None and len(longest[1].phrases) >= len(facts):
        return Factual(longest[0].text, longest[1].phrases, True)
    candidates = _templates(facts, vocabulary)
    fluent = [score if score == score else float("inf") for score in writer.perplexities(candidates)]
    return Factual(candidates[fluent.index(min(fluent))], tuple(facts), False)


def _topped_up(kept: Sequence[str], sure: dict[str, float], count: int) -> list[str]:
    """The facts that are kept, and the surest of the others: those about another thing first."""
    facts = list(kept[:count])
    rest = sorted((phrase for phrase in sure if phrase not in facts), key=lambda phrase: -sure[phrase])
    for again in (False, True):
        for phrase in rest:
            things = {_words(fact)[-1] for fact in facts}
            if len(facts) < count and phrase not in facts and (again or _words(phrase)[-1] not in things):
                facts.append(phrase)
    return facts


def _templates(facts: Sequence[str], vocabulary: Vocabulary) -> list[str]:
    """Ways to say them: by each template of the vocabulary that has words of its own."""
    groups = dict(zip(vocabulary.phrases, vocabulary.groups, strict=True))
    behind = [fact for fact in facts if groups[fact] in _SCENES]
    things = [_in_a_list(fact) for fact in facts if fact not in behind]
    tail = f"{_listed(behind)} in the background" if behind else ""
    if not things:
        return [f"a picture with {tail}."]
    frames = [t for t in vocabulary.templates.get("", ()) if _words(t.replace("{}", ""))]
    said = f"{_listed(things)}, {tail}" if tail else _listed(things)
    return [f"{frame.replace('{}', said)}." for frame in dict.fromkeys([*frames, "a picture with {}"])]


def _listed(things: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(things[:-1]), things[-1])))


def _in_a_list(phrase: str) -> str:
    """With an article, where it is an adjective and a noun in the singular."""
    words = phrase.lower().split()
    plain = 2 <= len(words) <= 3 and all(has_content(word) for word in words)
    return with_article(phrase) if plain and not re.search("[^s]s$", phrase) else phrase


def _joined_before(words: Sequence[str], place: int, modifiers: set[str]) -> list[int]:
    """Where the modifiers of the noun at a place stand: the one before it, and those joined to that."""
    places, n = list[int](), place - 1
    while n >= 0 and (words[n] in modifiers or words[n] in _JOINED):
        if words[n] in modifiers:
            places.append(n)
        n -= 1
    return places


def _words(text: str) -> list[str]:
    """The words and commas of a text, in the singular, without articles."""
    found = re.findall(r"[a-z0-9'-]+|,", text.lower())
    return [re.sub("(?<=..[^s])s$", "", w) if has_content(w) else w for w in found if w not in _ARTICLES]
