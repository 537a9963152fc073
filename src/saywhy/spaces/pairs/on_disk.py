"""The texts of all categories with all rationales as vectors: encoded once, kept on disk, read block by block.

As CLIP's text tower stays frozen, the C x R texts of ECOR and DROR are constants. They are kept as memory-mapped shards
of a few categories. A shard's name holds its checksum and it appears by one renaming, so a shard that exists is whole
whatever was interrupted, and several processes may build the same bank at once.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tokenize import TokenError
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.plumbing.caches import cache_directory, say_not_kept
from saywhy.plumbing.files import replacing
from saywhy.plumbing.texts import read_json
from saywhy.spaces.clip import PROBE, ClipSpace
from saywhy.spaces.pairs.composing import pair_texts
from saywhy.spaces.pairs.encoding import BankWarning, PairEncoder, pair_encoder
from saywhy.spaces.text_cache import cached_encode
from saywhy.words.rationale_words import RationaleWords

SHARD = 64 * 2**20  # bytes: what is lost at most when a run is killed
HELD = 64 * 2**20  # bytes: a bank that is no larger is held in memory
PATIENCE = 2.0  # seconds: what takes longer is announced, with a bar
ABANDONED = 3600.0  # seconds after which an unfinished file belongs to nobody
FORMAT = 1
NO_ARRAY = (OSError, ValueError, EOFError, TokenError, OverflowError, MemoryError)
"""What NumPy raises for a damaged file; the fourth where its header is no Python."""


@final
@dataclass(frozen=True)
class Estimate:
    """What a bank will cost. bytes: on disk. seconds: on this machine, as busy as it is now."""

    texts: int
    bytes: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.texts:,} texts, {_size(self.bytes)}, about {_duration(self.seconds)}"


@final
@dataclass(frozen=True)
class Shard:
    """The vectors of ``count`` categories from ``first`` on: a .npy file, (count, R, d) float16."""

    path: Path
    first: int
    count: int

    def read(self) -> np.ndarray:
        """Mapped into memory only as long as the array lives, so that what was read does not pile up.

        Raises SaywhyError where it cannot be read.
        """
        try:
            return np.load(self.path, mmap_mode="r")
        except NO_ARRAY as error:
            raise SaywhyError(f"{self.path}: cannot be read ({error}); build the bank again") from None


@final
@dataclass(frozen=True, eq=False)
class PromptBank:
    """All C x R texts of one template, as unit vectors.

    key:        digest of weights, template, tokenizer, word lists and type of the computation.
    rationales: (R, d) float32, of ``words.rationale_texts()``.
    categories: (C, d) float32, of ``words.category_texts()``.
    inverse:    whether the texts are ``words.templates.inverse``; else they are ``words.templates.pair``.
    shards:     where the texts are, in order. held: (C, R, d), the same in memory, for a bank that is small.
    """

    words: RationaleWords
    key: str
    dimension: int
    rationales: Tensor
    categories: Tensor
    inverse: bool = False
    shards: tuple[Shard, ...] = ()
    held: Tensor | None = None

    def blocks(self, columns: int = 262_144) -> Iterator[tuple[int, Tensor]]:
        """(first category, (c, R, d) float16 or float32), in order, about ``columns`` texts each: whole categories.

        Blocks of a bank in memory are views of it: do not write to them.
        """
        step = max(1, columns // len(self.words.rationales))
        for first in range(0, len(self.words.categories), step):
            yield first, self._some(first, first + step)

    def _some(self, start: int, stop: int) -> Tensor:
        if self.held is not None:
            return self.held[start:stop]
        return torch.from_numpy(np.concatenate([
            shard.read()[max(start - shard.first, 0) : stop - shard.first]
            for shard in self.shards
            if shard.first < stop and start < shard.first + shard.count
        ]))  # fmt: skip

    def pairs(self, categories: Tensor, rationales: Tensor) -> Tensor:
        """(N, d) float32 of N categories, each with one rationale: (N,) and (N,) indices."""
        categories, rationales = categories.cpu(), rationales.cpu()
        if self.held is not None:
            return self.held[categories, rationales].float()
        vectors = torch.empty(len(categories), self.dimension)
        firsts = torch.tensor([shard.first for shard in self.shards])
        owners = torch.searchsorted(firsts, categories, right=True) - 1
        for n in owners.unique().tolist():
            mine, shard = owners == n, self.shards[n]
            rows = shard.read()[(categories[mine] - shard.first).numpy(), rationales[mine].numpy()]
            vectors[mine] = torch.from_numpy(rows).float()
        return vectors

    def dense(self) -> Tensor:
        """(C, R, d) float32, all of it: for banks that are small."""
        return self._some(0, len(self.words.categories)).float()


def estimate(
    clip: ClipSpace, words: RationaleWords, *, inverse: bool = False, dtype: torch.dtype = torch.float32
) -> Estimate:
    """What ``build_bank`` would cost from the beginning, estimated by encoding a few texts.

    Raises SaywhyError as ``build_bank`` does, for the words.
    """
    encoder = pair_encoder(clip, words, inverse, dtype)
    texts = len(words.categories) * len(words.rationales)
    return Estimate(texts, 2 * texts * encoder.alone(["a"]).shape[1], encoder.seconds())


def bank_key(
    clip: ClipSpace, words: RationaleWords, *, inverse: bool = False, dtype: torch.dtype = torch.float32
) -> str:
    """The key of the bank of these words; which rationales are listed for which category does not matter."""
    tokenizer: Any = clip.tokenizer
    told = {
        "format": FORMAT,
        "clip": clip.key,
        "tokenizer": [type(tokenizer).__name__, tokenizer([PROBE]).tolist()],
        "template": words.templates.inverse if inverse else words.templates.pair,
        "categories": words.categories,
        "rationales": words.rationales,
        "dtype": str(dtype),
    }
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:24]


def build_bank(
    clip: ClipSpace,
    words: RationaleWords,
    *,
    inverse: bool = False,
    directory: str | Path | None = None,
    dtype: torch.dtype = torch.float32,
    verify: bool = False,
) -> PromptBank:
    """The bank of the words, from disk where it exists; what is missing of it is encoded and kept.

    inverse:   the template "There is {r} because ..." instead of the pair's.
    directory: the bank's own folder; by default one in the cache, named by its key.
    dtype:     of the computation, e.g. torch.bfloat16 on a GPU.
    verify:    check all shards against their checksums. That is done anyhow where some are missing, and of a bank that
               is held in memory, for it is read as a whole; sizes always are.

    A run that is stopped, even by kill -9, continues where it was, and the bank is the same to the byte. A damaged
    shard is encoded again, with a BankWarning. On stderr: an estimate and a bar where it takes more than two seconds.

    Where the cache cannot be written or is too small, a bank of up to 64 MiB is held in memory, with a CacheWarning.

    Raises SaywhyError where there are no words, the template lacks a name, the folder contains another bank or cannot
    be written, the disk is too small, or the text tower gives values that are not numbers.
    """
    key = bank_key(clip, words, inverse=inverse, dtype=dtype)
    folder = Path(directory) if directory else cache_directory() / "banks" / key
    texts = pair_texts(words, inverse)

    @cache
    def encoder() -> PairEncoder:  # a bank that is there needs none
        return pair_encoder(clip, words, inverse, dtype)

    alone = cached_encode(
        clip.text_key, [*words.rationale_texts(), *words.category_texts()], lambda rows: encoder().alone(rows)
    )
    count, dimension = len(words.rationales), alone.shape[1]
    blocks = shard_plan(len(words.categories), count, dimension)
    shape = (count, dimension)
    small = 2 * len(words.categories) * count * dimension <= HELD
    verify = verify or small
    try:
        _claim(folder, key, directory is None, {
            "clip": clip.key, "text": texts.heads[0] + texts.tails[0], "categories": len(words.categories),
            "rationales": count, "dimension": dimension, "computed in": str(dtype), "kept in": "float16",
        })  # fmt: skip
        complete = _found(folder, blocks, shape, verify)
        missing = [block for block in blocks if block.start not in complete]
        if missing and complete and not verify:
            complete = _found(folder, blocks, shape, verify=True)
            missing = [block for block in blocks if block.start not in complete]
        if missing:
            _encode(folder, encoder(), missing, shape, len(blocks))
            complete = _found(folder, blocks, shape)
    except OSError as error:
        if directory is None and small:
            say_not_kept(cache_directory(), error)
            everything = torch.cat([encoder().block(block) for block in blocks])
            return PromptBank(words, key, dimension, alone[:count], alone[count:], inverse, (), everything)
        raise SaywhyError(
            f"{folder}: the prompt bank cannot be kept there ({error.strerror or error}); set SAYWHY_CACHE to a folder "
            "that can be written"
        ) from None
    shards = tuple(complete[block.start] for block in blocks)
    held = None
    if small:
        held = torch.from_numpy(np.concatenate([shard.read() for shard in shards]))
    return PromptBank(words, key, dimension, alone[:count], alone[count:], inverse, shards, held)


# -- on disk ----------------------------------------------------------------------------------------------------------


def shard_plan(categories: int, rationales: int, dimension: int) -> list[range]:
    """The categories of each shard."""
    step = max(1, SHARD // (2 * rationales * dimension))
    return [range(first, min(first + step, categories)) for first in range(0, categories, step)]


def _claim(folder: Path, key: str, by_name: bool, about: dict[str, Any]) -> None:
    """Say in bank.json what the folder is for. Raises SaywhyError where it is for something else.

    by_name: the folder's name is the key, so that a bank.json that does not say so is damaged, and is written again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "bank.json"
    if manifest.exists():
        known = None
        with suppress(SaywhyError, AttributeError):
            known = read_json(manifest).get("key")
        if known == key:
            return
        if not by_name:
            raise SaywhyError(
                f"{folder}: contains the bank of other words, another template or another CLIP; name another "
                "folder, or remove it"
            )
    with replacing(manifest) as unfinished:
        unfinished.write_text(json.dumps({"key": key, "format": FORMAT, **about}, indent=1))


