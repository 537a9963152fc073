"""How a counterfactual is said and written: why this class and not that one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from saywhy.answers import packing
from saywhy.types import ConceptChange, Counterfactual, Region

AROUND = "filled with the colours around"  # a change that only takes away what is there


def why_this_one(found: Counterfactual, name: str) -> str:
    """One sentence: what has to change for another class than ``name`` to be said, and what equal areas do."""
    other = found.other.name
    if not found.regions:
        none = f"No change that was tried (of at most half the picture, {found.change}) puts {other} above {name}"
        only = f"it only takes away what is there, so that what {other} would need besides cannot be found so"
        return f"{none}{f'; {only}' if found.change == AROUND else ''}."
    count = "1 piece" if len(found.regions) == 1 else f"{len(found.regions)} pieces"
    area = f"{found.area:.0%}" if found.area >= 0.01 else "less than 1 %"
    changed = f"With {count} ({area} of the picture) {found.change} it says {found.after.name}"
    if found.after.name == other:
        what = f"{changed} ({found.probability[0]:.2f} before, {found.probability[1]:.2f} now)"
    else:
        what = (
            f"{changed} ({found.after.probability:.2f}), and {other} ({found.probability[1]:.2f}) lies above {name} "
            f"({found.explained[1]:.2f})"
        )
    same, tried = found.elsewhere
    needed = ", and none of them can be left out" if len(found.regions) > 1 and found.minimal else ""
    elsewhere = (
        f"; of {tried} equal areas elsewhere {same or 'none'} {'does' if same < 2 else 'do'} so" if tried else ""
    )
    return f"{what}{needed}{elsewhere}."


def in_concepts(found: Counterfactual, name: str) -> str:
    """The least change of a phrase that would do it, in a sentence; "" where none is known."""
    if not found.concepts:
        return ""
    said = " or ".join(_change(change) for change in found.concepts)
    return f"In its own features it would say {found.other.name} rather than {name} with {said}."


def _change(change: ConceptChange) -> str:
    return f"'{change.text}' {'more' if change.by > 0 else 'less'} by {abs(change.by):.1f} sd"


def counterfactual_document(found: Counterfactual | None) -> dict[str, Any] | None:
    """Plain values and packed arrays, for JSON."""
    if found is None:
        return None
    return vars(found) | {
        "other": vars(found.other),
        "after": vars(found.after),
        "regions": [{"box": r.box, "share": r.share} | packing.mask_document(r.mask) for r in found.regions],
        "picture": None if found.picture is None else packing.picture_document(found.picture),
        "concepts": [asdict(change) for change in found.concepts],
    }


def read_counterfactual(d: dict[str, Any] | None) -> Counterfactual | None:
    """What ``counterfactual_document`` wrote."""
    if d is None:
        return None
    pairs = {name: tuple(packing.number(value) for value in d[name]) for name in ("explained", "probability")}
    parts: dict[str, Any] = {
        "other": packing.read_prediction(d["other"]),
        "after": packing.read_prediction(d["after"]),
        "regions": tuple(_region(region) for region in d["regions"]),
        "elsewhere": tuple(d["elsewhere"]),
        "picture": None if d["picture"] is None else packing.read_picture(d["picture"]),
        "concepts": tuple(ConceptChange(**change | {"usual": tuple(change["usual"])}) for change in d["concepts"]),
    }
    return Counterfactual(**d | pairs | parts)


def _region(d: dict[str, Any]) -> Region:
    left, top, right, bottom = d["box"]
    return Region((left, top, right, bottom), packing.read_mask(d), packing.number(d["share"]))
