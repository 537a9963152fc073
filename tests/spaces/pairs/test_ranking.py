"""Ranking, probabilities and votes agree with dense sums and with grids worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.spaces.objectives import OBJECTIVES
from saywhy.spaces.pairs import ranking as rationales
from saywhy.spaces.pairs.bank import Bank
from saywhy.spaces.pairs.ranking import Ranked, decide, log_joint, probabilities, rank, rank_with, shortlist
from saywhy.spaces.pairs.scorer import PairScorer
from saywhy.spaces.pairs.scoring import CONDITIONALS, Scoring
from saywhy.spaces.similarity import standing_out, usual_scores
from saywhy.types import Space
from saywhy.words.rationale_words import RationaleWords
from tests.helpers import unit

SCALE = 5.0  # small, so that no probability is so near 1 that floats cannot rank it
SETS = [
    ("rationale", "pair"), ("pair",), ("rationale", "inverse"), ("rationale", "category"), ("category", "pair"),
    ("rationale", "category", "pair", "inverse"), ("rationale",),
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Held:
    """A bank in memory, read so many categories at a time."""

    rationales: Tensor
    categories: Tensor
    texts: Tensor
    step: int = 3
    dtype: torch.dtype = torch.float32

    def blocks(self, columns: int = 0) -> Iterator[tuple[int, Tensor]]:
        for start in range(0, len(self.texts), self.step):
            yield start, self.texts[start : start + self.step].to(self.dtype)


def held(c: int = 7, r: int = 5, d: int = 16, step: int = 3, seed: int = 0) -> Held:
    torch.manual_seed(seed)
    return Held(unit(r, d), unit(c, d), unit(c * r, d).unflatten(0, (c, r)), step)


def scorer_of(
    bank: Bank, scoring: Scoring | None = None, inverse: Bank | None = None, scale: float = SCALE
) -> PairScorer[Bank]:
    return PairScorer(pairs=bank, inverse=inverse, scoring=scoring or Scoring(), scale=scale)


def terms_of(images: Tensor, bank: Held, inverse: Held) -> dict[str, Tensor]:
    """Term -> (N, C, R) in float64."""
    x = images.double()
    c, r = bank.texts.shape[:2]
    return {
        "rationale": (x @ bank.rationales.double().T)[:, None].expand(-1, c, -1) * SCALE,
        "category": (x @ bank.categories.double().T)[..., None].expand(-1, -1, r) * SCALE,
        "pair": torch.einsum("nd,crd->ncr", x, bank.texts.double()) * SCALE,
        "inverse": torch.einsum("nd,crd->ncr", x, inverse.texts.double()) * SCALE,
    }


def dense(images: Tensor, bank: Held, inverse: Held, scoring: Scoring) -> Tensor:
    """(N, C, R) scores by their definition."""
    terms = terms_of(images, bank, inverse)
    parts = {
        term: terms[term] / scoring.temperature(term) * (scoring.weight if n else 1)
        for n, term in enumerate(scoring.terms)
    }
    of_category = sum(part for term, part in parts.items() if term != "rationale") + torch.zeros_like(terms["pair"])
    if scoring.conditional == "category" and "rationale" in parts:
        of_category = of_category.log_softmax(1)
    return of_category + parts.get("rationale", 0)


@pytest.mark.parametrize("terms", SETS, ids="+".join)
@pytest.mark.parametrize("conditional", CONDITIONALS)
@pytest.mark.parametrize("step", [1, 3, 100])
def test_ranks_are_those_of_all_scores(terms: tuple[str, ...], conditional: str, step: int) -> None:
    bank, inverse, images = held(step=step), held(seed=1, step=step), unit(9, 16)
    scoring = Scoring(terms, conditional, 0.7, {"pair": 2.0, "rationale": 0.5})
    ranked = rank(images, scorer_of(bank, scoring, inverse), 12)
    scores = dense(images, bank, inverse, scoring).flatten(1)
    order = scores.round(decimals=4).argsort(dim=1, descending=True, stable=True)[:, :12]
    assert np.array_equal(ranked.categories * 5 + ranked.rationales, order.numpy())
    assert np.allclose(ranked.scores, scores.gather(1, order).numpy(), atol=1e-4)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_proper_conditional_is_a_score_for_every_objective(name: str) -> None:
    """Pairs are ranked by P(r | I) P(c | r, I), whatever P(r | I) is made of.

    Without a term of the rationale the second factor alone would rank: of a rationale that is not there it may be 1.
    """
    bank, inverse, images = held(), held(seed=1), unit(9, 16)
    scoring = Scoring(OBJECTIVES[name].scored, "category")
    scorer = scorer_of(bank, scoring, inverse)
    joint = torch.cat([grid for _, grid in log_joint(images, scorer)], 1).flatten(1)
    ranked = rank(images, scorer, 12)
    best = joint.topk(12, dim=1)
    assert np.array_equal(ranked.categories * 5 + ranked.rationales, best.indices.numpy())
    offset = torch.from_numpy(ranked.scores) - best.values
    assert torch.allclose(offset, offset[:, :1].expand_as(offset), atol=1e-4)


def test_pictures_in_groups_are_ranked_as_together(monkeypatch: pytest.MonkeyPatch) -> None:
    bank, images = held(), unit(9, 16)
    scorer = scorer_of(bank, Scoring(("rationale", "category"), "category"))
    whole, beliefs = rank(images, scorer, 4), []
    beliefs.append(probabilities(images, scorer, whole))
    monkeypatch.setattr(rationales, "IMAGES", 2)
    monkeypatch.setattr(rationales, "COLUMNS", 11)  # two categories of five rationales at a time, then one
    parts = rank(images, scorer, 4)
    beliefs.append(probabilities(images, scorer, parts))
    assert np.array_equal(whole.categories, parts.categories)
    assert np.array_equal(whole.rationales, parts.rationales)
    for one, other in zip(*(vars(belief).values() for belief in beliefs), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("step", [1, 2, 4, 8])
def test_of_equal_scores_the_first_comes_first(step: int) -> None:
    """Scores that floats hold exactly, most of them equal, within blocks and across them."""
    texts = torch.tensor([[0.5, 0.25, 0.5], [0.5, 0.5, 0.25], [0.75, 0.5, 0.5], [0.5, 0.5, 0.75]])[..., None]
    texts = torch.cat([texts, torch.zeros(4, 3, 1)], 2)
    bank = Held(torch.zeros(3, 2), torch.zeros(4, 2), texts, step)
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    for k in range(1, 13):
        ranked = rank(images, scorer_of(bank, Scoring(("pair",)), scale=1.0), k)
        places = ranked.categories * 3 + ranked.rationales
        assert places[0].tolist() == [6, 11, 0, 2, 3, 4, 7, 8, 9, 10, 1, 5][:k]
        assert places[1].tolist() == list(range(k))  # all are zero


def grid(pairs: Sequence[Sequence[float]], alone: Sequence[float]) -> tuple[Tensor, Held]:
    """A picture and a bank with the given cosines: the picture is the first axis."""

    def along(values: Tensor) -> Tensor:
        return torch.stack([values, (1 - values**2).sqrt()], -1)

    texts, rationale = torch.tensor(pairs), torch.tensor(alone)
    return torch.tensor([[1.0, 0.0]]), Held(along(rationale), along(torch.zeros(len(texts))), along(texts), 1)


def test_two_by_two_by_hand() -> None:
    """Scale 10. s_r = (3, 2); s_cr = ((1, 4), (2, 1)), rows are categories."""
    image, bank = grid([[0.1, 0.4], [0.2, 0.1]], [0.3, 0.2])
    # all:      (a, r0) 3 + 1 = 4, (a, r1) 2 + 4 = 6, (b, r0) 3 + 2 = 5, (b, r1) 2 + 1 = 3.
    ranked = rank(image, scorer_of(bank, scale=10.0), 4)
    assert list(zip(ranked.categories[0], ranked.rationales[0], strict=True)) == [(0, 1), (1, 0), (0, 0), (1, 1)]
    assert np.allclose(ranked.scores, [[6, 5, 4, 3]], atol=1e-5)
    # category: of r0, log(e^1 + e^2) = 2.313; of r1, log(e^4 + e^1) = 4.049.
    #           (a, r0) 4 - 2.313 = 1.687, (a, r1) 6 - 4.049 = 1.951, (b, r0) 5 - 2.313 = 2.687, (b, r1) 3 - 4.049.
    ranked = rank(image, scorer_of(bank, Scoring(conditional="category"), scale=10.0), 4)
    assert list(zip(ranked.categories[0], ranked.rationales[0], strict=True)) == [(1, 0), (0, 1), (0, 0), (1, 1)]
    assert np.allclose(ranked.scores, [[2.687, 1.951, 1.687, -1.049]], atol=1e-3)
    # P(r) = softmax(3, 2) = (.7311, .2689); P(a | r0) = 1 / (1 + e) = .2689, P(a | r1) = 1 / (1 + e^-3) = .9526;
    # P(a) = .7311 * .2689 + .2689 * .9526 = .4527.
    found = probabilities(image, scorer_of(bank, scale=10.0), ranked)
    assert torch.allclose(found.rationales, torch.tensor([[0.7311, 0.2689]]), atol=1e-4)
    assert torch.allclose(found.given, torch.tensor([[0.7311, 0.9526, 0.2689, 0.0474]]), atol=1e-4)
    assert torch.allclose(found.categories, torch.tensor([[0.4527, 0.5473]]), atol=1e-4)


@pytest.mark.parametrize("terms", SETS, ids="+".join)
def test_probabilities_are_those_of_dense_softmaxes(terms: tuple[str, ...]) -> None:
    bank, inverse, images = held(), held(seed=1), unit(6, 16)
    scoring = Scoring(terms, weight=1.5, temperatures={"pair": 0.5})
    scorer = scorer_of(bank, scoring, inverse)
    ranked = rank(images, scorer, 35)
    found = probabilities(images, scorer, ranked)
    scores = dense(images, bank, inverse, scoring)
    alone = terms_of(images, bank, inverse)["rationale"][:, 0]
    wanted = alone.softmax(1) if "rationale" in terms else scores.flatten(1).softmax(1).unflatten(1, (7, 5)).sum(1)
    given = scores.softmax(1)
    assert torch.allclose(found.rationales.double(), wanted, atol=1e-5)
    assert torch.allclose(found.categories.double(), (given * wanted[:, None]).sum(2), atol=1e-5)
    rows = np.arange(6)[:, None]
    assert np.allclose(found.given, given.numpy()[rows, ranked.categories, ranked.rationales], atol=1e-5)
    for sums in (found.rationales.sum(1), found.categories.sum(1)):
        assert torch.allclose(sums, torch.ones(6), atol=1e-5)


@pytest.mark.parametrize("terms", SETS, ids="+".join)
@pytest.mark.parametrize("step", [1, 3, 100])
def test_the_joint_is_that_of_dense_softmaxes(terms: tuple[str, ...], step: int) -> None:
    """Whichever conditional was ranked by; in blocks that follow each other, of which the caller may keep any."""
    bank, inverse, images = held(step=step), held(seed=1, step=step), unit(6, 16)
    scoring = Scoring(terms, "category", 0.7, {"pair": 2.0, "rationale": 0.5})
    scorer = scorer_of(bank, scoring, inverse)
    blocks = list(log_joint(images, scorer))
    assert [first for first, _ in blocks] == np.cumsum([0, *(block.shape[1] for _, block in blocks[:-1])]).tolist()
    joint = torch.cat([block for _, block in blocks], 1).double()
    assert joint.shape == (6, 7, 5)
    assert torch.allclose(joint.exp().sum((1, 2)), torch.ones(6, dtype=torch.float64), atol=1e-5)
    scores = dense(images, bank, inverse, Scoring(terms, "all", scoring.weight, scoring.temperatures))
    alone = terms_of(images, bank, inverse)["rationale"][:, 0] / 0.5
    of_rationale = alone.log_softmax(1) if "rationale" in terms else scores.logsumexp(1).log_softmax(1)
    assert torch.allclose(joint, scores.log_softmax(1) + of_rationale[:, None], atol=1e-4)
    ranked = rank(images, scorer, 1)
    believed = probabilities(images, scorer, ranked)
    assert torch.allclose(joint.exp().sum(1).float(), believed.rationales, atol=1e-5)
    assert torch.allclose(joint.exp().sum(2).float(), believed.categories, atol=1e-5)


def test_the_weight_leads_from_the_rationale_to_the_pair() -> None:
    """Weight 0 is the rationale's order, categories as they come; a large weight is DROR's."""
    image, bank = grid([[0.1, 0.4, 0.3], [0.2, 0.15, 0.35]], [0.3, 0.2, 0.6])
    ranked = rank(image, scorer_of(bank, Scoring(weight=0), scale=10.0), 6)
    assert ranked.rationales[0].tolist() == [2, 2, 0, 0, 1, 1]
    assert ranked.categories[0].tolist() == [0, 1] * 3
    heavy, dror = (
        rank(image, scorer_of(bank, scoring, scale=10.0), 6) for scoring in (Scoring(weight=1e4), Scoring(("pair",)))
    )
    assert heavy.categories.tolist() == dror.categories.tolist()
    assert heavy.rationales.tolist() == dror.rationales.tolist()


def test_half_precision_banks_are_read() -> None:
    bank, images = held(), unit(4, 16)
    half = Held(bank.rationales, bank.categories, bank.texts, 2, torch.float16)
    rounded = Held(bank.rationales, bank.categories, bank.texts.half().float(), 7)
    one, other = (rank(images, scorer_of(some), 9) for some in (half, rounded))
    assert np.array_equal(one.categories, other.categories)
    assert np.array_equal(one.rationales, other.rationales)


# -- shortlists -------------------------------------------------------------------------------------------------------


class Sayings:
    """A space in which a text's vector is drawn by its words alone, and that of a pair is near its parts."""

    name = "sayings"

    def encode_images(self, images: Sequence[object]) -> Tensor:
        raise AssertionError

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        def one(text: str) -> Tensor:
            seeds = [ord(letter) for letter in text if letter.isdigit() or letter.isupper()]
            return torch.stack([torch.randn(32, generator=torch.Generator().manual_seed(s)) for s in seeds]).sum(0)

        return F.normalize(torch.stack([one(text) for text in texts]), dim=1)


