"""Pictures, and which phrases are true of them: what probes are learned from, and what calibrations are fitted on.

Three sources, read into one record: a folder in CUB's layout, a table (CSV or Parquet), and an embedded aviary.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
from PIL import Image

from saywhy.errors import SaywhyError
from saywhy.pictures.cub import read_cub
from saywhy.pictures.reading import read_picture
from saywhy.pictures.sources import LabelledImage
from saywhy.plumbing.extras import need
from saywhy.plumbing.names import shown
from saywhy.plumbing.texts import read_table
from saywhy.types import Vocabulary
from saywhy.words.cub_names import cub_vocabulary
from saywhy.words.vocabulary import PHOTO, make_vocabulary

THERE, ABSENT, UNKNOWN = 1, 0, -1
CLASS, FOLDER, PREDICTED = "class", "folder", "predicted class"
"""What may stand for the class of each picture."""
WORLD_SCENES = 400  # of a world, where no number is given
WORLD_SEED = 3_000_000
"""Scenes that phrases are learned from have seeds from here: apart from training, held-out, sample and test scenes."""
_WORDS = {
    "1": THERE,
    "true": THERE,
    "yes": THERE,
    "0": ABSENT,
    "false": ABSENT,
    "no": ABSENT,
    "": UNKNOWN,
    "?": UNKNOWN,
}
_WORDS |= {"1.0": THERE, "0.0": ABSENT}  # as data frames write them
_WORDS |= dict.fromkeys(("", "?", "nan", "none"), UNKNOWN)
_SEEN = 4  # pixels of a part from which it counts as seen
_NEEDED = ("picture", "phrase")


@final
@dataclass(frozen=True, eq=False)
class PhraseData:
    """N pictures, and what is true of them.

    name:       what reports call it: "cub-crops", "world:aviary".
    pictures:   unopened; their label is the class, by name, or None.
    vocabulary: M phrases, with their groups and templates.
    there:      (N, M) int8: THERE, ABSENT or UNKNOWN.
    shares:     (N, M) 0..1 of the people asked who say that it is there, where the truth is that of the class and not
                of the picture; else None.
    skipped:    (picture, why) of those that are listed and cannot be used.
    classes_are: what the classes of the pictures are: CLASS, their own; FOLDER or PREDICTED where those stand for it.
    """

    name: str
    pictures: tuple[LabelledImage, ...]
    vocabulary: Vocabulary
    there: np.ndarray
    shares: np.ndarray | None = None
    skipped: tuple[tuple[str, str], ...] = ()
    classes_are: str = CLASS

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The class of each picture; None where any has none."""
        labels = [picture.label for picture in self.pictures]
        return None if any(label is None for label in labels) else tuple(map(str, labels))

    def take(self, rows: Sequence[int] | np.ndarray) -> PhraseData:
        """The pictures of these numbers, in this order."""
        rows = np.asarray(rows, int)
        shares = None if self.shares is None else self.shares[rows]
        return replace(self, pictures=tuple(self.pictures[n] for n in rows), there=self.there[rows], shares=shares)


def read_phrases(source: str | Path, limit: int | None = None, seed: int = 0) -> PhraseData:
    """What a source says: a folder in CUB's layout, a .csv or .parquet table, or "world:aviary", "world:aviary-NAME".

    CUB: the labels of the pictures where there are some, and what is not visible or guessed is unknown; else those of
    their classes: there where more than half of the annotators say so, absent where fewer than a tenth do.

    A table has a row a picture and phrase, in columns "picture" (a file, from the table's folder on), "phrase" and,
    where they are there, "there" (1, 0, true, false, yes, no; empty or "?": unknown), "class" (the picture's class) and
    "group" (the phrase's). Without "there" the table lists what is there, and all else is absent; with it, pairs that
    are not listed are unknown.

    world:aviary: scenes in equal numbers of its species and of random plumage, with what is drawn; parts that are
    hidden are unknown.

    limit: pictures at most, drawn at random by ``seed``; of a world, how many are drawn (WORLD_SCENES).

    Raises SaywhyError for a source that is none of these, a table without its columns or with contradictions, and
    where there is no picture or phrase.
    """
    name = str(source)
    if name.startswith("world:"):
        return _world(name, WORLD_SCENES if limit is None else limit)
    path = Path(source)
    if os.path.isdir(path):
        data = _cub(path)
    elif not os.path.exists(path):
        raise SaywhyError(f"{shown(name)}: no such table, folder in CUB's layout, or world")
    else:
        data = _table(path)
    if not len(data):
        file, why = data.skipped[0] if data.skipped else ("", "no picture is listed")
        raise SaywhyError(f"{shown(name)}: there are no pictures; {' '.join(filter(None, (shown(file), why)))}")
    if limit is not None and limit < len(data):
        data = data.take(np.sort(np.random.default_rng(seed).permutation(len(data))[:limit]))
    return data


