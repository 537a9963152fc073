"""Is the rationale used? What becomes of an answer when its rationale is changed, in the text or in the picture.

A doubly right answer (ECOR, section III) names a category and a rationale; that both are right does not say that one
rests on the other. Two tests, which no paper of this line reports: another rationale is put in its place in the text,
and what it is about is taken out of the picture. Both give the share of right categories whose rationale is used,
beside what chance gives. They are for any space, tuned or not, and any way of choosing rationales: a blind one (drawn
from the category's own list, say) is measured by handing in its rationales. A third is in ``rationale_bottleneck``.

All probabilities are those of the method's own joint P(r | I) P(c | r, I), with a P(c | r, I) that sums to 1 over the
categories (ECOR's eq. 5 does not); see ``log_rationale`` and ``log_conditional``. Logarithms are natural.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import TypeVar, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saywhy.checks.masking import masked, random_masks_like
from saywhy.errors import SaywhyError
from saywhy.intervals import Interval, bootstrap, interval_of
from saywhy.spaces.pairs.bank import WordBank
from saywhy.spaces.pairs.ranking import TERMS, log_rationales
from saywhy.words.rationale_words import RationaleWords

Terms = Mapping[str, float]
"""What a method scores, by name ("rationale", "category", "pair", "inverse") -> the weight of that term, over its
temperature where it has one. The last two are both of the bank's texts of pairs; a bank holds one kind."""
ECOR_TERMS: Terms = MappingProxyType({"rationale": 1.0, "pair": 1.0})
ROUNDING = 1e-3  # a fall of a logarithm below it is float32's, times CLIP's scale of 100
ROWS = 4096  # pictures scored against the rationales, or against the C texts of one of them, at once
BATCH = 16  # trials at once
MANY_SCORES, MANY_TRIALS = 200_000_000, 50  # from which on a progress bar is shown


# -- probabilities ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def log_rationale(images: Tensor, bank: WordBank, scale: float, terms: Terms = ECOR_TERMS) -> Tensor:
    """(N, R) log P(r | I) of (N, d) unit vectors.

    With a rationale term the softmax over its scores (ECOR, eq. 4). Without one (CLIP, DROR), what the softmax over all
    C x R pairs gives to each rationale. ``scale`` multiplies cosines.

    Raises SaywhyError for unknown terms, none that is about rationales, and vectors of another width than the bank's.
    """
    _check(images, bank, terms)
    factors = {term: scale * weight for term, weight in terms.items()}
    return log_rationales(images, bank, factors, inverse=bank)  # a bank holds one kind: that of the terms


@torch.no_grad()
def log_conditional(
    images: Tensor, bank: WordBank, rationales: Tensor, scale: float, terms: Terms = ECOR_TERMS
) -> Tensor:
    """(N, C) log P(c | r, I) of (N, d) unit vectors, each with one rationale, (N,) indices.

    The softmax over the categories of all terms that name one, with that rationale in the texts of the pairs. A method
    that scores no pairs (AB5: rationale and category apart) gives the same whatever the rationale.

    Raises SaywhyError as ``log_rationale``, and for rationales that there are not, or not one for each picture.
    """
    _check(images, bank, terms, rationales=rationales)
    found = images.new_empty(len(images), len(bank.words.categories))
    for rows, some in _conditionals(images, torch.arange(len(images)), bank, rationales, scale, terms):
        found[rows] = some
    return found


