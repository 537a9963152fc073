"""How pictures' vectors are scored against the texts of pairs: the banks, the scoring and the scale, in one record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, TypeVar, final

from saywhy.errors import SaywhyError
from saywhy.spaces.pairs.bank import Bank
from saywhy.spaces.pairs.scoring import Factors, Scoring

_B = TypeVar("_B", bound=Bank)
_B_co = TypeVar("_B_co", bound=Bank, covariant=True)


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class PairScorer(Generic[_B_co]):
    """Which texts pictures are scored against, and how their cosines are weighted.

    pairs:   the bank of the texts of pairs, for the term "pair". None where only the other one is there.
    inverse: the bank of the same words said the other way round, for the term "inverse". None where it is not asked.
    scoring: terms, conditional, weight and temperatures.
    scale:   of cosines, CLIP's.

    Raises SaywhyError where there is no bank, or the one that a term asks for is missing or of other words.
    """

    pairs: _B_co | None
    inverse: _B_co | None = None
    scoring: Scoring
    scale: float

    def __post_init__(self) -> None:
        if self.pairs is None and self.inverse is None:
            raise SaywhyError("there is no bank to score pictures against: pass pairs= or inverse=")
        shape = len(self.bank.categories), len(self.bank.rationales)
        for term, bank, says in (
            ("pair", self.pairs, "bank of pairs of the same words: pass pairs="),
            ("inverse", self.inverse, "inverse bank of the same words: pass inverse="),
        ):
            fits = bank is not None and (len(bank.categories), len(bank.rationales)) == shape
            if term in self.scoring.terms and not fits:
                raise SaywhyError(f'the term "{term}" needs the {says}')

    @staticmethod
    def of_bank(bank: _B, *, scoring: Scoring, scale: float) -> PairScorer[_B]:
        """With one bank only, of the kind of pairs that the scoring asks for: the inverse ones where it has the term
        "inverse".

        Raises SaywhyError for a scoring that asks for both kinds.
        """
        if "inverse" not in scoring.terms:
            return PairScorer(pairs=bank, scoring=scoring, scale=scale)
        if "pair" in scoring.terms:
            raise SaywhyError('the terms "pair" and "inverse" need two banks; ask for one of them')
        return PairScorer(pairs=None, inverse=bank, scoring=scoring, scale=scale)

    @property
    def bank(self) -> _B_co:
        """Either bank, for what both share: the texts of rationales alone, of categories alone, and the words."""
        bank = self.inverse if self.pairs is None else self.pairs
        assert bank is not None
        return bank

    @property
    def plain(self) -> PairScorer[_B_co]:
        """The same without temperatures."""
        return replace(self, scoring=replace(self.scoring, temperatures={}))

    @property
    def factors(self) -> Factors:
        """Term -> what a cosine with its texts is multiplied by."""
        return self.scoring.factors(self.scale)

    @property
    def of_pairs(self) -> tuple[tuple[float, _B_co], ...]:
        """(factor, bank) of each term that is about texts of pairs: "pair" before "inverse"."""
        factors = self.factors
        banks = (("pair", self.pairs), ("inverse", self.inverse))
        return tuple((factors[term], bank) for term, bank in banks if term in factors and bank is not None)
