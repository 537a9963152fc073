"""Doubly right or not: the traps of DoubleRight's evaluation by hand, and both modes against slow references."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from saywhy.errors import SaywhyError
from saywhy.intervals import bootstrap, difference, interval
from saywhy.metrics.doubly_right import (
    MODES,
    NEEDS,
    OUTCOMES,
    RR,
    RW,
    WR,
    WW,
    FolderNames,
    folder_names,
    outcomes,
    rates,
    rationale_scores,
    shares,
)
from saywhy.pictures.truth import Gold
from saywhy.spaces.pairs.ranking import Ranked, vote
from saywhy.words.rationale_words import RationaleWords, spoken

FOLDERS = ("sea", "seal", "man", "woman", "kit_fox", "airplane_cabin", "Dog", "athletic_field__outdoor")
RATIONALE_FOLDERS = ("tail", "black-tipped tail", "red__yellow bill", "long legs", "view of the sea", "a man's hat")
WORDS = RationaleWords(
    tuple(spoken(name) for name in FOLDERS),
    tuple(spoken(name) for name in RATIONALE_FOLDERS),
    tuple(tuple(range(len(RATIONALE_FOLDERS))) for _ in FOLDERS),
)
C, R = len(FOLDERS), len(RATIONALE_FOLDERS)
SEA, SEAL, MAN, WOMAN, FOX = range(5)
TAIL, TIPPED, BILL, LEGS, VIEW, HAT = range(6)


def ranked(*pictures: list[tuple[int, int]]) -> Ranked:
    pairs = np.array(pictures)
    return Ranked(pairs[:, :, 0], pairs[:, :, 1], -np.arange(pairs[:, :, 0].size, dtype=float).reshape(len(pairs), -1))


def gold(*pictures: tuple[int, int | set[int]]) -> Gold:
    sets = [frozenset(true) if isinstance(true, set) else frozenset({true}) for _, true in pictures]
    return Gold(np.array([c for c, _ in pictures]), tuple(sets))


def folders(truth: Gold, words: RationaleWords = WORDS) -> FolderNames:
    rationales = tuple(RATIONALE_FOLDERS[min(true)] for true in truth.rationales)
    return FolderNames(words, tuple(FOLDERS[c] for c in truth.categories), rationales)


def both(pairs: list[tuple[int, int]], truth: tuple[int, int], words: RationaleWords = WORDS) -> tuple[str, str]:
    """What a picture is in the two modes."""
    one, k = gold(truth), len(pairs)
    strict, compat = (outcomes(ranked(pairs), one, k, mode, folders(one, words))[0] for mode in MODES)
    return OUTCOMES[strict], OUTCOMES[compat]


def drawn(seed: int, count: int = 200, most: int = 1, k: int = 5) -> tuple[Ranked, Gold]:
    """Pairs, each once a picture, and truths that are met often enough."""
    rng = np.random.default_rng(seed)
    pairs = np.stack([rng.permutation(C * R)[:k] for _ in range(count)])
    pairs[:, :2] = np.sort(pairs[:, :2], 1)
    truths = []
    for row in pairs:
        c = int(row[rng.integers(k)]) // R if rng.random() < 0.7 else int(rng.integers(C))
        r = int(row[rng.integers(k)]) % R if rng.random() < 0.7 else int(rng.integers(R))
        truths.append((c, {r, *rng.integers(0, R, rng.integers(0, most)).tolist()}))
    return Ranked(pairs // R, pairs % R, np.zeros(pairs.shape)), gold(*truths)


# -- golden cases -----------------------------------------------------------------------------------------------------

GOLDEN = {
    "all is right": ([(SEA, TAIL)] * 1 + [(SEA, LEGS), (SEA, BILL), (MAN, LEGS), (MAN, BILL)], (SEA, TAIL), "RR RR"),
    "the vote stops at the first right pair": (
        [(SEA, TAIL), (MAN, LEGS), (MAN, BILL), (MAN, VIEW), (MAN, HAT)], (SEA, TAIL), "WW RR",
    ),
    "it stops while another category is ahead": (
        [(MAN, LEGS), (MAN, TAIL), (SEAL, TAIL), (SEAL, LEGS), (SEAL, BILL)], (SEAL, TAIL), "RR WR",
    ),
    "a tie goes to the one that comes first": (
        [(MAN, LEGS), (SEAL, TAIL), (SEAL, LEGS), (MAN, HAT), (FOX, LEGS)], (MAN, HAT), "RR RR",
    ),
    "a tie lost": ([(MAN, LEGS), (SEAL, LEGS), (SEAL, TAIL), (MAN, BILL), (FOX, LEGS)], (SEAL, TAIL), "WW RR"),
    "a rationale within a longer one": (
        [(MAN, TIPPED), (MAN, LEGS), (SEAL, LEGS), (SEA, LEGS), (FOX, LEGS)], (MAN, TAIL), "RW RR",
    ),
    "a category within a longer one ends the vote": (
        [(WOMAN, LEGS), (MAN, TAIL), (MAN, BILL), (MAN, HAT), (MAN, VIEW)], (MAN, LEGS), "RW WR",
    ),
    "a category within a rationale": (
        [(SEAL, VIEW), (SEA, LEGS), (SEA, BILL), (MAN, LEGS), (MAN, BILL)], (SEA, VIEW), "RW WR",
    ),
    "a folder with a low line is never right": (
        [(FOX, TAIL), (FOX, LEGS), (MAN, BILL), (MAN, LEGS), (SEA, LEGS)], (FOX, TAIL), "RR WR",
    ),
    "nor is one with a capital": ([(6, TAIL), (6, LEGS), (6, BILL), (MAN, LEGS), (SEA, LEGS)], (6, TAIL), "RR WR"),
    "nor one with a slash": ([(7, TAIL), (7, LEGS), (7, BILL), (MAN, LEGS), (SEA, LEGS)], (7, TAIL), "RR WR"),
    "a rationale with a slash is never found": (
        [(MAN, BILL), (MAN, LEGS), (MAN, TAIL), (SEA, LEGS), (SEA, TAIL)], (MAN, BILL), "RR RW",
    ),
    "nor one with a hyphen": ([(MAN, TIPPED), (MAN, LEGS), (SEA, LEGS)], (MAN, TIPPED), "RR RW"),
    "the true rationale with a wrong category": ([(MAN, LEGS), (MAN, TAIL), (SEA, BILL)], (SEA, TAIL), "WR WR"),
    "with a category that was not voted for": ([(MAN, LEGS), (MAN, BILL), (SEA, TAIL)], (FOX, TAIL), "WW WW"),
    "one pair": ([(MAN, LEGS)], (MAN, LEGS), "RR RR"),
}  # fmt: skip


@pytest.mark.parametrize("case", GOLDEN)
def test_golden_cases(case: str) -> None:
    pairs, truth, expected = GOLDEN[case]
    assert " ".join(both(pairs, truth)) == expected


def test_the_zero_shot_script_keeps_raw_names_and_looks_for_spaced_ones() -> None:
    raw = RationaleWords(FOLDERS, RATIONALE_FOLDERS, WORDS.lists)
    assert both([(FOX, TAIL), (FOX, LEGS), (MAN, LEGS)], (FOX, TAIL), raw) == ("RR", "RW")


def test_folders_are_read_as_the_script_reads_them() -> None:
    root = Path("data") / "test"
    inside = {
        "kit_fox/a tail/0/x.jpg": "a tail", "fox/red/yellow bill/0/x.jpg": "red/0", "fox/a/b/c/1/x.jpg": "a/c/1",
    }  # fmt: skip
    found = folder_names(WORDS, [root / path for path in inside], root)
    assert found.categories == ("kit_fox", "fox", "fox")
    assert found.rationales == tuple(inside.values())
    for path in (root / "fox/x.jpg", Path("elsewhere/fox/a tail/0/x.jpg")):
        with pytest.raises(SaywhyError, match="CATEGORY/RATIONALE"):
            folder_names(WORDS, [path], root)


# -- against references -----------------------------------------------------------------------------------------------


def slow_dror(texts: list[str], folder: str, rationale: str) -> str:
    """The notes' five steps, on the texts of the first pairs."""
    heard: list[str] = []
    met = False
    for text in texts:
        heard.append(text.removeprefix("This is a photo of a ").split(" because there is ")[0])
        if folder.replace("_", " ") in text and rationale.replace("__", "/") in text:
            met = True
            break
    prediction = sorted(heard, key=lambda name: (-heard.count(name), heard.index(name)))[0]
    if prediction == folder:
        return "RR" if met else "RW"
    for text in texts:
        if prediction in text and rationale.replace("__", "/") in text:
            return "WR"
    return "WW"