def _conditionals(
    images: Tensor, of: Tensor, bank: WordBank, rationales: Tensor, scale: float, terms: Terms
) -> Iterator[tuple[Tensor, Tensor]]:
    """(rows, (n, C) log P(c | r, I)) of M pictures ``of`` the images, (M,), each with its rationale, (M,).

    One distinct rationale after the other, so that its C texts are gathered once.
    """
    everything = torch.arange(len(bank.words.categories))
    order = rationales.argsort(stable=True)
    distinct, counts = rationales[order].unique_consecutive(return_counts=True)
    groups = list(zip(distinct, order.split(counts.tolist()), strict=True)) if len(order) else []
    many = (len(order) + len(images.T) * len(groups)) * len(everything) > MANY_SCORES
    for rationale, group in _shown(groups, "asking with each rationale", many):
        texts = bank.pairs(everything, rationale.expand(len(everything))) if _of_pairs(terms) else None
        for rows in group.split(ROWS):
            some = images[of[rows]]
            scores = some.new_zeros(len(some), len(everything))
            if texts is not None:
                scores += _of_pairs(terms) * scale * some @ texts.T
            if "category" in terms:
                scores += terms["category"] * scale * some @ bank.categories.T
            yield rows, scores.log_softmax(1)


def _of_pairs(terms: Terms) -> float:
    return terms.get("pair", 0.0) + terms.get("inverse", 0.0)


# -- another rationale in the text ------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, eq=False)
class TextSwap:
    """What became of N named categories when their rationales were swapped for absent ones; NaN where it was not.

    drops:   (N, draws) fall of log P(c | r, I) from the rationale that was named to the one put in its place.
    losses:  (N, draws) places that the category lost among the C; below 0 where it gained.
    swapped: (N, draws) int64, what was put in its place; -1 for nothing.
    """

    drops: Tensor
    losses: Tensor
    swapped: Tensor

    @property
    def used(self) -> Tensor:
        """(N,) float: 1 where P(c | r, I) is above P(c | r', I) for every r' that was tried, else 0; NaN for none.

        Where r is to the category no more than any absent one it is the highest of n + 1 with chance 1 / (n + 1), at
        most: what draws level, up to rounding, is not above. That is the chance of a rationale that was named without
        regard to the score of its pair. One that was named for that score is above others for having been chosen: what
        that makes is the share for rationales that were named for other pictures of the same category.
        """
        above = ((self.drops > ROUNDING) | self.drops.isnan()).all(1).to(self.drops.dtype)
        return torch.where(self._tried > 0, above, torch.nan)

    @property
    def chance(self) -> Tensor:
        """(N,) what chance gives for ``used``, at most: 1 / (n + 1) with the n rationales that were tried."""
        return torch.where(self._tried > 0, 1 / (self._tried + 1), torch.nan)

    @property
    def _tried(self) -> Tensor:
        return (self.swapped >= 0).sum(1)


def absent_rationales(
    words: RationaleWords, categories: Sequence[int], true: Sequence[Collection[int]]
) -> list[np.ndarray]:
    """For each of N pictures the rationales that may be taken for absent: candidates of ``text_swap``, in order.

    Neither true of the picture, nor on the list of its (true) category: what is on the list may be in view though
    nobody noted it. Of rationales that stand for several things, none of them may be.

    Raises SaywhyError for different numbers of pictures.
    """
    if len(categories) != len(true):
        raise SaywhyError(f"{len(categories)} categories for {len(true)} sets of true rationales; give one each")
    several = words.several or {}
    members = [set(several.get(r, (name,))) for r, name in enumerate(words.rationales)]
    made: dict[tuple[int, frozenset[int]], np.ndarray] = {}  # pictures of a pair are many, and share what is absent
    found = []
    for category, some in zip(categories, true, strict=True):
        key = int(category), frozenset(int(r) for r in some)
        if key not in made:
            present = set().union(*(members[r] for r in {*key[1], *words.lists[key[0]]}))
            absent = [r for r, things in enumerate(members) if not things & present]
            made[key] = np.array(absent, np.int32)
        found.append(made[key])
    return found


