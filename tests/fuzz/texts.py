"""Texts of every kind that the program reads, and what befalls them; in ``corpus`` those that once went wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

CORPUS = Path(__file__).parent / "corpus"

WORDS: tuple[bytes, ...] = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\x1b[31m", "\u202e".encode(), b"\x85",
    b"\r", b"\r\n", b'"', b"'", b"\\", b"\\ud800", b"\\u0000", b",", b";", b":", b"[", b"]", b"{", b"}", b"=", b"#",
    b"nan", b"NaN", b"inf", b"-Infinity", b"1e999", b"-1", b"0", b"1.5", b"true", b"null", b"9" * 40, b"9" * 5000,
    b"0x" + b"f" * 99, b"[" * 70, b"[" * 100_000, b'{"a":' * 100_000, b"x" * 300, b"y" * 140_000, b"../../..",
    b"/dev/zero", b"$\\frac", b"%s", b"{}", b"{0.__class__}", b"\xc3", b"\xf0\x9f\x98\x80", "٣".encode(),
    "½".encode(), b"1_000", b"2020-99-99", b"\n" * 3000,
)  # fmt: skip
"""What stands somewhere in a hostile file."""

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3.5, 1e308, 10**18, -(10**18), 10**30, "", " ", "x", "0", "nan", "a\nb", "\x1b[31m",
    "\u202e", "x" * 300, "y" * 140_000, "/dev/zero", "a\\b", "$x_1$", "{}", "{r} {c}", [], [[]], {}, [None], [1, 2],
    ["a"], {"a": 1}, {"0": "a"}, [[[[]]]], "\ud800", "\0", float("nan"), float("inf"), [0] * 100, [10**9] * 3,
    {str(n): n for n in range(50)},
)  # fmt: skip
"""What stands in a document where something else should."""


@final
@dataclass(frozen=True)
class Kind:
    """A kind of text. path: the file that it is written to. read: gives what the program makes of that file."""

    name: str
    path: Path
    seeds: tuple[bytes, ...]
    read: Callable[[Path], object]


def corpus(kind: str, ending: str) -> tuple[bytes, ...]:
    """The texts of one kind in the corpus. A file's name begins with its kind; what follows says what is in it."""
    paths = sorted(path for path in CORPUS.glob(f"*{ending}") if f"{path.stem}-".startswith(f"{kind}-"))
    return tuple(path.read_bytes() for path in paths)


def mutated(kind: Kind, count: int, seed: int) -> Iterator[bytes]:
    """Texts of a kind: first the corpus as it is, then what becomes of it."""
    yield from kind.seeds[:count]
    rng = np.random.default_rng([seed, *kind.name.encode()])
    documents = [document for text in kind.seeds if isinstance(document := _document(text), dict | list)]
    for _ in range(count - len(kind.seeds)):
        if documents and rng.random() < 0.6:
            yield _mutated_document(documents[rng.integers(len(documents))], rng)
            continue
        text = kind.seeds[rng.integers(len(kind.seeds))]
        for _ in range(rng.integers(1, 4)):
            text = _WAYS[rng.integers(len(_WAYS))](text, kind.seeds[rng.integers(len(kind.seeds))], rng)
        yield text


def _document(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _mutated_document(document: Any, rng: np.random.Generator) -> bytes:
    copy = json.loads(json.dumps(document))
    for _ in range(rng.integers(1, 3)):
        copy = _replaced(copy, rng) if isinstance(copy, dict | list) else copy
    return json.dumps(copy, ensure_ascii=bool(rng.random() < 0.7)).encode(errors="surrogatepass")


def _replaced(document: Any, rng: np.random.Generator) -> Any:
    """With one value, anywhere, replaced, removed, doubled or put under another name."""
    holders: list[Any] = [document]
    for holder in holders:
        holders += [v for v in (holder.values() if isinstance(holder, dict) else holder) if isinstance(v, dict | list)]
    holder = holders[rng.integers(len(holders))]
    value = deepcopy(VALUES[rng.integers(len(VALUES))])
    if not holder or rng.random() < 0.02:
        return value if holder is document else document
    place = list(holder)[rng.integers(len(holder))] if isinstance(holder, dict) else int(rng.integers(len(holder)))
    way = rng.random()
    if way < 0.65:
        holder[place] = value
    elif way < 0.75:
        del holder[place]
    elif isinstance(holder, list):
        holder.append(holder[place])
    else:
        name = value if isinstance(value, str) else "x"
        holder[name] = holder.pop(place) if way < 0.85 else value
    return document


def _cut(text: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    return text[: rng.integers(len(text) + 1)]


def _put(text: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    place = rng.integers(len(text) + 1)
    return text[:place] + WORDS[rng.integers(len(WORDS))] + text[place:]


def _word(text: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """A word or number of the text becomes another."""
    words = list(re.finditer(rb"[\w.]+", text))
    if not words:
        return _put(text, other, rng)
    start, end = words[rng.integers(len(words))].span()
    return text[:start] + WORDS[rng.integers(len(WORDS))] + text[end:]


def _flip(text: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(text)
    for place in rng.integers(0, len(text), rng.integers(1, 6)) if text else ():
        changed[place] = rng.integers(256)
    return bytes(changed)


def _splice(text: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    return text[: rng.integers(len(text) + 1)] + other[rng.integers(len(other) + 1) :]


def _lines(text: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """A line is gone, there twice or elsewhere."""
    lines = text.split(b"\n")
    line = lines.pop(rng.integers(len(lines)))
    for _ in range(rng.integers(3)):
        lines.insert(rng.integers(len(lines) + 1), line)
    return b"\n".join(lines)


def _repeat(text: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """A piece is there many times."""
    start, end = sorted(rng.integers(0, len(text) + 1, 2))
    return text[:end] + text[start:end] * min(int(rng.integers(1, 400)), 200_000 // max(end - start, 1)) + text[end:]


_WAYS = (_cut, _put, _put, _word, _word, _flip, _splice, _lines, _repeat)