def _cub(root: Path) -> PhraseData:
    cub = read_cub(root)
    vocabulary, meant = cub_vocabulary(cub.attributes)
    of_attributes = np.full((len(cub.birds), len(cub.attributes)), ABSENT, np.int8)
    for row, bird in zip(of_attributes, cub.birds, strict=True):
        row[list(bird.attributes)] = THERE
        row[list(bird.unknown)] = UNKNOWN
    columns = [of_attributes[:, sorted(stands_for)] for stands_for in meant]
    there = [np.where((c == THERE).any(1), THERE, np.where((c == UNKNOWN).any(1), UNKNOWN, ABSENT)) for c in columns]
    pictures = [LabelledImage(str(b.path), cub.classes[b.label], partial(read_picture, b.path)) for b in cub.birds]
    shares = None
    if cub.percent is not None:
        percent = np.pad(cub.percent, ((0, 0), (0, len(cub.attributes) - cub.percent.shape[1])))
        of_class = np.stack([percent[:, sorted(stands_for)].max(1) for stands_for in meant], 1) / 100
        shares = of_class[[bird.label for bird in cub.birds]].astype(np.float32)
    return PhraseData(root.name, tuple(pictures), vocabulary, np.stack(there, 1).astype(np.int8), shares, cub.skipped)


def _table(path: Path) -> PhraseData:
    """Raises SaywhyError, with the line, for what is wrong in the table."""
    rows = _parquet(path) if path.suffix.lower() in (".parquet", ".pq") else read_table(path, _NEEDED)
    listed_only = bool(rows) and "there" not in rows[0][1]
    said: dict[tuple[str, str], int] = {}
    classes: dict[str, str] = {}
    groups: dict[str, str] = {}
    for line, row in rows:
        where = f"{shown(path)}: line {line}"
        picture, phrase = row["picture"].strip(), " ".join(row["phrase"].split())
        if not picture or not phrase:
            raise SaywhyError(f"{where}: the {'phrase' if picture else 'picture'} is empty")
        value = THERE if listed_only else _there(row["there"], where)
        if said.setdefault((picture, phrase), value) != value:
            raise SaywhyError(f"{where}: says of {shown(phrase)!r} in {shown(picture)} another thing than a line above")
        _agree(classes, picture, row.get("class", ""), f"{where}: {shown(picture)} is of class")
        _agree(groups, phrase, row.get("group", ""), f"{where}: {shown(phrase)!r} is in the group")
    if not said:
        raise SaywhyError(f"{shown(path)}: a table without rows; it needs a row a picture and phrase")
    names, phrases = list(dict.fromkeys(p for p, _ in said)), list(dict.fromkeys(p for _, p in said))
    files = {name: path.parent / name for name in names}
    usable = [name for name in names if os.path.isfile(files[name])]
    index = {name: n for n, name in enumerate(usable)}
    columns = {phrase: m for m, phrase in enumerate(phrases)}
    there = np.full((len(usable), len(phrases)), ABSENT if listed_only else UNKNOWN, np.int8)
    for (name, phrase), value in said.items():
        if name in index:
            there[index[name], columns[phrase]] = value
    pictures = [LabelledImage(str(files[n]), classes.get(n) or None, partial(read_picture, files[n])) for n in usable]
    vocabulary = make_vocabulary(
        [(groups.get(phrase, ""), phrase) for phrase in phrases], name=path.stem, templates={"": PHOTO}
    )
    skipped = tuple((name, "listed in the table, and there is no such file") for name in names if name not in index)
    return PhraseData(path.name, tuple(pictures), vocabulary, there, None, skipped)