@torch.no_grad()
def text_swap(
    images: Tensor,
    bank: WordBank,
    categories: Tensor,
    rationales: Tensor,
    absent: Sequence[Collection[int] | np.ndarray],
    scale: float,
    draws: int = 8,
    seed: int = 0,
    terms: Terms = ECOR_TERMS,
) -> TextSwap:
    """Swap the rationale in the text for absent ones, and see whether the category falls.

    images:     (N, d) unit vectors.
    categories: (N,) the category that was named. rationales: (N,) the rationale; -1: none was, nothing is tested.
    absent:     N sets of candidates; see ``absent_rationales``. The named one is never put in its own place.
    draws:      candidates tried for a picture, each once; fewer where there are fewer.
    seed:       a picture's draw depends on it, on the picture's place and on its candidates alone, so that methods that
                named the same rationale are put to the same test.

    Raises SaywhyError as ``log_conditional``, and for draws below 1.
    """
    _check(images, bank, terms, categories, rationales, none=True)
    if len(absent) != len(images):
        raise SaywhyError(f"{len(absent)} sets of absent rationales for {len(images)} pictures; give one each")
    _check_draws(draws)
    asked = torch.full((len(images), 1 + draws), -1)
    for n, (named, some) in enumerate(zip(rationales.tolist(), absent, strict=True)):
        candidates = np.array(sorted({int(r) for r in some} - {named}), np.int64)
        if len(candidates) and not 0 <= candidates[0] <= candidates[-1] < len(bank.words.rationales):
            raise SaywhyError(
                f"absent rationales of picture {n} run from {candidates[0]} to {candidates[-1]}; the bank has "
                f"{len(bank.words.rationales)}, counted from 0"
            )
        if named < 0 or not len(candidates):
            continue
        chosen = np.random.default_rng([seed, n]).permutation(candidates)[:draws]
        asked[n, 0] = named
        asked[n, 1 : 1 + len(chosen)] = torch.as_tensor(chosen)
    there = asked >= 0
    logs, ranks = _of_category(images, there.nonzero()[:, 0], bank, categories, asked[there], scale, terms)
    log, rank = images.new_full((2, *asked.shape), torch.nan)
    log[there], rank[there] = logs, ranks
    return TextSwap(log[:, :1] - log[:, 1:], rank[:, 1:] - rank[:, :1], asked[:, 1:])


def _of_category(
    images: Tensor, of: Tensor, bank: WordBank, categories: Tensor, rationales: Tensor, scale: float, terms: Terms
) -> tuple[Tensor, Tensor]:
    """(M,) log P(c | r, I), and the place of c among the categories, of M pictures ``of`` the images."""
    logs, ranks = images.new_empty(2, len(of))
    for rows, some in _conditionals(images, of, bank, rationales, scale, terms):
        own = some.gather(1, categories[of[rows], None])
        logs[rows], ranks[rows] = own[:, 0], 1.0 + (some > own).sum(1)
    return logs, ranks


# -- something taken out of the picture -------------------------------------------------------------------------------


@final
@dataclass(frozen=True, eq=False)
class Trial:
    """A picture, the same without what its rationale is about, and the same without equal areas elsewhere."""

    picture: Image.Image
    changed: Image.Image
    elsewhere: tuple[Image.Image, ...]


@final
@dataclass(frozen=True, eq=False)
class PictureChange:
    """What became of N answers when the picture was changed; NaN where it was not.

    falls:     (N, 2) of log P(r | I) and of log P(c | r, I), when what the rationale is about was taken out.
    elsewhere: (N, draws, 2) the same, when an equal area elsewhere was.
    """

    falls: Tensor
    elsewhere: Tensor

    @property
    def used(self) -> Tensor:
        """(N,) float: 1 where both fall, and both more than under every equal area elsewhere, else 0; NaN untested.

        Where the place is no other than the places elsewhere each of the two is the greatest with chance
        1 / (draws + 1), both with no more. That is the chance of a place that was drawn at random; a place that was
        chosen because much is there (the middle, the bird) may beat it for that alone.
        """
        most = torch.cat([self.elsewhere, torch.zeros_like(self.falls)[:, None]], 1).amax(1)
        both = (self.falls > most + ROUNDING).all(1).to(self.falls.dtype)
        return torch.where(self.falls.isnan().any(1), torch.nan, both)

    @property
    def chance(self) -> Tensor:
        """(N,) what chance gives for ``used``, at most."""
        even = torch.full((len(self.falls),), 1 / (self.elsewhere.shape[1] + 1))
        return torch.where(self.falls.isnan().any(1), torch.nan, even)


