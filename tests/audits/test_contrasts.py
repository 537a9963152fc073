"""What goes with a group: the measure against slow references, and what is left where nothing differs."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.stats import fisher_exact, mannwhitneyu

from saywhy.audits.contrasts import FEWEST, contrast, examples, listed
from saywhy.audits.traits import NEAR, PLACE, SAID, Trait, Traits


def made_up(numbers: np.ndarray, has: np.ndarray, correct: np.ndarray | None = None) -> Traits:
    count = len(numbers)
    traits = [Trait(PLACE, f"place {n}", f"more {n}", f"less {n}") for n in range(numbers.shape[1])]
    traits += [Trait(NEAR, f"word {n}", "", "") for n in range(has.shape[1])]
    return Traits(
        np.arange(count), count, np.zeros(count, int), np.zeros(count) if correct is None else correct,
        csr_matrix((count, 2)), tuple(traits), numbers.astype("f4"), csr_matrix(has.astype("f4")),
    )  # fmt: skip


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    groups = generator.integers(0, 3, 240)
    numbers = generator.normal(size=(240, 3)).round(1)  # with ties
    numbers[groups == 1, 0] += 1
    has = generator.random((240, 4)) < [0.02, 0.2, 0.5, 0.9]
    has[groups == 2, 1] = True
    return numbers, has, groups


def test_the_measure_and_its_p_are_those_of_mann_and_whitney(rows: tuple[np.ndarray, ...]) -> None:
    numbers, has, groups = rows
    found = contrast(made_up(numbers, has), groups, 3)
    for group in range(3):
        inside = groups == group
        for n in range(3):
            a, b = numbers[inside, n].astype("f4").astype(float), numbers[~inside, n].astype("f4").astype(float)
            slow = mannwhitneyu(a, b, method="asymptotic", use_continuity=False)
            assert found.delta[group, n] == pytest.approx(2 * slow.statistic / (len(a) * len(b)) - 1, abs=1e-9)
            assert found.p[group, n] == pytest.approx(slow.pvalue, rel=1e-6)
        for n in range(4):
            assert found.delta[group, 3 + n] == pytest.approx(has[inside, n].mean() - has[~inside, n].mean(), abs=1e-6)


def test_the_p_of_a_word_errs_on_the_safe_side_of_the_exact_one(rows: tuple[np.ndarray, ...]) -> None:
    numbers, has, groups = rows
    found = contrast(made_up(numbers, has), groups, 3)
    for group in range(3):
        for n in range(4):
            a, b = has[groups == group, n], has[groups != group, n]
            exact = fisher_exact([[a.sum(), (~a).sum()], [b.sum(), (~b).sum()]]).pvalue
            assert found.p[group, 3 + n] >= 0.6 * exact


def test_what_was_planted_is_found_and_lies_beyond_dealt_groups(rows: tuple[np.ndarray, ...]) -> None:
    numbers, has, groups = rows
    found = contrast(made_up(numbers, has), groups, 3)
    assert found.best(1, 1) == [0]
    assert found.best(2, 1) == [4]
    assert found.delta[1, 0] > found.null[1]
    assert found.interval(1, 0).low < found.delta[1, 0] < found.interval(1, 0).high
    assert "100 % of them" in found.says(2, 4)


def test_where_nothing_differs_nothing_is_kept_in_19_of_20_runs() -> None:
    kept = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        traits = made_up(generator.normal(size=(100, 10)), generator.random((100, 20)) < 0.2)
        kept += bool(contrast(traits, generator.integers(0, 4, 100), 4, dealt=0).kept.any())
    assert kept <= 7  # of 60: 3 are expected at most, 7 has a tail of 3 %


def test_a_word_of_one_picture_is_no_finding() -> None:
    has = np.zeros((1000, 1))
    has[0] = 1
    found = contrast(made_up(np.zeros((1000, 1)), has), (np.arange(1000) >= 5).astype(int), 2)
    assert found.p[0, 1] >= 0.005


def test_groups_that_are_too_small_are_not_tested() -> None:
    groups = np.array([0] * (FEWEST - 1) + [1] * 50)
    found = contrast(
        made_up(np.random.default_rng(0).normal(size=(len(groups), 2)), np.zeros((len(groups), 1))), groups, 2
    )
    assert not len(found.tested)
    assert not found.kept.any()


def test_what_is_not_known_speaks_for_no_group() -> None:
    numbers = np.full((40, 1), np.nan)
    found = contrast(made_up(numbers, np.zeros((40, 0))), np.arange(40) % 2, 2)
    assert found.delta[0, 0] == 0
    assert found.p[0, 0] == pytest.approx(1)


def test_the_mix_of_classes_is_told_from_a_difference_inside_classes() -> None:
    generator = np.random.default_rng(0)
    classes = generator.integers(0, 4, 400)
    wrong = generator.random(400) < np.array([0.1, 0.3, 0.5, 0.7])[classes]
    numbers = np.stack([classes + 0.1 * generator.normal(size=400), wrong + generator.normal(size=400)], axis=1)
    found = contrast(made_up(numbers, np.zeros((400, 0))), wrong.astype(int), 2, within=classes)
    assert found.mix[1, 0] == pytest.approx(found.delta[1, 0], abs=0.05)
    assert abs(found.mix[1, 1]) < 0.15 < found.delta[1, 1]


def test_examples_show_the_trait_and_counters_do_not() -> None:
    has = np.array([[1], [0], [1], [0]])
    traits = made_up(np.zeros((4, 0)), has)
    shows, counters = examples(traits, np.array([True, True, True, False]), 0, True)
    assert set(shows) == {0, 2}
    assert counters == (1,)


def test_a_phrase_that_is_said_and_near_is_listed_once_as_the_fact() -> None:
    has = np.repeat(np.array([[1, 1], [0, 0]]), 20, axis=0)
    traits = made_up(np.zeros((40, 0)), has)
    one = (Trait(NEAR, "red", "", ""), Trait(SAID, "red", "", ""))
    found = contrast(Traits(traits.pictures, 40, traits.predicted, traits.correct, traits.true, one, traits.numbers,
                            traits.has), np.repeat([0, 1], 20), 2)  # fmt: skip
    assert [found.traits[n].kind for n in found.best(0, 5)] == [SAID]


def test_lists_read_as_sentences() -> None:
    assert listed([]) == ""
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