def _found(folder: Path, blocks: Sequence[range], shape: tuple[int, int], verify: bool = False) -> dict[int, Shard]:
    """First category -> shard, of those on disk that are whole; warns of damaged ones, and removes them."""
    files = dict[int, list[Path]]()
    for path in sorted(folder.glob("*.npy")):
        if match := re.fullmatch(r"(\d{6})-[0-9a-f]{8}\.npy", path.name):
            files.setdefault(int(match[1]), []).append(path)
    whole = dict[int, Shard]()
    for block in blocks:
        for path in files.get(block.start, []):
            damage = _damage(path, (len(block), *shape), verify)
            if damage and path.exists():  # else another process saw it too
                path.unlink(missing_ok=True)
                warnings.warn(f"{path}: {damage}; its {len(block) * shape[0]:,} texts are encoded again", BankWarning)
            elif not damage:
                whole.setdefault(block.start, Shard(path, block.start, len(block)))
    return whole


def _damage(path: Path, shape: tuple[int, ...], verify: bool) -> str | None:
    """What is wrong with a shard, if anything."""
    try:
        vectors = np.load(path, mmap_mode="r")
    except NO_ARRAY:
        return "truncated, or not a shard of a bank"
    if vectors.shape != shape or vectors.dtype != np.float16 or path.stat().st_size != vectors.offset + vectors.nbytes:
        return "of the wrong size"
    if verify and f"{zlib.crc32(vectors.data):08x}" != path.stem.partition("-")[2]:
        return "its checksum is wrong"
    return None