Encode = Callable[[Sequence[Image.Image]], Tensor]
"""N pictures -> (N, d) unit vectors, as a Space's ``encode_images``."""


def image_drop(
    encode: Encode,
    pictures: Sequence[Image.Image],
    changed: Sequence[Image.Image],
    bank: WordBank,
    categories: Tensor,
    rationales: Tensor,
    scale: float,
    terms: Terms = ECOR_TERMS,
) -> Tensor:
    """(N, 2) falls of log P(r | I) and of log P(c | r, I) when each picture is replaced by its changed one.

    Raises SaywhyError as ``log_conditional``, and for pictures that are not N each.
    """
    if len(pictures) != len(changed):
        raise SaywhyError(f"{len(pictures)} pictures but {len(changed)} changed ones; give one each")
    trials = (Trial(before, after, ()) for before, after in zip(pictures, changed, strict=True))
    return picture_change(encode, trials, bank, categories, rationales, scale, terms).falls


def picture_change(
    encode: Encode,
    trials: Iterable[Trial | None],
    bank: WordBank,
    categories: Tensor,
    rationales: Tensor,
    scale: float,
    terms: Terms = ECOR_TERMS,
) -> PictureChange:
    """Take what the rationale is about out of the picture, and see whether rationale and category fall, and how much
    more than without another area of the same size.

    trials:     N, read one batch at a time, so that they may be made on the way; see ``trial``. All with as many areas
                elsewhere; None: not tested.
    categories: (N,) the category that was named. rationales: (N,) the rationale; -1: none was, nothing is tested.

    Raises SaywhyError as ``log_conditional``, and for trials that are not N, or not alike.
    """
    _check(None, bank, terms, categories, rationales, none=True)
    named = (rationales >= 0).tolist()
    rest = iter(trials)
    tested: list[int] = []
    vectors: list[Tensor] = []
    kinds: set[int] = set()
    for start in _shown(range(0, len(named), BATCH), "changing the pictures", len(named) > MANY_TRIALS):
        batch = list(islice(rest, min(BATCH, len(named) - start)))
        if len(batch) < min(BATCH, len(named) - start):
            raise SaywhyError(f"{start + len(batch)} trials for {len(named)} answers; give one each, or None")
        here = [(start + n, one) for n, one in enumerate(batch) if one is not None and named[start + n]]
        kinds |= {len(one.elsewhere) for _, one in here}
        if len(kinds) > 1:
            raise SaywhyError("trials have different numbers of areas elsewhere; give each of them as many")
        if here:
            tested += [n for n, _ in here]
            vectors.append(encode([image for _, one in here for image in (one.picture, one.changed, *one.elsewhere)]))
    if next(rest, None) is not None:
        raise SaywhyError(f"more than {len(named)} trials for as many answers; give one each")
    draws = kinds.pop() if kinds else 0
    falls = torch.full((len(named), 1 + draws, 2), torch.nan)
    if tested:
        images, who = torch.cat(vectors), torch.tensor(tested)
        of = who.repeat_interleave(2 + draws)
        found = _evidence(images, bank, categories[of], rationales[of], scale, terms).unflatten(0, (-1, 2 + draws))
        falls[who] = found[:, :1] - found[:, 1:]
    return PictureChange(falls[:, 0], falls[:, 1:])


