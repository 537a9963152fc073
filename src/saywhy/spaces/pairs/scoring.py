"""How a pair of category and rationale is scored: which terms, by which conditional, with which weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import final

from saywhy.errors import SaywhyError

TERMS = ("rationale", "category", "pair", "inverse")
CONDITIONALS = ("all", "category")
Factors = Mapping[str, float]
"""Term -> what a cosine with its texts is multiplied by; of TERMS."""


@final
@dataclass(frozen=True)
class Scoring:
    """score(c, r | I): a sum of terms; ECOR's is rationale + pair (eq. 11).

    terms:        of TERMS, each at most once. "inverse" is the pair said the other way round ("r because c").
    conditional:  "all": what the paper computes; its normalisers are the same for all pairs, so that they cancel.
                  "category": less the log-sum-exp over c of all that depends on c, so that what is added to the
                  rationale's score is log P(c | r, I), which sums to one over the categories. Without a term of the
                  rationale, P(r | I) is the sum over c of the same softmax, which multiplies in what was divided out:
                  then both conditionals are one; see ``divides``.
    weight:       of every term but the first: rationale + weight * pair. 0 asks the first alone.
    temperatures: what a term's score is divided by; 1 where absent. A mapping, or (term, temperature) pairs; kept as
                  pairs in the order of TERMS. ``temperature`` reads one of them, ``dict`` all.

    Hashable, and ``dataclasses.asdict`` of it is JSON, of which ``Scoring(**document)`` makes the same again.

    Raises SaywhyError for unknown terms or conditionals, and weights or temperatures out of range.
    """

    terms: tuple[str, ...] = ("rationale", "pair")
    conditional: str = "all"
    weight: float = 1.0
    temperatures: Mapping[str, float] | tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        temperatures = dict(self.temperatures)
        object.__setattr__(self, "terms", tuple(self.terms))
        unknown = [term for term in (*self.terms, *temperatures) if term not in TERMS]
        if unknown or not self.terms or len(set(self.terms)) < len(self.terms):
            given = repr(unknown[0]) if unknown else str(self.terms)
            raise SaywhyError(f"a score is a sum of terms out of {', '.join(TERMS)}, each at most once; not {given}")
        if self.conditional not in CONDITIONALS:
            raise SaywhyError(f"the conditional must be {' or '.join(CONDITIONALS)}, not {self.conditional!r}")
        if not (isfinite(self.weight) and self.weight >= 0):
            raise SaywhyError(f"the weight of the other terms must be at least 0; it is {self.weight}")
        if not all(isfinite(value) and value > 0 for value in temperatures.values()):
            raise SaywhyError(f"temperatures must be greater than 0; they are {temperatures}")
        ordered = tuple((term, temperatures[term]) for term in TERMS if term in temperatures)
        object.__setattr__(self, "temperatures", ordered)

    @property
    def divides(self) -> bool:
        """Whether pairs are ranked by a proper P(c | r, I), less its normalisers.

        P(c | r, I) alone is no score of a pair: it is highest for a rationale that is not there and would fit one
        category only.
        """
        return self.conditional == "category" and "rationale" in self.terms

    def temperature(self, term: str) -> float:
        """What that term's score is divided by."""
        return dict(self.temperatures).get(term, 1.0)

    def factors(self, scale: float) -> Factors:
        """Term -> what a cosine with its texts is multiplied by, where cosines are multiplied by ``scale``."""
        weights = [1.0, *[self.weight] * (len(self.terms) - 1)]
        return {t: scale * w / self.temperature(t) for t, w in zip(self.terms, weights, strict=True)}


ECOR = Scoring()
"""The paper's: s_r + s_cr."""
