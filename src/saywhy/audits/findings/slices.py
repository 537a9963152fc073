"""Slices: groups of pictures that share a fact or two, or look alike, and that the model gets wrong more often.

Found on half of the pictures and tested on the other half, so that looking at many groups makes none of them bad.
Two ways: all conjunctions of up to two facts (as SliceFinder, Chung et al. 2019), one after the other, each on what the
former ones leave; and a mixture over what pictures look like, their truth and what was predicted (Domino, Eyuboglu et
al. 2022), named afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from saywhy.audits.facts import NEAR, PLACE, TRUTH, WORD, Fact, Facts, clauses, facts_of, first_half
from saywhy.audits.finding import LEVEL, AuditFinding, Tested
from saywhy.audits.mixture import error_groups
from saywhy.audits.store import View
from saywhy.intervals import proportion, proportions_differ

CONJUNCTIONS, MIXED = 8, 4  # groups of each way that are tested
FEWEST = 8  # pictures of a group in each half
LEAST = 0.05  # of accuracy by which a group is worse
NAMED = 0.3  # more of a group's pictures have a fact than of the others: then it names the group
EARNS = 4.0  # log-likelihood that a second fact has to add
ALIKE = 0.5  # of all pictures of two groups that are in both: then they are one
SHOWN = 12
SHUFFLES = 5
SHUFFLED = 5_000  # pictures of the null, at most
VECTORS = 10_000  # pictures of the mixture, at most


@final
@dataclass(frozen=True, eq=False)
class Slice:
    """A group of pictures that was found on one half.

    facts: that name it. holds: (N,) its pictures, of both halves. against: (N,) those that it is held against.
    how: "conjunction" or "mixture". of_class: whether those are the rest of one class.
    """

    facts: tuple[Fact, ...]
    holds: np.ndarray
    against: np.ndarray
    how: str
    of_class: bool = False


def find(view: View) -> Tested:
    """The groups that are worse on the half that they were not found on, by at least LEAST."""
    facts = facts_of(view)
    seed = int(view.manifest.get("options", {}).get("seed", 0))
    if not len(facts.numbers):
        return Tested(note="slices could not be looked for: no picture has one true class")
    first = first_half(facts.numbers, seed)
    slices = [*conjunctions(facts, first, facts.correct), *_mixed(view, facts, first, seed)]
    tested = _test(_distinct(slices), facts.correct, ~first)
    note = [
        f"slices were found on {int(first.sum()):,} pictures and tested on {int((~first).sum()):,} others",
        facts.sampled,
        f"where right and wrong are shuffled, {_shuffled(facts, first, seed):.1f} would be reported",
    ]
    findings = [_finding(facts, one, counts, p) for one, counts, p, worth in tested if worth]
    return Tested(findings, np.array([p for _, _, p, _ in tested]), "; ".join(filter(None, note)))


def conjunctions(facts: Facts, first: np.ndarray, correct: np.ndarray, count: int = CONJUNCTIONS) -> list[Slice]:
    """Up to ``count`` groups of one or two facts, by likelihood: the worst of one half, each on what is left of it.

    first: (N,) the half to look at. A fact that comes with a class is held against the rest of that class.
    """
    on = np.flatnonzero(first)
    if not len(facts.facts) or not len(on):
        return []
    holds, wrong = facts.holds[:, on].astype(np.float32), ~correct[on]
    truths = np.array([fact.kind == TRUTH for fact in facts.facts], bool)
    things = np.array([fact.thing for fact in facts.facts])
    never = (things[:, None] == things) & (things != "")[:, None]  # values of one thing are not together
    both, bad = holds @ holds.T, (holds * wrong) @ holds.T
    left = np.ones(len(on), bool)
    found: list[Slice] = []
    while len(found) < count:
        best = _worst(both, bad, int(left.sum()), int(wrong[left].sum()), truths, never)
        if best is None:
            break
        chosen = tuple(facts.facts[n] for n in best)
        members: np.ndarray = np.logical_and.reduce(facts.holds[list(best)])
        of_class = [facts.holds[n] for n in best if truths[n] and len(best) > 1]
        against = np.all([~members, *of_class], axis=0)
        found.append(Slice(chosen, members, against, "conjunction", bool(of_class)))
        gone = left & members[on]
        left &= ~gone
        both -= holds[:, gone] @ holds[:, gone].T
        bad -= (holds[:, gone] * wrong[gone]) @ holds[:, gone].T
    return found


def _worst(
    both: np.ndarray, bad: np.ndarray, count: int, errors: int, truths: np.ndarray, never: np.ndarray
) -> tuple[int, ...] | None:
    """The fact, or the two, that are likeliest to be worse than the rest; a class comes first. None for none.

    both, bad: (F, F) pictures that have two facts, and wrong ones among them. count, errors: of all. never: (F, F)
    pairs that are left out.
    """
    sizes, of_bad = np.diag(both), np.diag(bad)
    single = _gain(of_bad, sizes, errors - of_bad, count - sizes)
    single = np.where(sizes >= FEWEST, single, 0)
    one, other = (np.broadcast_to(sizes[:, None], both.shape), np.broadcast_to(sizes[None], both.shape))
    one_bad, other_bad = np.broadcast_to(of_bad[:, None], both.shape), np.broadcast_to(of_bad[None], both.shape)
    first, second = truths[:, None], truths[None]
    rest = np.where(first, one, np.where(second, other, count)) - both
    rest_bad = np.where(first, one_bad, np.where(second, other_bad, errors)) - bad
    pair = _gain(bad, both, rest_bad, rest)
    earns = np.minimum(_gain(bad, both, one_bad - bad, one - both), _gain(bad, both, other_bad - bad, other - both))
    pair = np.where((both >= FEWEST) & ~never & (earns >= EARNS), pair, 0)
    np.fill_diagonal(pair, 0)
    if max(single.max(), pair.max()) <= 0:
        return None
    if single.max() >= pair.max():
        return (int(single.argmax()),)
    a, b = (int(n) for n in np.unravel_index(int(pair.argmax()), pair.shape))
    return (a, b) if truths[a] or not truths[b] else (b, a)


def _gain(bad: np.ndarray, size: np.ndarray, others_bad: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Log-likelihood that two rates of errors explain more than one; 0 where the first is not the higher."""

    def fit(hits: np.ndarray, of: np.ndarray) -> np.ndarray:
        rate = np.clip(hits.astype(float) / np.maximum(of, 1), 1e-9, 1 - 1e-9)
        return hits * np.log(rate) + (of - hits) * np.log(1 - rate)

    gain = fit(bad, size) + fit(others_bad, others) - fit(bad + others_bad, size + others)
    worse = bad * np.maximum(others, 1) > others_bad * np.maximum(size, 1)
    return np.where(worse & (others > 0), gain, 0.0)


