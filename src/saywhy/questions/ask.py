"""Captions asked of pictures: how near each of them is, before surgery and after, and what of it is left.

Source: Caption-driven XAI (Koller et al. 2025), its "quantitative concept analysis". The paper counts which caption
wins; that mixes what the pictures show with what the classifier uses, and rests on captions of unequal base similarity.
Here differences of similarities are averaged with intervals, and a contrast between captions is followed through the
surgery: how much of what CLIP tells apart can still be told apart when it sees what the classifier sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import groupby, islice
from typing import Any, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.intervals import Interval, interval_of, resampled
from saywhy.types import Space

DRAWS = 1000  # of the bootstrap
FLAT = 1e-12  # squares of cosines: below it, nothing is told apart
BATCH = 64  # pictures at once
SCALE = 100.0  # of cosines before a softmax, where a space has none of its own


@final
@dataclass(frozen=True, eq=False)
class Answers:
    """What was asked of N pictures, and what came out.

    groups:    captions that are held against each other; M captions in all.
    before:    (N, M) cosines in a space.
    after:     (N, M) cosines in the space with a classifier's activations in it; None where there was no surgery.
    pictures:  N names.
    classes:   the true class of each picture; None where it is not known, of a picture or of all.
    predicted: the class that the classifier gives each picture; None where none was asked.
    scale:     what cosines are multiplied by before a softmax.
    spaces:    the names of the one or two spaces.
    judged:    whether classes and predictions are called alike, so that right and wrong can be told.
    """

    groups: tuple[tuple[str, ...], ...]
    before: Tensor
    after: Tensor | None
    pictures: tuple[str, ...]
    classes: tuple[str | None, ...] | None
    predicted: tuple[str, ...] | None
    scale: float
    spaces: tuple[str, ...]
    judged: bool = True

    @property
    def captions(self) -> tuple[str, ...]:
        return tuple(caption for group in self.groups for caption in group)

    def columns(self, group: int) -> slice:
        """Where the captions of a group are among the M."""
        start = sum(len(some) for some in self.groups[:group])
        return slice(start, start + len(self.groups[group]))

    def shares(self, scores: Tensor) -> Tensor:
        """(N, M): the softmax of (N, M) cosines over each group's captions."""
        return torch.cat([(self.scale * scores[:, self.columns(g)]).softmax(1) for g in range(len(self.groups))], dim=1)

    def subsets(self) -> dict[str, np.ndarray]:
        """Name -> rows: all pictures, each class, those predicted rightly and wrongly; none of them empty."""
        found = {"all": np.ones(len(self.before), bool)}
        if self.classes is not None:
            classes = np.array(self.classes, object)
            names = dict.fromkeys(name for name in self.classes if name is not None)
            found |= {f"class {name}" if name in _SUBSETS else name: classes == name for name in names}
            if self.predicted is not None and self.judged:
                right = classes == np.array(self.predicted, object)
                known = np.array([name is not None for name in self.classes])
                found |= {"right": right & known, "wrong": ~right & known}
        return {name: rows for name, rows in found.items() if rows.any()}


_SUBSETS = ("all", "right", "wrong")  # a class of such a name is called "class right"