def sayings() -> RationaleWords:
    """Eight categories with one-digit names, and six rationales "A".. "F", each listed for all."""
    letters = tuple("JKLMNO")
    return RationaleWords(tuple("12345678"), letters, (tuple(range(6)),) * 8)


def rank_shortlist(
    images: Tensor, space: Space, words: RationaleWords, scoring: Scoring, k: int, scale: float,
    most_rationales: int = 50, most_categories: int = 20,
) -> Ranked:  # fmt: skip
    """As ``rank``, but of each picture only the pairs of its shortlist."""
    rationales, categories = (space.encode_texts(texts) for texts in (words.rationale_texts(), words.category_texts()))
    parts = []
    for image in images:
        part = shortlist(
            image, space, words, rationales, categories, "inverse" in scoring.terms, most_rationales, most_categories
        )
        parts.append(part.named(rank(image[None], scorer_of(part, scoring, part.inverse, scale), k)))
    columns = zip(*((part.categories, part.rationales, part.scores) for part in parts), strict=True)
    return Ranked(*(np.concatenate(column) for column in columns))


def test_a_long_shortlist_ranks_as_the_whole_bank() -> None:
    words, space, images = sayings(), Sayings(), unit(5, 32)
    texts = [words.pair_text(c, r) for c in range(8) for r in range(6)]
    bank = Held(
        space.encode_texts(words.rationale_texts()), space.encode_texts(words.category_texts()),
        space.encode_texts(texts).unflatten(0, (8, 6)),
    )  # fmt: skip
    for scoring in (Scoring(), Scoring(conditional="category")):
        whole = rank(images, scorer_of(bank, scoring), 5)
        short = rank_shortlist(images, space, words, scoring, 5, SCALE)
        assert np.array_equal(whole.categories, short.categories)
        assert np.array_equal(whole.rationales, short.rationales)
        assert np.allclose(whole.scores, short.scores, atol=1e-4)
    short = rank_shortlist(images, space, words, Scoring(), 5, SCALE, most_rationales=3, most_categories=4)
    best = rank(images, scorer_of(bank), 1)
    assert (short.scores[:, 0] <= best.scores[:, 0] + 1e-4).all()
    assert np.mean(short.scores[:, 0] >= best.scores[:, 0] - 1e-4) >= 0.6


