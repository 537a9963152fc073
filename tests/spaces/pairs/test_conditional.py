"""P(c | r, I) of one rationale's gathered texts is that of a sweep over the whole bank, whichever bank there is."""

from __future__ import annotations

import pytest
import torch

from saywhy.errors import SaywhyError
from saywhy.spaces.pairs import conditional
from saywhy.spaces.pairs.conditional import category_scores, conditional_scores
from saywhy.spaces.pairs.in_memory import ResidentBank
from saywhy.spaces.pairs.ranking import log_joint, log_rationales, probabilities, rank
from saywhy.spaces.pairs.scorer import PairScorer
from saywhy.spaces.pairs.scoring import Scoring
from saywhy.words.rationale_words import RationaleWords
from tests.helpers import unit
from tests.spaces.pairs.test_ranking import SCALE, SETS

C, R, D, N = 7, 5, 16, 23
WORDS = RationaleWords(tuple("abcdefg"), tuple("vwxyz"), ((),) * C)


def two_banks(categories: int = C) -> tuple[ResidentBank, ResidentBank]:
    """Of the same words: the pairs, and the pairs said the other way round."""
    torch.manual_seed(0)
    alone = unit(R, D), unit(categories, D)
    texts = unit(2 * categories * R, D).unflatten(0, (2, categories, R))
    return ResidentBank(WORDS, *alone, texts[0]), ResidentBank(WORDS, *alone, texts[1])


def scorer_of(terms: tuple[str, ...]) -> PairScorer[ResidentBank]:
    pairs, inverse = two_banks()
    scoring = Scoring(terms, weight=0.7, temperatures={"pair": 2.0, "rationale": 0.5})
    return PairScorer(pairs=pairs, inverse=inverse, scoring=scoring, scale=SCALE)


@pytest.mark.parametrize("terms", [*SETS, ("pair", "inverse")], ids="+".join)
@pytest.mark.parametrize("rows", [2, 1000])
def test_what_is_gathered_is_what_is_swept(terms: tuple[str, ...], rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some pictures asked with several rationales, some with none; rationales in no order."""
    monkeypatch.setattr(conditional, "ROWS", rows)
    scorer, images = scorer_of(terms), unit(N, D)
    joint = torch.cat([block for _, block in log_joint(images, scorer)], 1)  # (N, C, R)
    swept = joint - log_rationales(images, scorer)[:, None]
    of, rationales = torch.randint(N, (60,)), torch.randint(R, (60,))
    for of_category in (None, category_scores(images, scorer)):
        found, times = torch.zeros(60, C), torch.zeros(60)
        for some, scores in conditional_scores(images, scorer, rationales, of=of, of_category=of_category):
            assert len(some) <= rows
            found[some] = scores.log_softmax(1)
            times[some] += 1
        assert (times == 1).all()
        torch.testing.assert_close(found, swept[of, :, rationales], rtol=0, atol=1e-5)
    own = torch.randint(R, (N,))
    best = rank(images, scorer, C * R)
    given = probabilities(images, scorer, best).given
    for some, scores in conditional_scores(images, scorer, own):
        for n, row in zip(some.tolist(), scores.softmax(1), strict=True):
            places = best.rationales[n] == int(own[n])
            named = torch.as_tensor(best.categories[n][places])
            torch.testing.assert_close(given[n][torch.as_tensor(places)], row[named], rtol=0, atol=1e-5)


def test_no_pictures_have_no_conditional() -> None:
    assert not list(conditional_scores(unit(0, D), scorer_of(("pair",)), torch.empty(0, dtype=torch.long)))


# -- the record -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("terms", [terms for terms in SETS if len({"pair", "inverse"} & {*terms}) < 2], ids="+".join)
def test_one_bank_holds_what_the_scoring_asks(terms: tuple[str, ...]) -> None:
    """With the one bank that is asked scores are those with both."""
    pairs, inverse = two_banks()
    scoring = Scoring(terms)
    mine = inverse if "inverse" in terms else pairs
    one = PairScorer.of_bank(mine, scoring=scoring, scale=SCALE)
    both = PairScorer(pairs=pairs, inverse=inverse, scoring=scoring, scale=SCALE)
    assert (one.pairs, one.inverse) == ((None, inverse) if "inverse" in terms else (pairs, None))
    assert one.bank is mine
    images = unit(N, D)
    for (first, block), (other, expected) in zip(log_joint(images, one), log_joint(images, both), strict=True):
        assert first == other
        assert torch.equal(block, expected)


def test_scoring_and_scale_are_factors() -> None:
    scorer = scorer_of(("rationale", "category", "pair", "inverse"))
    expected = {"rationale": SCALE / 0.5, "category": SCALE * 0.7, "pair": SCALE * 0.7 / 2, "inverse": SCALE * 0.7}
    assert scorer.factors == pytest.approx(expected)
    assert scorer.of_pairs == ((scorer.factors["pair"], scorer.pairs), (scorer.factors["inverse"], scorer.inverse))
    assert scorer.plain.scoring == Scoring(scorer.scoring.terms, weight=0.7)
    assert scorer.plain.bank is scorer.bank


def test_banks_that_are_not_what_is_asked_are_refused() -> None:
    pairs, inverse = two_banks()
    other, _ = two_banks(categories=C - 1)
    both = Scoring(("pair", "inverse"))
    with pytest.raises(SaywhyError, match="need two banks"):
        PairScorer.of_bank(pairs, scoring=both, scale=SCALE)
    with pytest.raises(SaywhyError, match="no bank to score"):
        PairScorer(pairs=None, scoring=Scoring(("rationale",)), scale=SCALE)
    with pytest.raises(SaywhyError, match="pass pairs="):
        PairScorer(pairs=None, inverse=inverse, scoring=Scoring(), scale=SCALE)
    for wrong in (None, other):
        with pytest.raises(SaywhyError, match="inverse bank of the same words"):
            PairScorer(pairs=pairs, inverse=wrong, scoring=both, scale=SCALE)