def slow_strict(pairs: list[tuple[int, int]], category: int, true: frozenset[int], need: str) -> str:
    heard = [c for c, _ in pairs]
    voted = max(heard, key=lambda c: (heard.count(c), -heard.index(c)))
    given = {r for c, r in pairs if c == voted}
    hit = true <= given if need == "all" else bool(true & given)
    return ("R" if voted == category else "W") + ("R" if hit else "W")


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_compat_is_what_dr_validate_computes(k: int) -> None:
    for seed in range(4):
        lists, truth = drawn(seed)
        names = folders(truth)
        expected = []
        for n in range(len(truth.categories)):
            pairs = zip(lists.categories[n, :k].tolist(), lists.rationales[n, :k].tolist(), strict=True)
            texts = [WORDS.pair_text(c, r) for c, r in pairs]
            expected.append(slow_dror(texts, names.categories[n], names.rationales[n]))
        found = [OUTCOMES[code] for code in outcomes(lists, truth, k, "dror_compat", names)]
        assert found == expected
        assert k < 5 or set(found) == set(OUTCOMES)


@pytest.mark.parametrize("need", NEEDS)
@pytest.mark.parametrize("k", [1, 3, 5])
def test_strict_is_what_the_definition_says(k: int, need: str) -> None:
    for seed in range(4):
        lists, truth = drawn(seed, most=4)
        expected = [
            slow_strict(list(zip(c.tolist(), r.tolist(), strict=True))[:k], int(category), true, need)
            for c, r, category, true in zip(
                lists.categories, lists.rationales, truth.categories, truth.rationales, strict=True
            )
        ]
        assert [OUTCOMES[code] for code in outcomes(lists, truth, k, need=need)] == expected