def test_the_other_way_round_has_its_own_shortlist() -> None:
    words, space, images = sayings(), Sayings(), unit(2, 32)
    scoring = Scoring(("rationale", "inverse"))
    ranked = rank_shortlist(images, space, words, scoring, 48, SCALE)
    texts = [
        words.pair_text(c, r, inverse=True) for c, r in zip(ranked.categories[0], ranked.rationales[0], strict=True)
    ]
    alone = space.encode_texts(words.rationale_texts())[ranked.rationales[0]]
    wanted = SCALE * ((space.encode_texts(texts) + alone) @ images[0])
    assert np.allclose(ranked.scores[0], wanted.numpy(), atol=1e-3)


# -- votes, and what stands out ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("categories", "k", "category", "reasons"),
    [
        ([3, 1, 1, 3, 3], 5, 3, (0, 3, 4)),
        ([3, 1, 1, 3, 2], 5, 3, (0, 3)),  # a tie: the better ranked
        ([3, 1, 1, 3, 3], 3, 1, (1, 2)),
        ([3, 1, 1, 1, 1], 1, 3, (0,)),
        ([4, 0, 0, 0, 0], 5, 0, (1, 2, 3, 4)),
    ],
)
def test_votes(categories: list[int], k: int, category: int, reasons: tuple[int, ...]) -> None:
    ranked = Ranked(np.array([[9] * 5, categories]), np.arange(10).reshape(2, 5), np.zeros((2, 5)))
    answer = decide(ranked, 1, k)
    assert (answer.category, answer.reasons) == (category, reasons)
    assert sorted((*answer.reasons, *answer.alternatives)) == list(range(k))