def _mixed(view: View, facts: Facts, first: np.ndarray, seed: int) -> list[Slice]:
    """Groups that look alike, by the mixture; each is named by what is there more often than elsewhere."""
    share = min(1.0, VECTORS / len(facts.numbers))
    where = f"(number * 2654435769) % 4294967296 < {int(share * 2**32 * len(facts.numbers) / facts.of)}"
    numbers, vectors = view.matrix("vector", f"correct IS NOT NULL AND truth IS NOT NULL AND {where}")
    if len(numbers) < 4 * FEWEST:
        return []
    labels = view.columns(
        "SELECT number, prediction FROM pictures WHERE vector IS NOT NULL AND correct IS NOT NULL "
        f"AND truth IS NOT NULL AND {where} ORDER BY number"
    )
    rows = np.searchsorted(facts.numbers, numbers)
    names = np.concatenate([np.array(facts.classes)[facts.truth[rows]], labels["prediction"].astype(str)])
    index = np.unique(names, return_inverse=True)[1]
    groups = error_groups(vectors, index[: len(rows)], index[len(rows) :], first[rows], seed)
    found = []
    for group in groups[:MIXED]:
        members, others = np.zeros((2, len(facts.numbers)), bool)
        members[rows[group]] = others[rows[~group]] = True
        named = _named(facts, members & first, others & first)
        if named:
            found.append(Slice(named, members, others, "mixture"))
    return found


def _named(facts: Facts, members: np.ndarray, others: np.ndarray) -> tuple[Fact, ...]:
    """The one or two facts that most of a group have and few others; none where there is no such fact."""
    inside, outside = facts.holds[:, members].mean(1), facts.holds[:, others].mean(1)
    gap = np.where(inside >= 0.5, inside - outside, 0)
    best = [int(n) for n in np.argsort(-gap, kind="stable")[:2] if gap[n] >= NAMED]
    return tuple(facts.facts[n] for n in best)


