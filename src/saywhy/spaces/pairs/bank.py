"""What those who score pictures against a bank of texts need of it; ``on_disk.PromptBank`` is the one on disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from saywhy.words.rationale_words import RationaleWords


class Bank(Protocol):
    """The texts of C categories and R rationales as unit vectors, float32 but for the blocks."""

    @property
    def rationales(self) -> Tensor:
        """(R, d) of each rationale alone."""

    @property
    def categories(self) -> Tensor:
        """(C, d) of each category alone."""

    def blocks(self, columns: int = ...) -> Iterator[tuple[int, Tensor]]:
        """(first category, (c, R, d) of it and those that follow), in order, about ``columns`` texts each: whole
        categories, at least one."""


@runtime_checkable
class WordBank(Bank, Protocol):
    """A bank that knows its words, and gives single pairs."""

    @property
    def words(self) -> RationaleWords: ...

    def pairs(self, categories: Tensor, rationales: Tensor) -> Tensor:
        """(N, d) float32 of N pairs, of (N,) and (N,) indices."""
