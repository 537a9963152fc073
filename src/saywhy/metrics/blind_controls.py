"""Does a doubly right answer come from the picture? Blind controls beside every method, and its skill over them.

A method that predicts the category and then lists rationales of that category's own list, without a look at the
picture, names the true one most of the time where lists are short (about 5 rationales; RR at k = 5 asks for one of
them). So RR by itself does not measure sight. Each control here keeps something of a method and takes the picture away:

- "own list":            its category; k rationales of the category's own list by chance (exact, no draws).
- "most frequent first": its category; the k rationales that the category had most often in training.
- "shuffled pictures":   its whole answer, of another picture: all that it knows of no picture in particular.
- "shuffled rationales": its category; the rationales that it gave another picture to which it gave that category. All
                         that it knows of the category, and nothing of this picture.
- "random words":        the caller ranks with a bank in which rationales are random words (WaffleCLIP, Roth et al.,
                         ICCV 2023; see ``random_words``).

Skill is RR less that of the best control.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from saywhy.errors import SaywhyError
from saywhy.intervals import DRAWS, Interval, bootstrap, interval_of
from saywhy.metrics.doubly_right import NEEDS, OUTCOMES, RR, WR, outcomes, rationale_scores, shares
from saywhy.pictures.truth import ABSENT, Gold, padded
from saywhy.plumbing.names import unknown
from saywhy.spaces.pairs.ranking import Ranked, vote

PERMUTATIONS = 10  # over which a shuffled control is averaged
QUICK = 50_000  # answers that are evaluated in about two seconds
Lists = Sequence[Sequence[int]]  # of each category its rationales, as RationaleWords.lists


# -- controls ---------------------------------------------------------------------------------------------------------


def own_list(ranked: Ranked, gold: Gold, lists: Lists, k: int, need: str = "any", **how: Any) -> np.ndarray:
    """(N, 4) shares of RR, RW, WR, WW where k rationales of the voted category's list are given, drawn by chance.

    Exact, by the hypergeometric distribution: of a list of L rationales of which g are true, one of these is among
    k with probability 1 - C(L - g, k) / C(L, k); all G true ones are with C(L - G, k - G) / C(L, k), where the list
    has them all. A category without a list has no hit.

    need: as in ``outcomes``. how: its mode and names; the category is that of the plain vote in both modes.
    """
    from scipy.special import comb

    if need not in NEEDS:
        raise unknown("need", need, NEEDS)
    voted = vote(ranked, k)
    own = padded(lists)[voted]
    # One pair at a time through the ordinary evaluation: what counts as right is said in one place.
    columns = [own[:, j : j + 1] for j in range(own.shape[1])]
    codes = np.stack([outcomes(_of_one_category(voted, column), gold, 1, **how) for column in columns])
    right = codes[0] < WR
    length, true = (own >= 0).sum(1), ((codes == RR) | (codes == WR)).sum(0)
    drawn = np.minimum(k, length)
    ways = comb(length, drawn)
    if need == "any":
        hit = 1 - comb(length - true, drawn) / ways
    else:
        wanted = np.array([len(true) for true in gold.rationales])
        hit = np.where(true == wanted, comb(length - wanted, drawn - wanted) / ways, 0.0)
    by_category = np.stack([hit, 1 - hit], 1)
    return np.concatenate([by_category * right[:, None], by_category * ~right[:, None]], 1)


def own_list_draw(ranked: Ranked, lists: Lists, k: int, rng: np.random.Generator | None) -> Ranked:
    """A blind method: (N, k) the voted category, with k rationales of its own list; -1 where the list is shorter.

    rng: draws them; None: they are the first of the list (see ``by_frequency``).
    """
    voted = vote(ranked, k)
    own = padded(lists)[voted]
    if rng is not None:
        own = np.take_along_axis(own, np.where(own >= 0, rng.random(own.shape), 2).argsort(1), 1)
    missing = max(0, k - own.shape[1])
    return _of_one_category(voted, np.pad(own[:, :k], ((0, 0), (0, missing)), constant_values=ABSENT))


def by_frequency(lists: Lists, training: Gold) -> list[list[int]]:
    """The lists with the rationales first that a category's training pictures have most often; of equals as before."""
    pictures = zip(training.categories.tolist(), training.rationales, strict=True)
    seen = Counter((c, r) for c, true in pictures for r in true)
    return [sorted(own, key=lambda r: -seen[c, r]) for c, own in enumerate(lists)]


def shuffled_pictures(
    ranked: Ranked, gold: Gold, k: int, permutations: int = PERMUTATIONS, seed: int = 0, **how: Any
) -> np.ndarray:
    """(N, 4) shares of RR, RW, WR, WW where each picture has the answer to another, averaged over permutations."""
    return _shuffled(ranked, gold, k, np.zeros(len(ranked.categories), int), permutations, seed, **how)


