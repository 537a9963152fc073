"""What goes with a group of pictures: each trait of its pictures against that of the others, by ranks.

One measure for all traits, Cliff's delta: of all pairs of a picture of the group and another one, how many more have
the greater number in the group than outside. Of a word, which is there or not, it is the difference of two shares; of a
number it is 2 AUC - 1. p by the rank test (Mann and Whitney, 1947) with ties; of few pictures with a word by the
binomial tail. Beside it stands what the same measure gives where the groups are dealt at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from saywhy.audits.finding import LEVEL, REGIONS, WORDS
from saywhy.audits.traits import COLOUR, GRID, NEAR, PART, PLACE, SAID, WORDLY, Trait, Traits
from saywhy.intervals import Interval, proportions_differ, rank_difference

LEAST = 0.1  # of a delta that is worth a word
DEALT = 20  # times that groups are dealt at random
FEWEST = 5  # pictures of a group, and outside it
SHOWN = 12  # examples of a finding
_EXPECTED = 10  # pictures with a word in a group, by chance: from here on the normal distribution is near enough


@final
@dataclass(frozen=True, eq=False)
class Contrast:
    """G groups and T traits.

    counts: (G,) pictures of each. pictures: of all groups together.
    delta:  (G, T). p: (G, T), two-sided, NaN where a group or its rest is smaller than FEWEST. kept: (G, T) whether it
            survives Benjamini and Hochberg's correction over all of p, and is at least LEAST.
    inside, outside: (G, T) shares of the pictures that have a word; of a number, NaN.
    mix:    (G, T) what delta is on average where groups are dealt at random inside strata: what the strata alone give.
    null:   (G,) 95 % quantile of a group's greatest absolute delta where groups are dealt at random.
    greatest: the same of the greatest of all groups.
    """

    traits: tuple[Trait, ...]
    counts: np.ndarray
    pictures: int
    delta: np.ndarray
    p: np.ndarray
    kept: np.ndarray
    inside: np.ndarray
    outside: np.ndarray
    mix: np.ndarray
    null: np.ndarray
    greatest: float

    @property
    def tested(self) -> np.ndarray:
        """Every p."""
        return self.p[np.isfinite(self.p)]

    def best(self, group: int, count: int, kinds: Sequence[str] = (), *, more: bool = False) -> list[int]:
        """The traits that go with a group, the most telling first; a phrase once. more: only what it has more of."""
        delta, found, texts = self.delta[group], list[int](), set[str]()
        kept = np.flatnonzero(self.kept[group] & ((delta > 0) if more else True))
        near = np.array([self.traits[n].kind != SAID for n in kept], bool)  # facts first, of equals
        for n in kept[np.lexsort((near, -np.abs(delta[kept]).round(2)))].tolist():
            trait = self.traits[n]
            phrase = trait.name if trait.kind in (SAID, NEAR) else ""
            if len(found) < count and (not kinds or trait.kind in kinds) and phrase not in texts:
                found.append(n)
                texts |= {phrase} if phrase else set()
        return found

    def interval(self, group: int, trait: int) -> Interval:
        """Of a delta, 95 %."""
        count, others = int(self.counts[group]), int(self.pictures - self.counts[group])
        if self.traits[trait].kind not in WORDLY:
            return rank_difference(float(self.delta[group, trait]), count, others)
        hits = [float(self.inside[group, trait]) * count, float(self.outside[group, trait]) * others]
        return proportions_differ(round(hits[0]), count, round(hits[1]), others)

    def says(self, group: int, trait: int, also: str = "") -> str:
        """A trait with its numbers, in words: what goes with the group. also: what else is to be said of it."""
        found, delta = self.traits[trait], self.delta[group, trait]
        sure = "nearest, not sure" if found.kind == NEAR else ""
        if found.kind in WORDLY:
            inside, outside = (f"{100 * share[group, trait]:.0f} %" for share in (self.inside, self.outside))
            numbers, name = f"{inside} of them, {outside} of the others", plainly(found)
        else:
            numbers, name = f"AUC {(1 + abs(delta)) / 2:.2f}", found.more if delta > 0 else found.less
        return f"{name} ({'; '.join(filter(None, (sure, numbers, also)))})"

    def words(self, chosen: Sequence[int]) -> tuple[str, ...]:
        """The phrases among some traits, each once."""
        return tuple(dict.fromkeys(self.traits[n].name for n in chosen if self.traits[n].kind in (SAID, NEAR)))

    def place(self, group: int, chosen: Sequence[int]) -> str:
        """Where a group has more relevance, of some traits; "" for nowhere in particular."""
        more = (self.traits[n] for n in chosen if self.delta[group, n] > 0)
        return next((trait.name for trait in more if trait.kind == PLACE and trait.name in GRID), "")

    def row(self, group: int, trait: int) -> dict[str, object]:
        """A trait with its numbers, for details."""
        one, found = self.traits[trait], self.interval(group, trait)
        shares = {"inside": float(self.inside[group, trait]), "outside": float(self.outside[group, trait])}
        mix = float(self.mix[group, trait])
        return {
            "trait": one.name, "kind": one.kind, "difference": found.value, "low": found.low, "high": found.high,
            "p": float(self.p[group, trait]), **(shares if one.kind in WORDLY else {}),
            **({} if np.isnan(mix) else {"by the mix of classes alone": mix}),
        }  # fmt: skip


def named(trait: Trait) -> str:
    """A word as a fact where it was said, as near where it was not."""
    return plainly(trait) + (" (nearest, not sure)" if trait.kind == NEAR else "")


def plainly(trait: Trait) -> str:
    """A word in quotes, or of which part phrases are."""
    return f"phrases of {trait.name}" if trait.kind == PART else f"“{trait.name}”"


def contrast(
    traits: Traits,
    groups: np.ndarray,
    count: int,
    *,
    dealt: int = DEALT,
    seed: int = 0,
    within: np.ndarray | None = None,
) -> Contrast:
    """Each of ``count`` groups against all other pictures that are in one.

    groups: (N,) of each picture, from 0; -1: left out. within: (N,) strata; see ``mix``.
    """
    from scipy.stats import false_discovery_control, rankdata

    there = groups >= 0
    traits, groups = (traits, groups) if there.all() else (traits.where(there), groups[there])
    pictures, first = len(groups), traits.numbers.shape[1]
    counts = np.bincount(groups, minlength=count)
    ranks = np.empty(traits.numbers.shape)
    ties = np.empty(first)
    for n in range(first):
        known = ~np.isnan(traits.numbers[:, n])
        ranks[known, n] = rankdata(traits.numbers[known, n]) + (~known).sum() / 2
        ranks[~known, n] = (pictures + 1) / 2  # what is not known is in the middle: it speaks for no group
        runs = np.bincount((2 * ranks[:, n]).astype(np.int64)).astype(float)
        ties[n] = (runs**3 - runs).sum() / max(1, pictures**3 - pictures)
    with_word = np.asarray(traits.has.sum(0)).ravel()

    def deltas(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(G, T), and (G, W) how many pictures of each group have each word."""
        from scipy.sparse import csr_matrix

        member = csr_matrix((np.ones(pictures), groups, np.arange(pictures + 1)), (pictures, count)).T
        size = counts[:, None].astype(float)
        others = pictures - size
        with np.errstate(divide="ignore", invalid="ignore"):
            numbers = 2 * (member @ ranks - size * (size + 1) / 2) / (size * others) - 1
            hits = np.asarray((member @ traits.has).todense())
            words = hits / size - (with_word - hits) / others
        return np.nan_to_num(np.hstack([numbers, words])), hits

    delta, hits = deltas(groups)
    size = counts[:, None].astype(float)
    enough = (size >= FEWEST) & (pictures - size >= FEWEST)
    p = np.hstack([_rank_p(delta[:, :first], size, pictures, ties), _word_p(hits, with_word, size, pictures)])
    p = np.where(enough, p, np.nan)
    kept = np.zeros(p.shape, bool)
    if np.isfinite(p).any():
        kept[np.isfinite(p)] = false_discovery_control(p[np.isfinite(p)]) <= LEVEL
    with np.errstate(divide="ignore", invalid="ignore"):
        inside, outside = hits / size, (with_word - hits) / (pictures - size)
    blank = np.full((count, first), np.nan)
    generator = np.random.default_rng(seed)
    greatest = np.zeros((dealt, count))
    for n in range(dealt):
        drawn = np.abs(deltas(generator.permutation(groups))[0]) if pictures else np.zeros(delta.shape)
        greatest[n] = np.where(enough[:, 0], drawn.max(1, initial=0), 0)
    mix = np.full(delta.shape, np.nan)
    if within is not None and dealt and pictures:
        mix = np.mean([deltas(_dealt(groups, within, generator))[0] for _ in range(dealt)], axis=0)
    null = np.quantile(greatest, 0.95, axis=0) if dealt else np.full(count, np.nan)
    return Contrast(
        traits.traits, counts, pictures, delta, p, kept & (np.abs(delta) >= LEAST), np.hstack([blank, inside]),
        np.hstack([blank, outside]), mix, np.where(enough[:, 0], null, np.nan),
        float(np.quantile(greatest.max(1, initial=0), 0.95)) if dealt else float("nan"),
    )  # fmt: skip


