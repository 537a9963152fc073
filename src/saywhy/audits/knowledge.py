"""Asking what a model holds inside: which components go with a text, and what one model holds that another does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, final

import numpy as np

from saywhy.audits.finding import LEVEL
from saywhy.audits.inside import (
    CHANNEL,
    LATENT,
    ROW,
    Component,
    Inside,
    Z,
    components,
    correlations,
    drawn_correlations,
    fitted,
    parts_of,
    standing_out,
)
from saywhy.errors import SaywhyError
from saywhy.intervals import Interval

if TYPE_CHECKING:
    from saywhy.classifiers.sae import SparseAutoencoder
    from saywhy.types import Space

HELD = 0.5
"""Correlation on fresh pictures below which, at the top of its interval, a component has no counterpart."""


@final
@dataclass(frozen=True, eq=False)
class Hit:
    """A component that goes with a text. fit: with the text, on pictures that did not choose it."""

    component: Component
    fit: Interval


@final
@dataclass(frozen=True, eq=False)
class Counterpart:
    """A component of one model, and the one of the other that is most like it.

    likeness: correlation of their activations on pictures that did not choose the other; where the data differ, cosine
    of what they go with in the space, whose interval is not known: NaN.
    """

    component: Component
    other: Component
    likeness: Interval


@final
@dataclass(frozen=True, eq=False)
class Known:
    """How well the best component of each of two models goes with a phrase, on pictures that did not choose it.

    more: the first's fit less the second's. p, q: that they are equal; q is corrected over all phrases.
    """

    phrase: str
    first: Interval
    second: Interval
    components: tuple[str, str]
    more: Interval
    p: float
    q: float


@final
@dataclass(frozen=True, eq=False)
class Comparison:
    """What two models hold. Whether on the same pictures: ``same``; how many they are: ``pictures`` of each.

    lost: components of the first that have no counterpart in the second, those that matter most first. gained: the
    other way round. phrases: all of the vocabulary, the largest difference first.
    """

    same: bool
    pictures: tuple[int, int]
    counterparts: tuple[Counterpart, ...]
    lost: tuple[Counterpart, ...]
    gained: tuple[Counterpart, ...]
    phrases: tuple[Known, ...]

    def document(self) -> dict[str, Any]:
        """As JSON."""

        def pair(one: Counterpart) -> dict[str, Any]:
            return {"component": one.component.document(), "other": one.other.called, "likeness": asdict(one.likeness)}

        return {
            "same pictures": self.same, "pictures": list(self.pictures),
            "counterparts": len(self.counterparts), "lost": [pair(one) for one in self.lost],
            "gained": [pair(one) for one in self.gained], "phrases": [asdict(one) for one in self.phrases],
        }  # fmt: skip


def search(
    inside: Inside,
    found: Sequence[Component],
    text: str,
    space: Space | None = None,
    sae: SparseAutoencoder | None = None,
) -> list[Hit]:
    """Components in the order in which they go with a text, chosen on half of the pictures and measured on the other.

    inside: by ``look_inside``, in that space. found: its ``components``. space: None: only phrases of the vocabulary.

    Raises SaywhyError for a text that the space does not know.
    """
    if text in inside.phrases:
        phrase = standing_out(inside.vectors, inside.texts)[:, inside.phrases.index(text)][:, None]
    elif space is None:
        raise SaywhyError(f"{text!r} is not of the audit's vocabulary; any text needs the space")
    else:
        told = space.encode_texts([text]).numpy()
        phrase = standing_out(inside.vectors, np.concatenate([inside.texts, told]))[:, -1:]
    hits: list[tuple[float, Hit]] = []
    for kind in (CHANNEL, ROW, LATENT):
        of_kind = {one.index: one for one in found if one.kind == kind}
        if not of_kind:
            continue
        active, _ = parts_of(inside, kind, sae)
        chosen = correlations(active[inside.chooses], phrase[inside.chooses])[:, 0]
        places = sorted(of_kind)
        measured, these = active[~inside.chooses][:, places], np.repeat(phrase[~inside.chooses], len(places), 1)
        fits = fitted(_paired(measured, these), drawn_correlations(measured, these))
        hits += [(chosen[k], Hit(of_kind[k], fit)) for k, fit in zip(places, fits, strict=True)]
    return [hit for _, hit in sorted(hits, key=lambda one: -one[0])]


def compare(
    first: Inside,
    second: Inside,
    *,
    same: bool,
    saes: tuple[SparseAutoencoder | None, SparseAutoencoder | None] = (None, None),
) -> Comparison:
    """What two models hold: their channels, or latents where both have a sparse autoencoder.

    same: whether both were asked about the same pictures by the same numbers. They are in the same space, with the same
    vocabulary.

    Raises SaywhyError where they are not, and for too few pictures in common.
    """
    if len(first.dealt) or len(second.dealt):
        raise SaywhyError("each model's own space is its own opinion; to compare two give one space: --space clip")
    if first.phrases != second.phrases or first.texts.shape != second.texts.shape:
        raise SaywhyError("the two audits have other vocabularies or spaces; make both with the same")
    if same:
        first, second = _in_common(first, second)
        second = replace(second, vectors=first.vectors, texts=first.texts)  # what a phrase means is said once
    kind = LATENT if all(saes) else CHANNEL
    mine, theirs = (
        {one.index: one for one in components(None, sae=sae, inside=inside, kinds=(kind,))}
        for inside, sae in zip((first, second), saes, strict=True)
    )
    active = [parts_of(inside, kind, sae)[0] for inside, sae in zip((first, second), saes, strict=True)]
    there = _counterparts(first, second, active[0], active[1], mine, theirs, same)
    back = _counterparts(second, first, active[1], active[0], theirs, mine, same)
    return Comparison(
        same, (len(first.numbers), len(second.numbers)), tuple(there), _alone(there), _alone(back),
        tuple(_known(first, second, active[0], active[1], mine, theirs, same)),
    )  # fmt: skip


def _in_common(first: Inside, second: Inside) -> tuple[Inside, Inside]:
    numbers, mine, theirs = np.intersect1d(first.numbers, second.numbers, return_indices=True)
    if len(numbers) < 40:
        raise SaywhyError(f"the two audits have {len(numbers)} pictures in common; 40 at least are needed")
    chooses = np.random.default_rng(0).permutation(len(numbers)) < len(numbers) // 2
    return _rows(first, mine, chooses), _rows(second, theirs, chooses)


def _rows(inside: Inside, rows: np.ndarray, chooses: np.ndarray) -> Inside:
    return replace(
        inside, numbers=inside.numbers[rows], features=inside.features[rows], vectors=inside.vectors[rows],
        predicted=inside.predicted[rows], chooses=chooses,
    )  # fmt: skip


def _counterparts(
    mine: Inside, other: Inside, a: np.ndarray, b: np.ndarray, of_mine: dict[int, Component],
    of_other: dict[int, Component], same: bool,
) -> list[Counterpart]:  # fmt: skip
    """For each component of one model the most like it of the other's; those that matter most first."""
    if same:
        chosen = mine.chooses
        best = correlations(a[chosen], b[chosen]).argmax(1)
        like = fitted(_paired(a[~chosen], b[~chosen][:, best]), drawn_correlations(a[~chosen], b[~chosen][:, best]))
    else:
        cosines = (
            np.stack([of_mine[k].toward for k in sorted(of_mine)])
            @ np.stack([of_other[k].toward for k in sorted(of_other)]).T
        )
        best, nan = cosines.argmax(1), float("nan")
        like = [Interval(float(value), nan, nan) for value in cosines.max(1)]
    found = [Counterpart(of_mine[k], of_other[int(best[k])], like[k]) for k in sorted(of_mine)]
    return sorted(found, key=lambda one: -one.component.contribution.value)