def test_with_one_pair_right_means_exactly_that_pair() -> None:
    lists, truth = drawn(0)
    exact = [
        c == category and r in true
        for c, r, category, true in zip(
            lists.categories[:, 0], lists.rationales[:, 0], truth.categories, truth.rationales, strict=True
        )
    ]
    assert (outcomes(lists, truth, 1) == RR).tolist() == exact
    assert np.array_equal(vote(lists, 1), lists.categories[:, 0])


def test_all_is_harder_than_any_and_the_same_for_one() -> None:
    lists, truth = drawn(1, most=4)
    anyone, everyone = (outcomes(lists, truth, 5, need=need) for need in NEEDS)
    assert ((everyone % 2 == 0) <= (anyone % 2 == 0)).all()
    assert (everyone != anyone).any()
    lists, truth = drawn(1)
    assert np.array_equal(*(outcomes(lists, truth, 5, need=need) for need in NEEDS))


@pytest.mark.parametrize("mode", MODES)
def test_rates_sum_to_100_and_do_not_care_for_the_order_of_pictures(mode: str) -> None:
    for seed in range(10):
        lists, truth = drawn(seed, count=int(np.random.default_rng(seed).integers(1, 90)))
        for k in (1, 2, 5):
            found = rates(outcomes(lists, truth, k, mode, folders(truth)))
            assert sum(found.values()) == pytest.approx(100, abs=1e-9)
            assert sum(round(rate, 2) for rate in found.values()) == pytest.approx(100, abs=0.02)
            order = np.random.default_rng(seed).permutation(len(truth.categories))
            mixed = Ranked(lists.categories[order], lists.rationales[order], lists.scores[order])
            other = Gold(truth.categories[order], tuple(truth.rationales[n] for n in order))
            assert rates(outcomes(mixed, other, k, mode, folders(other))) == pytest.approx(found)


def test_rates_of_codes_and_of_shares_are_the_same() -> None:
    codes = np.array([RR, RW, WR, WW, RR, RR, WW, RW], np.int8)
    assert rates(codes) == pytest.approx({"RR": 37.5, "RW": 25, "WR": 12.5, "WW": 25})
    assert rates(shares(codes)) == rates(np.stack([shares(codes)] * 3)) == rates(codes)


def test_rationale_scores_of_sets() -> None:
    lists, truth = drawn(2, most=4)
    found = rationale_scores(lists, truth, 5)
    voted = vote(lists, 5)
    for n, true in enumerate(truth.rationales):
        given = {int(r) for c, r in zip(lists.categories[n], lists.rationales[n], strict=True) if c == voted[n]}
        precision, recall = len(given & true) / len(given), len(given & true) / len(true)
        f1 = 2 * precision * recall / (precision + recall) if given & true else 0.0
        expected = {"precision": precision, "recall": recall, "F1": f1}
        right = voted[n] == truth.categories[n]
        for name, value in expected.items():
            assert found[name][n] == pytest.approx(value)
            assert found[f"doubly {name}"][n] == pytest.approx(value if right else 0)


