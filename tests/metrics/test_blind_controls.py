"""Controls are what they say they are, blind methods have no skill, and one that looks has."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from saywhy.errors import SaywhyError
from saywhy.metrics.blind_controls import (
    by_frequency,
    compare,
    controls,
    evaluate,
    exchanged,
    measure,
    own_list,
    own_list_draw,
    random_words,
    shuffled_pictures,
    shuffled_rationales,
    skill,
)
from saywhy.metrics.doubly_right import MODES, NEEDS, OUTCOMES, RR, RW, WR, FolderNames, outcomes, rates, shares
from saywhy.pictures.truth import Gold
from saywhy.spaces.pairs.ranking import Ranked, vote
from saywhy.words.rationale_words import RationaleWords

C, R, LENGTH, COUNT = 8, 40, 10, 600
LISTS = [tuple(np.random.default_rng(c).permutation(R)[:LENGTH].tolist()) for c in range(C)]


def truth(seed: int, most: int = 1, count: int = COUNT) -> Gold:
    """True rationales are of the category's list; the first of it are more frequent."""
    rng = np.random.default_rng(seed)
    categories = rng.integers(0, C, count)
    odds = np.linspace(2, 1, LENGTH) / np.linspace(2, 1, LENGTH).sum()
    sets = [
        frozenset(rng.choice(LISTS[c], int(rng.integers(1, most + 1)), replace=False, p=odds).tolist())
        for c in categories
    ]
    return Gold(categories, tuple(sets))


def method(gold: Gold, seed: int, sight: float, k: int = 5, right: float = 0.7) -> Ranked:
    """The category right with probability ``right``; the true rationale first with probability ``sight``."""
    rng = np.random.default_rng([seed, 7])
    categories = np.where(rng.random(len(gold.categories)) < right, gold.categories, rng.integers(0, C, COUNT))
    rationales = np.stack([rng.permutation(LISTS[c])[:k] for c in categories])
    for n, true in enumerate(gold.rationales):
        r = min(true)
        if rng.random() < sight and r not in rationales[n]:
            rationales[n, 0] = r
    columns = np.broadcast_to(categories[:, None], rationales.shape)
    return Ranked(columns, rationales, -np.arange(rationales.size, dtype=float).reshape(rationales.shape))


# -- own list ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("need", NEEDS)
@pytest.mark.parametrize("k", [1, 3, 5, 12])
def test_the_expectation_of_an_own_list_is_that_of_draws(k: int, need: str) -> None:
    gold = truth(0, most=3)
    ranked = method(gold, 0, 0.3, k=5)
    lists = [*LISTS[:-2], LISTS[-2][:2], ()]
    wide = Ranked(*(np.tile(part, (1, 3)) for part in (ranked.categories, ranked.rationales, ranked.scores)))
    expected = own_list(wide, gold, lists, k, need)
    assert np.allclose(expected.sum(1), 1)
    rng, total = np.random.default_rng(0), np.zeros((COUNT, 4))
    for _ in range(200):
        one = own_list_draw(wide, lists, k, rng)
        assert one.categories.shape == (COUNT, k)
        total += shares(outcomes(one, gold, k, need=need))
    found = total / 200
    assert np.abs(found.mean(0) - expected.mean(0)).max() < 0.006
    assert np.abs(found - expected).max() < 0.2
    assert np.array_equal(found[expected == 0], np.zeros((expected == 0).sum()))


def test_of_one_true_rationale_it_is_k_in_the_length() -> None:
    gold = Gold(np.array([0, 0, 0]), (frozenset({LISTS[0][4]}),) * 3)
    unlisted = next(r for r in range(R) if r not in LISTS[0])
    ranked = Ranked(np.zeros((3, 20), int), np.zeros((3, 20), int), np.zeros((3, 20)))
    for k in (1, 5, 10, 20):
        assert own_list(ranked, gold, LISTS, k)[0] == pytest.approx([min(k / LENGTH, 1), 1 - min(k / LENGTH, 1), 0, 0])
    never = Gold(gold.categories, (frozenset({unlisted}),) * 3)
    assert own_list(ranked, never, LISTS, 5)[0].tolist() == [0, 1, 0, 0]
    assert own_list(ranked, gold, [()] * C, 5)[0].tolist() == [0, 1, 0, 0]
    wrong = Gold(np.array([1, 1, 1]), gold.rationales)
    assert own_list(ranked, wrong, LISTS, 5)[0].tolist() == [0, 0, 0.5, 0.5]


