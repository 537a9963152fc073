"""How long does a prompt bank of ImageNet's size take to encode and to search, and what does it need?

Encoding: the texts of one category, by shared prefixes, cut to their lengths, and as CLIP does it (padded to its
context), in turn, round after round in one process; each time a text is divided by that of plain encoding in its own
round. Weights are random (ViT-B-32): the time does not depend on them. Searching: in a fresh process, over shards of
random vectors on disk.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from saywhy.bench import Report
from saywhy.bench.pack import find_pack
from saywhy.bench.speed.measuring import in_fresh_process, in_turn, timed
from saywhy.errors import SaywhyError
from saywhy.plumbing.devices import choose_device
from saywhy.plumbing.texts import read_json
from saywhy.spaces.clip import ClipSpace
from saywhy.spaces.pairs.encoding import PairEncoder, pair_encoder
from saywhy.spaces.pairs.on_disk import PromptBank, Shard, shard_plan, write_shard
from saywhy.spaces.pairs.ranking import COLUMNS, rank
from saywhy.spaces.pairs.scorer import PairScorer
from saywhy.spaces.pairs.scoring import ECOR
from saywhy.words.rationale_words import RationaleWords

ROUNDS = 3
PLAIN, CUT, SHARED = "padded to the context, as CLIP does", "cut to their lengths", "shared prefixes"
TEXTS = {"cpu": {PLAIN: 64, CUT: 128, SHARED: 512}, "cuda": {PLAIN: 1024, CUT: 4096, SHARED: 4096}}
"""Device -> contender -> texts in a round: what is slow gets fewer."""
PRECISION = {"cpu": torch.float32, "cuda": torch.float16}
SHARE = 0.01  # of the bank that is encoded without a GPU
IMAGES = (8, 64)
K = 5
GIB = 2**30


def run(limit: int | None = None) -> Report:
    """``limit``: categories of the bank that are encoded and searched; else 1% of them (a GPU: all), and all."""
    device = choose_device(None).type
    clip, words = _clip(device), _words()
    precise = pair_encoder(clip, words)
    rows = _speed(precise, TEXTS[device])
    encoder = pair_encoder(clip, words, dtype=PRECISION[device])
    whole = len(words.categories)
    encoded = min(limit or (whole if device == "cuda" else max(1, round(SHARE * whole))), whole)
    with tempfile.TemporaryDirectory(prefix="saywhy-bank-") as folder:
        bank = [_bank(encoder, Path(folder), encoded)]
    with tempfile.TemporaryDirectory(prefix="saywhy-bank-") as folder:
        searched = min(limit or whole, whole)
        _fill(Path(folder), searched, len(words.rationales), clip.encode_texts_once(["a"]).shape[1])
        search = in_fresh_process(_search, folder, searched, len(words.rationales), IMAGES)
    return Report(
        "bank-speed",
        f"encoding the texts of one category with {len(words.rationales):,} rationales, {device}",
        ("what", "texts a second", "ratio", "lowest", "highest", "largest difference"),
        rows,
        {"device": device, "rounds": ROUNDS, "computed in": str(encoder.dtype), "k": K},
        more=[
            (
                f"the bank of {whole:,} categories: {encoded:,} of them encoded and written, the rest extrapolated",
                ("texts", "seconds", "texts a second", "texts of the bank", "GB of the bank", "hours for the bank"),
                bank,
            ),
            (
                f"the best {K} pairs of a bank on disk, in a fresh process; memory in GiB, pages of files are resident",
                ("images", "texts", "GB", "seconds", "seconds an image", "resident", "anonymous", "before"),
                search,
            ),
        ],
    )


# -- what is encoded --------------------------------------------------------------------------------------------------


def _clip(device: str) -> ClipSpace:
    import open_clip

    torch.manual_seed(0)
    model = open_clip.CLIP(**open_clip.get_model_config("ViT-B-32")).eval().requires_grad_(False).to(device)
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    return ClipSpace(
        "ViT-B-32 at random weights", model.visual, model.encode_text, torch.as_tensor, tokenizer, torch.device(device),
        "clip:random", 100.0,
    )  # fmt: skip


def _words() -> RationaleWords:
    """ImageNet's classes and all their descriptors (Menon and Vondrick), or words of the same number and lengths."""
    try:
        found = find_pack() / "text" / "classify_by_description" / "descriptors_imagenet.json"
        lists: dict[str, list[str]] = read_json(found)
        categories, rationales = tuple(lists), tuple(dict.fromkeys(r for some in lists.values() for r in some))
    except (SaywhyError, OSError):
        draw = np.random.default_rng(0)
        some = ("a", "long", "red", "tail", "with", "small", "wings", "large", "eyes", "used", "for", "kitchen")

        def said(mean: float) -> str:
            return " ".join(draw.choice(some, 1 + draw.poisson(mean - 1)))

        categories = tuple(f"{said(1.5)} {n}" for n in range(1000))
        rationales = tuple(f"{said(3.5)} {n}" for n in range(4229))
    return RationaleWords(categories, rationales, ((),) * len(categories))


# -- encoding ---------------------------------------------------------------------------------------------------------