def _evidence(
    images: Tensor, bank: WordBank, categories: Tensor, rationales: Tensor, scale: float, terms: Terms
) -> Tensor:
    """(M, 2) log P(r | I) and log P(c | r, I) of M pictures, each with its answer."""
    named = [
        log_rationale(some, bank, scale, terms).gather(1, which[:, None])[:, 0]
        for some, which in zip(images.split(ROWS), rationales.split(ROWS), strict=True)
    ]
    logs, _ = _of_category(images, torch.arange(len(images)), bank, categories, rationales, scale, terms)
    return torch.stack([torch.cat(named), logs], 1)


def trial(
    picture: Image.Image,
    mask: np.ndarray,
    draws: int,
    rng: np.random.Generator,
    how: str = "blur",
    changed: Image.Image | None = None,
) -> Trial:
    """A picture without what is under a mask, (H, W) bool, and without as many equal areas elsewhere as draws.

    changed: the picture without it, where it is better known than by masking (drawn again without the part). What is
             masked elsewhere then leaves traces that it does not, so the test is the stricter.

    Raises SaywhyError as ``masked``, and for draws below 1.
    """
    _check_draws(draws)
    areas = random_masks_like(mask, draws, rng)
    return Trial(
        picture,
        masked(picture, mask, how) if changed is None else changed,
        tuple(masked(picture, area, how) for area in areas),
    )


# -- beside RR --------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class Tested:
    """Of one test.

    count:  answers with the right category that were tested, over all runs.
    share:  percent of them whose rationale is used.
    chance: percent that chance gives, at most.
    falls:  means over them, by name, in nats, or places for "rank".
    """

    count: int
    share: Interval
    chance: float
    falls: Mapping[str, Interval]


@final
@dataclass(frozen=True)
class Use:
    """Of the answers of a method whose category is right (``right`` in number), whose rationale is used.

    text:    another rationale in the text; falls "category" (of log P(c | r, I)) and "rank".
    picture: what it is about taken out of the picture; falls "rationale" (of log P(r | I)) and "category", and
             "rationale elsewhere", "category elsewhere" without as large an area elsewhere.
    both:    used by the text and by the picture, of those that were put to both tests. No falls.
    None where a test was not made.
    """

    right: int
    text: Tested | None
    picture: Tested | None
    both: Tested | None


def rationale_use(
    right: np.ndarray,
    text: Sequence[TextSwap] = (),
    picture: Sequence[PictureChange] = (),
    draws: int = 2000,
    seed: int = 0,
) -> Use:
    """The share of right categories whose rationale is causally used, with intervals over pictures and runs.

    right:         (N,) bool, or (S, N) for S runs of a method on the same pictures: the category is right.
    text, picture: one for each run, or none at all.
    draws, seed:   of the bootstrap; see ``rationale_metrics.bootstrap``.

    What was not tested (no rationale named, none absent, no trial) is left out, and ``count`` says so. Shares and
    intervals are NaN where nothing is left. Raises SaywhyError for tests that do not fit the runs and the pictures.
    """
    right = np.atleast_2d(right).astype(bool)
    for tests in (text, picture):
        if tests and [len(one.used) for one in tests] != [right.shape[1]] * len(right):
            raise SaywhyError(
                f"tests of {[len(one.used) for one in tests]} pictures for {len(right)} runs on {right.shape[1]}; "
                "give one test for each run, of the same pictures"
            )
    swapped = {
        "used": _stacked(one.used for one in text),
        "chance": _stacked(one.chance for one in text),
        "category": _stacked(one.drops.nanmean(1) for one in text),
        "rank": _stacked(one.losses.nanmean(1) for one in text),
    }
    changed = {
        "used": _stacked(one.used for one in picture),
        "chance": _stacked(one.chance for one in picture),
        "rationale": _stacked(one.falls[:, 0] for one in picture),
        "category": _stacked(one.falls[:, 1] for one in picture),
        "rationale elsewhere": _stacked(one.elsewhere[..., 0].mean(1) for one in picture),
        "category elsewhere": _stacked(one.elsewhere[..., 1].mean(1) for one in picture),
    }
    both = {name: np.minimum(swapped[name], changed[name]) for name in ("used", "chance")} if text and picture else {}
    return Use(
        right=int(right.sum()),
        text=_tested(swapped, right, draws, seed) if text else None,
        picture=_tested(changed, right, draws, seed) if picture else None,
        both=_tested(both, right, draws, seed) if both else None,
    )


