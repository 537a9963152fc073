"""How claims are shown: what is said as a fact of a look, and what stands small beside it, under which words."""

from __future__ import annotations

from collections.abc import Sequence

from saywhy.types import Claim

UNCALIBRATED = "uncalibrated: what the space finds nearest"
UNSURE = "near, and not sure enough to be said"
CLASS_NAMES = "class names"  # the setting that says how well a classifier's own space understands them
IMPROBABLE = 0.3  # the probability below which a phrase is not shown
MEASURED = "measured in the picture"  # the space of plain facts, of which no network is asked
WHOLE, SENTENCE = "picture", "sentence"  # what claims of the whole picture, and of the sentence, are about


def region(number: int) -> str:
    """What claims of the region with this index are about: regions are counted from 1."""
    return f"region {number + 1}"


def said(claims: Sequence[Claim], about: str) -> tuple[Claim, ...]:
    """What is said of a look as a fact, in the order of the claims."""
    return tuple(claim for claim in claims if claim.said and claim.about == about)


def unsaid(claims: Sequence[Claim], about: str) -> tuple[Claim, ...]:
    """What is near in a look, and not said; without what is known to be improbable."""
    near = (claim for claim in claims if not claim.said and claim.about == about)
    return tuple(claim for claim in near if claim.there is None or claim.there >= IMPROBABLE)


def heading(claims: Sequence[Claim]) -> str:
    """What stands above claims that are not said."""
    return UNCALIBRATED if all(claim.there is None for claim in claims) else UNSURE


def chance(claim: Claim) -> str:
    """How probable it is that a claim is true, "97 %"; never certain; "" where that is not known."""
    if claim.there is None:
        return ""
    return f"{min(99, max(1, round(100 * claim.there)))} %"


def facts(claims: Sequence[Claim]) -> frozenset[str]:
    """The phrases that are said as facts."""
    return frozenset(claim.text for claim in claims if claim.said)
