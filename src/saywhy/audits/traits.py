"""What is known of each picture of an audit, beside its class: words, parts and places of its relevance, properties.

These are what descriptions compare: the pictures of a class with the others, wrong with right ones, two groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple, final
from weakref import WeakKeyDictionary

import numpy as np

from saywhy.audits.rows import unpacked
from saywhy.audits.store import View
from saywhy.pictures.plain import COLOURS, basic_colours, in_lab

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SAMPLE = 100_000  # pictures of which traits are read; more are drawn from, evenly
BLOCK = 5_000  # pictures whose pixels are looked at together
NEAREST = 3  # labels of a region that count
SAID: Final = "said"
NEAR: Final = "near"
PART: Final = "part"
PLACE: Final = "place"
COLOUR: Final = "colour"
PROPERTY: Final = "property"
DECISION: Final = "decision"
WORDLY = (SAID, NEAR, PART)
"""Kinds of traits that a picture has or has not; the others are numbers."""

GRID = ("upper left", "upper middle", "upper right", "left", "centre", "right", "lower left", "lower middle",
        "lower right")  # fmt: skip

_NUMBERS: Mapping[str, tuple[str, str, str, str]] = {
    **{
        place: (PLACE, f"cells[{n}]", f"more relevance in the {place}", f"less relevance in the {place}")
        for n, place in enumerate(GRID, start=1)
    },
    "border": (PLACE, "border", "more relevance on the border", "less relevance on the border"),
    "object": (PLACE, "on_object", "more relevance on what stands out", "less relevance on what stands out"),
    "first region": (PLACE, "shares[1]", "more relevance in the first region", "less relevance in the first region"),
    "object's size": (PROPERTY, "object_area", "a larger object", "a smaller object"),
    "probability": (DECISION, "probability", "a more probable prediction", "a less probable prediction"),
    "lead": (DECISION, "probability - runner_up_probability", "a clearer lead over the runner-up",
             "a narrower lead over the runner-up"),
}  # fmt: skip
"""Name -> kind, SQL of ``pictures``, and what more and less of it are called."""
_PROPERTIES: Mapping[str, tuple[str, str]] = {
    "brightness": ("brighter pictures", "darker pictures"), "contrast": ("more contrast", "less contrast"),
    "sharpness": ("sharper pictures", "more blurred pictures"), "red": ("redder pictures", "less red pictures"),
    "blue": ("bluer pictures", "less blue pictures"), "pixels": ("more pixels", "fewer pixels"),
    "aspect": ("wider pictures", "narrower pictures"), "saturation": ("stronger colours", "paler colours"),
    "vignette": ("brighter corners", "darker corners"),
    "framed": ("a frame around the picture", "no frame around the picture"),
    "blocks": ("stronger traces of JPEG compression", "weaker traces of JPEG compression"),
    "jpeg": ("finer JPEG compression", "coarser JPEG compression"),
}  # fmt: skip


@final
class Trait(NamedTuple):
    """kind: of those above. more, less: what having more and less of it is called; of a word, the word itself."""

    kind: str
    name: str
    more: str
    less: str


@final
@dataclass(frozen=True, eq=False)
class Traits:
    """Of N pictures, T traits: F numbers first, then what pictures have or have not.

    pictures: (N,) their numbers, increasing. of: how many pictures there are in all.
    predicted: (N,) class indices. correct: (N,) 1, 0, or NaN where the truth is not known.
    true:     (N, C) of 0 and 1: a picture of several true classes is one of each.
    numbers:  (N, F) float32, NaN for what a picture does not have. has: (N, T - F) of 0 and 1.
    """

    pictures: np.ndarray
    of: int
    predicted: np.ndarray
    correct: np.ndarray
    true: csr_matrix
    traits: tuple[Trait, ...]
    numbers: np.ndarray
    has: csr_matrix

    @property
    def sampled(self) -> str:
        """What a reader should know of the sample; "" where it is all pictures."""
        return f"on {len(self.pictures):,} of {self.of:,} pictures" if len(self.pictures) < self.of else ""

    def where(self, chosen: np.ndarray) -> Traits:
        """Of those pictures alone: (N,) bool, or places."""
        return replace(
            self, pictures=self.pictures[chosen], predicted=self.predicted[chosen], correct=self.correct[chosen],
            true=self.true[chosen], numbers=self.numbers[chosen], has=self.has[chosen],
        )  # fmt: skip

    def members(self, index: int) -> np.ndarray:
        """(N,) bool: which pictures are truly of class ``index``."""
        return np.asarray(self.true[:, [index]].todense()).ravel() > 0

    def values(self, trait: int) -> np.ndarray:
        """(N,) of one trait, NaN for what is not known."""
        first = self.numbers.shape[1]
        if trait < first:
            return self.numbers[:, trait]
        return np.asarray(self.has[:, [trait - first]].todense()).ravel()

    def of_name(self, name: str) -> np.ndarray:
        """(N,) of the number of that name; NaN where it is not known of any picture."""
        places = [n for n, trait in enumerate(self.traits) if trait.name == name and trait.kind not in WORDLY]
        return self.values(places[0]) if places else np.full(len(self.pictures), np.nan, np.float32)

    def only(self, kinds: Sequence[str]) -> Traits:
        """Those traits alone."""
        first = self.numbers.shape[1]
        kept = np.array([trait.kind in kinds for trait in self.traits], bool)
        chosen = tuple(trait for trait in self.traits if trait.kind in kinds)
        return replace(self, traits=chosen, numbers=self.numbers[:, kept[:first]], has=self.has[:, kept[first:]])


def traits_of(view: View, limit: int = SAMPLE) -> Traits:
    """The traits of an audit's pictures, or of ``limit`` of them.

    Words that are said as facts are one kind, what is only nearest another: the first are known to be there, the
    second are the space's best guess. Read once of a view, for all kinds of findings.
    """
    read = _READ.setdefault(view, {})
    if limit not in read:
        read[limit] = _read(view, limit)
    return read[limit]


_READ: WeakKeyDictionary[View, dict[int, Traits]] = WeakKeyDictionary()


def _read(view: View, limit: int) -> Traits:
    from scipy.sparse import coo_matrix, hstack

    sample = view.sampled(limit)
    given = {**_NUMBERS, **_properties(view)}
    columns = ", ".join(f"({sql})::FLOAT AS n{n}" for n, (_, sql, _, _) in enumerate(given.values()))
    found = view.sql(f"SELECT number, predicted, correct, {columns} FROM pictures WHERE {sample} ORDER BY number")
    pictures = found["number"].to_numpy()
    numbers = np.stack([found[f"n{n}"].to_numpy().astype(np.float32) for n in range(len(given))], axis=1)
    numbers = np.hstack([numbers, _colours(view, sample, pictures)])
    told = ~np.isnan(numbers).all(0)
    traits = [Trait(kind, name, more, less) for name, (kind, _, more, less) in given.items()]
    traits += [
        Trait(COLOUR, name, f"more {name} where the model looks", f"less {name} where the model looks")
        for name in COLOURS
    ]
    traits = [trait for trait, any_ in zip(traits, told, strict=True) if any_]
    blocks = []
    for kind, query in (
        (SAID, f"SELECT number, unnest(list_distinct(words)) AS text FROM pictures WHERE {sample}"),
        (NEAR, f"SELECT DISTINCT number, text FROM (SELECT number, unnest(concepts[1:{NEAREST}]) AS text FROM pictures "
               f"WHERE {sample} UNION ALL SELECT number, unnest(labels[1:{NEAREST}]) FROM regions WHERE {sample})"),
        (PART, f"SELECT DISTINCT number, labels[1] AS text FROM regions WHERE len(labels) > 0 AND {sample}"),
    ):  # fmt: skip
        pairs = view.sql(query)
        texts = pairs["text"].combine_chunks().dictionary_encode()
        names, which = texts.dictionary.to_pylist(), texts.indices.to_numpy(zero_copy_only=False)
        if kind == PART:
            part_of = parts(view)
            named = [part_of.get(name, "") for name in names]
            names = sorted({name for name in named if name})
            place = {name: n for n, name in enumerate(names)}
            which = np.array([place.get(name, -1) for name in named], int)[which]
        rows = np.searchsorted(pictures, pairs["number"].to_numpy())
        there = which >= 0
        block = coo_matrix((np.ones(there.sum(), np.float32), (rows[there], which[there])), (len(pictures), len(names)))
        block = block.tocsr()
        block.data[:] = 1  # a picture has a word once
        order = np.argsort(names) if names else np.zeros(0, int)
        blocks.append(block[:, order])
        traits += [Trait(kind, names[n], names[n], names[n]) for n in order]
    correct = found["correct"].cast("float32").to_numpy()
    return Traits(
        pictures, view.count, found["predicted"].to_numpy(), correct, _true(view, sample, pictures), tuple(traits),
        numbers[:, told], hstack(blocks, format="csr"),
    )  # fmt: skip


def _colours(view: View, sample: str, pictures: np.ndarray) -> np.ndarray:
    """(N, 11) float32: of the relevance of each picture, how much lies on each of COLOURS; measured in its pixels."""
    found = np.full((len(pictures), len(COLOURS)), np.nan, np.float32)
    rows = view.sql(
        f"SELECT number, look, relevance FROM pictures WHERE {sample} AND look IS NOT NULL AND relevance IS NOT NULL "
        "ORDER BY number"
    )
    nearest = _nearest_colours()
    for block in rows.to_batches(max_chunksize=BLOCK):
        places = np.searchsorted(pictures, block["number"].to_numpy())
        look = np.frombuffer(b"".join(block["look"].to_pylist()), np.uint8).reshape(len(places), -1, 3) >> 3
        colours = nearest[look[..., 0], look[..., 1], look[..., 2]]
        relevance = unpacked(block["relevance"].to_pylist())
        for n in range(len(COLOURS)):
            found[places, n] = (relevance * (colours == n)).sum(1)
    return found


def _nearest_colours() -> np.ndarray:
    """(32, 32, 32) the place in COLOURS nearest to an RGB colour, by its five high bits, in Lab."""
    levels = np.stack(np.meshgrid(*[np.arange(32)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    shades = in_lab((levels * 8 + 4).astype(np.uint8)[None])[0]
    known = basic_colours()
    return ((shades[:, None] - known[None]) ** 2).sum(-1).argmin(1).astype(np.uint8).reshape(32, 32, 32)


def _true(view: View, sample: str, pictures: np.ndarray) -> csr_matrix:
    """(N, C) which classes pictures are truly of; of names that the classifier does not have, none."""
    from scipy.sparse import coo_matrix

    labels = view.manifest["model"]["labels"]
    one = view.sql(f"SELECT number, true_class AS class FROM pictures WHERE true_class IS NOT NULL AND {sample}")
    more = view.sql(f"SELECT number, unnest(truths) AS name FROM pictures WHERE len(truths) > 1 AND {sample}")
    known = {name: n for n, name in reversed(list(enumerate(labels)))}
    several = [(n, known[name]) for n, name in zip(*(more[c].to_pylist() for c in ("number", "name")), strict=True)
               if name in known]  # fmt: skip
    numbers = np.concatenate([one["number"].to_numpy(), [n for n, _ in several]]).astype(np.int64)
    classes = np.concatenate([one["class"].to_numpy(), [c for _, c in several]]).astype(np.int64)
    rows = np.searchsorted(pictures, numbers)
    return coo_matrix((np.ones(len(rows), np.float32), (rows, classes)), (len(pictures), len(labels))).tocsr()


def _properties(view: View) -> dict[str, tuple[str, str, str, str]]:
    """As ``_NUMBERS``, of the properties that the pictures have."""
    few = "SELECT properties FROM pictures WHERE properties IS NOT NULL LIMIT 1000"
    names = view.sql(f"SELECT DISTINCT unnest(map_keys(properties)) AS name FROM ({few}) ORDER BY name")
    found = {}
    for name in names["name"].to_pylist():
        more, less = _PROPERTIES.get(name, (f"more {name}", f"less {name}"))
        key = name.replace("'", "''")
        found[name] = (PROPERTY, f"list_extract(map_extract(properties, '{key}'), 1)", more, less)
    return found


def parts(view: View) -> dict[str, str]:
    """Phrase -> the part of the vocabulary that it is of, where a vocabulary has several parts."""
    vocabulary = view.manifest.get("vocabulary") or {}
    found = dict(zip(vocabulary.get("phrases", ()), vocabulary.get("groups", ()), strict=False))
    return found if len(set(found.values())) > 1 else {}