def _speed(encoder: PairEncoder, texts: dict[str, int]) -> list[dict[str, Any]]:
    """A row for each way; its largest difference from CLIP's on the texts that both encode."""
    pairs, clip = encoder.texts, encoder.clip
    drawn = torch.randperm(len(pairs.tails), generator=torch.Generator().manual_seed(0)).tolist()
    strings = {what: [pairs.heads[0] + pairs.tails[n] for n in drawn[:count]] for what, count in texts.items()}
    shared = PairEncoder(clip, pairs.only([0], drawn[: texts[SHARED]]), encoder.tower)
    contenders: dict[str, Callable[[], Tensor]] = {
        PLAIN: lambda: clip.encode_texts_once(strings[PLAIN]),
        CUT: lambda: encoder.alone(strings[CUT]),
        SHARED: lambda: shared.block(range(1), torch.float32)[0],
    }
    vectors: dict[str, Tensor] = {}

    def a_text(what: str) -> float:
        """Seconds."""
        return timed(lambda: vectors.update({what: contenders[what]()})) / len(vectors[what])

    seconds = in_turn({what: partial(a_text, what) for what in contenders}, ROUNDS)
    rows = []
    for what, spent in seconds.items():
        ratios = [plain / one for plain, one in zip(seconds[PLAIN], spent, strict=True)]
        both = min(len(vectors[what]), len(vectors[PLAIN]))
        difference = float((vectors[what][:both] - vectors[PLAIN][:both]).abs().max())
        rows.append({
            "what": what, "texts a second": 1 / median(spent), "ratio": median(ratios), "lowest": min(ratios),
            "highest": max(ratios), "largest difference": difference,
        })  # fmt: skip
    return rows


def _bank(encoder: PairEncoder, folder: Path, categories: int) -> dict[str, Any]:
    """Encode and write the first categories, as ``build_bank`` does."""
    rationales, whole = len(encoder.texts.tails), len(encoder.texts.heads)
    dimension = encoder.clip.encode_texts_once(["a"]).shape[1]
    start = time.perf_counter()
    for block in shard_plan(categories, rationales, dimension):
        write_shard(folder, block.start, encoder.block(block))
    seconds = time.perf_counter() - start
    texts = categories * rationales
    written = sum(path.stat().st_size for path in folder.glob("*.npy"))
    return {
        "texts": texts, "seconds": seconds, "texts a second": texts / seconds, "texts of the bank": whole * rationales,
        "GB of the bank": written * whole / categories / 1e9, "hours for the bank": seconds * whole / categories / 3600,
    }  # fmt: skip


# -- searching --------------------------------------------------------------------------------------------------------


def _fill(folder: Path, categories: int, rationales: int, dimension: int) -> None:
    """Shards of unit vectors: random ones, turned a little further for each shard."""
    values: np.ndarray | None = None
    for block in shard_plan(categories, rationales, dimension):
        if values is None:
            values = F.normalize(torch.randn(len(block), rationales, dimension), dim=-1).half().numpy()
        write_shard(folder, block.start, torch.from_numpy(np.roll(values[: len(block)], block.start, -1)))


def _search(folder: str, categories: int, rationales: int, images: tuple[int, ...]) -> list[dict[str, Any]]:
    words = RationaleWords(tuple(map(str, range(categories))), tuple(map(str, range(rationales))), ((),) * categories)
    paths = sorted(Path(folder).glob("*.npy"))
    dimension = np.load(paths[0], mmap_mode="r").shape[-1]
    plan = shard_plan(categories, rationales, dimension)
    shards = tuple(Shard(path, block.start, len(block)) for path, block in zip(paths, plan, strict=True))
    alone, names = (F.normalize(torch.randn(count, dimension), dim=1) for count in (rationales, categories))
    bank = PromptBank(words, "random", dimension, alone, names, shards=shards)
    rows = []
    for count in images:
        pictures = F.normalize(torch.randn(count, dimension), dim=1)
        before, watched = _resident("RssAnon"), [0.0]
        scorer = PairScorer(pairs=Watched(bank, watched), scoring=ECOR, scale=100.0)
        start = time.perf_counter()
        rank(pictures, scorer, K)
        seconds = time.perf_counter() - start
        rows.append({
            "images": count, "texts": categories * rationales, "GB": 2 * categories * rationales * dimension / 1e9,
            "seconds": seconds, "seconds an image": seconds / count, "resident": _resident("VmHWM") / GIB,
            "anonymous": max(watched) / GIB, "before": before / GIB,
        })  # fmt: skip
    return rows


@final
@dataclass(frozen=True, eq=False)
class Watched:
    """A bank that notes, in bytes, how much memory is ours while a block of it and its scores are there."""

    bank: PromptBank
    noted: list[float]

    @property
    def rationales(self) -> Tensor:
        return self.bank.rationales

    @property
    def categories(self) -> Tensor:
        return self.bank.categories

    def blocks(self, columns: int = COLUMNS) -> Iterator[tuple[int, Tensor]]:
        for block in self.bank.blocks(columns):
            yield block
            self.noted.append(_resident("RssAnon"))


def _resident(what: str) -> float:
    """Bytes: "VmHWM", the most that was resident, or "RssAnon", what is no page of a file. NaN where unknown."""
    if sys.platform != "linux":
        return float("nan")
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(what)).split()[1])