def test_an_own_list_keeps_the_category_and_gives_each_rationale_once() -> None:
    ranked = method(truth(0), 0, 0.5)
    drawn = own_list_draw(ranked, LISTS, 5, np.random.default_rng(0))
    assert np.array_equal(vote(drawn, 5), vote(ranked, 5))
    for c, given in zip(vote(ranked, 5), drawn.rationales.tolist(), strict=True):
        assert set(given) <= set(LISTS[c])
        assert len(set(given)) == 5


def test_in_compat_mode_the_expectation_is_that_of_draws_too() -> None:
    """There a rationale within another is a hit, and more than one of a list may be one."""
    words = RationaleWords(
        ("sea", "kit fox"), ("tail", "long tail", "short tail", "a bill", "legs"), ((0, 1, 2, 3), (0, 2, 3, 4))
    )
    gold = Gold(np.array([0, 0, 1, 0]), (frozenset({0}), frozenset({3}), frozenset({4}), frozenset({4})))
    names = FolderNames(words, ("sea", "sea", "kit_fox", "sea"), ("tail", "a bill", "legs", "legs"))
    ranked = Ranked(np.tile([[0], [0], [1], [1]], (1, 2)), np.zeros((4, 2), int), np.zeros((4, 2)))
    expected = own_list(ranked, gold, words.lists, 2, mode="dror_compat", names=names)
    assert expected[0] == pytest.approx([1 - 0 / 6, 0, 0, 0])  # three of the four have a tail
    rng = np.random.default_rng(0)
    draws = [own_list_draw(ranked, words.lists, 2, rng) for _ in range(2000)]
    found = np.mean([shares(outcomes(one, gold, 2, "dror_compat", names)) for one in draws], 0)
    assert np.abs(found - expected).max() < 0.05


def test_the_most_frequent_come_first() -> None:
    gold = truth(3)
    ordered = by_frequency(LISTS, gold)
    for c, own in enumerate(ordered):
        seen = Counter(min(true) for n, true in zip(gold.categories, gold.rationales, strict=True) if n == c)
        assert sorted(own) == sorted(LISTS[c])
        assert [seen[r] for r in own] == sorted((seen[r] for r in own), reverse=True)
    ranked = method(truth(4), 0, 0)
    first = own_list_draw(ranked, ordered, 3, None)
    assert first.rationales.tolist() == [ordered[c][:3] for c in vote(ranked, 5)]
    assert by_frequency(LISTS, Gold(np.array([0]), (frozenset({R}),))) == [list(own) for own in LISTS]


# -- shuffles ---------------------------------------------------------------------------------------------------------


def test_everyone_has_another_one_of_the_group() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        groups = rng.integers(0, 6, int(rng.integers(1, 30)))
        order = exchanged(groups, rng)
        assert sorted(order) == list(range(len(groups)))
        assert np.array_equal(groups[order], groups)
        alone = np.bincount(groups)[groups] == 1
        assert np.array_equal(order == np.arange(len(groups)), alone)


def test_shuffled_rationales_keep_the_category_and_what_is_known_of_it() -> None:
    gold = truth(0)
    ranked = method(gold, 0, 0.9)
    before, after = rates(outcomes(ranked, gold, 5)), rates(shuffled_rationales(ranked, gold, 5))
    assert after["RR"] + after["RW"] == pytest.approx(before["RR"] + before["RW"])
    assert after["RR"] < before["RR"] - 10
    fixed = own_list_draw(ranked, LISTS, 5, None)  # says the same of all pictures of a category
    np.testing.assert_allclose(shuffled_rationales(fixed, gold, 5), shares(outcomes(fixed, gold, 5)))
    assert rates(shuffled_pictures(fixed, gold, 5))["RR"] < 20