def _dealt(groups: np.ndarray, within: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Groups dealt at random inside each stratum, as many of each as there are."""
    order = np.argsort(within, kind="stable")
    mixed = np.lexsort((generator.random(len(groups)), within))
    found = np.empty_like(groups)
    found[order] = groups[mixed]
    return found


def _rank_p(delta: np.ndarray, size: np.ndarray, pictures: int, ties: np.ndarray) -> np.ndarray:
    """Mann and Whitney's, two-sided, by the normal distribution with the correction for ties."""
    from scipy.special import ndtr

    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt((pictures + 1) * (1 - ties) / (3 * size * (pictures - size)))
        return np.nan_to_num(2 * ndtr(-np.abs(delta / spread)), nan=1.0)


def _word_p(hits: np.ndarray, with_word: np.ndarray, size: np.ndarray, pictures: int) -> np.ndarray:
    """Of how many pictures of a group have a word, two-sided: binomial where few are expected, which errs on the safe
    side of the hypergeometric distribution; else that one's normal limit."""
    from scipy.special import bdtr, bdtrc, ndtr

    share = with_word / max(1, pictures)
    expected, left = size * share, size * (1 - share)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(expected * (1 - share) * (pictures - size) / max(1, pictures - 1))
        normal = 2 * ndtr(-np.maximum(0, np.abs(hits - expected) - 0.5) / spread)
    count = size.astype(np.int64)  # as these functions want it
    above = np.where(hits > 0, bdtrc(np.maximum(hits - 1.0, 0), count, share[None]), 1.0)
    below = bdtr(hits.astype(float), count, share[None])
    exact = 2 * np.minimum(above, below)
    return np.minimum(1, np.nan_to_num(np.where(np.minimum(expected, left) >= _EXPECTED, normal, exact), nan=1.0))


def examples(
    traits: Traits, members: np.ndarray, trait: int, more: bool, first: np.ndarray | None = None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Numbers of pictures of a group that show a trait best, and of those that do not.

    members: (N,) bool. more: whether the group has more of it, or less. first: (N,) which come first of equal ones.
    """
    few = traits.where(np.flatnonzero(members))
    values = np.nan_to_num(few.values(trait).astype(float)) * (1 if more else -1)
    order = np.lexsort((few.pictures, -np.nan_to_num(values if first is None else first[members]), -values))
    has = few.traits[trait].kind in WORDLY
    shown = order[values[order] > 0] if has and more else order[: max(1, len(order) // 2)]
    others = order[len(shown) :][::-1]
    return tuple(few.pictures[shown[:SHOWN]].tolist()), tuple(few.pictures[others[:SHOWN]].tolist())


def rests_on(kind: str) -> str:
    """What of an explanation bears a finding out whose first trait is of this kind."""
    return {SAID: WORDS, NEAR: REGIONS, PART: REGIONS, PLACE: REGIONS, COLOUR: REGIONS}.get(kind, "")


def of_pairs(one: str, other: str) -> str:
    """What 2 AUC - 1 counts, in words."""
    return f"share of pairs (one {one}, one {other}) in which the first has more of it, less that in which it has less"


def listed(parts: Sequence[str]) -> str:
    """In one sentence: "a, b and c"."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))