def test_what_stands_out_is_what_scores_more_than_usual() -> None:
    texts, reference = unit(4, 16), unit(200, 16)
    usual = usual_scores(reference, texts)
    z = standing_out(reference, texts, usual)
    assert z is not None
    assert torch.allclose(z.mean(0), torch.zeros(4), atol=1e-5)
    assert torch.allclose(z.std(0), torch.ones(4), atol=1e-5)
    shown = standing_out(texts, texts, usual)
    assert shown is not None
    assert (shown.diagonal() > 3).all()


def test_few_rationales_without_a_reference_say_nothing() -> None:
    assert standing_out(unit(2, 16), unit(7, 16)) is None
    among = standing_out(unit(2, 16), unit(20, 16))
    assert among is not None
    assert torch.allclose(among.mean(1), torch.zeros(2), atol=1e-5)
    with pytest.raises(SaywhyError, match="7 pictures do not say what is usual; give 8 or more"):
        usual_scores(unit(7, 16), unit(3, 16))


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"terms": ("rationales",)}, "not 'rationales'"),
        ({"terms": ()}, "each at most once"),
        ({"terms": ("pair", "pair")}, "each at most once"),
        ({"temperatures": {"pear": 1.0}}, "not 'pear'"),
        ({"conditional": "some"}, "all or category, not 'some'"),
        ({"weight": -1.0}, "at least 0; it is -1"),
        ({"weight": math.inf}, "at least 0; it is inf"),
        ({"temperatures": {"pair": 0.0}}, "greater than 0"),
    ],
)
def test_scorings_that_there_are_not(options: dict[str, object], message: str) -> None:
    with pytest.raises(SaywhyError, match=message):
        Scoring(**options)  # type: ignore[arg-type]


