"""The attributes of CUB-200-2011 in words: names, phrases, and the part that each is about."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.resources import files

from saywhy.errors import SaywhyError
from saywhy.types import Vocabulary

BIRD = ("a bird with {}",)
CUB_ATTRIBUTE = re.compile(r"^(?:\d+\s+)?has_(?P<part>\w+?)(?:_(?P<kind>shape|color|pattern|length))?::(?P<value>\S+)")


def cub_attribute(attribute: str) -> tuple[str, str, str]:
    """("upper_tail", "color", "red") from "has_upper_tail_color::red", CUB-200-2011's way to name an attribute.

    Part, kind ("" where there is none, as in "has_size::small") and value, as CUB spells them. Raises SaywhyError for
    anything else.
    """
    match = CUB_ATTRIBUTE.match(attribute)
    if not match:
        raise SaywhyError(f"{attribute!r} is not an attribute in CUB-200-2011's notation (has_bill_shape::hooked)")
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


def part_attributes() -> dict[str, tuple[str, ...]]:
    """CUB part -> the parts its attributes speak of, from data/cub_parts.json, a file that a reader can check."""
    table = json.loads((files("saywhy.words") / "data" / "cub_parts.json").read_text())
    return {part: tuple(names) for part, names in table.items() if part != "//"}


def attribute_part(attribute: str) -> str:
    """ "upper_tail" of "has_upper_tail_color::red". Raises SaywhyError for anything else."""
    part, _, _ = cub_attribute(attribute)
    return part


def cub_vocabulary(attributes: Sequence[str]) -> tuple[Vocabulary, list[frozenset[int]]]:
    """The attributes as phrases, and which attributes each phrase stands for."""
    meant: dict[str, set[int]] = {}
    groups: dict[str, str] = {}
    for m, attribute in enumerate(attributes):
        group, phrase = cub_phrase(attribute)
        groups.setdefault(phrase, group)
        meant.setdefault(phrase, set()).add(m)
    vocabulary = Vocabulary(tuple(groups), tuple(groups.values()), {"": BIRD}, "cub", frozenset(groups.values()))
    return vocabulary, [frozenset(meant[phrase]) for phrase in groups]


def bundled_attributes() -> tuple[str, ...]:
    """CUB's 312 attributes, in its order."""
    return tuple(
        numbered_names((files("saywhy.words") / "data" / "cub_attributes.txt").read_text().splitlines()).values()
    )


def numbered_names(lines: Sequence[str]) -> dict[str, str]:
    split = (line.strip().split(maxsplit=1) for line in lines if line.strip())
    return {words[0]: words[1] for words in split if len(words) == 2}