def _encode(folder: Path, encoder: PairEncoder, missing: list[range], shape: tuple[int, int], all_blocks: int) -> None:
    """Encode the missing shards, with an announcement before and a progress bar."""
    from rich.console import Console
    from rich.progress import Progress

    count = sum(map(len, missing)) * shape[0]
    everything = len(encoder.texts.heads) * len(encoder.texts.tails)
    needs = Estimate(count, 2 * count * shape[1], encoder.seconds() * count / everything)
    _clear(folder)
    free = shutil.disk_usage(folder).free
    if free < needs.bytes:
        raise OSError(f"it needs {_size(needs.bytes)}, and {_size(free)} are free")
    tokens = encoder.texts.tokens
    if tokens and tokens.too_long:
        warnings.warn(
            f"{tokens.too_long:,} of {everything:,} texts are longer than the {tokens.context} tokens that "
            f"{encoder.clip.name} reads, and are cut",
            BankWarning,
        )
    console = Console(stderr=True, highlight=False)
    long = needs.seconds > PATIENCE
    if long:
        kept = f" ({all_blocks - len(missing)} of {all_blocks} shards are there)" if len(missing) < all_blocks else ""
        console.print(f"prompt bank: {needs}{kept}", markup=False, soft_wrap=True)
    with Progress(console=console, transient=True, disable=not long) as progress:
        bar = progress.add_task("encoding texts", total=count)
        for block in missing:
            if not list(folder.glob(f"{block.start:06d}-*.npy")):  # else another process was quicker
                write_shard(folder, block.start, encoder.block(block, advance=partial(progress.advance, bar)))


def write_shard(folder: Path, first: int, vectors: Tensor) -> None:
    """A whole shard, or none."""
    values = vectors.numpy()
    with (
        replacing(folder / f"{first:06d}-{zlib.crc32(values.data):08x}.npy") as unfinished,
        unfinished.open("wb") as file,  # np.save would add an ending to the name
    ):
        np.save(file, values)


def _clear(folder: Path) -> None:
    """Remove unfinished files of runs that were killed."""
    for path in folder.glob("*.part"):
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - ABANDONED:
                path.unlink()


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