def _parquet(path: Path) -> list[tuple[int, dict[str, str]]]:
    """As ``read_table`` gives a text; rows are counted from 1."""
    need(f"{shown(path)}: a Parquet table", "pyarrow")
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            names = {name: name.strip().lower() for name in file.schema_arrow.names}
            wanted = [name for name, plain in names.items() if plain in (*_NEEDED, "there", "class", "group")]
            table = file.read(columns=wanted).to_pylist()
    except (ArrowException, OSError, ValueError) as error:
        raise SaywhyError(f"{shown(path)}: not a Parquet table ({str(error).splitlines()[0][:120]})") from None
    if missing := [name for name in _NEEDED if name not in names.values()]:
        raise SaywhyError(
            f"{shown(path)}: the table must have the columns {', '.join(_NEEDED)}; it lacks {', '.join(missing)}"
        )
    return [(n, {names[key]: _cell(value) for key, value in row.items()}) for n, row in enumerate(table, start=1)]


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def _there(word: str, where: str) -> int:
    value = _WORDS.get(word.strip().lower())
    if value is None:
        raise SaywhyError(f"{where}: there is {shown(word, 40)!r}; it must be 1, 0, true, false, yes, no, or empty")
    return value


def _agree(known: dict[str, str], key: str, value: str, what: str) -> None:
    """Keep what a row says of a picture or phrase. Raises SaywhyError where another row said another thing."""
    if value.strip() and known.setdefault(key, value.strip()) != value.strip():
        raise SaywhyError(f"{what} {shown(value)!r}, and of {shown(known[key])!r} in a line above")


def _world(name: str, count: int) -> PhraseData:
    from saywhy.worlds import WORLDS

    world = name.removeprefix("world:").partition("/")[0]
    if not world.startswith("aviary") or world not in WORLDS:
        known = ", ".join(f"world:{one}" for one in WORLDS if one.startswith("aviary"))
        raise SaywhyError(f"{shown(name)}: there are no phrases of this world; there are those of {known}")
    kind = "species" if world == "aviary" else world.replace("aviary", "planted")
    halves = [(kind, (count + 1) // 2), ("random", count // 2)]
    parts = [read_scenes(name, drawn, size, WORLD_SEED) for drawn, size in halves if size > 0]
    if not parts:
        raise SaywhyError(f"{shown(name)}: no scenes; draw at least one")
    pictures = [picture for part in parts for picture in part.pictures]
    return replace(parts[0], pictures=tuple(pictures), there=np.concatenate([part.there for part in parts]))


def read_scenes(name: str, kind: str, count: int, first_seed: int) -> PhraseData:
    """Scenes of the aviary of that name ("world:aviary") with what is drawn in them; see ``scenes.scenes``."""
    from saywhy.worlds import world_vocabulary
    from saywhy.worlds.scenes import class_names, scenes

    world = name.removeprefix("world:").partition("/")[0]
    vocabulary, made = world_vocabulary(world), scenes(kind, count, first_seed)
    classes = () if kind == "random" else class_names(kind)
    pictures = [
        LabelledImage(
            f"{name} {kind} {first_seed + n}",
            classes[label] if (label := int(made.labels[n])) >= 0 else f"random plumage {first_seed + n}",
            partial(Image.fromarray, made.pixels[n]),
        )
        for n in range(count)
    ]
    return PhraseData(name, tuple(pictures), vocabulary, _drawn(made, vocabulary))


def _drawn(made: Any, vocabulary: Vocabulary) -> np.ndarray:
    """(N, M) what is drawn in N scenes; of parts that are hidden nobody knows."""
    from saywhy.worlds.aviary import BACKGROUNDS, phrases_of
    from saywhy.worlds.drawing import PARTS

    columns: Mapping[str, int] = {phrase: m for m, phrase in enumerate(vocabulary.phrases)}
    there = np.zeros((len(made), len(vocabulary)), np.int8)
    counts = np.stack([np.bincount(parts.ravel(), minlength=len(PARTS)) for parts in made.parts])
    for n in range(len(made)):
        hidden = {part for part, count in zip(PARTS, counts[n], strict=True) if count < _SEEN}
        there[n, [m for m, group in enumerate(vocabulary.groups) if group in hidden - {"watermark", "background"}]] = (
            UNKNOWN
        )
        true = phrases_of(made.attributes(n))
        there[n, [columns[phrase] for phrase, part in true.items() if part not in hidden]] = THERE
        there[n, columns[BACKGROUNDS[made.background[n]]]] = THERE
        if "a letter in the corner" in columns:
            seen = counts[n, PARTS.index("watermark")] >= _SEEN
            there[n, columns["a letter in the corner"]] = THERE if seen else ABSENT
    return there
