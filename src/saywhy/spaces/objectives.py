"""What a space can be tuned for, and the score that belongs to each objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from saywhy.plumbing.names import unknown


@final
@dataclass(frozen=True)
class Objective:
    """What is trained and what is asked, as terms: "rationale", "category", "pair" and "inverse".

    trained: the cross-entropies that are summed; none: CLIP stays as it is.
    scored:  the terms whose scores are summed to rank (category, rationale) pairs.
    says:    what it is, in one sentence.
    pseudo:  pictures without a gold rationale are taken too, see ``pseudo_rationales``.
    """

    trained: tuple[str, ...]
    scored: tuple[str, ...]
    says: str
    pseudo: bool = False


_DROR = Objective(("pair",), ("pair",), "the category because of the rationale, in one text (DROR)")

OBJECTIVES: dict[str, Objective] = {
    "ecor": Objective(
        ("rationale", "pair"), ("rationale", "pair"), "the rationale, then the category because of it (ECOR)"
    ),
    "clip": Objective((), ("pair",), "CLIP as it is: nothing is trained"),
    "untrained": Objective((), ("rationale", "pair"), "CLIP as it is, asked for what ECOR asks"),
    "dror": _DROR,
    "dror-imagenet": Objective(
        ("pair", "category"),
        ("pair",),
        "DROR's recipe for ImageNet, with plain pictures of the categories",
        pseudo=True,
    ),
    "ab1": Objective(("rationale",), ("rationale", "pair"), "ECOR trained on the rationale alone"),
    "ab2": Objective(("category",), ("pair",), "trained on the category alone; the paper's row AB2 is untrained CLIP"),
    "ab3": _DROR,
    "ab4": Objective(("rationale", "inverse"), ("rationale", "inverse"), "the rationale because of the category"),
    "ab5": Objective(("rationale", "category"), ("rationale", "category"), "rationale and category independently"),
    "ab6": Objective(("category", "pair"), ("category", "pair"), "the category, then the rationale because of it"),
}
"""Name -> objective. AB1 to AB6 are ECOR's ablations (table IV)."""


def objective_named(name: str) -> Objective:
    """One of OBJECTIVES. Raises SaywhyError where there is none of that name."""
    if name not in OBJECTIVES:
        raise unknown("objective", name, OBJECTIVES)
    return OBJECTIVES[name]