def test_shuffles_average_over_the_others() -> None:
    gold = truth(1, count=COUNT)
    ranked = method(gold, 1, 0.5)
    voted = vote(ranked, 5)
    expected = np.zeros(COUNT)
    for n in range(COUNT):
        others = [m for m in range(COUNT) if m != n and voted[m] == voted[n]]
        hits = np.mean([bool(gold.rationales[n] & set(ranked.rationales[m].tolist())) for m in others])
        expected[n] = hits * (voted[n] == gold.categories[n])
    found = shuffled_rationales(ranked, gold, 5, permutations=100)[:, RR]
    assert found.mean() == pytest.approx(expected.mean(), abs=0.01)
    assert np.abs(found - expected).mean() < 0.05


@pytest.mark.parametrize("mode", MODES)
def test_all_controls_sum_to_one(mode: str) -> None:
    gold = truth(0)
    words = RationaleWords(tuple(f"c{n}" for n in range(C)), tuple(f"r{n}x" for n in range(R)), tuple(LISTS))
    names = FolderNames(
        words,
        tuple(words.categories[c] for c in gold.categories),
        tuple(words.rationales[min(true)] for true in gold.rationales),
    )
    runs = [method(gold, s, 0.5) for s in range(2)]
    found = controls(runs, gold, LISTS, 5, truth(9), runs, mode=mode, names=names)
    assert list(found) == [
        "own list",
        "shuffled pictures",
        "shuffled rationales",
        "most frequent first",
        "random words",
    ]
    for one in found.values():
        assert one.shape == (2, COUNT, 4)
        assert np.allclose(one.sum(-1), 1)
        assert sum(rates(one).values()) == pytest.approx(100)


# -- random words -----------------------------------------------------------------------------------------------------


def test_random_words_are_unique_and_shaped_like_the_given() -> None:
    like = ["a tail", "a large, open space", "4 legs", "wings"]
    words = random_words(40, like, seed=1)
    assert len({*words, *like}) == 44
    assert words == random_words(40, like, seed=1)
    assert words != random_words(40, like, seed=2)
    for n, word in enumerate(words):
        assert [ch.isalnum() for ch in word] == [ch.isalnum() for ch in like[n % 4]]


def test_random_words_do_not_run_out() -> None:
    assert len(set(random_words(100, ["a"], seed=0))) == 100
    for like in ([], ["..."]):
        with pytest.raises(SaywhyError, match="random words"):
            random_words(1, like, seed=0)


# -- skill ------------------------------------------------------------------------------------------------------------


def blind_methods(gold: Gold, seed: int) -> dict[str, Ranked]:
    rng, seeing = np.random.default_rng(seed), method(gold, seed, 0.9)
    order = exchanged(vote(seeing, 5), rng)
    return {
        "own list": own_list_draw(seeing, LISTS, 5, rng),
        "the first of the list": own_list_draw(seeing, LISTS, 5, None),
        "frequent": own_list_draw(seeing, by_frequency(LISTS, truth(99)), 5, None),
        "of another picture": Ranked(seeing.categories[order], seeing.rationales[order], seeing.scores[order]),
        "no sight": method(gold, seed, 0.0),
    }


def test_blind_methods_have_no_skill_and_one_that_sees_has() -> None:
    held: Counter[str] = Counter()
    for seed in range(6):
        gold = truth(seed)
        for name, ranked in blind_methods(gold, seed).items():
            found = measure([ranked], gold, LISTS, 5, draws=300).interval("skill")
            held[name] += found.low <= 0 <= found.high
            # Beside a better blind one the skill of a blind method may be below zero, never above.
            assert measure([ranked], gold, LISTS, 5, training=truth(99), draws=300).interval("skill").low <= 0
        seeing = measure([method(gold, seed, 0.9)], gold, LISTS, 5, training=truth(99), draws=300)
        assert seeing.interval("skill").low > 5
        half = measure([method(gold, seed, 0.5)], gold, LISTS, 5, training=truth(99), draws=300)
        assert compare(seeing, half)["skill"].low > 0
    assert min(held.values()) >= 4, held  # of 6: an interval of 95 % misses at times


