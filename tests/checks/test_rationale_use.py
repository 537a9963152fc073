"""Is the rationale used: worlds where it is by construction, worlds where it is not, slow references, a real CLIP."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from saywhy.checks.belief import log_conditional, log_rationale
from saywhy.checks.masking import Trial, trial
from saywhy.checks.picture_change import Encode, PictureChange, picture_change
from saywhy.checks.rationale_use import rationale_use
from saywhy.checks.text_swap import TextSwap, absent_rationales, text_swap
from saywhy.errors import SaywhyError
from saywhy.intervals import Interval
from saywhy.spaces.pairs import conditional, ranking
from saywhy.spaces.pairs.scorer import PairScorer
from saywhy.spaces.pairs.scoring import Scoring
from saywhy.words.rationale_words import RationaleWords
from tests.helpers import unit

SCALE = 20.0
Terms = Mapping[str, float]
"""What is scored -> its weight."""
ECOR_TERMS: Terms = {"rationale": 1.0, "pair": 1.0}
DROR: Terms = {"pair": 1.0}
AB5: Terms = {"rationale": 1.0, "category": 1.0}
ALL_TERMS: list[Terms] = [
    ECOR_TERMS, DROR, AB5, {"inverse": 0.7, "rationale": 1.3}, {"category": 0.5, "pair": 2.0},
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Dense:
    """A bank of (C, R, d) texts in memory, read in blocks of two categories."""

    words: RationaleWords
    rationales: Tensor
    categories: Tensor
    texts: Tensor

    def pairs(self, categories: Tensor, rationales: Tensor) -> Tensor:
        return self.texts[categories, rationales]

    def blocks(self, columns: int = 0) -> Iterator[tuple[int, Tensor]]:
        for first in range(0, len(self.texts), 2):
            yield first, self.texts[first : first + 2]


def bank(categories: int = 5, rationales: int = 12, width: int = 64) -> Dense:
    """Every text in a direction of its own; category c lists the rationales 2c and 2c + 1 while there are."""
    lists = tuple(tuple(r for r in (2 * c, 2 * c + 1) if r < rationales) for c in range(categories))
    words = RationaleWords(
        tuple(f"bird {c}" for c in range(categories)), tuple(f"part {r}" for r in range(rationales)), lists
    )
    texts = unit(categories * rationales, width).unflatten(0, (categories, rationales))
    return Dense(words, unit(rationales, width), unit(categories, width), texts)


def scorer_of(of: Dense, terms: Terms = ECOR_TERMS, scale: float = SCALE) -> PairScorer[Dense]:
    scoring = Scoring(tuple(terms), temperatures={term: 1 / weight for term, weight in terms.items()})
    return PairScorer.of_bank(of, scoring=scoring, scale=scale)


def answers(of: Dense, pictures: int) -> tuple[Tensor, Tensor]:
    """(N,) categories and (N,) rationales of their lists."""
    categories = torch.randint(len(of.words.categories), (pictures,))
    rationales = torch.tensor([of.words.lists[c][n % 2] for n, c in enumerate(categories.tolist())])
    return categories, rationales


def absent(of: Dense, categories: Tensor, rationales: Tensor) -> list[np.ndarray]:
    return absent_rationales(of.words, categories.tolist(), [{r} for r in rationales.tolist()])


# -- probabilities ----------------------------------------------------------------------------------------------------


def reference(images: Tensor, of: Dense, terms: Terms) -> tuple[Tensor, Tensor]:
    """(N, R) log P(r | I) and (N, R, C) log P(c | r, I), of all that is scored, at once and in double precision."""
    images = images.double()
    together = terms.get("pair", 0) + terms.get("inverse", 0)
    scores = together * SCALE * torch.einsum("nd,crd->nrc", images, of.texts.double())
    scores = scores + terms.get("category", 0) * SCALE * (images @ of.categories.double().T)[:, None]
    named = terms["rationale"] * SCALE * images @ of.rationales.double().T if "rationale" in terms else 0
    marginal = scores.logsumexp(2) if "rationale" not in terms else named
    return torch.as_tensor(marginal).log_softmax(1), scores.log_softmax(2)


@pytest.mark.parametrize("terms", ALL_TERMS)
@pytest.mark.parametrize("block", [3, 1000])
def test_probabilities_are_those_of_a_slow_reference(terms: Terms, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditional, "ROWS", block)
    monkeypatch.setattr(ranking, "IMAGES", block)
    of, images = bank(), unit(20, 64)
    rationales = torch.arange(20) % 12
    named, given = reference(images, of, terms)
    torch.testing.assert_close(log_rationale(images, scorer_of(of, terms)).double(), named, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(
        log_conditional(images, scorer_of(of, terms), rationales).double(),
        given[torch.arange(20), rationales], rtol=1e-5, atol=1e-4,
    )  # fmt: skip
    torch.testing.assert_close((named[:, :, None] + given).exp().sum((1, 2)), torch.ones(20).double())


def test_the_pairs_alone_are_one_softmax() -> None:
    """What CLIP and DROR rank, P(c, r | I) over all pairs, is P(r | I) P(c | r, I)."""
    of, images = bank(), unit(6, 64)
    everything = SCALE * torch.einsum("nd,crd->nrc", images, of.texts)
    joint = everything.flatten(1).log_softmax(1).unflatten(1, everything.shape[1:])
    named = log_rationale(images, scorer_of(of, DROR))
    given = torch.stack([log_conditional(images, scorer_of(of, DROR), torch.full((6,), r)) for r in range(12)], 1)
    torch.testing.assert_close(named[:, :, None] + given, joint, rtol=1e-4, atol=1e-4)


# -- another rationale in the text ------------------------------------------------------------------------------------


def test_a_category_that_rests_on_its_rationale_uses_it() -> None:
    of = bank()
    categories, rationales = answers(of, 60)
    images = F.normalize(of.texts[categories, rationales] + 0.05 * torch.randn(60, 64), dim=1)
    swap = text_swap(images, scorer_of(of), categories, rationales, absent(of, categories, rationales))
    assert swap.used.mean() > 0.95
    assert (swap.drops.mean(1) > 1).float().mean() > 0.95
    assert (swap.losses >= 0).all()
    # Blind: the other rationale of the same list, whichever the picture shows.
    blind = torch.tensor([sum(of.words.lists[c]) for c in categories.tolist()]) - rationales
    swap = text_swap(images, scorer_of(of), categories, blind, absent(of, categories, rationales))
    assert swap.used.mean() < 0.4


def test_a_category_that_does_not_rest_on_its_rationale_does_not_use_it() -> None:
    of = bank()
    flat = replace(of, texts=of.categories[:, None].expand_as(of.texts))
    categories, rationales = answers(of, 60)
    images = F.normalize(of.categories[categories] + of.rationales[rationales], dim=1)
    swap = text_swap(images, scorer_of(flat), categories, rationales, absent(of, categories, rationales))
    assert not swap.used.any()
    assert not swap.losses.any()
    for terms, some in ((AB5, of), (DROR, flat)):
        swap = text_swap(images, scorer_of(some, terms), categories, rationales, absent(of, categories, rationales))
        assert not swap.used.any()


@pytest.mark.parametrize("draws", [1, 4])
def test_chance_is_what_it_is_said_to_be(draws: int) -> None:
    """A rationale that is no other than the absent ones: texts of pairs are near their category, each by its noise."""
    of = bank(rationales=40)
    noisy = replace(of, texts=F.normalize(of.categories[:, None] + 0.3 * of.texts, dim=2))
    categories, rationales = answers(of, 1000)
    swap = text_swap(
        unit(1000, 64), scorer_of(noisy), categories, rationales, absent(of, categories, rationales), draws
    )
    expected = 1 / (draws + 1)
    torch.testing.assert_close(swap.chance, torch.full((1000,), expected))
    assert abs(float(swap.used.mean()) - expected) < 4 * (expected * (1 - expected) / 1000) ** 0.5


def test_drops_and_losses_are_those_of_a_slow_reference() -> None:
    of, images = bank(), unit(15, 64)
    categories, rationales = answers(of, 15)
    swap = text_swap(images, scorer_of(of), categories, rationales, absent(of, categories, rationales), 3)
    _, given = reference(images, of, ECOR_TERMS)
    for n, (c, r) in enumerate(zip(categories.tolist(), rationales.tolist(), strict=True)):
        for k, other in enumerate(swap.swapped[n].tolist()):
            assert float(swap.drops[n, k]) == pytest.approx(float(given[n, r, c] - given[n, other, c]), abs=1e-4)
            places = [int((given[n, some] > given[n, some, c]).sum()) for some in (r, other)]
            assert int(swap.losses[n, k]) == places[1] - places[0]


def test_what_is_put_in_its_place_is_absent_and_each_once() -> None:
    of, images = bank(), unit(30, 64)
    categories, rationales = answers(of, 30)
    candidates = [np.arange(n % 4, n % 4 + n % 5) for n in range(30)]
    swap = text_swap(images, scorer_of(of), categories, rationales, candidates, 3)
    for n, row in enumerate(swap.swapped.tolist()):
        there = set(candidates[n].tolist()) - {int(rationales[n])}
        chosen = [r for r in row if r >= 0]
        assert set(chosen) <= there
        assert len(chosen) == len(set(chosen)) == min(3, len(there))
        assert swap.drops[n].isnan().tolist() == [r < 0 for r in row]
        assert float(swap.chance[n]) == pytest.approx(1 / (len(chosen) + 1)) or not chosen
        assert bool(swap.used[n].isnan()) == bool(swap.chance[n].isnan()) == (not chosen)


def test_the_same_seed_draws_the_same_whatever_else_is_tested() -> None:
    of, images = bank(), unit(30, 64)
    categories, rationales = answers(of, 30)
    candidates = absent(of, categories, rationales)
    first = text_swap(images, scorer_of(of), categories, rationales, candidates)
    fewer = text_swap(images[:7], scorer_of(of), categories[:7], rationales[:7], [set(some) for some in candidates[:7]])
    assert torch.equal(first.swapped[:7], fewer.swapped)
    torch.testing.assert_close(first.drops[:7], fewer.drops, rtol=1e-4, atol=1e-4)
    other = text_swap(images, scorer_of(of), categories, rationales, candidates, seed=1)
    assert not torch.equal(first.swapped, other.swapped)


def test_absent_is_neither_true_nor_listed_nor_part_of_either() -> None:
    words = RationaleWords(
        ("kingfisher", "finch", "wren"), ("a bill", "a tail", "a crest", "a bill and a tail", "a crest and a wing"),
        ((0, 1), (2,), ()), several={3: ("a bill", "a tail"), 4: ("a crest", "a wing")},
    )  # fmt: skip
    for category, true, expected in (
        (0, {0}, [2, 4]), (1, {4}, [0, 1, 3]), (2, {1}, [0, 2, 4]), (2, {3}, [2, 4]), (2, set(), [0, 1, 2, 3, 4]),
    ):  # fmt: skip
        (found,) = absent_rationales(words, [category], [true])
        assert found.tolist() == expected


def test_one_picture_one_rationale_none_named() -> None:
    of = bank(categories=2, rationales=1)
    swap = text_swap(unit(1, 64), scorer_of(of), torch.tensor([1]), torch.tensor([0]), [{0}])
    assert swap.used.isnan().all()
    use = rationale_use(np.array([True]), [swap])
    assert use.text is not None
    assert (use.right, use.text.count) == (1, 0)
    assert np.isnan(use.text.share.value)
    of = bank(categories=1, rationales=3)  # one category: nothing to fall to
    swap = text_swap(unit(2, 64), scorer_of(of), torch.tensor([0, 0]), torch.tensor([2, -1]), [{0, 1}] * 2)
    assert swap.used.nan_to_num(9).tolist() == [0, 9]
    empty = text_swap(unit(0, 64), scorer_of(of), torch.tensor([]).long(), torch.tensor([]).long(), [])
    assert empty.used.shape == (0,)


# -- something taken out of the picture -------------------------------------------------------------------------------


def with_patch(seed: int) -> tuple[Image.Image, np.ndarray]:
    """A grey picture with a red patch somewhere, and where it is."""
    top, left = np.random.default_rng(seed).integers(0, 17, 2)
    mask = np.zeros((20, 20), bool)
    mask[top : top + 4, left : left + 4] = True
    pixels = np.full((20, 20, 3), 128, np.uint8)
    pixels[mask] = (255, 0, 0)
    return Image.fromarray(pixels), mask


def trials(pictures: int, draws: int = 4) -> Iterator[Trial]:
    for n in range(pictures):
        yield trial(*with_patch(n), draws, np.random.default_rng(n))


def sees_red(of: Dense, category: int, rationale: int) -> Encode:
    """Pictures -> the more of the rationale, and of its pair with the category, the more of them is red."""
    what, grey = of.rationales[rationale] + of.texts[category, rationale], unit(1, 64)[0]

    def encode(pictures: Sequence[Image.Image]) -> Tensor:
        pixels = torch.stack([torch.as_tensor(np.array(one, np.float32)) for one in pictures])
        red = (pixels[..., 0] - pixels[..., 1] > 60).float().sum((1, 2)) / 16
        return F.normalize(grey + 3 * red[:, None] * what, dim=1)

    return encode


def noise(pictures: Sequence[Image.Image]) -> Tensor:
    """The same vector for the same picture, and any other for any other."""
    seeds = [zlib.crc32(one.tobytes()) for one in pictures]
    return F.normalize(
        torch.stack([torch.randn(64, generator=torch.Generator().manual_seed(seed)) for seed in seeds]), dim=1
    )


@pytest.mark.parametrize("terms", [ECOR_TERMS, DROR])
def test_what_is_seen_in_its_place_is_used_by_the_picture(terms: Terms) -> None:
    of = bank()
    named = torch.full((40,), 1), torch.full((40,), 2)
    change = picture_change(sees_red(of, 1, 2), trials(40), scorer_of(of, terms), *named)
    assert change.falls.shape == (40, 2)
    assert change.elsewhere.shape == (40, 4, 2)
    assert change.used.mean() == 1
    assert change.elsewhere.abs().max() < 1e-3
    torch.testing.assert_close(change.chance, torch.full((40,), 0.2))


def test_what_is_not_seen_is_not_used_by_the_picture() -> None:
    of = bank()
    named = torch.full((40,), 1), torch.full((40,), 2)
    blind = picture_change(lambda pictures: of.texts[1, 2].expand(len(pictures), -1), trials(40), scorer_of(of), *named)
    assert not blind.used.any()
    other = picture_change(sees_red(of, 3, 7), trials(40), scorer_of(of), *named)  # it rests on something else
    assert not other.used.any()
    of_noise = picture_change(noise, trials(200), scorer_of(of), named[0].repeat(5), named[1].repeat(5))
    assert of_noise.used.mean() < float(of_noise.chance.mean()) + 0.05


def test_a_category_that_stays_without_its_rationale_does_not_use_it() -> None:
    """The rationale falls, the category does not: AB5, whose category is seen in the grey."""
    of = bank()

    def encode(pictures: Sequence[Image.Image]) -> Tensor:
        red = torch.tensor([float((np.array(one)[..., 1] < 60).sum()) / 16 for one in pictures])
        # Orthogonal to all categories, so that no category is nearer or farther for it.
        basis = torch.linalg.qr(of.categories.T).Q
        what = of.rationales[2] - basis @ (basis.T @ of.rationales[2])
        return of.categories[1] + red[:, None] * what

    change = picture_change(encode, trials(10), scorer_of(of, AB5), torch.full((10,), 1), torch.full((10,), 2))
    assert (change.falls[:, 0] > 0.1).all()
    assert change.falls[:, 1].abs().max() < 1e-3
    assert not change.used.any()


def test_falls_are_differences_of_the_probabilities() -> None:
    of = bank()
    pictures = [with_patch(n)[0] for n in range(6)]
    changed = [with_patch(n + 50)[0].rotate(90) for n in range(6)]
    categories, rationales = answers(of, 6)
    alone = [Trial(a, b, ()) for a, b in zip(pictures, changed, strict=True)]
    found = picture_change(noise, alone, scorer_of(of), categories, rationales).falls
    for n in range(6):
        (named, given), (then_named, then_given) = (
            reference(noise([p[n]]), of, ECOR_TERMS) for p in (pictures, changed)
        )
        c, r = int(categories[n]), int(rationales[n])
        assert float(found[n, 0]) == pytest.approx(float(named[0, r] - then_named[0, r]), abs=1e-4)
        assert float(found[n, 1]) == pytest.approx(float(given[0, r, c] - then_given[0, r, c]), abs=1e-4)
    made = [Trial(a, b, (a, b)) for a, b in zip(pictures, changed, strict=True)]
    change = picture_change(noise, made, scorer_of(of), categories, rationales)
    torch.testing.assert_close(change.falls, found)
    torch.testing.assert_close(change.elsewhere[:, 1], found)
    assert change.elsewhere[:, 0].abs().max() < 1e-4


def test_without_a_trial_or_a_rationale_nothing_is_tested() -> None:
    of = bank()
    rationales = torch.full((40,), 2)
    rationales[3] = -1
    some = [None if n == 5 else one for n, one in enumerate(trials(40))]
    change = picture_change(sees_red(of, 1, 2), some, scorer_of(of), torch.full((40,), 1), rationales)
    assert change.used.isnan().nonzero()[:, 0].tolist() == change.chance.isnan().nonzero()[:, 0].tolist() == [3, 5]
    none = picture_change(noise, [None], scorer_of(of), torch.tensor([0]), torch.tensor([0]))
    assert none.used.isnan().all()


def test_a_part_that_is_not_there_is_not_used() -> None:
    of = bank()
    picture, mask = with_patch(0)
    empty = trial(picture, np.zeros_like(mask), 3, np.random.default_rng(0))
    change = picture_change(noise, [empty], scorer_of(of), torch.tensor([1]), torch.tensor([2]))
    assert change.used.tolist() == [0]


# -- beside RR --------------------------------------------------------------------------------------------------------


def swaps(used: list[float]) -> TextSwap:
    """Of one draw each: used 1, not 0, untested NaN."""
    drops = torch.tensor(used).float()[:, None] * 2 - 1
    return TextSwap(drops, drops * 3, torch.where(drops.isnan(), -1, 7))


def changes(used: list[float]) -> PictureChange:
    falls = torch.tensor(used).float()[:, None].expand(-1, 2)
    return PictureChange(falls, (falls * 0.5)[:, None].expand(-1, 3, -1))


NAN = float("nan")


def test_shares_are_of_the_right_and_tested() -> None:
    right = np.array([True, True, True, True, False, False])
    use = rationale_use(right, [swaps([1, 1, 0, NAN, 1, 1])], [changes([1, 0, NAN, 1, 0, 0])])
    assert use.right == 4
    assert use.text is not None
    assert use.picture is not None
    assert use.both is not None
    assert (use.text.count, use.picture.count, use.both.count) == (3, 3, 2)
    assert use.text.share.value == pytest.approx(200 / 3)
    assert use.picture.share.value == pytest.approx(200 / 3)
    assert use.both.share.value == 50
    assert (use.text.chance, use.picture.chance, use.both.chance) == pytest.approx((50, 25, 25))
    assert {name: fall.value for name, fall in use.text.falls.items()} == pytest.approx({"category": 1 / 3, "rank": 1})
    assert use.picture.falls["category"].value == pytest.approx(2 / 3)
    assert use.picture.falls["category elsewhere"].value == pytest.approx(1 / 3)
    assert not use.both.falls
    for test in (use.text, use.picture, use.both):
        assert all(one.low <= one.value <= one.high for one in (test.share, *test.falls.values()))
    assert use == rationale_use(right, [swaps([1, 1, 0, NAN, 1, 1])], [changes([1, 0, NAN, 1, 0, 0])])


def test_several_runs_are_pooled_and_widen_the_interval() -> None:
    used = [[1.0] * 38 + [0.0] * 2, [0.0] * 30 + [1.0] * 10]
    right = np.ones((2, 40), bool)
    together = rationale_use(right, [swaps(some) for some in used]).text
    apart = [rationale_use(right[0], [swaps(some)]).text for some in used]
    assert together is not None
    assert together.count == 80
    assert together.share.value == pytest.approx(60)
    for one in apart:
        assert one is not None
        assert one.share.high - one.share.low < together.share.high - together.share.low


def test_nothing_right_is_no_share() -> None:
    use = rationale_use(np.zeros(3, bool), [swaps([1, 1, 0])])
    assert use.text is not None
    assert (use.right, use.text.count, use.picture, use.both) == (0, 0, None, None)
    assert all(np.isnan(one.value) for one in (use.text.share, *use.text.falls.values()))


def test_one_picture_has_an_interval_of_one_value() -> None:
    use = rationale_use(np.array([True]), [swaps([1])], [changes([1])])
    assert use.both is not None
    assert use.both.share == Interval(100, 100, 100)


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"terms": {"pear": 1.0}}, "sum of terms out of rationale, category, pair, inverse, .* not 'pear'"),
        ({"terms": {"category": 1.0}}, "do not involve rationales"),
        ({"terms": {"pair": 1.0, "inverse": 1.0}}, "need two banks"),
        ({"images": torch.ones(3, 5)}, "for a bank of 64 dimensions"),
        ({"categories": torch.tensor([0, 1])}, r"are \[3, 2, 3\]"),
        ({"categories": torch.tensor([0, 5, 1])}, "no category 5; the bank has 5, counted from 0"),
        ({"rationales": torch.tensor([0, -2, 1])}, "no rationale -2; the bank has 12"),
        ({"rationales": torch.tensor([0, 12, 1])}, "no rationale 12; the bank has 12"),
        ({"absent": [{3}]}, "1 sets of absent rationales for 3 pictures"),
        ({"absent": [{3}, {12}, {1}]}, "picture 1 run from 12 to 12"),
        ({"absent": [{3}, {-1}, {1}]}, "picture 1 run from -1 to -1"),
        ({"draws": 0}, "draws must be at least 1; it is 0"),
    ],
)
def test_what_cannot_be_swapped_is_refused(changed: dict[str, object], message: str) -> None:
    given = {
        "images": unit(3, 64), "categories": torch.tensor([0, 1, 2]), "rationales": torch.tensor([0, 1, 2]),
        "absent": [{3}, {4}, {5}],
    }  # fmt: skip
    options = dict(changed)
    terms = options.pop("terms", ECOR_TERMS)
    with pytest.raises(SaywhyError, match=message):
        text_swap(scorer=scorer_of(bank(), terms), **(given | options))  # type: ignore[arg-type]


def test_what_cannot_be_changed_or_counted_is_refused() -> None:
    of, named = bank(), (torch.tensor([1, 1]), torch.tensor([2, 2]))
    (first, second), (longer,) = trials(2), trials(1, draws=5)
    for some, message in (
        ([first], "1 trials for 2 answers"), ([first, second, first], "more than 2 trials"),
        ([first, longer], "different numbers of areas"),
    ):  # fmt: skip
        with pytest.raises(SaywhyError, match=message):
            picture_change(noise, some, scorer_of(of), *named)
    with pytest.raises(SaywhyError, match="no rationale -1"):
        log_conditional(unit(1, 64), scorer_of(of), torch.tensor([-1]))
    with pytest.raises(SaywhyError, match="draws must be at least 1"):
        trial(*with_patch(0), 0, np.random.default_rng(0))
    with pytest.raises(SaywhyError, match="give one for each"):
        absent_rationales(of.words, [0], [])
    with pytest.raises(SaywhyError, match="one test for each run"):
        rationale_use(np.ones((2, 3), bool), [swaps([1, 1, 1])])
    with pytest.raises(SaywhyError, match="one test for each run"):
        rationale_use(np.ones(3, bool), [swaps([1, 1])])


# -- a real CLIP ------------------------------------------------------------------------------------------------------


def test_close_ups_of_the_aviary_go_all_the_way() -> None:
    from saywhy import load_clip
    from saywhy.words.rationale_words import spoken
    from saywhy.worlds.aviary import SPECIES
    from saywhy.worlds.closeups import PART_OF, closeups, rationale_lists, said
    from saywhy.worlds.drawing import PARTS

    clip, species = load_clip("world:aviary/vit"), list(SPECIES)[::10]
    lists = rationale_lists(species)
    phrases = tuple(dict.fromkeys(phrase for some in lists.values() for phrase in some))
    words = RationaleWords(
        tuple(spoken(name) for name in species), phrases,
        tuple(tuple(phrases.index(phrase) for phrase in some) for some in lists.values()),
    )  # fmt: skip
    texts = [words.pair_text(c, r) for c in range(len(species)) for r in range(len(phrases))]
    of = Dense(
        words, clip.encode_texts_once(words.rationale_texts()), clip.encode_texts_once(words.category_texts()),
        clip.encode_texts_once(texts).unflatten(0, (len(species), -1)),
    )  # fmt: skip
    seen = closeups(species, 12, "test")
    images = clip.encode_images([one.image for one in seen])
    pairs = torch.einsum("nd,crd->ncr", images, of.texts).flatten(1).argmax(1)
    categories, rationales = pairs // len(phrases), pairs % len(phrases)
    truth = torch.tensor([species.index(one.species) for one in seen])
    true = [{phrases.index(said(a, SPECIES[one.species][a])) for a in one.rationales} for one in seen]
    scorer = scorer_of(of, DROR, clip.scale)
    swap = text_swap(images, scorer, categories, rationales, absent_rationales(words, truth.tolist(), true))
    made = []
    for n, one in enumerate(seen):
        part = PART_OF[one.attribute]
        mask = one.parts() == PARTS.index(part)
        made.append(trial(one.image, mask, 4, np.random.default_rng(n), changed=one.redrawn(without={part})))
    change = picture_change(clip.encode_images, made, scorer, categories, rationales)
    use = rationale_use((categories == truth).numpy(), [swap], [change])
    assert swap.drops.isfinite().all()
    assert change.falls.isfinite().all()
    assert change.elsewhere.isfinite().all()
    for test in (use.text, use.picture, use.both):
        assert test is not None
        assert test.count == use.right
        assert use.right == 0 or 0 <= test.share.low <= test.share.value <= test.share.high <= 100
