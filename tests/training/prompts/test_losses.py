"""Objectives and their losses: the streamed ones equal dense ones, in value and in gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.spaces.objectives import OBJECTIVES
from saywhy.spaces.pairs.in_memory import resident
from saywhy.training.prompts import losses as rationale_losses
from saywhy.training.prompts.losses import objective_loss, pseudo_rationales, streamed_cross_entropy, streamed_logsumexp
from saywhy.words.rationale_words import RationaleWords
from tests.helpers import unit

WORDS = RationaleWords(
    ("owl", "duck", "gull", "wren", "thing"),
    ("a tail", "a bill", "webbed feet", "large eyes", "a wing", "a crest", "stripes"),
    ((0, 1, 3), (1, 2, 4), (2, 4, 6, 0), (5,), ()),
)
SCALE = 20.0


@dataclass
class TensorBank:
    """A bank of given vectors, in blocks of one category more than asked for: callers must not rely on their size."""

    words: RationaleWords
    rationales: Tensor
    categories: Tensor
    texts: Tensor  # (C, R, d)

    def blocks(self, columns: int = 262_144) -> Iterator[tuple[int, Tensor]]:
        step = columns // self.texts.shape[1] + 1
        for first in range(0, len(self.texts), step):
            yield first, self.texts[first : first + step]

    def pairs(self, categories: Tensor, rationales: Tensor) -> Tensor:
        return self.texts[categories, rationales].float()


def bank(width: int = 12, dtype: torch.dtype = torch.float32) -> TensorBank:
    c, r = len(WORDS.categories), len(WORDS.rationales)
    return TensorBank(WORDS, unit(r, width), unit(c, width), unit(c * r, width).reshape(c, r, width).to(dtype))


def with_gradient(loss: Callable[[Tensor], Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    leaf = images.clone().requires_grad_()
    value = loss(leaf)
    (gradient,) = torch.autograd.grad((value * torch.arange(1, value.numel() + 1).view_as(value)).sum(), leaf)
    return value.detach(), gradient


# -- one sweep --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("sizes", [(50,), (1,) * 50, (20, 29, 1)])
def test_the_streamed_loss_is_the_dense_one(sizes: tuple[int, ...], scale: float) -> None:
    images, texts, target = unit(6, 16), unit(50, 16), torch.tensor([0, 3, 49, 3, 20, 7])
    dense = with_gradient(lambda x: F.cross_entropy(scale * x @ texts.T, target, reduction="none"), images)
    found = with_gradient(
        lambda x: streamed_cross_entropy(x, texts.split(sizes), texts[target], torch.arange(6), scale), images
    )
    for one, other in zip(found, dense, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * scale)


def test_many_texts_are_taken_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    images, texts = unit(6, 16), unit(50, 16)
    once = with_gradient(lambda x: streamed_logsumexp(x, [texts], 100), images)
    monkeypatch.setattr(rationale_losses, "_SCORES", {"cpu": 40, "cuda": 40})
    few = with_gradient(lambda x: streamed_logsumexp(x, [texts], 100), images)
    for one, other in zip(few, once, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)


def test_its_gradient_in_float64() -> None:
    images, texts = torch.randn(3, 4).double().requires_grad_(), torch.randn(9, 4).double()
    owner, mask = torch.tensor([0, 1, 1, 2]), (torch.tensor([0, 2]), torch.tensor([8, 5]))

    def loss(x: Tensor) -> Tensor:
        return streamed_cross_entropy(x, texts.split(4), texts[[1, 2, 7, 0]], owner, 3.0, mask)

    assert torch.autograd.gradcheck(loss, images)


def test_several_texts_may_match_and_some_may_not_count() -> None:
    images, texts = unit(3, 16), unit(20, 16)
    positives = [[4], [0, 19, 7], [3, 5]]
    owner = torch.tensor([n for n, of in enumerate(positives) for _ in of])
    masked = (torch.tensor([0, 0, 2]), torch.tensor([0, 12, 19]))

    def dense(x: Tensor) -> Tensor:
        scores = (SCALE * x @ texts.T).index_put(masked, torch.tensor(float("-inf")))
        chances = scores.softmax(1)
        return torch.stack([-chances[n, of].mean().log() for n, of in enumerate(positives)])

    def streamed(x: Tensor) -> Tensor:
        flat = [m for of in positives for m in of]
        return streamed_cross_entropy(x, texts.split(6), texts[flat], owner, SCALE, masked)

    for one, other in zip(with_gradient(streamed, images), with_gradient(dense, images), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_block_of_which_nothing_counts_changes_nothing() -> None:
    images, texts = unit(2, 8), unit(10, 8)
    rows = torch.arange(2).repeat_interleave(4)
    masked = (rows, torch.arange(4).repeat(2))
    found = with_gradient(lambda x: streamed_logsumexp(x, texts.split(4), SCALE, masked), images)
    rest = with_gradient(lambda x: streamed_logsumexp(x, [texts[4:]], SCALE), images)
    for one, other in zip(found, rest, strict=True):
        torch.testing.assert_close(one, other)


def test_half_precision_comes_in_and_float32_is_computed() -> None:
    images, texts = unit(4, 16), unit(30, 16).half()
    target = torch.tensor([1, 2, 3, 29])

    def streamed(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return streamed_cross_entropy(x, texts.split(7), texts[target], torch.arange(4), 100)

    dense = with_gradient(lambda x: F.cross_entropy(100 * x @ texts.float().T, target, reduction="none"), images)
    for one, other in zip(with_gradient(streamed, images), dense, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-3)
    assert streamed(images.bfloat16()).dtype == torch.float32


def test_without_gradients_it_is_the_same_loss() -> None:
    images, texts = unit(4, 16).requires_grad_(), unit(30, 16)
    loss = streamed_logsumexp(images, [texts], SCALE)
    with torch.no_grad():
        assert torch.equal(streamed_logsumexp(images, [texts], SCALE), loss)
    assert torch.equal(streamed_logsumexp(images.detach(), [texts], SCALE), loss)


# -- objectives -------------------------------------------------------------------------------------------------------

CATEGORIES = torch.tensor([2, 0, 2, 1])
GOLD = [(2, 4), (3,), (6,), (4, 1)]


def by_hand(x: Tensor, of: TensorBank, inverse: TensorBank, term: str, batch: bool, mask: bool) -> Tensor:
    """A term's mean loss, text by text."""
    over_c = sorted(set(CATEGORIES.tolist())) if batch else range(len(WORDS.categories))
    over_r = sorted({r for g in GOLD for r in g}) if batch else range(len(WORDS.rationales))
    losses = []
    for image, c, gold in zip(x, CATEGORIES.tolist(), GOLD, strict=True):
        others = set(WORDS.lists[c]) - set(gold) if mask else set()
        if term == "category":
            texts = {k: of.categories[k] for k in over_c}
            right: list[object] = [c]
        elif term == "rationale":
            texts = {r: of.rationales[r] for r in over_r if r not in others}
            right = [*gold]
        else:
            source = inverse if term == "inverse" else of
            texts = {(k, r): source.texts[k, r] for k in over_c for r in over_r if not (k == c and r in others)}
            right = [(c, r) for r in gold]
        weights = {key: torch.exp(SCALE * (image @ text)) for key, text in texts.items()}
        total = sum(weights.values())
        losses.append(-torch.stack([weights[key] / total for key in right]).mean().log())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("mode", ["full", "batch"])