def _distinct(slices: Sequence[Slice]) -> list[Slice]:
    """Without those that are nearly the pictures of an earlier one."""
    kept: list[Slice] = []
    for one in slices:
        if all((one.holds & other.holds).sum() <= ALIKE * (one.holds | other.holds).sum() for other in kept):
            kept.append(one)
    return kept


def _counts(one: Slice, correct: np.ndarray, on: np.ndarray) -> tuple[int, int, int, int]:
    """Right ones and pictures of the group, right ones and pictures of those that it is held against."""
    inside, outside = one.holds & on, one.against & on
    return int(correct[inside].sum()), int(inside.sum()), int(correct[outside].sum()), int(outside.sum())


def _p(counts: tuple[int, int, int, int]) -> float:
    """How probable so few right ones are in the group if it is as the others: Fisher's exact test, one-sided."""
    from scipy.stats import hypergeom

    right, size, others_right, others = counts
    return float(hypergeom.cdf(right, size + others, right + others_right, size))


def _test(
    slices: Sequence[Slice], correct: np.ndarray, second: np.ndarray
) -> list[tuple[Slice, tuple[int, int, int, int], float, bool]]:
    """Of each that has enough pictures on the other half: its counts there, p, and whether it is worth a sentence."""
    from scipy.stats import false_discovery_control

    counted = [(one, _counts(one, correct, second)) for one in slices]
    counted = [(one, counts) for one, counts in counted if min(counts[1], counts[3]) >= FEWEST]
    if not counted:
        return []
    p = np.array([_p(counts) for _, counts in counted])
    # by themselves: beside the many other descriptions, most of which hold, they would be corrected too little
    q = false_discovery_control(p)
    return [
        (one, counts, float(p[n]), bool(q[n] <= LEVEL and counts[2] / counts[3] - counts[0] / counts[1] >= LEAST))
        for n, (one, counts) in enumerate(counted)
    ]


def _shuffled(facts: Facts, first: np.ndarray, seed: int) -> float:
    """How many conjunctions would be reported, on average, where right and wrong are shuffled over the pictures."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(facts.numbers))[:SHUFFLED])
    few = replace(
        facts, numbers=facts.numbers[rows], truth=facts.truth[rows], correct=facts.correct[rows],
        confidence=facts.confidence[rows], holds=facts.holds[:, rows],
    )  # fmt: skip
    reported = 0
    for _ in range(SHUFFLES):
        correct = rng.permutation(few.correct)
        tested = _test(_distinct(conjunctions(few, first[rows], correct)), correct, ~first[rows])
        reported += sum(worth for *_, worth in tested)
    return reported / SHUFFLES


def _finding(facts: Facts, one: Slice, counts: tuple[int, int, int, int], p: float) -> AuditFinding:
    right, size, others_right, others = counts
    here, there = proportion(right, size), proportion(others_right, others)
    rest = "the others of the class" if one.of_class else "all others"
    who = f"pictures {clauses(one.facts)}"
    if one.how == "mixture":
        who = f"pictures that look alike, most of them {clauses(one.facts)}"
    sentence = (
        f"Mistakes go with {who}: of the {size} that did not choose them {here.value:.0%} are right "
        f"({here.low:.0%} to {here.high:.0%}), and {there.value:.0%} of {rest}."
    )
    if not all(fact.certain for fact in one.facts):
        sentence += " What stands out need not be there."
    order = np.argsort(np.nan_to_num(facts.confidence, nan=1.0), kind="stable")
    wrong = [int(facts.numbers[n]) for n in order if one.holds[n] and not facts.correct[n]]
    fine = [int(facts.numbers[n]) for n in order[::-1] if one.against[n] and facts.correct[n]]
    words = tuple(fact.value for fact in one.facts if fact.kind in (WORD, NEAR))
    places = [fact.value for fact in one.facts if fact.kind == PLACE]
    return AuditFinding(
        "slice",
        tuple(fact.value for fact in one.facts),
        sentence,
        decides=False,
        effect=proportions_differ(right, size, others_right, others),
        unit="of accuracy, beside " + rest,
        words=words or tuple(fact.value for fact in one.facts if fact.kind != PLACE),
        place=places[0] if places else "",
        p=p,
        examples=tuple(wrong[:SHOWN]),
        counters=tuple(fine[:SHOWN]),
        details={
            "how": one.how,
            "facts": [{"kind": fact.kind, "value": fact.value} for fact in one.facts],
            "tested": {"right": right, "pictures": size, "others_right": others_right, "others": others},
            "pictures": int(one.holds.sum()),
        },
    )
