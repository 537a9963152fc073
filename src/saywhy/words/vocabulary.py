"""Vocabularies: the texts an explanation may use, built in or from a file."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from saywhy.errors import SaywhyError
from saywhy.types import Vocabulary

VOCABULARIES = {
    "concepts": "colours, textures, patterns, materials, shapes, parts, objects and scenes",
    "descriptors": "visual descriptors of animals, vehicles, buildings, devices, food and surroundings",
    "birds": "bird attributes in the form of CUB-200-2011 (bill shape, wing colour, ...)",
    "world:aviary": "the parts, colours and backgrounds of the embedded aviary",
    "world:digits": "the shapes and colours of the embedded digits",
}
"""Built-in vocabularies: name -> what is in it."""

PHOTO = ("{}", "a photo of {}", "a close-up photo of {}")
BIRD = ("a bird with {}",)


class VocabularyWarning(UserWarning):
    """Something in a vocabulary file was left out."""


def load_vocabulary(source: str | Path) -> Vocabulary:
    """The vocabulary of that name or in that file; several joined with "+" ("birds+concepts").

    Files: .txt, a phrase a line, optionally "group: phrase", "#" for comments; .json, a list of phrases or an object
    from group (or class) to its phrases, as visual descriptors are published; CUB's attributes.txt.
    Duplicates and empty entries are left out with a VocabularyWarning. Raises SaywhyError where nothing is left.
    """
    if isinstance(source, str) and "+" in source and not Path(source).exists():
        return _join([load_vocabulary(part.strip()) for part in source.split("+")])
    if source in VOCABULARIES:
        return _built_in(str(source))
    path = Path(source)
    if not path.is_file():
        near = get_close_matches(str(source), VOCABULARIES, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"built in are {', '.join(VOCABULARIES)}"
        raise SaywhyError(f"there is no vocabulary or file {str(source)!r}; {hint}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SaywhyError(f"{path}: cannot be read as a vocabulary ({error})") from None
    entries = _from_json(text, path) if path.suffix.lower() == ".json" else parse_lines(text)
    return make_vocabulary(entries, name=path.stem, where=str(path))


def make_vocabulary(
    entries: Iterable[tuple[str, str]],
    *,
    name: str,
    templates: dict[str, tuple[str, ...]] | None = None,
    where: str = "",
    exclusive: frozenset[str] = frozenset(),
) -> Vocabulary:
    """A vocabulary from (group, phrase) pairs; of equal phrases the first stays."""
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
        raise SaywhyError(f"{where or name}: there is no phrase in it")
    if empty or doubled:
        message = f"{where or name}: left out {doubled} duplicates and {empty} empty entries; {len(kept)} phrases stay"
        warnings.warn(message, VocabularyWarning, stacklevel=3)
    return Vocabulary(tuple(kept), tuple(kept.values()), templates or {"": PHOTO}, name, exclusive)


def _built_in(name: str) -> Vocabulary:
    if name.startswith("world:"):
        from saywhy.worlds import world_vocabulary

        return world_vocabulary(name.removeprefix("world:"))
    text = files("saywhy.words").joinpath("data", f"{name}.txt").read_text(encoding="utf-8")
    entries = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            head, _, values = line.partition(":")
            group, _, pattern = (part.strip() for part in head.partition("|"))
            entries += [(group, pattern.replace("{}", value.strip())) for value in values.split(",")]
    if name == "birds":
        groups = frozenset(group for group, _ in entries)
        return make_vocabulary(entries, name=name, templates={"": BIRD}, exclusive=groups)
    return make_vocabulary(entries, name=name, templates={"": PHOTO})


def _join(parts: list[Vocabulary]) -> Vocabulary:
    """One vocabulary of several; each group keeps the templates it came with.

    A group of several parts is exclusive where all of them say so.
    """
    kept: dict[str, str] = {}
    templates: dict[str, tuple[str, ...]] = {}
    for part in parts:
        for phrase, group in zip(part.phrases, part.groups, strict=True):
            kept.setdefault(phrase, group)
            templates.setdefault(group, tuple(part.templates.get(group) or part.templates.get("") or ("{}",)))
    exclusive = frozenset(g for g in templates if all(g in p.exclusive for p in parts if g in p.groups))
    return Vocabulary(tuple(kept), tuple(kept.values()), templates, "+".join(part.name for part in parts), exclusive)


_CUB = re.compile(r"^(?:\d+\s+)?has_(?P<part>\w+?)(?:_(?P<kind>shape|color|pattern|length))?::(?P<value>\S+)")


def parse_lines(text: str) -> list[tuple[str, str]]:
    """(group, phrase) of each line of a text file, or of each attribute of CUB's attributes.txt, in order."""
    lines = [line.strip() for line in text.splitlines()]
    cub = [_CUB.match(line) for line in lines if line]
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


def cub_attribute(attribute: str) -> tuple[str, str, str]:
    """("upper_tail", "color", "red") from "has_upper_tail_color::red", CUB-200-2011's way to name an attribute.

    Part, kind ("" where there is none, as in "has_size::small") and value, as CUB spells them. Raises SaywhyError for
    anything else.
    """
    match = _CUB.match(attribute)
    if not match:
        raise SaywhyError(f"{attribute!r} is not an attribute as CUB-200-2011 writes them (has_bill_shape::hooked)")
    return match["part"], match["kind"] or "", match["value"]


def cub_phrase(attribute: str) -> tuple[str, str]:
    """("bill shape", "hooked bill") from "has_bill_shape::hooked". Raises SaywhyError as cub_attribute does."""
    part, kind, value = cub_attribute(attribute)
    part = part.replace("_", " ")
    value = re.sub(r"\(.*?\)", "", value).replace("_", " ").strip()
    value = re.sub(rf"[ -]{part}s?$", "", value)  # "forked tail", "pointed-wings" name their part again
    group = f"{part} {kind}".strip()
    if part in ("shape", "size"):
        return group, f"{value} bird"
    if part == "primary":
        return group, f"mostly {value} bird"
    if kind == "length":
        return group, f"{part} {value}"
    return group, f"{value} {part}"


def _from_json(text: str, path: Path) -> list[tuple[str, str]]:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise SaywhyError(f"{path}: not valid JSON ({error})") from None
    groups = data if isinstance(data, dict) else {"": data}
    entries = []
    for group, phrases in groups.items():
        if isinstance(phrases, str):
            phrases = [phrases]
        if not isinstance(phrases, list) or not all(isinstance(phrase, str) for phrase in phrases):
            raise SaywhyError(f"{path}: expected a list of phrases, or an object from group to its phrases")
        entries += [(str(group), phrase) for phrase in phrases]
    return entries