def _alone(found: Sequence[Counterpart]) -> tuple[Counterpart, ...]:
    """Those whose likeness is below HELD, up to the top of its interval where that is known."""
    return tuple(one for one in found if not max(one.likeness.value, np.nan_to_num(one.likeness.high, nan=-1)) >= HELD)


def _known(
    first: Inside, second: Inside, a: np.ndarray, b: np.ndarray, mine: dict[int, Component],
    theirs: dict[int, Component], same: bool,
) -> list[Known]:  # fmt: skip
    """Every phrase, the largest difference first."""
    from scipy.stats import false_discovery_control, norm

    fits, draws, names = [], [], []
    for number, (inside, active, of) in enumerate(((first, a, mine), (second, b, theirs))):
        phrases = standing_out(inside.vectors, inside.texts)
        best = correlations(active[inside.chooses], phrases[inside.chooses]).argmax(0)
        measured, held = active[~inside.chooses][:, best], phrases[~inside.chooses]
        fits.append(_paired(measured, held))
        # The same pictures are drawn for both models where they are the same: the difference is a paired one.
        draws.append(drawn_correlations(measured, held, seed=0 if same else number))
        names.append([of[int(k)].called for k in best])
    more = fits[0] - fits[1]
    spread = np.maximum((draws[0] - draws[1]).std(0), 1e-9)
    p = 2 * norm.sf(np.abs(more) / spread)
    q = false_discovery_control(p)
    intervals = [fitted(fit, drawn) for fit, drawn in zip(fits, draws, strict=True)]
    found = [
        Known(
            phrase, intervals[0][m], intervals[1][m], (names[0][m], names[1][m]),
            Interval(float(more[m]), float(more[m] - Z * spread[m]), float(more[m] + Z * spread[m])),
            float(p[m]), float(q[m]),
        )
        for m, phrase in enumerate(first.phrases)
    ]  # fmt: skip
    return sorted(found, key=lambda one: (one.q > LEVEL, -abs(one.more.value)))


def _paired(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(K,) correlation of each column of (N, K) with that of the other."""
    x, y = a - a.mean(0), b - b.mean(0)
    size = np.sqrt((x**2).sum(0) * (y**2).sum(0))
    found: np.ndarray = np.where(size > 1e-9, (x * y).sum(0) / np.maximum(size, 1e-9), 0)
    return found
