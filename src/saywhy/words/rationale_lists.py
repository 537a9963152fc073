"""Files that list the rationales of each category: read, with a note of everything odd in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from saywhy.errors import SaywhyError
from saywhy.plumbing.texts import read_json, read_table
from saywhy.words.rationale_words import RationaleWords, Templates, spoken

TEMPLATES = Templates()


@final
@dataclass(frozen=True)
class Oddity:
    """Something noticed while reading.

    kind:    in two or three words ("empty list", "no such rationale").
    where:   the file, folder or name.
    says:    what it is, and what is done about it.
    skipped: pictures left out because of it.
    """

    kind: str
    where: str
    says: str
    skipped: int = 0


def read_rationales(path: str | Path, templates: Templates = TEMPLATES) -> tuple[RationaleWords, tuple[Oddity, ...]]:
    """The categories with their rationales, in the file's order, and what is odd about them.

    .json: {category: [rationale, ...]} (DROR; Menon & Vondrick 2023), or {category: [{rationale: [detail, ...]}, ...]}
           (DROR's cifar10_level2), in which each detail makes a rationale "rationale, detail".
    .csv:  a row for each pair, with the columns category and rationale; without a rationale: an empty list.

    Raises SaywhyError where the file cannot be read, has neither format, or lists no rationale.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        rows = read_table(path, ("category", "rationale"))
        return words_of_pairs([(row["category"], row["rationale"] or None) for _, row in rows], path.name, templates)
    pairs, repeated = _json_pairs(path)
    words, oddities = words_of_pairs(pairs, path.name, templates)
    return words, (*repeated, *oddities)


def words_of_pairs(
    pairs: Iterable[tuple[str, str | None]], where: str, templates: Templates
) -> tuple[RationaleWords, tuple[Oddity, ...]]:
    """The words of (category, rationale) pairs as they are written; a pair without a rationale names a category."""
    lists: dict[str, dict[str, str]] = {}  # as said -> as written
    categories: dict[str, str] = {}
    rationales: dict[str, str] = {}
    oddities: dict[Oddity, None] = {}
    for category, rationale in pairs:
        c, r = spoken(category), spoken(rationale or "")
        if not c or (rationale is not None and not r):
            nothing = "a rationale" if c else "a category"
            oddities[Oddity("no words", c or where, f"{nothing} without words is listed; it is left out")] = None
            continue
        oddities |= dict.fromkeys(_spelled(categories, c, category, "same category", "category"))
        listed = lists.setdefault(c, {})
        if rationale is None:
            continue
        if listed.get(r) == rationale:
            oddities[Oddity("duplicate", c, f"{rationale!r} is listed more than once; it counts once")] = None
        oddities |= dict.fromkeys(_spelled(rationales, r, rationale, "same rationale", "rationale"))
        listed.setdefault(r, rationale)
    if not rationales:
        raise SaywhyError(f"{where}: no rationale is listed for any category")
    for c, listed in lists.items():
        if not listed:
            says = "no rationale is listed: no picture can show one, it stays as a wrong answer"
            oddities[Oddity("empty list", c, says)] = None
    indices = {name: r for r, name in enumerate(rationales)}
    listed_indices = tuple(tuple(indices[name] for name in listed) for listed in lists.values())
    return RationaleWords(tuple(lists), tuple(rationales), listed_indices, templates=templates), tuple(oddities)


def _json_pairs(path: Path) -> tuple[list[tuple[str, str | None]], list[Oddity]]:
    """(category, rationale or, once for each category, None), and an oddity for each category that is repeated."""
    document = read_json(path, pairs=True)  # a dict would keep only the last of equal names
    if not isinstance(document, tuple) or not document:
        raise SaywhyError(f"{path}: expected an object from category to a list of rationales")
    pairs: list[tuple[str, str | None]] = []
    for category, listed in document:
        pairs += [(category, None), *((category, rationale) for rationale in _flat(listed, path, category))]
    counts = Counter(category for category, _ in document)
    repeated = [
        Oddity("same category", spoken(category), f"{category!r} is there {count} times; its lists are put together")
        for category, count in counts.items()
        if count > 1
    ]
    return pairs, repeated


def _flat(listed: Any, path: Path, category: str) -> Iterator[str]:
    """The rationales of one category; objects have become tuples of (name, value)."""
    for item in listed if isinstance(listed, list) else [listed] if isinstance(listed, tuple) else [None]:
        if isinstance(item, str):
            yield item
            continue
        if not isinstance(item, tuple):
            raise SaywhyError(f"{path}: {category!r}: expected a list of rationales (texts)")
        for name, details in item:
            if not isinstance(details, list) or not all(isinstance(detail, str) for detail in details):
                raise SaywhyError(f"{path}: {category!r}: {name!r}: expected a list of texts")
            yield from [f"{name}, {detail}" for detail in details] or [name]


def _spelled(known: dict[str, str], said: str, written: str, kind: str, what: str) -> list[Oddity]:
    """Remember how a name is written; an oddity where it was written otherwise before."""
    first = known.setdefault(said, written)
    return [] if first == written else [Oddity(kind, said, f"{first!r} and {written!r} are said alike: one {what}")]
