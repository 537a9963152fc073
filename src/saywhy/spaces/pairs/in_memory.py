"""A bank of texts held in memory, and swept block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from saywhy.spaces.pairs.bank import WordBank
from saywhy.words.rationale_words import RationaleWords

COLUMNS = 262_144  # texts of a bank at once


@final
@dataclass(frozen=True, eq=False)
class ResidentBank:
    """A bank in the memory of one device, for training: every step sweeps over all of it. See ``resident``."""

    words: RationaleWords
    rationales: Tensor
    categories: Tensor
    texts: Tensor  # (C, R, d)

    def blocks(self, columns: int = COLUMNS) -> Iterator[tuple[int, Tensor]]:
        step = max(1, columns // max(1, self.texts.shape[1]))
        for first in range(0, len(self.texts), step):
            yield first, self.texts[first : first + step]

    def pairs(self, categories: Tensor, rationales: Tensor) -> Tensor:
        device = self.texts.device
        return self.texts[categories.to(device), rationales.to(device)].float()


def resident(bank: WordBank, device: torch.device | str) -> ResidentBank:
    """The whole bank on a device, as it is kept on disk (4 GiB for ImageNet); in float32 on a CPU, which has no fast
    products of float16."""
    small = torch.device(device).type == "cpu"
    blocks = [block.to(device, torch.float32 if small else block.dtype) for _, block in bank.blocks()]
    return ResidentBank(bank.words, bank.rationales.to(device), bank.categories.to(device), torch.cat(blocks))