def read_groups(texts: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Groups of captions from what a user types: "red digit|green digit" is one; all without a bar are another.

    Raises SaywhyError where there is no caption, an empty one, or one that stands in a group twice.
    """
    alone = tuple(text.strip() for text in texts if "|" not in text)
    groups: list[tuple[str, ...]] = []
    for text in texts:
        group = tuple(part.strip() for part in text.split("|")) if "|" in text else alone
        if group not in groups:
            groups.append(group)
    if not groups:
        raise SaywhyError('no captions to ask; e.g. "a red digit|a green digit" "the digit 5|the digit 8"')
    for group in groups:
        if not all(group) or len(set(group)) < len(group):
            raise SaywhyError(f"captions must not be empty or stand in a group twice: {' | '.join(group)}")
    return tuple(groups)


def ask(
    images: Iterable[Image.Image],
    groups: Sequence[Sequence[str]],
    space: Space,
    operated: Space | None = None,
    *,
    pictures: Sequence[str] | None = None,
    classes: Sequence[str | None] | None = None,
    predicted: Sequence[str] | None = None,
) -> Answers:
    """Ask every caption of every picture. Pictures are read once, a batch at a time.

    groups:   captions that are held against each other; see ``read_groups``.
    operated: the same space with a classifier's activations in it; see ``OperatedSpace``.

    Raises SaywhyError where there are no pictures, or other numbers of names or classes than pictures.
    """
    captions = [caption for group in groups for caption in group]
    spaces = [space] if operated is None else [space, operated]
    texts = [place.encode_texts(captions) for place in spaces]
    scores: list[list[Tensor]] = [[] for _ in spaces]
    left = iter(images)
    while some := list(islice(left, BATCH)):
        for place, text, kept in zip(spaces, texts, scores, strict=True):
            kept.append(place.encode_images(some) @ text.T)
    if not scores[0]:
        raise SaywhyError("there are no pictures to ask about")
    found = [torch.cat(kept) for kept in scores]
    count = len(found[0])
    for what, names in (("names", pictures), ("classes", classes), ("predictions", predicted)):
        if names is not None and len(names) != count:
            raise SaywhyError(f"{len(names)} {what} for {count} pictures")
    return Answers(
        groups=tuple(tuple(group) for group in groups),
        before=found[0],
        after=found[1] if operated is not None else None,
        pictures=tuple(pictures or (str(n) for n in range(1, count + 1))),
        classes=None if classes is None else tuple(classes),
        predicted=None if predicted is None else tuple(predicted),
        scale=float(getattr(space, "scale", SCALE)),
        spaces=tuple(place.name for place in spaces),
    )


@lru_cache(maxsize=2)  # terminal, document and figure show the same; a bootstrap over many pictures takes seconds
def concept_table(answers: Answers) -> list[dict[str, Any]]:
    """The quantitative concept analysis: a row for each subset of pictures and each caption.

    Similarity and share of its group before, and after; ``influence`` is the mean difference of the similarities, as an
    Interval; ``wins`` are percent of pictures in which the caption is first in its group.
    """
    scores = {"before": answers.before} if answers.after is None else {"before": answers.before, "after": answers.after}
    shares = {when: answers.shares(some) for when, some in scores.items()}
    measured = {f"similarity {when}": some for when, some in scores.items()}
    measured |= {f"share {when}": some for when, some in shares.items()}
    if answers.after is not None:
        measured["influence"] = answers.after - answers.before
    of_group = [group for group, captions in enumerate(answers.groups) for _ in captions]
    rows = []
    for subset, chosen in answers.subsets().items():
        about = {"pictures": subset, "count": int(chosen.sum())}
        found = zip(of_group, answers.captions, _means(measured, chosen), _wins(answers, scores, chosen), strict=True)
        rows += [
            {**about, "group": group, "caption": caption, **means, **wins} for group, caption, means, wins in found
        ]
    return rows


def _means(measured: dict[str, Tensor], chosen: np.ndarray) -> Iterator[dict[str, Interval]]:
    """For each caption the means of (N, M) values over some of the pictures, with intervals."""
    values = torch.cat([some[chosen] for some in measured.values()], dim=1).double().numpy()
    drawn = resampled(len(values), lambda weights: weights @ values / weights.sum(1, keepdims=True), DRAWS)
    captions = values.shape[1] // len(measured)
    for n in range(captions):
        columns = range(n, values.shape[1], captions)
        yield {name: interval_of(values[:, k].mean(), drawn[:, k]) for name, k in zip(measured, columns, strict=True)}


def _wins(answers: Answers, scores: dict[str, Tensor], chosen: np.ndarray) -> Iterator[dict[str, float]]:
    """For each caption in how many percent of some of the pictures it is first in its group."""
    for group in range(len(answers.groups)):
        first = {when: some[chosen][:, answers.columns(group)].argmax(1) for when, some in scores.items()}
        for n in range(len(answers.groups[group])):
            yield {f"wins {when}": 100 * float((some == n).double().mean()) for when, some in first.items()}


def kept(answers: Answers, group: int, subset: str = "all") -> Interval:
    """How much of what the captions of a group tell apart is left after surgery: 0 nothing, 1 all, above 1 more.

    The slope of the centred similarities after surgery on those before: each picture's mean over the captions, and each
    caption's mean over the pictures, are taken off, so that neither a shift of all captions nor their unequal base
    similarities count.

    Raises SaywhyError without surgery, for one picture or a group of one caption, and where CLIP itself sees no
    difference.
    """
    return _with_interval(answers, subset, lambda parts, weights: _slope(parts[0], weights), [group])


def verdict(answers: Answers, group: int, other: int, subset: str = "all") -> Interval:
    """``kept`` of one group less ``kept`` of another: above 0 where the classifier looks more for the first.

    Both are shares of what CLIP itself sees in the same pictures, so that a concept is not favoured for being easy to
    see. It is 0 where nothing is replaced, and where what is replaced carries nothing.
    """
    return _with_interval(
        answers, subset, lambda parts, weights: _slope(parts[0], weights) - _slope(parts[1], weights), [group, other]
    )


_Pair = tuple[np.ndarray, np.ndarray]  # (N, m) contrasts before and after


def _with_interval(
    answers: Answers, subset: str, measure: Callable[[list[_Pair], np.ndarray], np.ndarray], groups: Sequence[int]
) -> Interval:
    if answers.after is None:
        raise SaywhyError("what is kept can be said after surgery only")
    chosen = answers.subsets()[subset]
    if chosen.sum() < 2:
        raise SaywhyError("what is left is told from how pictures differ; there is one")
    parts: list[_Pair] = []
    for group in groups:
        columns = answers.columns(group)
        if columns.stop - columns.start < 2:
            raise SaywhyError(f"{answers.groups[group][0]!r} stands alone; what is kept is of captions held together")
        pair = _contrasts(answers.before[chosen][:, columns]), _contrasts(answers.after[chosen][:, columns])
        if np.square(pair[0] - pair[0].mean(0)).sum() < FLAT * pair[0].size:
            raise SaywhyError(
                f"in {_quoted(answers, group)} {answers.spaces[0]} sees no difference between these pictures"
            )
        parts.append(pair)
    count = len(parts[0][0])
    drawn = resampled(count, lambda weights: measure(parts, weights), DRAWS)
    return interval_of(measure(parts, np.ones((1, count)))[0], drawn)


def _contrasts(scores: Tensor) -> np.ndarray:
    """(N, m) without each picture's mean over the captions."""
    values = scores.double().numpy()
    return values - values.mean(1, keepdims=True)


def _slope(pair: _Pair, weights: np.ndarray) -> np.ndarray:
    """(D,) slopes of after on before (N, m), for D weightings (D, N) of the pictures."""
    before, after = pair
    total = weights.sum(1, keepdims=True)
    centres = (weights @ before / total, weights @ after / total)
    product = weights @ (before * after).sum(1) - total[:, 0] * (centres[0] * centres[1]).sum(1)
    square = weights @ (before**2).sum(1) - total[:, 0] * (centres[0] ** 2).sum(1)
    return product / np.maximum(square, FLAT)


# -- in words ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=2)  # as concept_table
def answers_findings(answers: Answers) -> list[dict[str, Any]]:
    """What the answers say: sentences with their numbers, as plain values, for each subset of the pictures.

    After surgery a finding of kind "kept" for each group of two captions or more, or "alike" where CLIP itself sees no
    difference or there is one picture; and, with exactly two such groups, one of kind "verdict". Without surgery
    "nearest" for each group.
    """
    if answers.after is None:
        return _nearest(answers)
    findings = []
    groups = [n for n, captions in enumerate(answers.groups) if len(captions) > 1]
    for subset, chosen in answers.subsets().items():
        left: dict[int, Interval] = {}
        said = []
        for group in groups:
            try:
                left[group] = kept(answers, group, subset)
                said.append(_kept_finding(answers, subset, group, left[group]))
            except SaywhyError as error:
                said.append({"kind": "alike", "sentence": _sentence(error), "group": answers.groups[group]})
        if len(left) == len(groups) == 2:
            said.append(_verdict_finding(answers, subset, left))
        findings += [{"pictures": subset, "count": int(chosen.sum()), **one} for one in said]
    return findings


def _kept_finding(answers: Answers, subset: str, group: int, estimate: Interval) -> dict[str, Any]:
    sentence = f"{_of(subset)} {_quoted(answers, group)}, {_percent(estimate)} is left after surgery."
    return {"kind": "kept", "sentence": sentence, "group": answers.groups[group], "kept": asdict(estimate)}


def _verdict_finding(answers: Answers, subset: str, left: dict[int, Interval]) -> dict[str, Any]:
    first, second = left
    difference = verdict(answers, first, second, subset)
    sentence = (
        f"{_of(subset)} what {answers.spaces[0]} tells apart here, {_percent(left[first])} of "
        f"{_quoted(answers, first)} and {_percent(left[second])} of {_quoted(answers, second)} is left when it sees "
        f"through the classifier: {_judgement(left[first], left[second], difference)}."
    )
    groups = {f"{name} group": answers.groups[n] for name, n in (("first", first), ("second", second))}
    return {"kind": "verdict", "sentence": sentence, **groups, "verdict": asdict(difference)}


def _judgement(first: Interval, second: Interval, difference: Interval) -> str:
    """What may be said of two groups, and no more: an interval that holds zero says nothing."""
    more, less, name = (first, second, "first") if difference.value > 0 else (second, first, "second")
    if max(more.low, less.low) <= 0:
        return "it cannot be told that the classifier passes on either"
    if difference.low <= 0 <= difference.high:
        return "it cannot be told which of them the classifier passes on more"
    if less.low <= 0:
        return f"the classifier passes on the {name}, and nothing of the other that can be told"
    return f"the classifier passes on more of the {name}"


def _nearest(answers: Answers) -> list[dict[str, Any]]:
    findings = []
    for (subset, group), some in groupby(concept_table(answers), key=lambda row: (row["pictures"], row["group"])):
        rows = list(some)
        best = max(rows, key=lambda row: row["share before"].value)
        if len(rows) > 1:
            sentence = (
                f'{_of(subset)} {_quoted(answers, group)}, "{best["caption"]}" is nearest in '
                f"{best['wins before']:.0f} % of pictures; its share is {_percent(best['share before'])}."
            )
            shares = {row["caption"]: asdict(row["share before"]) for row in rows}
            about = {"pictures": subset, "count": best["count"], "kind": "nearest", "sentence": sentence}
            findings.append({**about, "group": answers.groups[group], "shares": shares})
    return findings


def _quoted(answers: Answers, group: int) -> str:
    return f'"{" | ".join(answers.groups[group])}"'


def _of(subset: str) -> str:
    """How a sentence begins."""
    if subset == "all":
        return "Of"
    return f"Where the classifier is {subset}, of" if subset in _SUBSETS else f"In pictures of {subset}, of"


def _sentence(error: SaywhyError) -> str:
    reason = str(error)
    return f"{reason[0].upper()}{reason[1:]}."


def _percent(estimate: Interval) -> str:
    value, low, high = (round(100 * x) for x in (estimate.value, estimate.low, estimate.high))  # whole: no "-0"
    return f"{value} % [{low}, {high}]"
