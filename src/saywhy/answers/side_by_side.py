"""Several explanations of one picture in a row: methods beside each other, and what the tests say of each one's places.

Maps that look unlike do not say which is right: beneath each stands how many of its places the decision rests on.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from saywhy.answers.drawing import literal, new_figure, open_picture, overlay
from saywhy.answers.explanation import Explanation
from saywhy.answers.verdicts import tally
from saywhy.errors import SaywhyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BELIEVE = (
    "Believe a map where the tests bear its places out: covered, the class's logit falls, and further than where equal "
    "areas elsewhere are. How methods do where the truth is known: docs/faithfulness.md."
)


def side_by_side(explanations: Sequence[Explanation]) -> Figure:
    """A matplotlib figure: the picture, then each map under its method, with what became of its places in the tests.

    >>> side_by_side([explain("a.jpg", model="imagenet", method=m) for m in METHODS]).savefig("methods.png")

    explanations: of one picture and one class. Raises SaywhyError for none, and for different pictures or classes.
    """
    if not explanations:
        raise SaywhyError("there is no explanation to compare; give two or more of one picture")
    first = explanations[0]
    for one in explanations[1:]:
        if one.picture.jpeg != first.picture.jpeg:
            raise SaywhyError(
                f"{one.picture.name} and {first.picture.name} are different pictures; compare one picture"
            )
        if one.target.name != first.target.name:
            raise SaywhyError(
                f"the maps are of {first.target.name} and of {one.target.name}; compare one class: explain with target="
            )
    figure = new_figure(figsize=(3.2 * (1 + len(explanations)), 4.4), layout="constrained")
    axes = figure.subplots(1, 1 + len(explanations))
    picture = open_picture(first.picture)
    axes[0].imshow(picture)
    axes[0].set_title(literal(fill(f"{first.target.name} ({first.target.probability:.2f})", 30)), fontsize=10)
    for axis, one in zip(axes[1:], explanations, strict=True):
        axis.imshow(overlay(picture, one.heatmap.values[0].numpy(), one.geometry))
        axis.set_title(literal(fill(_called(one, explanations), 30)), fontsize=10)
        axis.text(0.5, -0.04, literal(_tested(one)), transform=axis.transAxes, ha="center", va="top", fontsize=9)
    for axis in axes:
        axis.set_axis_off()
    figure.supxlabel(literal(fill(BELIEVE, 40 * (1 + len(explanations)))), fontsize=8, color="dimgray")
    return figure


def _called(one: Explanation, among: Sequence[Explanation]) -> str:
    """By its method; by its composite and its model too, where these differ."""
    parts = [one.heatmap.method]
    if len({other.heatmap.composite for other in among if other.heatmap.method == one.heatmap.method}) > 1:
        parts.append(str(one.heatmap.composite))
    if len({other.settings.get("model") for other in among}) > 1:
        parts.append(str(one.settings.get("model")))
    return ", ".join(parts)


def _tested(one: Explanation) -> str:
    """How many places, how much of relevance they hold, and how many of them are borne out."""
    checks = [region.used for region in one.regions if region.used is not None]
    held = sum(region.share for region in one.regions)
    many = f"{len(one.regions)} place{'' if len(one.regions) == 1 else 's'}, {held:.0%} of relevance"
    return f"{many}\n{tally(checks).borne_out} borne out" if checks else f"{many}\nnot tested"
