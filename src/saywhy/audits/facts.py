"""Facts of pictures that a group can be named by: words, metadata, truth, where relevance lies, properties in bins.

Each is there or not. ``Facts`` holds them for as many pictures as are looked at, as one row of bits a fact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, final

import numpy as np

from saywhy.audits.store import View

LIMIT = 40_000  # pictures that facts are read of
MOST = 200  # facts of one kind, those of most pictures first
FEWEST = 10  # pictures that a fact has to be there in
SAID_IN = 0.05  # of the pictures something has to be said of; else what stands out takes its place
STRONG = 0.3  # of the relevance, which is much for one of nine cells
TAIL = 0.15  # of the pictures, that have little of a property, and that have much of it
WORD: Final = "word"
NEAR: Final = "near"
SILENT: Final = "silent"
TRUTH: Final = "truth"
METADATA: Final = "metadata"
PLACE: Final = "place"
PROPERTY: Final = "property"

PLACES = ("upper left", "upper middle", "upper right", "left", "centre", "right", "lower left", "lower middle",
          "lower right")  # fmt: skip
"""Of ``cells``, by rows."""
_BINS: Mapping[str, tuple[str, str]] = {
    "brightness": ("that are dark", "that are bright"), "contrast": ("of low contrast", "of high contrast"),
    "sharpness": ("that are blurred", "that are sharp"), "red": ("with little red", "with much red"),
    "blue": ("with little blue", "with much blue"), "pixels": ("with few pixels", "with many pixels"),
    "aspect": ("that are narrow", "that are wide"), "saturation": ("with pale colours", "with strong colours"),
    "vignette": ("with dark corners", "with bright corners"), "framed": ("without a frame", "in a frame"),
    "blocks": ("with few traces of JPEG compression", "with strong traces of JPEG compression"),
    "jpeg": ("of coarse JPEG compression", "of fine JPEG compression"),
}  # fmt: skip


@final
class Fact(NamedTuple):
    """kind: of those above. value: the word, class, place or value itself. clause: "that are said to show “snow”"."""

    kind: str
    value: str
    clause: str

    @property
    def certain(self) -> bool:
        """Whether it is known of a picture; what is only nearest is not."""
        return self.kind != NEAR

    @property
    def thing(self) -> str:
        """What it is the one value of: the class, a column, a property; "" for words, of which a picture has many."""
        if self.kind in (WORD, NEAR, SILENT):
            return ""
        if self.kind == METADATA:
            return f"column {self.value.partition(': ')[0]}"
        return f"{self.kind} {self.value.partition(' ')[2]}" if self.kind == PROPERTY else self.kind


@final
@dataclass(frozen=True, eq=False)
class Facts:
    """Of N pictures, F facts.

    numbers: (N,) of the pictures, increasing. of: how many such pictures there are in all.
    truth:   (N,) index into ``classes``, "" where it is not known. correct: (N,).
    confidence: (N,) probability of the truth, NaN where unknown.
    holds:   (F, N) which facts are there.
    """

    numbers: np.ndarray
    of: int
    classes: tuple[str, ...]
    truth: np.ndarray
    correct: np.ndarray
    confidence: np.ndarray
    facts: tuple[Fact, ...]
    holds: np.ndarray

    @property
    def sampled(self) -> str:
        """What a reader should know of the sample; "" where it is all pictures."""
        return "" if len(self.numbers) == self.of else f"on {len(self.numbers):,} of {self.of:,} pictures"


def facts_of(view: View, limit: int = LIMIT, among: Sequence[int] | None = None) -> Facts:
    """The facts of an audit's pictures with a truth, or of about ``limit`` of them, drawn evenly.

    among: of pictures of these numbers instead, whether or not their truth is known.
    """
    known = "correct IS NOT NULL AND truth IS NOT NULL"
    if among is not None:
        known, limit = f"number IN ({', '.join(str(int(n)) for n in among) or 'NULL'})", len(among)
    total = view.sql(f"SELECT count(*) AS n FROM pictures WHERE {known}")["n"][0].as_py()
    share = 1.0 if total <= limit else limit / total
    # multiples of the golden ratio are even over any run of numbers (Knuth, TAOCP 3, 6.4)
    chosen = f"{known} AND (number * 2654435769) % 4294967296 < {int(share * 2**32)}"
    found = view.columns(
        "SELECT number, coalesce(truth, '') AS truth, coalesce(correct, false) AS correct, true_probability, border, "
        "on_object, list_max(cells) AS strongest, "
        f"list_position(cells, list_max(cells)) AS cell FROM pictures WHERE {chosen} ORDER BY number"
    )
    numbers = found["number"].astype(np.int64)
    classes, truth = np.unique(found["truth"].astype(str), return_inverse=True)
    facts: list[Fact] = []
    rows: list[np.ndarray] = []

    def add(fact: Fact, holds: np.ndarray) -> None:
        if FEWEST <= holds.sum() <= len(numbers) - FEWEST:
            facts.append(fact)
            rows.append(holds)

    by_size = np.argsort(-np.bincount(truth), kind="stable") if len(numbers) else np.zeros(0, int)
    for index in by_size[:MOST]:
        if classes[index]:
            add(Fact(TRUTH, str(classes[index]), f"of “{classes[index]}”"), truth == index)
    for fact, holds in _words(view, chosen, numbers):
        add(fact, holds)
    entries = "SELECT number, unnest(map_entries(metadata)) AS entry FROM pictures"
    for (column, value), holds in _held(view, f"{entries} WHERE {chosen}", ("entry.key", "entry.value"), numbers):
        add(Fact(METADATA, f"{column}: {value}", f"with {column} “{value}”"), holds)
    strong = found["strongest"].astype(float) >= STRONG
    for n, place in enumerate(PLACES, start=1):
        add(Fact(PLACE, place, f"whose relevance lies {_at(place)}"), strong & (found["cell"] == n))
    add(Fact(PLACE, "border", "whose relevance lies on the border"), found["border"].astype(float) > 0.5)
    add(
        Fact(PLACE, "surroundings", "whose relevance lies beside what stands out"),
        found["on_object"].astype(float) < 0.3,
    )
    for name, values in _properties(view, chosen, numbers).items():
        low, high = np.nanquantile(values, (TAIL, 1 - TAIL))
        little, much = _BINS.get(name, (f"with little {name}", f"with much {name}"))
        if low < high:
            add(Fact(PROPERTY, f"little {name}", little), values <= low)
            add(Fact(PROPERTY, f"much {name}", much), values >= high)
    return Facts(
        numbers, total, tuple(map(str, classes)), truth, found["correct"].astype(bool),
        found["true_probability"].astype(float), tuple(facts), np.array(rows, bool).reshape(len(rows), len(numbers)),
    )  # fmt: skip


def clauses(facts: Sequence[Fact]) -> str:
    """What the pictures are that have all of them, after "pictures": "of “crow” that are dark"."""
    classes = [fact.clause for fact in facts if fact.kind == TRUTH]
    return " ".join([*classes, " and ".join(fact.clause for fact in facts if fact.kind != TRUTH)]).strip()


def first_half(numbers: np.ndarray, seed: int = 0) -> np.ndarray:
    """(N,) which pictures a group is found on; it is tested on the others. By number and seed alone (SplitMix64)."""
    mixed = numbers.astype(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return ((mixed ^ (mixed >> np.uint64(31))) & np.uint64(1)).astype(bool)


def _words(view: View, chosen: str, numbers: np.ndarray) -> list[tuple[Fact, np.ndarray]]:
    """What is said as a fact; where hardly anything is, what stands out most, which is not certain."""
    query = "SELECT number, unnest(list_distinct({})) AS entry FROM pictures WHERE " + chosen
    said = _held(view, query.format("words"), ("entry",), numbers)
    silent = view.columns(f"SELECT coalesce(len(words), 0) = 0 AS silent FROM pictures WHERE {chosen} ORDER BY number")
    if len(numbers) and 1 - silent["silent"].mean() >= SAID_IN:
        words = [(Fact(WORD, word, f"said to show “{word}”"), holds) for (word,), holds in said]
        return [*words, (Fact(SILENT, "nothing said", "of which nothing is said"), silent["silent"].astype(bool))]
    near = _held(view, query.format("concepts"), ("entry",), numbers)
    return [(Fact(NEAR, word, f"in which “{word}” stands out"), holds) for (word,), holds in near]


def _held(
    view: View, entries: str, columns: tuple[str, ...], numbers: np.ndarray
) -> list[tuple[tuple[str, ...], np.ndarray]]:
    """Of a query of (number, entry): the values of most pictures, and (N,) which have each."""
    names = [f"v{n}" for n in range(len(columns))]
    listed, asked = ", ".join(names), ", ".join(f"{c} AS {n}" for c, n in zip(columns, names, strict=True))
    ranked = f"SELECT {listed}, count(*) AS n FROM flat GROUP BY ALL HAVING count(*) >= {FEWEST}"
    found = view.sql(
        f"WITH entries AS ({entries}), flat AS (SELECT number, {asked} FROM entries), "
        f"most AS ({ranked} ORDER BY n DESC, {listed} LIMIT {MOST}) "
        f"SELECT {listed}, n, list(number) AS numbers FROM flat JOIN most USING ({listed}) GROUP BY ALL "
        f"ORDER BY n DESC, {listed}"
    ).to_pylist()
    held = []
    for one in found:
        holds = np.zeros(len(numbers), bool)
        holds[np.searchsorted(numbers, np.array(one["numbers"]))] = True
        held.append((tuple(str(one[name]) for name in names), holds))
    return held


def _properties(view: View, chosen: str, numbers: np.ndarray) -> dict[str, np.ndarray]:
    """Name -> (N,) values, NaN where a picture has none."""
    found = view.columns(
        f"SELECT number, entry.key AS name, entry.value AS value FROM (SELECT number, unnest(map_entries(properties)) "
        f"AS entry FROM pictures WHERE {chosen})"
    )
    rows, named = np.searchsorted(numbers, found["number"]), found["name"].astype(str)
    values = {}
    for name in np.unique(named):
        values[str(name)] = np.full(len(numbers), np.nan)
        values[str(name)][rows[named == name]] = found["value"][named == name]
    return values


def _at(place: str) -> str:
    return f"on the {place}" if place in ("left", "right") else f"in the {place}"