def test_a_rationale_given_twice_counts_once_and_none_not_at_all() -> None:
    found = rationale_scores(ranked([(0, 1), (0, 1), (0, 2), (0, -1)], [(0, -1)] * 4), gold((0, {1, 3}), (0, 1)), 4)
    assert found["precision"].tolist() == [0.5, 0]
    assert found["recall"].tolist() == [0.5, 0]
    assert found["F1"].tolist() == [0.5, 0]


@pytest.mark.parametrize("mode", MODES)
def test_no_rationale_is_never_right(mode: str) -> None:
    one = gold((MAN, TAIL))
    assert outcomes(ranked([(MAN, -1), (MAN, -1)]), one, 2, mode, folders(one)).tolist() == [RW]


# -- intervals --------------------------------------------------------------------------------------------------------


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng, held = np.random.default_rng(0), 0
    for _ in range(100):
        found = interval((rng.random(150) < 0.3).astype(float), draws=300)
        held += found.low <= 0.3 <= found.high
    assert 86 <= held <= 100


def test_runs_that_differ_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.random(400)
    alike, unlike = np.tile(pictures, (5, 1)), pictures + np.linspace(-0.3, 0.3, 5)[:, None]
    assert interval(alike).value == pytest.approx(interval(unlike).value)
    assert width(alike) < 0.5 * width(unlike)
    assert width(alike) == pytest.approx(width(pictures), rel=0.02)


def test_a_paired_difference_is_narrower_than_an_unpaired_one() -> None:
    rng = np.random.default_rng(0)
    a = (rng.random((3, 500)) < 0.5).astype(float)
    b = np.where(rng.random((3, 500)) < 0.1, 1 - a, a)
    paired = difference(a, b)
    unpaired = difference(a, b[:, rng.permutation(500)])
    assert paired.value == pytest.approx(a.mean() - b.mean())
    assert paired.high - paired.low < 0.6 * (unpaired.high - unpaired.low)
    same = difference(a, a)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_a_method_of_one_run_is_paired_with_one_of_several() -> None:
    a = np.random.default_rng(0).random(200)
    found = difference(np.tile(a, (4, 1)) + 0.1, a)
    assert [found.value, found.low, found.high] == pytest.approx([0.1] * 3)


def test_the_bootstrap_is_that_of_plain_loops() -> None:
    values = np.random.default_rng(0).random((2, 3, 40))
    drawn_means = bootstrap(values, 4000)
    rng = np.random.default_rng(1)
    plain = np.array(
        [values[:, rng.integers(0, 3, 3)][:, :, rng.integers(0, 40, 40)].mean((1, 2)) for _ in range(4000)]
    )
    assert np.allclose(drawn_means.mean(0), plain.mean(0), atol=0.005)
    assert np.allclose(np.cov(drawn_means.T), np.cov(plain.T), rtol=0.15, atol=2e-4)


def test_the_interval_is_the_same_however_large_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((2, 3, 40))
    whole = bootstrap(values, 50)
    monkeypatch.setattr("saywhy.intervals.BLOCK", 120)
    np.testing.assert_allclose(bootstrap(values, 50), whole)


def width(values: np.ndarray) -> float:
    found = interval(values)
    return found.high - found.low


# -- what can be got wrong --------------------------------------------------------------------------------------------


def test_errors_say_what_is_wrong() -> None:
    lists, truth = drawn(0, count=6)
    for k in (0, 6):
        with pytest.raises(SaywhyError, match="k is"):
            outcomes(lists, truth, k)
    with pytest.raises(SaywhyError, match="6 pictures are ranked"):
        outcomes(lists, gold((0, 0)), 1)
    with pytest.raises(SaywhyError, match="the same shape"):
        vote(Ranked(lists.categories, lists.rationales[:, :2], lists.scores), 1)
    for mode, need in (("lenient", "any"), ("strict", "most")):
        with pytest.raises(SaywhyError, match="mode must be strict"):
            outcomes(lists, truth, 1, mode, need=need)
    with pytest.raises(SaywhyError, match="folder_names"):
        outcomes(lists, truth, 1, "dror_compat")
    several = gold(*[(0, {0, 1})] * 6)
    with pytest.raises(SaywhyError, match="one true rationale"):
        outcomes(lists, several, 1, "dror_compat", folders(several))
    with pytest.raises(SaywhyError, match="picture 1 has no true rationale"):
        gold((0, 0), (1, set()))
    with pytest.raises(SaywhyError, match="at least one"):
        Gold(np.zeros(0, int), ())
    with pytest.raises(SaywhyError, match="2 true categories for 1 "):
        Gold(np.zeros(2, int), (frozenset({0}),))
    with pytest.raises(SaywhyError, match="cannot be paired"):
        difference(np.zeros(3), np.zeros(4))