def shuffled_rationales(
    ranked: Ranked, gold: Gold, k: int, permutations: int = PERMUTATIONS, seed: int = 0, **how: Any
) -> np.ndarray:
    """(N, 4) the same with the answer to another picture of the same voted category, so that the category stays.

    A picture that is alone with its category keeps its own rationales, to the control's favour.
    """
    return _shuffled(ranked, gold, k, vote(ranked, k), permutations, seed, **how)


def random_words(count: int, like: Sequence[str], seed: int) -> list[str]:
    """Unique strings of random letters; the n-th has the words, word lengths and punctuation of the n-th of ``like``.

    ``like`` is gone through again where it is too short. A string for which there are no new letters left ("a" a
    hundred times) grows by a letter. Raises SaywhyError where ``like`` has nothing in it.
    """
    if not like or not all(any(ch.isalnum() for ch in text) for text in like):
        raise SaywhyError("random words copy the lengths of given ones; each of these needs a letter")
    letters, rng = np.array(list("abcdefghijklmnopqrstuvwxyz")), np.random.default_rng(seed)
    taken, words = set(like), []
    for n in range(count):
        shape = like[n % len(like)]
        tries = 0
        while (word := "".join(rng.choice(letters) if ch.isalnum() else ch for ch in shape)) in taken:
            tries += 1
            shape += "x" if tries % 100 == 0 else ""
        taken.add(word)
        words.append(word)
    return words


