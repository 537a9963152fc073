"""The probability of a reason: what was put in is found, and few that are said are false."""

from __future__ import annotations

import math

import numpy as np
import torch

from saywhy.seen.reasons import fit_reason_chance
from saywhy.spaces.pairs.beliefs import FEATURES, believe, reason_rows
from saywhy.spaces.pairs.ranking import decide
from tests.helpers import unit
from tests.spaces.pairs.test_ranking import Held, held, scorer_of

LISTS = tuple((c % 5, (c + 1) % 5) for c in range(7))


def pictures(count: int, seed: int) -> tuple[Held, torch.Tensor, torch.Tensor, list[tuple[int, ...]]]:
    """A bank, pictures, how far rationales stand out, and what is there: the more, the further it stands out."""
    rng = np.random.default_rng(seed)
    unusual = torch.from_numpy(rng.standard_normal((count, 5)))
    there = rng.random((count, 5)) < 1 / (1 + np.exp(-4 * unusual.numpy()))
    return held(), unit(count, 16), unusual, [tuple(np.flatnonzero(row)) for row in there]


def test_what_was_put_in_is_found_and_holds_on_other_pictures() -> None:
    bank, images, unusual, known = pictures(1200, seed=1)
    scorer = scorer_of(bank)
    chance = fit_reason_chance(images, scorer, unusual, LISTS, known, 5)
    assert chance is not None
    assert abs(chance.weights[FEATURES.index("unusual")] - 4) < 0.7
    assert chance.basis.endswith("of 1200 held-out pictures")
    _, others, standing, truth = pictures(1200, seed=2)
    belief = believe(others, scorer, 5)
    said, true = [], []
    for n, category in enumerate(belief.likeliest.tolist()):
        answer = decide(belief.ranked, n, 5, category)
        p = chance.there(reason_rows(answer, belief, n, standing[n], LISTS[category]))
        said += (p >= chance.threshold).tolist()
        true += [int(belief.ranked.rationales[n, place]) in truth[n] for place in answer.reasons]
    assert np.mean(said) > 0.2
    assert np.array(true)[np.array(said)].mean() > 0.93


def test_chance_says_nothing() -> None:
    bank, images, unusual, _ = pictures(400, seed=1)
    known = [tuple(np.flatnonzero(row)) for row in np.random.default_rng(3).random((400, 5)) < 0.5]
    chance = fit_reason_chance(images, scorer_of(bank), unusual, LISTS, known, 5)
    assert chance is not None
    assert math.isinf(chance.threshold)


def test_too_few_pictures_or_one_answer_only_teach_nothing() -> None:
    bank, images, unusual, known = pictures(40, seed=1)
    assert fit_reason_chance(images[:10], scorer_of(bank), unusual[:10], LISTS, known[:10], 5) is None
    assert fit_reason_chance(images, scorer_of(bank), unusual, LISTS, [(0, 1, 2, 3, 4)] * 40, 5) is None