def test_what_cannot_be_ranked_is_refused() -> None:
    bank, images = held(), unit(2, 16)
    for k in (0, 36):
        with pytest.raises(SaywhyError, match=f"k must be between 1 and 35, .* it is {k}"):
            rank(images, scorer_of(bank), k)
    for inverse in (None, held(c=6), held(r=4)):
        with pytest.raises(SaywhyError, match="inverse bank of the same words"):
            rank(images, scorer_of(bank, Scoring(("rationale", "inverse")), inverse), 1)
    for wrong in (images[:0], images[0], images[:, :8]):
        with pytest.raises(SaywhyError, match="vectors of the same space"):
            rank(wrong, scorer_of(bank), 1)
    with pytest.raises(SaywhyError, match="not finite"):
        rank(images * math.nan, scorer_of(bank), 1)


def test_many_pictures_take_no_more_memory_than_a_sweep_s() -> None:
    for pictures in (1, rationales.IMAGES, 3 * rationales.IMAGES + 1, 10**9):
        columns = rationales.columns_for(pictures)
        assert columns >= 1
        assert columns == 1 or columns * pictures <= rationales.COLUMNS * rationales.IMAGES
    assert rationales.columns_for(1) == rationales.COLUMNS


def test_a_ranking_goes_on_until_it_names_the_category() -> None:
    bank, images = held(), unit(9, 16)
    scorer = scorer_of(bank)
    short, whole = rank(images, scorer, 2), rank(images, scorer, 35)
    last = whole.categories[:, -1]
    longer = rank_with(images, scorer, short, last)
    assert np.array_equal(longer.categories, whole.categories[:, : longer.categories.shape[1]])
    assert rank_with(images, scorer, short, short.categories[:, 0]) is short
    for n, category in enumerate(last.tolist()):
        found = decide(longer, n, 2, category)
        first = int((whole.categories[n] == category).argmax())
        named = [position for position in range(2) if whole.categories[n, position] == category]
        assert (found.category, found.reasons) == (category, tuple(named) or (first,))
        assert found.voted == decide(longer, n, 2).category
        assert all(position < 2 and whole.categories[n, position] != category for position in found.alternatives)
