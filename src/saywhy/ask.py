"""Captions asked of pictures: how near each of them is, before surgery and after, and what of it is left.

Source: Caption-driven XAI (Koller et al. 2025), its "quantitative concept analysis". The paper counts which caption
wins; that mixes what the pictures show with what the classifier uses, and rests on captions of unequal base similarity.
Here differences of similarities are averaged with intervals, and a contrast between captions is followed through the
surgery: how much of what CLIP tells apart can still be told apart when it sees what the classifier sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.types import Space

DRAWS = 1000  # of the bootstrap
LEVEL = 0.95
BATCH = 64  # pictures at once
SCALE = 100.0  # of cosines before a softmax, where a space has none of its own


@final
@dataclass(frozen=True)
class Estimate:
    """A number with its interval (95 %, percentile bootstrap over pictures)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


@final
@dataclass(frozen=True, eq=False)
class Answers:
    """What was asked of N pictures, and what came out.

    groups:    captions that are held against each other; M captions in all.
    before:    (N, M) cosines in a space.
    after:     (N, M) cosines in the space with a classifier's activations in it; None where there was no surgery.
    pictures:  N names.
    classes:   the true class of each picture; None where it is not known.
    predicted: the class that the classifier gives each picture; None where none was asked.
    scale:     what cosines are multiplied by before a softmax.
    spaces:    the names of the one or two spaces.
    """

    groups: tuple[tuple[str, ...], ...]
    before: Tensor
    after: Tensor | None
    pictures: tuple[str, ...]
    classes: tuple[str, ...] | None
    predicted: tuple[str, ...] | None
    scale: float
    spaces: tuple[str, ...]

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
            classes = np.array(self.classes)
            found |= {name: classes == name for name in dict.fromkeys(self.classes)}
            if self.predicted is not None:
                right = classes == np.array(self.predicted)
                found |= {"right": right, "wrong": ~right}
        return {name: rows for name, rows in found.items() if rows.any()}


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
    classes: Sequence[str] | None = None,
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


def concept_table(answers: Answers) -> list[dict[str, Any]]:
    """The quantitative concept analysis: a row for each subset of pictures and each caption.

    Similarity and share of its group before, and after; ``influence`` is the mean difference of the similarities, as an
    Estimate; ``wins`` are percent of pictures in which the caption is first in its group.
    """
    scores = [answers.before] if answers.after is None else [answers.before, answers.after]
    shares = [answers.shares(some) for some in scores]
    rows = []
    for subset, chosen in answers.subsets().items():
        weights = _draws(int(chosen.sum()))
        for group in range(len(answers.groups)):
            columns = answers.columns(group)
            for n, caption in enumerate(answers.groups[group], start=columns.start):
                row: dict[str, Any] = {"pictures": subset, "count": int(chosen.sum()), "caption": caption}
                for when, some, share in zip(("before", "after"), scores, shares, strict=False):
                    first = some[chosen][:, columns].argmax(1).numpy() == n - columns.start
                    row[f"similarity {when}"] = _mean(some[chosen, n].numpy(), weights)
                    row[f"share {when}"] = _mean(share[chosen, n].numpy(), weights)
                    row[f"wins {when}"] = 100 * float(first.mean())
                if answers.after is not None:
                    row["influence"] = _mean((answers.after - answers.before)[chosen, n].numpy(), weights)
                rows.append(row)
    return rows


def kept(answers: Answers, group: int, subset: str = "all") -> Estimate:
    """How much of what the captions of a group tell apart is left after surgery: 0 nothing, 1 all, above 1 more.

    The slope of the centred similarities after surgery on those before: each picture's mean over the captions, and each
    caption's mean over the pictures, are taken off, so that neither a shift of all captions nor their unequal base
    similarities count.

    Raises SaywhyError without surgery, for a group of one caption, and where CLIP itself sees no difference.
    """
    return _with_interval(answers, subset, lambda parts, weights: _slope(parts[0], weights), [group])


def verdict(answers: Answers, group: int, other: int, subset: str = "all") -> Estimate:
    """``kept`` of one group less ``kept`` of another: above 0 where the classifier looks more for the first.

    Both are shares of what CLIP itself sees in the same pictures, so that a concept is not favoured for being easy to
    see. It is 0 where nothing is replaced, and where what is replaced carries nothing.
    """
    return _with_interval(
        answers, subset, lambda parts, weights: _slope(parts[0], weights) - _slope(parts[1], weights), [group, other]
    )


def _with_interval(answers: Answers, subset: str, measure: Any, groups: Sequence[int]) -> Estimate:
    if answers.after is None:
        raise SaywhyError("what is kept can be said after surgery only")
    chosen = answers.subsets()[subset]
    parts = []
    for group in groups:
        columns = answers.columns(group)
        if columns.stop - columns.start < 2:
            raise SaywhyError(f"{answers.groups[group][0]!r} stands alone; what is kept is of captions held together")
        parts.append(tuple(_contrasts(scores[chosen][:, columns]) for scores in (answers.before, answers.after)))
    everything = np.ones((1, len(parts[0][0])))
    return _estimate(float(measure(parts, everything)[0]), measure(parts, _draws(len(parts[0][0]))))


def _contrasts(scores: Tensor) -> np.ndarray:
    """(N, m) without each picture's mean over the captions."""
    values = scores.double().numpy()
    return values - values.mean(1, keepdims=True)


def _slope(pair: tuple[np.ndarray, np.ndarray], weights: np.ndarray) -> np.ndarray:
    """(D,) slopes of after on before (N, m), for D weightings (D, N) of the pictures."""
    before, after = pair
    total = weights.sum(1, keepdims=True)
    centres = (weights @ before / total, weights @ after / total)
    product = weights @ (before * after).sum(1) - total[:, 0] * (centres[0] * centres[1]).sum(1)
    square = weights @ (before**2).sum(1) - total[:, 0] * (centres[0] ** 2).sum(1)
    return product / np.maximum(square, 1e-12)


def _draws(count: int) -> np.ndarray:
    """(DRAWS, N) how often each picture is drawn, always the same."""
    return np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), DRAWS).astype(float)


def _mean(values: np.ndarray, weights: np.ndarray) -> Estimate:
    return _estimate(float(values.mean()), weights @ values / weights.sum(1))


def _estimate(value: float, drawn: np.ndarray) -> Estimate:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high))