def _stacked(values: Iterable[Tensor]) -> np.ndarray:
    rows = [some.double().numpy() for some in values]
    return np.stack(rows) if rows else np.empty((0, 0))


def _tested(measures: Mapping[str, np.ndarray], right: np.ndarray, draws: int, seed: int) -> Tested:
    """Of (S, N) measures, NaN where untested: ratios, since how many are right differs between bootstrap draws."""
    kept = right & ~np.isnan(measures["used"])
    if not kept.any():
        nothing = Interval(*[float("nan")] * 3)
        return Tested(0, nothing, float("nan"), {name: nothing for name in measures if name not in ("used", "chance")})
    scaled = {name: values * (100 if name in ("used", "chance") else 1) for name, values in measures.items()}
    stacked = np.stack([kept, *(np.where(kept, values, 0) for values in scaled.values())]).astype(float)
    drawn = bootstrap(stacked, draws, seed)
    drawn = drawn[drawn[:, 0] > 0]
    ratios = dict(zip(scaled, (drawn[:, 1:] / drawn[:, :1]).T, strict=True))
    found = {name: interval_of(values[kept].mean(), ratios[name]) for name, values in scaled.items()}
    share, chance = found.pop("used"), found.pop("chance")
    return Tested(int(kept.sum()), share, chance.value, found)


# -- at the door ------------------------------------------------------------------------------------------------------


def _check(
    images: Tensor | None,
    bank: WordBank,
    terms: Terms,
    categories: Tensor | None = None,
    rationales: Tensor | None = None,
    none: bool = False,
) -> None:
    unknown = [name for name in terms if name not in TERMS]
    if unknown:
        raise SaywhyError(f"there is no term {unknown[0]!r}; there are {', '.join(TERMS)}")
    if "pair" in terms and "inverse" in terms:
        raise SaywhyError("terms of pairs and of inverse ones are of two banks; give one of them")
    if not set(terms) - {"category"}:
        raise SaywhyError(f"the terms {', '.join(terms) or '(none)'} say nothing of rationales; add one that does")
    if images is not None and (images.ndim != 2 or images.shape[1] != bank.rationales.shape[1]):
        raise SaywhyError(
            f"pictures of shape {tuple(images.shape)} for a bank of {bank.rationales.shape[1]} dimensions; encode them "
            "with the space that the bank was built with"
        )
    pictures = [len(some) for some in (images, categories, rationales) if some is not None]
    if len(set(pictures)) > 1:
        raise SaywhyError(f"pictures, categories and rationales are {pictures} in number; give one of each a picture")
    for what, some, count, least in (
        ("category", categories, len(bank.words.categories), 0),
        ("rationale", rationales, len(bank.words.rationales), -1 if none else 0),
    ):
        wrong = [] if some is None else some[(some < least) | (some >= count)].tolist()
        if wrong:
            raise SaywhyError(f"there is no {what} {wrong[0]}; the bank has {count}, counted from 0")


def _check_draws(draws: int) -> None:
    if draws < 1:
        raise SaywhyError(f"a test needs at least one draw to be held against; {draws} were asked for")


_T = TypeVar("_T")


def _shown(items: Iterable[_T], says: str, many: bool) -> Iterable[_T]:
    """The items, with a progress bar on stderr where there are many."""
    from rich.console import Console
    from rich.progress import track

    return track(items, says, console=Console(stderr=True), disable=not many)
