"""Which pictures a step of tuning sees, and reading them. It depends on the step alone, so that runs can resume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from saywhy.errors import SaywhyError
from saywhy.pictures.reading import read_picture
from saywhy.pictures.truth import RationaleData
from saywhy.training.prompts.settings import TuningSettings

HELD_BYTES = 512 * 2**20  # of preprocessed pictures: when all fit, each is read only once
VALIDATION_STREAM = 2**32 - 1  # of random numbers: none that epochs draw from, (seed, epoch)


@final
@dataclass(frozen=True, eq=False)
class Plan:
    """The batches of a whole run.

    per_epoch: steps of a pass. total: steps of the run.
    """

    data: RationaleData
    settings: TuningSettings
    per_epoch: int
    total: int

    @staticmethod
    def of(data: RationaleData, settings: TuningSettings) -> Plan:
        """Raises SaywhyError where there is no picture."""
        if not data.images:
            raise SaywhyError(f"{data.root}: there is no picture to train on")
        per_epoch = -(-(settings.epoch_length or len(data.images)) // settings.batch_size)
        return Plan(data, settings, per_epoch, settings.steps or settings.epochs * per_epoch)

    def batches(self, first: int = 0) -> Iterator[list[int]]:
        """The pictures of each step, as indices, from the first step (counted from 0) to the end of the run."""
        size, seed = self.settings.batch_size, self.settings.seed
        if self.settings.sampler == "pair-balanced":
            draws = pair_balanced(self.data, seed, first * size)
            yield from ([next(draws) for _ in range(size)] for _ in range(first, self.total))
            return
        order: list[int] = []
        for step in range(first, self.total):
            epoch, position = divmod(step, self.per_epoch)
            if position == 0 or not order:
                order = epoch_order(self.data, seed, epoch).tolist()
            yield order[position * size : (position + 1) * size]


@final
@dataclass(frozen=True, eq=False)
class Parts:
    """What one process reads: its share of each batch, in as many parts as gradients are accumulated over.

    Some may be empty: the last batch of a pass can be smaller than there are processes and parts.
    """

    plan: Plan
    first: int
    process: int = 0
    processes: int = 1

    def __iter__(self) -> Iterator[list[int]]:
        return chain.from_iterable(self.of(batch) for batch in self.plan.batches(self.first))

    def of(self, batch: list[int]) -> list[list[int]]:
        mine, count = batch[self.process :: self.processes], self.plan.settings.accumulate
        return [mine[n::count] for n in range(count)]


def split_off(data: RationaleData, share: float, seed: int) -> tuple[RationaleData, RationaleData]:
    """(training, validation): about that share of each category's pictures is held out, at least one picture in all.

    A file stays whole: where it stands under several rationales, all its rows go to the same side. Raises SaywhyError
    where nothing would be left to train on.
    """
    rng = np.random.default_rng([seed, VALIDATION_STREAM])
    files: dict[int, dict[str, None]] = {}
    for image in data.images:
        files.setdefault(image.category, {})[str(image.path)] = None
    held: set[str] = set()
    for names in files.values():
        order = rng.permutation(len(names))
        held |= {list(names)[n] for n in order[: min(round(share * len(names)), len(names) - 1)]}
    if not held:
        held = {str(data.images[int(rng.integers(len(data.images)))].path)}
    kept = tuple(image for image in data.images if str(image.path) not in held)
    if not kept:
        raise SaywhyError(
            f"{data.root}: holding out a share of {share:g} leaves none of {len(data.images)} pictures to train on; "
            "hold out none (validation 0), or use more pictures"
        )
    return replace(data, images=kept), replace(
        data, images=tuple(image for image in data.images if str(image.path) in held)
    )


# -- reading ----------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, eq=False)
class Loaded:
    """Pictures that could be read, as pixels (n, 3, h, w) and indices, and why the others could not."""

    pixels: Tensor
    pictures: tuple[int, ...]
    failures: tuple[str, ...]


@final
class Pictures(Dataset[tuple[int, Tensor | str]]):
    """An index and its preprocessed picture, or why it cannot be read. Kept in memory when all of them fit."""

    def __init__(self, data: RationaleData, transform: Callable[[Image.Image], Tensor]) -> None:
        self.data, self.transform = data, transform
        self.shape = transform(Image.new("RGB", (8, 8))).shape
        self.fit = len(data.images) * self.shape.numel() * 4 <= HELD_BYTES
        self.held: dict[int, Tensor] = {}

    def __getitem__(self, n: int) -> tuple[int, Tensor | str]:
        if n in self.held:
            return n, self.held[n]
        try:
            pixels = self.transform(read_picture(self.data.images[n].path))
        except SaywhyError as error:
            return n, str(error)
        if self.fit:
            self.held[n] = pixels
        return n, pixels

    def collate(self, parts: Sequence[tuple[int, Tensor | str]]) -> Loaded:
        read = [(n, pixels) for n, pixels in parts if isinstance(pixels, Tensor)]
        failures = tuple(pixels for _, pixels in parts if isinstance(pixels, str))
        pixels = torch.stack([pixels for _, pixels in read]) if read else torch.empty(0, *self.shape)
        return Loaded(pixels, tuple(n for n, _ in read), failures)

    def load(self, batches: Any, workers: int) -> Iterator[Loaded]:
        """The pictures of each batch (a list of indices), in order; by ``workers`` processes if not in memory."""
        own = torch.Generator().manual_seed(0)  # DataLoader would take a number from the global stream
        workers = 0 if self.fit else workers
        return iter(
            DataLoader(
                self, batch_sampler=batches, collate_fn=self.collate, num_workers=workers, generator=own,
                pin_memory=torch.cuda.is_available(),
            )
        )  # fmt: skip


def squashed(transform: Any) -> Callable[[Image.Image], Tensor]:
    """CLIP's preprocessing, with the whole picture forced into the square instead of cropped; as DROR trains.

    Raises SaywhyError for a transform other than open_clip's.
    """
    from torchvision import transforms

    steps = getattr(transform, "transforms", ())
    normalise = [step for step in steps if isinstance(step, transforms.Normalize)]
    if not normalise:
        raise SaywhyError("this CLIP's preprocessing is not open_clip's; transform = \"clip\" uses it as it is")
    side = tuple(transform(Image.new("RGB", (8, 8))).shape[1:])
    return transforms.Compose([transforms.Resize(side), transforms.ToTensor(), *normalise])


BLOCK = 4096  # draws at a time


def pair_balanced(data: RationaleData, seed: int, start: int = 0) -> Iterator[int]:
    """Indices of pictures without end: a category that has pictures, one of their rationales, one of those, uniformly.

    So DROR draws, with replacement (it draws the number of the query too, before the picture).

    start: how many draws to skip, without the time to make them.
    """
    rows: dict[int, dict[int, list[int]]] = {}
    for n, image in enumerate(data.images):
        for rationale in image.rationales:
            rows.setdefault(image.category, {}).setdefault(rationale, []).append(n)
    pairs = [pictures for _, lists in sorted(rows.items()) for _, pictures in sorted(lists.items())]
    pictures = np.concatenate([np.asarray(pair) for pair in pairs])
    pair_counts = np.array([len(lists) for _, lists in sorted(rows.items())])
    picture_counts = np.array([len(pair) for pair in pairs])
    first_pair, first_picture = (np.cumsum(counts) - counts for counts in (pair_counts, picture_counts))
    block, skipped = divmod(start, BLOCK)
    while True:
        draws = np.random.default_rng((seed, block)).random((3, BLOCK))
        category = (draws[0] * len(pair_counts)).astype(int)
        pair = first_pair[category] + (draws[1] * pair_counts[category]).astype(int)
        picture = first_picture[pair] + (draws[2] * picture_counts[pair]).astype(int)
        yield from pictures[picture[skipped:]].tolist()
        block, skipped = block + 1, 0


def epoch_order(data: RationaleData, seed: int, epoch: int) -> np.ndarray:
    """(N,) every picture's index once, in an order of this seed's and epoch's own."""
    return np.random.default_rng((seed, epoch)).permutation(len(data.images))