@pytest.mark.parametrize("name", [name for name in OBJECTIVES if OBJECTIVES[name].trained])
def test_objectives_are_the_sums_of_their_terms(name: str, mode: str, mask: bool) -> None:
    of, inverse, images = bank(), bank(), unit(4, 12)
    terms = OBJECTIVES[name].trained

    def expected(x: Tensor) -> Tensor:
        weights = {"rationale": 0.7}
        return sum(weights.get(t, 1) * by_hand(x, of, inverse, t, mode == "batch", mask) for t in terms)  # type: ignore[return-value]

    def found(x: Tensor) -> Tensor:
        loss, values = objective_loss(
            x, CATEGORIES, GOLD, of, name, SCALE, bank_mode=mode, weight=0.7, columns=10, inverse_bank=inverse,
            mask_same_class=mask,
        )  # fmt: skip
        assert tuple(values) == terms
        assert not any(value.requires_grad for value in values.values())
        for term, value in values.items():
            torch.testing.assert_close(value, by_hand(x.detach(), of, inverse, term, mode == "batch", mask))
        return loss

    for one, other in zip(with_gradient(found, images), with_gradient(expected, images), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_block_size_does_not_matter() -> None:
    of, images = bank(), unit(4, 12)
    losses = [objective_loss(images, CATEGORIES, GOLD, of, "ecor", SCALE, columns=n)[0] for n in (1, 8, 1000)]
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(losses[0], losses[2])


def test_a_gold_rationale_that_is_named_twice_counts_once() -> None:
    of, images = bank(), unit(4, 12)
    twice = [(2, 4, 2), (3, 3), (6,), (1, 4)]
    losses = [objective_loss(images, CATEGORIES, gold, of, "ecor", SCALE)[0] for gold in (GOLD, twice)]
    assert torch.equal(*losses)


def test_pseudo_rationales_are_the_best_of_the_own_list() -> None:
    of, images = bank(), unit(4, 12)
    found = pseudo_rationales(images, CATEGORIES, of, WORDS)
    for image, c, r in zip(images, CATEGORIES.tolist(), found.tolist(), strict=True):
        listed = WORDS.lists[c]
        assert r == listed[int((of.texts[c, list(listed)] @ image).argmax())]


def test_plain_pictures_are_taken_with_a_pseudo_rationale() -> None:
    of, images = bank(), unit(4, 12).requires_grad_()
    some = [GOLD[0], (), GOLD[2], ()]
    chosen = pseudo_rationales(images, CATEGORIES, of, WORDS).tolist()
    whole = [GOLD[0], (chosen[1],), GOLD[2], (chosen[3],)]
    found, expected = (
        objective_loss(images, CATEGORIES, gold, of, "dror-imagenet", SCALE)[0] for gold in (some, whole)
    )
    assert torch.equal(found, expected)
    with pytest.raises(SaywhyError, match="2 of 4 pictures have no gold rationale"):
        objective_loss(images, CATEGORIES, some, of, "ecor", SCALE)
    with pytest.raises(SaywhyError, match="'thing'"):
        objective_loss(images, torch.full((4,), 4), some, of, "dror-imagenet", SCALE)


def test_a_resident_bank_is_the_bank() -> None:
    of = bank(dtype=torch.float16)
    kept = resident(of, "cpu")
    assert kept.texts.dtype == torch.float32
    assert torch.equal(kept.texts, of.texts.float())
    assert [first for first, _ in kept.blocks(14)] == [0, 2, 4]
    assert torch.equal(torch.cat([block for _, block in kept.blocks(14)]), kept.texts)
    assert torch.equal(kept.pairs(torch.tensor([1, 4]), torch.tensor([6, 0])), of.texts[[1, 4], [6, 0]].float())
    images = unit(4, 12)
    losses = [objective_loss(images, CATEGORIES, GOLD, one, "ecor", SCALE)[0] for one in (of, kept)]
    torch.testing.assert_close(*losses)


def test_ablations_are_what_the_paper_says() -> None:
    assert OBJECTIVES["ab3"] == OBJECTIVES["dror"]
    assert all(one.scored for one in OBJECTIVES.values())
    assert not OBJECTIVES["clip"].trained


@pytest.mark.parametrize(
    ("objective", "options", "message"),
    [
        ("ecr", {}, "ecor"),
        ("clip", {}, "trains nothing"),
        ("ab4", {}, "inverse template"),
        ("ecor", {"bank": None}, "bank of the pairs"),
        ("ecor", {"bank": None, "inverse_bank": bank()}, "bank of the pairs"),
        ("ecor", {"bank_mode": "half"}, "full, batch"),
    ],
)
def test_what_cannot_be_trained_is_said(objective: str, options: dict[str, object], message: str) -> None:
    of = {"bank": bank()} | options
    with pytest.raises(SaywhyError, match=message):
        objective_loss(unit(4, 12), CATEGORIES, GOLD, objective=objective, scale=SCALE, **of)  # type: ignore[arg-type]


def test_the_inverse_bank_alone_is_enough_where_nothing_else_is_asked() -> None:
    of, images = bank(), unit(4, 12)
    alone, _ = objective_loss(images, CATEGORIES, GOLD, None, "ab4", SCALE, inverse_bank=of)
    both, _ = objective_loss(images, CATEGORIES, GOLD, of, "ab4", SCALE, inverse_bank=of)
    assert torch.equal(alone, both)
