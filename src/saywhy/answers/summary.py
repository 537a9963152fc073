"""The one sentence: what the classifier says, where it looked, what is there, and whose opinion that is."""

from __future__ import annotations

from collections.abc import Sequence

from saywhy.types import Box, Finding, Picture, Prediction, Region

UNSURE = 0.5  # probability below which the runner-up is named
SAID = 0.5  # probability from which a label of several is said


def summarise(
    picture: Picture,
    target: Prediction,
    predictions: Sequence[Prediction],
    regions: Sequence[Region],
    findings: Sequence[Finding],
    concepts: Finding,
    several: bool = False,
) -> str:
    """One plain-text paragraph; a name between asterisks is a class.

    It claims no more than was found: a region in which no phrase fits is said to show nothing of the vocabulary, and
    labels carry the name of the space that gave them.

    several: any number of the labels may be true of a picture (a multi-label classifier); every one from SAID is named.
    """
    parts = [_verdict_of_labels(target, predictions) if several else _verdict(target, predictions)]
    if not regions:
        parts.append("No pixel speaks for it, so there is no region to show.")
    else:
        parts.append(_looked(picture, regions, findings))
    if concepts.fits:
        parts.append(f"In the whole picture: {_listed(concepts)}.")
    if regions or concepts.fits:
        parts.append(f"The words are the opinion of {concepts.space}.")
    return " ".join(parts)


def _verdict(target: Prediction, predictions: Sequence[Prediction]) -> str:
    first = predictions[0]
    if target.index != first.index:
        return (
            f"It says *{first.name}* ({first.probability:.2f}); explained here is what speaks for *{target.name}* "
            f"({target.probability:.2f})."
        )
    if first.probability < UNSURE and len(predictions) > 1:
        second = predictions[1]
        return (
            f"It is not sure: *{first.name}* ({first.probability:.2f}), or *{second.name}* ({second.probability:.2f})."
        )
    return f"It says *{first.name}* ({first.probability:.2f})."


def _verdict_of_labels(target: Prediction, predictions: Sequence[Prediction]) -> str:
    said = [p for p in predictions if p.probability >= SAID]
    if not said:
        first = predictions[0]
        verdict = f"It says none of its labels; the most probable is *{first.name}* ({first.probability:.2f})"
    else:
        named = [f"*{p.name}* ({p.probability:.2f})" for p in said]
        verdict = f"It says {' and '.join(filter(None, (', '.join(named[:-1]), named[-1])))}"
    if target.index != predictions[0].index:
        return f"{verdict}; explained here is what speaks for *{target.name}* ({target.probability:.2f})."
    return f"{verdict}; explained here is what speaks for *{target.name}*." if len(said) > 1 else f"{verdict}."


def _looked(picture: Picture, regions: Sequence[Region], findings: Sequence[Finding]) -> str:
    said = []
    for n, (region, finding) in enumerate(zip(regions, findings, strict=True)):
        what = _listed(finding) if finding.fits else "nothing of the vocabulary fits"
        where = position(region.box, (picture.width, picture.height))
        said.append(f"{'mostly at' if n == 0 else 'then'} the {where} ({region.share:.0%} of relevance: {what})")
    return f"It looked {', '.join(said)}."


def _listed(finding: Finding, most: int = 3) -> str:
    return ", ".join(label.text for label in finding.labels[:most])


def position(box: Box, size: tuple[int, int]) -> str:
    """Where a box lies in a picture, in words: "upper left", "centre"."""
    across = (box[0] + box[2]) / 2 / size[0]
    down = (box[1] + box[3]) / 2 / size[1]
    vertical = "upper" if down < 0.36 else "lower" if down > 0.64 else ""
    horizontal = "left" if across < 0.36 else "right" if across > 0.64 else ""
    if vertical and horizontal:
        return f"{vertical} {horizontal}"
    if vertical:
        return f"{vertical} middle"
    return horizontal or "centre"
