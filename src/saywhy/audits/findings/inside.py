"""What the model holds inside: what its foremost channels, and the rows of its head, go with. A description.

Nothing is changed in any picture: a channel that goes with water may be about what comes with water.
"""

from __future__ import annotations

import numpy as np

from saywhy.audits.finding import AuditFinding, Tested
from saywhy.audits.inside import CHANNEL, ROW, Component, components, look_inside
from saywhy.audits.store import View
from saywhy.errors import SaywhyError

SHOWN = 4  # channels, those with the largest share in decisions; and rows, those whose name fits best


def find(view: View) -> Tested:
    """The named ones of the channels that add most to the logits of predicted classes, and the best named rows."""
    try:
        inside = look_inside(view)
        found = components(None, inside=inside, kinds=(CHANNEL, ROW))
    except SaywhyError as error:
        return Tested(note=str(error))
    channels = [one for one in found if one.kind == CHANNEL]
    foremost = channels[:SHOWN]
    rows = sorted((one for one in found if one.kind == ROW and one.said), key=lambda one: -one.fit.value)[:SHOWN]
    named = sum(one.said for one in channels)
    carried = sum(one.contribution.value for one in foremost)
    some = f"{len(inside.numbers):,} of {inside.of:,}" if len(inside.numbers) < inside.of else f"{inside.of:,}"
    note = (
        f"Of {len(channels):,} channels {named:,} have a name that fits pictures which did not choose it better than "
        f"other channels' names do ({some} pictures); the {len(foremost)} foremost make {carried:.0%} of all that is "
        "added to the logits of predicted classes."
    )
    return Tested([_finding(one) for one in [*foremost, *rows] if one.said], np.array([one.p for one in found]), note)


def _finding(one: Component) -> AuditFinding:
    sentence = f"The {one.called} goes with {one.name!r} (correlation {one.fit})."
    if one.kind == CHANNEL:
        classes = " and ".join(name for name, _ in one.speaks_for[:2])
        sentence = f"{one.called.capitalize()} goes with {one.name!r} (correlation {one.fit})"
        sentence += f", speaks for {classes}," if classes else ""
        sentence += f" and makes {one.contribution.value:.1%} of what all channels add to decisions."
    return AuditFinding(
        kind="inside",
        about=tuple(name for name, _ in one.speaks_for) or (one.called,),
        sentence=sentence,
        decides=False,
        effect=one.fit,
        unit="correlation of its activation with the phrase, on pictures that did not choose it",
        words=one.words,
        null=one.control,
        p=one.p,
        examples=one.examples,
        details={
            "index": one.index, "speaks for": dict(one.speaks_for), "speaks against": dict(one.speaks_against),
            "contribution": [one.contribution.value, one.contribution.low, one.contribution.high],
        },
    )  # fmt: skip
