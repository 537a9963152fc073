"""How channels are matched and put into CLIP: frozen records with each default said once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from saywhy.errors import SaywhyError

UNMATCHED = ("keep", "mean")


@final
@dataclass(frozen=True, kw_only=True)
class MatchOptions:
    """What ``match_classifier`` takes beside the networks and the pictures; see there.

    layers:      of the classifier: "evidence", a name of ``operated.LAYERS``, or names of layers.
    clip_layers: of CLIP: a name of ``operated.LAYERS``, or names of layers.
    how:         "best" or "one-to-one". chance: share of channels that may match by chance. signed: by sign too.
    shuffles:    of the pictures, to know what chance gives. With 19 one pair of unrelated networks in twenty has a
                 match at all; with one, half of them.
    floor:       logits: evidence for a class that varies by less over the pictures decides nothing, as the odds change
                 by a fifth. A network with random weights has such evidence; scaled up to CLIP's activations it would
                 speak as loudly as any other.
    """

    layers: str | tuple[str, ...] = "evidence"
    clip_layers: str | tuple[str, ...] = "last"
    how: str = "best"
    chance: float = 0.0
    signed: bool = False
    floor: float = 0.2
    shuffles: int = 19

    def __post_init__(self) -> None:
        if self.shuffles < 1:
            raise SaywhyError(
                f"pictures must be shuffled at least once to know chance; --shuffles is {self.shuffles} (to take any "
                "correlation: --chance 1)"
            )


@final
@dataclass(frozen=True)
class Surgery:
    """How the source's channels are put into the target.

    strength:  0 leaves the target's own activations, 1 replaces them, between them a mixture.
    unmatched: what becomes of a channel without a match: "keep" leaves it (the paper), "mean" sets it to its mean, so
               that nothing passes but what the source passes.
    """

    strength: float = 1.0
    unmatched: str = "keep"

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise SaywhyError(f"the strength of surgery must lie in 0..1; it is {self.strength}")
        if self.unmatched not in UNMATCHED:
            raise SaywhyError(f"unmatched channels are {' or '.join(UNMATCHED)}, not {self.unmatched!r}")


AS_PUBLISHED = Surgery()
DEFAULT_MATCH = MatchOptions()
DEFAULT_SURGERY = Surgery(unmatched="mean")
"""Channels without a match are silenced, so that what CLIP sees for itself does not answer for the classifier."""
