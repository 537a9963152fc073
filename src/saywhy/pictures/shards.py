"""WebDataset shards: pictures in .tar files, each beside members of the same name that say what it is.

A shard is read through once, header by header, without its pictures; a picture is then read by its place in the file.
"""

from __future__ import annotations

import glob
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO, final

from PIL.Image import Image

from saywhy.errors import SaywhyError
from saywhy.pictures.decoding import ENDINGS, MOST_PLAIN_FILE
from saywhy.pictures.entries import InColumns, Row, in_columns
from saywhy.pictures.picture_tables import LABELS, as_text, labels_in
from saywhy.pictures.reading import read_picture
from saywhy.plumbing.files import open_file
from saywhy.plumbing.names import first_line, shown
from saywhy.plumbing.texts import parse_json

SHARD = ".tar"
COMPRESSED = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz", ".tar.lz4")
MOST_TEXT = 1 << 20  # bytes of a member that says what a picture is
SAYS = ("cls", "json", "txt")  # endings of such members

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_NAME = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)", re.DOTALL)  # as webdataset splits names


def are_shards(source: str) -> bool:
    """Whether a source names shards: a .tar, a pattern of them, or a folder that has some."""
    lower = source.lower()
    if lower.endswith((SHARD, *COMPRESSED)):
        return True
    return os.path.isdir(source) and any(name.lower().endswith((SHARD, *COMPRESSED)) for name in os.listdir(source))


def shards(sources: Sequence[str] | str, limit: int | None = None, seed: int = 0) -> InColumns:
    """The pictures of WebDataset shards.

    sources: each a .tar, a folder of them, "shards-{0000..0003}.tar" or "shards-*.tar".
    limit, seed: as of ``collection``.

    A picture is the members whose names are the same up to the first dot. Its labels are its .cls, else what its .json
    has under one of LABELS, else its .txt; the rest of .json and .txt is metadata, less lists and objects.

    Raises SaywhyError where a shard is not there, compressed, damaged, or holds a name twice.
    """
    given = [sources] if isinstance(sources, str) else list(sources)
    paths = [path for source in given for path in _named(source)]
    rows = (row for number, path in enumerate(paths) for row in _rows(number, path))
    opener = _InShards(tuple(os.path.abspath(path) for path in paths))
    return in_columns(", ".join(given), rows, opener, limit, seed, places=3)


@final
@dataclass(frozen=True)
class _InShards:
    """Opens pictures by the number of their shard, and where they begin and how long they are in it, in bytes."""

    paths: tuple[str, ...]

    def __call__(self, name: str, place: tuple[int, ...]) -> Image:
        number, start, size = place
        if size > MOST_PLAIN_FILE:
            raise SaywhyError(f"{shown(name)}: {size >> 20} MiB, over the {MOST_PLAIN_FILE >> 20} MiB that are read")
        try:
            with open_file(Path(self.paths[number]), "a shard") as file:
                file.seek(start)
                data = file.read(size)
        except OSError as error:
            raise SaywhyError(f"{shown(name)}: cannot be read ({error.strerror or error})") from None
        if len(data) < size:
            raise SaywhyError(f"{shown(name)}: its shard is truncated")
        return read_picture(data, name=name)


def _named(source: str) -> list[str]:
    """The shards that one source names, in order. Raises SaywhyError where there are none, or they are compressed."""
    if os.path.isdir(source):
        found = sorted(os.path.join(source, name) for name in os.listdir(source))
        found = [path for path in found if path.lower().endswith((SHARD, *COMPRESSED))]
    elif os.path.exists(source):
        found = [source]
    elif _RANGE.search(source):
        found = list(_ranged(source))
    else:
        found = sorted(glob.glob(source)) if glob.has_magic(source) else [source]
    if not found:
        raise SaywhyError(f"{shown(source)}: no shard is called so")
    if packed := next((path for path in found if path.lower().endswith(COMPRESSED)), None):
        raise SaywhyError(
            f"{shown(packed)}: a compressed shard cannot be read picture by picture; unpack it first, with gunzip or "
            "the like (pictures are compressed by themselves)"
        )
    if absent := [path for path in found if not os.path.exists(path)]:
        few = f" and {len(absent) - 1} more of {len(found)}" if len(absent) > 1 else ""
        raise SaywhyError(f"{shown(absent[0])}{few}: no such shard")
    return found