# -- skill ------------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured of a method at some k: every number with its bootstrap draws, so that methods can be compared.

    values:       name -> the number: OUTCOMES, "category", precision and so on, each control (its RR) and "skill", all
                  in percent.
    drawn:        the same names -> (draws,).
    best_control: the one with the highest RR; "" where there is none.
    pictures:     N.
    """

    values: dict[str, float]
    drawn: dict[str, np.ndarray]
    best_control: str
    pictures: int

    def interval(self, name: str) -> Interval:
        return interval_of(self.values[name], self.drawn[name])


def controls(
    runs: Sequence[Ranked],
    gold: Gold,
    lists: Lists,
    k: int,
    training: Gold | None = None,
    random_bank: Sequence[Ranked] = (),
    **how: Any,
) -> dict[str, np.ndarray]:
    """Name -> (S, N, 4) shares of each control of a method, of its S runs; the list is that of this module.

    training:    what was true of the pictures that it was trained on; None: "most frequent first" is left out.
    random_bank: what the S runs rank with a bank of random words; none: "random words" is left out.
    how:         mode, names and need, as ``outcomes``.
    """
    answers = {
        "own list": [own_list(ranked, gold, lists, k, **how) for ranked in runs],
        "shuffled pictures": [shuffled_pictures(ranked, gold, k, seed=s, **how) for s, ranked in enumerate(runs)],
        "shuffled rationales": [shuffled_rationales(ranked, gold, k, seed=s, **how) for s, ranked in enumerate(runs)],
    }
    if training is not None:
        ordered = by_frequency(lists, training)
        answers["most frequent first"] = [
            shares(outcomes(own_list_draw(ranked, ordered, k, None), gold, k, **how)) for ranked in runs
        ]
    if random_bank:
        if len(random_bank) != len(runs):
            raise SaywhyError(
                f"{len(random_bank)} runs with random words for {len(runs)} of the method; give the same number"
            )
        answers["random words"] = [shares(outcomes(ranked, gold, k, **how)) for ranked in random_bank]
    return {name: np.stack(each) for name, each in answers.items()}


def skill(
    method: np.ndarray, controls: Mapping[str, np.ndarray], draws: int = DRAWS, seed: int = 0
) -> tuple[Interval, str]:
    """(RR less that of the best control in percent, the name of that control), of shares (S, N, 4).

    The best control is the best over all pictures and runs. In the bootstrap it is chosen anew in each draw, so that
    the interval knows that a maximum of several was taken: that is to the controls' favour.
    """
    measured = _measured({"RR": method[..., RR]}, {name: one[..., RR] for name, one in controls.items()}, draws, seed)
    return measured.interval("skill"), measured.best_control


def measure(
    runs: Sequence[Ranked],
    gold: Gold,
    lists: Lists,
    k: int,
    *,
    training: Gold | None = None,
    random_bank: Sequence[Ranked] = (),
    draws: int = DRAWS,
    seed: int = 0,
    **how: Any,
) -> Measured:
    """Everything of one method at one k, of its S runs on the same pictures.

    Arguments as ``controls`` and ``bootstrap``. Raises SaywhyError as ``outcomes``, and where there is no run.
    """
    if not runs:
        raise SaywhyError("there is no run of the method to measure; give at least one")
    of_runs = np.stack([shares(outcomes(ranked, gold, k, **how)) for ranked in runs])
    measures = {name: of_runs[..., n] for n, name in enumerate(OUTCOMES)}
    measures["category"] = of_runs[..., :WR].sum(-1)
    each = [rationale_scores(ranked, gold, k) for ranked in runs]
    measures |= {name: np.stack([scores[name] for scores in each]) for name in each[0]}
    blind = controls(runs, gold, lists, k, training, random_bank, **how)
    return _measured(measures, {name: one[..., RR] for name, one in blind.items()}, draws, seed)


def evaluate(
    methods: Mapping[str, Sequence[Ranked]],
    gold: Gold,
    lists: Lists,
    ks: Sequence[int] = (1, 5),
    *,
    training: Gold | None = None,
    random_banks: Mapping[str, Sequence[Ranked]] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    **how: Any,
) -> list[dict[str, Any]]:
    """One row a method and k: plain values, in percent.

    Columns: method, k, runs, pictures; of each measure its value, "... low" and "... high" (OUTCOMES, category,
    precision, recall, F1, the same doubly, each control's RR by the control's name, skill); "best control".

    methods:      name -> what its runs rank. All on the pictures of ``gold``.
    random_banks: the same with a bank of random words, for those methods where it was done.
    Other arguments as ``measure``.
    """
    from rich.console import Console
    from rich.progress import track

    rows = []
    jobs = [(k, name) for k in ks for name in methods]
    quick = len(jobs) * len(gold.categories) * max(map(len, methods.values()), default=0) < QUICK
    for k, name in track(jobs, "evaluating", console=Console(stderr=True), disable=quick):
        runs, bank = methods[name], (random_banks or {}).get(name, ())
        result = measure(runs, gold, lists, k, training=training, random_bank=bank, draws=draws, seed=seed, **how)
        row = {"method": name, "k": k, "runs": len(runs), "pictures": len(gold.categories)}
        for measured in result.values:
            interval = result.interval(measured)
            row |= {measured: interval.value, f"{measured} low": interval.low, f"{measured} high": interval.high}
        rows.append(row | {"best control": result.best_control})
    return rows


def compare(a: Measured, b: Measured) -> dict[str, Interval]:
    """Of what was measured of both: ``a`` less ``b`` in percent, paired on the pictures.

    They must have been measured on the same pictures with the same draws and seed. Runs are paired too where there
    are as many; that is right whether or not run n of both has something in common.

    Raises SaywhyError for different numbers of pictures or draws.
    """
    if (a.pictures, len(a.drawn["RR"])) != (b.pictures, len(b.drawn["RR"])):
        raise SaywhyError(
            f"{a.pictures} pictures and {b.pictures} cannot be paired; measure both on the same pictures and draws"
        )
    return {
        name: interval_of(a.values[name] - b.values[name], a.drawn[name] - b.drawn[name])
        for name in a.values
        if name in b.values
    }


def _measured(measures: Mapping[str, np.ndarray], blind: Mapping[str, np.ndarray], draws: int, seed: int) -> Measured:
    """Of (S, N) values, of the method and of its controls; all in one bootstrap."""
    named = {**measures, **blind}
    stacked = 100 * np.stack(list(named.values()))
    values = dict(zip(named, stacked.mean((1, 2)).tolist(), strict=True))
    drawn = dict(zip(named, bootstrap(stacked, draws, seed).T, strict=True))
    best = max(blind, key=values.__getitem__, default="")
    if best:
        values["skill"] = values["RR"] - values[best]
        drawn["skill"] = drawn["RR"] - np.max([drawn[name] for name in blind], 0)
    return Measured(values, drawn, best, stacked.shape[-1])


def _shuffled(
    ranked: Ranked, gold: Gold, k: int, groups: np.ndarray, permutations: int, seed: int, **how: Any
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = np.zeros((len(groups), 4))
    for _ in range(permutations):
        order = exchanged(groups, rng)
        answers = Ranked(ranked.categories[order], ranked.rationales[order], ranked.scores[order])
        found += shares(outcomes(answers, gold, k, **how))
    return found / permutations


def exchanged(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N,) for each picture another one of its group; itself where it is alone. A permutation.

    Each group is put in a random circle, in which everyone takes what the next one has.
    """
    circle = rng.permutation(len(groups))
    circle = circle[groups[circle].argsort(kind="stable")]
    _, first, size = np.unique(groups[circle], return_index=True, return_counts=True)
    following = np.arange(1, len(groups) + 1)
    following[first + size - 1] = first
    order = np.empty(len(groups), int)
    order[circle] = circle[following]
    return order


def _of_one_category(categories: np.ndarray, rationales: np.ndarray) -> Ranked:
    """(N,) categories, each with its (N, K) rationales."""
    return Ranked(
        np.broadcast_to(categories[:, None], rationales.shape),
        rationales,
        np.broadcast_to(-np.arange(rationales.shape[1], dtype=float), rationales.shape),
    )