def test_skill_is_rr_less_the_best_control_and_the_best_is_chosen_in_each_draw() -> None:
    rng = np.random.default_rng(0)

    def of(right: float) -> np.ndarray:
        return shares(np.where(rng.random((3, 400)) < right, RR, RW))

    mine, rivals = of(0.6), {"a": of(0.3), "b": of(0.5), "c": of(0.5), "d": of(0.5)}
    found, best = skill(mine, rivals)
    means = {name: one[..., RR].mean() for name, one in rivals.items()}
    assert best == max(means, key=means.__getitem__)
    assert found.value == pytest.approx(100 * (mine[..., RR].mean() - means[best]))
    alone, _ = skill(mine, {best: rivals[best]})
    assert alone.value == found.value
    assert found.low <= alone.low
    assert found.high < alone.high


def test_a_method_of_known_skill() -> None:
    """Right category always; the true rationale first with probability s, else another of the list."""
    gold = truth(0)
    one = measure([method(gold, s, 0.6, k=1, right=1.0) for s in range(3)], gold, LISTS, 1)
    assert one.best_control in ("own list", "shuffled rationales")
    assert one.values["own list"] == pytest.approx(100 / LENGTH)
    assert one.values["RR"] == pytest.approx(100 * (0.6 + 0.4 / LENGTH), abs=4)
    assert one.values["skill"] == one.values["RR"] - max(one.values["own list"], one.values["shuffled rationales"])


# -- the table --------------------------------------------------------------------------------------------------------


def test_the_table_has_a_row_for_each_method_and_k() -> None:
    gold = truth(0, most=2)
    methods = {"sees": [method(gold, s, 0.9) for s in range(3)], "blind": [method(gold, 9, 0.0)]}
    rows = evaluate(
        methods, gold, LISTS, training=truth(5), random_banks={"blind": [method(gold, 8, 0)]}, draws=200, need="all"
    )
    assert [(row["method"], row["k"], row["runs"]) for row in rows] == [
        ("sees", 1, 3), ("blind", 1, 1), ("sees", 5, 3), ("blind", 5, 1),
    ]  # fmt: skip
    for row in rows:
        assert all(isinstance(value, str | int | float) for value in row.values())
        assert sum(row[name] for name in OUTCOMES) == pytest.approx(100)
        assert row["category"] == pytest.approx(row["RR"] + row["RW"])
        assert row["pictures"] == COUNT
        assert ("random words" in row) == (row["method"] == "blind")
        for name in (*OUTCOMES, "category", "F1", "doubly recall", "own list", "most frequent first", "skill"):
            assert row[f"{name} low"] - 1e-9 <= row[name] <= row[f"{name} high"] + 1e-9 or name == "skill"
        found = np.stack([outcomes(one, gold, row["k"], need="all") for one in methods[row["method"]]])
        assert row["WR"] == pytest.approx(100 * (found == WR).mean())
    assert rows[2]["skill low"] > rows[3]["skill high"]


def test_a_method_is_as_good_as_itself() -> None:
    gold = truth(0)
    a, b = (measure([method(gold, s, 0.5) for s in range(2)], gold, LISTS, 5, draws=100) for _ in range(2))
    for found in compare(a, b).values():
        assert (found.value, found.low, found.high) == (0, 0, 0)
    less = measure([method(truth(0), 0, 0.5)], gold, LISTS, 5, draws=50)
    with pytest.raises(SaywhyError, match="cannot be paired"):
        compare(a, less)


def test_errors_say_what_is_wrong() -> None:
    gold = truth(0)
    with pytest.raises(SaywhyError, match="at least one"):
        measure([], gold, LISTS, 5)
    with pytest.raises(SaywhyError, match="give the same number"):
        controls([method(gold, 0, 0)], gold, LISTS, 5, random_bank=[method(gold, 0, 0)] * 2)
    with pytest.raises(SaywhyError, match="no need 'most'"):
        own_list(method(gold, 0, 0), gold, LISTS, 5, "most")