def _ranged(source: str) -> Iterator[str]:
    """ "a-{08..10}.tar" -> "a-08.tar", "a-09.tar", "a-10.tar"."""
    ranges = []
    for first, last in _RANGE.findall(source):
        width = len(first) if first.startswith("0") or len(first) == len(last) else 0
        ranges.append([f"{n:0{width}d}" for n in range(int(first), int(last) + 1)])
    parts = _RANGE.sub("\0", source).split("\0")
    for words in product(*ranges):
        yield "".join(part + word for part, word in zip(parts, (*words, ""), strict=True))


@final
@dataclass
class _Sample:
    """The members of one name: what pictures there are, (ending, start, size), and what the others say."""

    key: str
    pictures: list[tuple[str, int, int]] = field(default_factory=list)
    says: dict[str, bytes] = field(default_factory=dict)


def _rows(number: int, path: str) -> Iterator[Row]:
    called = shown(path)
    with open_file(Path(path), "a shard") as file:
        try:
            for sample in _samples(file, called):
                if sample.pictures:
                    _, start, size = sample.pictures[0]
                    labels, known = _said(sample, called)
                    yield Row(f"{path}/{sample.key}", labels, known, (number, start, size))
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            hint = "; it is compressed, unpack it first" if _is_compressed(path) else ""
            raise SaywhyError(f"{called}: not a .tar that can be read ({first_line(error)}){hint}") from None


def _samples(file: BinaryIO, called: str) -> Iterator[_Sample]:
    """The members of a shard by their name, as they follow each other."""
    sample = _Sample("")
    with tarfile.open(fileobj=file, mode="r:") as shard:
        while (member := shard.next()) is not None:
            vars(shard)["members"].clear()  # tarfile keeps all, which takes a kilobyte each
            match = _NAME.fullmatch(member.name)
            if not member.isreg() or match is None:
                continue
            key, ending = match[1], match[2].lower()
            if key != sample.key:
                yield sample
                sample = _Sample(key)
            place = ending, member.offset_data, member.size
            if f".{ending}" in ENDINGS:
                sample.pictures.insert(sum(f".{one}" in ENDINGS for one, _, _ in sample.pictures), place)
            elif f".{ending.rpartition('.')[2]}" in ENDINGS:  # "left.jpg", behind "jpg"
                sample.pictures.append(place)
            elif ending in SAYS:
                if member.size > MOST_TEXT:
                    raise SaywhyError(f"{called}: {shown(member.name)} is over the {MOST_TEXT >> 20} MiB that are read")
                after = file.tell()
                file.seek(member.offset_data)
                sample.says[ending] = file.read(member.size)
                file.seek(after)
    yield sample


def _said(sample: _Sample, called: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Labels and metadata of a picture."""
    texts = {}
    for ending, data in sample.says.items():
        try:
            texts[ending] = data.decode("utf-8-sig").strip()
        except UnicodeDecodeError:
            raise SaywhyError(f"{called}: {shown(sample.key)}.{ending} is no text in UTF-8") from None
    labels, known = labels_in(texts.get("cls")), dict[str, str]()
    if "json" in texts:
        document = parse_json(texts["json"], f"{called}: {shown(sample.key)}.json")
        if not isinstance(document, dict):
            raise SaywhyError(f"{called}: {shown(sample.key)}.json is no object of names and values")
        for name, value in document.items():
            if name.lower() in LABELS:
                labels = labels or _labels(value)
            elif not isinstance(value, list | dict) and (said := as_text(value)):
                known[name] = said
    if "txt" in texts:
        if labels:
            known["txt"] = texts["txt"]
        else:
            labels = labels_in(texts["txt"])
    return labels, known


def _labels(value: Any) -> tuple[str, ...]:
    return () if isinstance(value, dict) else labels_in(value)


def _is_compressed(path: str) -> bool:
    with open_file(Path(path), "a shard") as file:
        return file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"))
