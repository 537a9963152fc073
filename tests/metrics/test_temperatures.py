"""Temperatures of a scoring: those that were put in are found, and none near them does better."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.metrics.calibration import forecasts
from saywhy.metrics.temperatures import calibrated_scoring, logits, visible_threshold
from saywhy.pictures.truth import Gold
from saywhy.spaces.pairs.in_memory import ResidentBank
from saywhy.spaces.pairs.ranking import probabilities, rank
from saywhy.spaces.pairs.scorer import PairScorer
from saywhy.spaces.pairs.scoring import Scoring
from saywhy.words.rationale_words import RationaleWords
from tests.helpers import unit
from tests.spaces.pairs.test_ranking import SETS, dense, held, scorer_of, terms_of

C, R, D = 5, 6, 12
SHARP = 25.0
WORDS = RationaleWords(tuple("abcde"), tuple("uvwxyz"), (tuple(range(R)),) * C)


def resident(seed: int) -> ResidentBank:
    torch.manual_seed(seed)
    return ResidentBank(WORDS, unit(R, D), unit(C, D), unit(C * R, D).unflatten(0, (C, R)))


def sharp(
    bank: ResidentBank, scoring: Scoring | None = None, inverse: ResidentBank | None = None
) -> PairScorer[ResidentBank]:
    return PairScorer(pairs=bank, inverse=inverse, scoring=scoring or Scoring(), scale=SHARP)


def joint(images: Tensor, bank: ResidentBank, inverse: ResidentBank, scoring: Scoring) -> Tensor:
    """(N, C, R) of P(r | I) P(c | r, I), by their definition."""
    factors = scoring.factors(SHARP)
    alone = images @ bank.rationales.T * factors.get("rationale", 0)
    grid = (images @ bank.categories.T * factors.get("category", 0))[:, :, None].repeat(1, 1, R)
    for term, of in (("pair", bank), ("inverse", inverse)):
        grid += factors.get(term, 0) * torch.einsum("nd,crd->ncr", images, of.texts)
    if "rationale" not in scoring.terms:
        return grid.flatten(1).softmax(1).unflatten(1, (C, R))
    return grid.softmax(1) * alone.softmax(1)[:, None]


def drawn(images: Tensor, bank: ResidentBank, inverse: ResidentBank, scoring: Scoring) -> Gold:
    """Truths of which the scoring's probabilities are right."""
    places = joint(images, bank, inverse, scoring).flatten(1).multinomial(1)[:, 0].numpy()
    return Gold(places // R, tuple(frozenset({int(r)}) for r in places % R))


def nll(images: Tensor, bank: ResidentBank, inverse: ResidentBank, scoring: Scoring, gold: Gold) -> float:
    """Of the pairs, in nats."""
    labels = gold.categories * R + np.array([min(one) for one in gold.rationales])
    return forecasts(logits(images, sharp(bank, scoring, inverse))["joint"], labels).nll


@pytest.mark.parametrize(
    ("terms", "true"),
    [
        (("rationale", "pair"), {"rationale": 3.0, "pair": 1.7}),
        (("rationale", "category"), {"rationale": 0.6, "category": 2.5}),
        (("rationale", "inverse"), {"rationale": 1.5, "inverse": 4.0}),
        (("rationale",), {"rationale": 2.0}),
        (("pair",), {"pair": 2.5}),
        (("inverse",), {"inverse": 0.7}),
        (("category", "pair"), {"category": 2.0, "pair": 2.0}),
        (("rationale", "category", "pair"), {"rationale": 1.4, "category": 3.0, "pair": 3.0}),
    ],
    ids=lambda value: "+".join(value),
)
def test_the_temperatures_of_the_truth_are_found(terms: tuple[str, ...], true: dict[str, float]) -> None:
    bank, inverse, images = resident(0), resident(1), unit(3000, D)
    gold = drawn(images, bank, inverse, Scoring(terms, temperatures=true))
    fitted = calibrated_scoring(images, sharp(bank, Scoring(terms), inverse), gold)
    assert dict(fitted.temperatures) == pytest.approx(true, rel=0.1)
    assert replace(fitted, temperatures={}) == Scoring(terms)
    assert calibrated_scoring(images, sharp(bank, fitted, inverse), gold).temperatures == fitted.temperatures


@pytest.mark.parametrize("terms", [*SETS, ("pair", "inverse")], ids="+".join)
def test_none_near_them_is_better(terms: tuple[str, ...]) -> None:
    """Truths that no temperature makes right: half of them are drawn, the others are anything."""
    bank, inverse, images = resident(0), resident(1), unit(300, D)
    some = drawn(images, bank, inverse, Scoring(terms, temperatures=dict.fromkeys(terms, 2.0)))
    anything = np.random.default_rng(0).integers([C, R], size=(150, 2))
    gold = Gold(
        np.concatenate([some.categories[:150], anything[:, 0]]),
        (*some.rationales[:150], *(frozenset({int(r)}) for r in anything[:, 1])),
    )
    fitted = calibrated_scoring(images, sharp(bank, Scoring(terms), inverse), gold)
    best = nll(images, bank, inverse, fitted, gold)
    assert best < nll(images, bank, inverse, Scoring(terms), gold) - 0.1
    moved = [{t for t in terms if t == "rationale"}, {t for t in terms if t != "rationale"}]
    for together in filter(None, moved):
        for by in (0.8, 1.25):
            near = {t: value * (by if t in together else 1) for t, value in dict(fitted.temperatures).items()}
            assert best < nll(images, bank, inverse, replace(fitted, temperatures=near), gold)


def test_a_weight_is_made_up_for() -> None:
    bank, images = resident(0), unit(200, D)
    gold = drawn(images, bank, bank, Scoring(temperatures={"pair": 2.0}))
    once = calibrated_scoring(images, sharp(bank), gold)
    twice = calibrated_scoring(images, sharp(bank, Scoring(weight=2.0)), gold)
    assert twice.temperature("pair") == pytest.approx(2 * once.temperature("pair"), rel=1e-3)
    assert twice.temperature("rationale") == once.temperature("rationale")


@pytest.mark.parametrize("terms", [("rationale", "pair"), ("pair",)], ids="+".join)
def test_of_several_true_rationales_each_is_as_true(terms: tuple[str, ...]) -> None:
    bank, images = resident(0), unit(200, D)
    gold = drawn(images, bank, bank, Scoring(temperatures={"rationale": 2.0, "pair": 2.0}))
    best = (images @ bank.rationales.T).topk(2).indices.tolist()
    more = Gold(gold.categories, tuple(frozenset(two) for two in best))
    fitted = calibrated_scoring(images, sharp(bank, Scoring(terms)), more)
    labels, of = np.array(best), "rationale"
    if terms == ("pair",):
        labels, of = gold.categories[:, None] * R + labels, "joint"
    near = {by: Scoring(terms, temperatures={terms[0]: by * fitted.temperature(terms[0])}) for by in (0.8, 1.0, 1.25)}
    found = {by: forecasts(logits(images, sharp(bank, one))[of], labels).nll for by, one in near.items()}
    assert found[1.0] == min(found.values())


@pytest.mark.parametrize("terms", SETS, ids="+".join)
def test_logits_are_logs_of_the_probabilities(terms: tuple[str, ...]) -> None:
    bank, inverse, images = held(), held(seed=1), unit(9, 16)
    scoring = Scoring(terms, weight=1.5, temperatures=dict.fromkeys(terms, 0.5))
    scorer = scorer_of(bank, scoring, inverse)
    found = logits(images, scorer)
    blocks = found["joint"]
    assert callable(blocks)
    assert all(np.array_equal(a, b) for a, b in zip(blocks(), blocks(), strict=True))
    joint = np.concatenate(list(blocks()), 1)
    category, rationale = found["category"], found["rationale"]
    assert isinstance(category, np.ndarray)
    assert isinstance(rationale, np.ndarray)
    for logs, width in ((category, 7), (rationale, 5), (joint, 35)):
        assert logs.shape == (9, width)
        assert np.exp(logs).sum(1) == pytest.approx(np.ones(9), abs=1e-5)
    said = probabilities(images, scorer, rank(images, scorer, 1))
    assert np.exp(category) == pytest.approx(said.categories.numpy(), abs=1e-6)
    assert np.exp(rationale) == pytest.approx(said.rationales.numpy(), abs=1e-6)
    scores = dense(images, bank, inverse, scoring)
    alone = terms_of(images, bank, inverse)["rationale"][:, 0] / 0.5
    of_rationale = alone.softmax(1) if "rationale" in terms else scores.flatten(1).softmax(1).view(9, 7, 5).sum(1)
    wanted = scores.softmax(1) * of_rationale[:, None]
    assert np.exp(joint) == pytest.approx(wanted.flatten(1).numpy(), abs=1e-5)
    assert np.exp(category) == pytest.approx(wanted.sum(2).numpy(), abs=1e-5)


def test_logits_are_finite_where_probabilities_are_none() -> None:
    found = logits(unit(20, 16), scorer_of(held(), Scoring(temperatures={"rationale": 1e-4, "pair": 1e-4})))
    blocks = found["joint"]
    assert callable(blocks)
    for logs in (found["category"], found["rationale"], *blocks()):
        assert np.isfinite(logs).all()


def test_what_cannot_be_fitted_is_refused() -> None:
    bank, images = resident(0), unit(4, D)
    gold = drawn(images, bank, bank, Scoring())
    for terms in (("inverse",), ("rationale", "inverse")):
        with pytest.raises(SaywhyError, match="inverse bank of the same words"):
            calibrated_scoring(images, sharp(bank, Scoring(terms)), gold)
    for wrong in (images[:, :5], images[:0]):
        with pytest.raises(SaywhyError, match="vectors of the same space"):
            calibrated_scoring(wrong, sharp(bank), gold)
    with pytest.raises(SaywhyError, match="for 4 pictures"):
        calibrated_scoring(images[:3], sharp(bank), gold)


# -- what is visible --------------------------------------------------------------------------------------------------


def shown(pictures: int, rationales: int, seed: int) -> Gold:
    """Each picture has one true rationale, and no category lists any."""
    true = np.random.default_rng(seed).integers(0, rationales, pictures).tolist()
    return Gold(np.zeros(pictures, int), tuple(frozenset({r}) for r in true))


@pytest.mark.parametrize("pictures", [20, 200])
def test_noise_shows_no_rationale(pictures: int) -> None:
    """Where scores are noise there is a best threshold too: below zero in half of all draws."""
    found = []
    for seed in range(40):
        standing = torch.from_numpy(np.random.default_rng([seed, 1]).standard_normal((pictures, 12)))
        visible = visible_threshold(standing, shown(pictures, 12, seed), [()])
        found.append(visible.threshold)
        assert "held-out pictures" in visible.basis
    given = [threshold for threshold in found if threshold is not None]
    assert len(given) <= 5  # of 40, 1 on average
    assert all(threshold > 1 for threshold in given)


@pytest.mark.parametrize("apart", [0.5, 2.0, 6.0])
def test_few_absent_rationales_are_visible(apart: float) -> None:
    """However best true and absent ones are told apart; on pictures that did not choose."""
    rng = np.random.default_rng(0)

    def standing(gold: Gold) -> torch.Tensor:
        scores = rng.standard_normal((len(gold.categories), 12))
        for n, true in enumerate(gold.rationales):
            scores[n, list(true)] += apart
        return torch.from_numpy(scores)

    first, other = shown(300, 12, 1), shown(300, 12, 2)
    visible = visible_threshold(standing(first), first, [()])
    assert visible.threshold is not None
    assert "AUC" in visible.basis
    seen = standing(other) >= visible.threshold
    true = torch.zeros_like(seen)
    for n, rationales in enumerate(other.rationales):
        true[n, list(rationales)] = True
    assert seen[~true].double().mean() < 0.07
    assert seen[true].double().mean() > seen[~true].double().mean()


def test_a_list_of_the_category_counts_for_neither() -> None:
    standing = torch.tensor([[3.0, 9.0, 0.0]]).repeat(30, 1) + torch.arange(30)[:, None] / 100
    gold = Gold(np.zeros(30, int), (frozenset({0}),) * 30)
    visible = visible_threshold(standing, gold, [(0, 1)])
    assert visible.threshold is not None
    assert 0.29 < visible.threshold <= 3.0


def test_what_is_visible_needs_something_absent_and_some_order() -> None:
    standing = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    gold = Gold(np.zeros(20, int), (frozenset({0}),) * 20)
    listed = visible_threshold(standing, gold, [(0, 1, 2)])
    assert (listed.threshold, listed.basis) == (None, "nothing is known to be absent from the 20 held-out pictures")
    turned = visible_threshold(torch.tensor([[-1.0, 1.0, 1.0]]).repeat(20, 1), gold, [()])
    assert turned.threshold is None
    assert "not told apart (AUC 0.00 (0.00 to 0.00) on 20 held-out pictures)" in turned.basis
