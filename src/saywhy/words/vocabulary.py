"""Vocabularies: the texts an explanation may use, built in or from a file."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from saywhy.errors import SaywhyError
from saywhy.plumbing.texts import read_json
from saywhy.types import Vocabulary
from saywhy.words.cub_names import CUB_ATTRIBUTE, cub_phrase

PHOTO = ("{}", "a photo of {}", "a close-up photo of {}")


class VocabularyWarning(UserWarning):
    """Something in a vocabulary file was left out."""


def make_vocabulary(
    entries: Iterable[tuple[str, str]],
    *,
    name: str,
    templates: dict[str, tuple[str, ...]] | None = None,
    where: str = "",
    exclusive: frozenset[str] = frozenset(),
) -> Vocabulary:
    """A vocabulary from (group, phrase) pairs; of duplicate phrases the first is kept."""
    kept: dict[str, str] = {}
    empty = doubled = 0
    for group, phrase in entries:
        phrase = " ".join(phrase.split())
        if not phrase:
            empty += 1
        elif phrase in kept:
            doubled += 1
        else:
            kept[phrase] = group.strip()
    if not kept:
        raise SaywhyError(f"{where or name}: contains no phrases")
    if empty or doubled:
        message = (
            f"{where or name}: left out {doubled} duplicates and {empty} empty entries; {len(kept)} phrases remain"
        )
        warnings.warn(message, VocabularyWarning, stacklevel=3)
    return Vocabulary(tuple(kept), tuple(kept.values()), templates or {"": PHOTO}, name, exclusive)


def joined_vocabularies(parts: list[Vocabulary]) -> Vocabulary:
    """One vocabulary of several; each group keeps the templates it came with, and each phrase its attribute.

    A group of several parts is exclusive where all of them say so.
    """
    kept: dict[str, str] = {}
    attributes: dict[str, str] = {}
    templates: dict[str, tuple[str, ...]] = {}
    for part in parts:
        for n, (phrase, group) in enumerate(zip(part.phrases, part.groups, strict=True)):
            kept.setdefault(phrase, group)
            attributes.setdefault(phrase, part.attribute(n) or "")
            templates.setdefault(group, tuple(part.templates.get(group) or part.templates.get("") or ("{}",)))
    exclusive = frozenset(g for g in templates if all(g in p.exclusive for p in parts if g in p.groups))
    name, named = "+".join(part.name for part in parts), any(part.attributes for part in parts)
    values = tuple(attributes.values()) if named else ()
    return Vocabulary(tuple(kept), tuple(kept.values()), templates, name, exclusive, values)


def parse_lines(lines: Sequence[str]) -> list[tuple[str, str]]:
    """(group, phrase) of each line of a text file, or of each attribute of CUB's attributes.txt, in order."""
    lines = [line.strip() for line in lines]
    cub = [CUB_ATTRIBUTE.match(line) for line in lines if line]
    if cub and all(cub):
        return [cub_phrase(line) for line in lines if line]
    entries = []
    for line in lines:
        if line.startswith("#"):
            continue
        group, colon, phrase = line.partition(":")
        entries.append((group, phrase) if colon else ("", line))
    while entries and not entries[-1][1]:  # the newline at the end of a file is not an empty entry
        entries.pop()
    return entries


def phrases_from_json(path: Path) -> list[tuple[str, str]]:
    """(group, phrase) of a JSON file: a list of phrases, or an object from group to its phrases."""
    data = read_json(path)
    groups = data if isinstance(data, dict) else {"": data}
    entries = []
    for group, phrases in groups.items():
        if isinstance(phrases, str):
            phrases = [phrases]
        if not isinstance(phrases, list) or not all(isinstance(phrase, str) for phrase in phrases):
            raise SaywhyError(f"{path}: expected a list of phrases, or an object from group to its phrases")
        entries += [(str(group), phrase) for phrase in phrases]
    return entries
