"""Scores of maps, on a linear model whose answers are known in closed form; and beside quantus, where that is there."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from saywhy.checks import faithfulness as f
from saywhy.errors import SaywhyError

SIDE = 12


@pytest.fixture
def pixels() -> Tensor:
    return torch.rand(2, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) + 0.5


@pytest.fixture
def weights() -> Tensor:
    return torch.randn(2, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def score(weights: Tensor) -> f.Score:
    """score(x) = w . x: gradient x input is what each pixel adds to it."""
    return lambda pictures: (pictures * weights).sum((1, 2, 3))


@pytest.fixture
def relevance(pixels: Tensor, weights: Tensor) -> Tensor:
    return (pixels * weights).sum(0)


def test_what_a_linear_score_falls_by_is_the_relevance_in_the_mask(
    score: f.Score, pixels: Tensor, relevance: Tensor
) -> None:
    masks = f.random_squares(SIDE, SIDE, (2, 6), 40)
    fallen = f.falls(score, pixels, masks, torch.zeros_like(pixels), batch_size=7)
    predicted = f.inside(relevance[None], masks)
    torch.testing.assert_close(predicted[0], fallen, rtol=1e-4, atol=1e-4)
    assert f.infidelity(predicted, fallen, scaled=False)[0] < 1e-9
    assert f.infidelity(predicted, fallen)[0] < 1e-9
    assert f.infidelity(-3 * predicted, fallen)[0] < 1e-9  # whatever its scale
    assert f.infidelity(torch.zeros_like(predicted), fallen)[0] == 1
    # Without the scale: a map of twice the relevance is wrong by the falls themselves.
    assert f.infidelity(2 * predicted, fallen, scaled=False)[0] == pytest.approx(float(fallen.square().mean()), 1e-4)


def test_sensitivity_n_of_gradient_x_input_is_one(score: f.Score, pixels: Tensor, relevance: Tensor) -> None:
    grid = f.cells(SIDE, SIDE, 3)
    for share in (0.1, 0.5, 0.9):
        masks = f.random_sets(grid, share, 50)
        assert (masks[:, ::3, ::3].sum((1, 2)) == max(1, round(share * 16))).all()
        fallen = f.falls(score, pixels, masks, torch.zeros_like(pixels))
        found = f.sensitivity_n(
            f.inside(torch.stack([relevance, -relevance, torch.ones_like(relevance)]), masks), fallen
        )
        torch.testing.assert_close(found[:2], torch.tensor([1.0, -1.0]).double(), atol=1e-4, rtol=0)
        assert found[2].isnan()  # an even map says the same of all sets


@pytest.mark.parametrize("side", [1, 3, 5])
def test_deletion_falls_by_the_largest_contributions_and_nothing_else_does_better(
    score: f.Score, pixels: Tensor, relevance: Tensor, side: int
) -> None:
    grid = f.cells(SIDE, SIDE, side)
    count = int(grid.max()) + 1
    steps = count if side > 1 else 12
    others = torch.rand(5, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    zeros = torch.zeros_like(pixels)
    curves = f.flip(score, pixels, torch.cat([relevance[None], others]), zeros, side=side, steps=steps)
    sums = torch.stack([relevance[grid == n].sum() for n in range(count)]).double()
    sizes = torch.bincount(grid.flatten())
    largest = sums[(sums / sizes).argsort(descending=True)]  # as patches are ranked by their mean
    bounds = [round(k * count / steps) for k in range(steps + 1)]
    expected = torch.stack([largest[:bound].sum() for bound in bounds])
    torch.testing.assert_close(curves.removed[0], sums.sum() - expected, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(curves.kept[0], expected, atol=1e-3, rtol=1e-4)
    if len(sizes.unique()) == 1:
        assert curves.deletion[0] < curves.deletion[1:].min()
        assert curves.insertion[0] > curves.insertion[1:].max()
    # In a linear model what is removed and what is kept add up to the whole, so the area between is known from one.
    whole = float(sums.sum())
    torch.testing.assert_close(curves.between, whole - 2 * curves.deletion, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(curves.sufficiency(1.0)[0], sums.sum(), atol=1e-3, rtol=1e-4)
    assert float(curves.sufficiency(0.0)[0]) == pytest.approx(0, abs=1e-4)
    middle = 1.5 / steps
    assert float(curves.sufficiency(middle)[0]) == pytest.approx(float(expected[1:3].mean()), rel=1e-3)


def test_equal_patches_go_in_no_order_of_their_own(score: f.Score, pixels: Tensor) -> None:
    even = torch.zeros(1, SIDE, SIDE)
    first = torch.zeros_like(pixels)
    found = [f.flip(score, pixels, even, first, side=3, steps=4, seed=seed).removed[0, 1] for seed in range(5)]
    assert len({round(float(one), 4) for one in found}) == 5


def test_flipping_takes_as_many_passes_as_it_says(score: f.Score, pixels: Tensor) -> None:
    seen = []

    def counted(pictures: Tensor) -> Tensor:
        seen.append(len(pictures))
        return score(pictures)

    f.flip(counted, pixels, torch.rand(3, SIDE, SIDE), torch.zeros_like(pixels), side=3, steps=4, batch_size=8)
    assert sum(seen) == 2 + 2 * 3 * 3
    assert max(seen) == 8


def test_area_is_that_of_a_straight_line() -> None:
    assert float(f.area(torch.linspace(1, 0, 11))) == pytest.approx(0.5)
    assert float(f.area(torch.ones(5))) == pytest.approx(1)


def test_ranks_are_shared_by_equal_values() -> None:
    from scipy.stats import spearmanr

    a = torch.tensor([[0.0, 0, 0, 1, 5, 2], [1.0, 2, 3, 4, 5, 6]])
    b = torch.tensor([[1.0, 1, 2, 0, 3, 3], [6.0, 5, 4, 3, 2, 1]])
    expected = [spearmanr(x, y).statistic for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    torch.testing.assert_close(f.rank_correlation(a, b), torch.tensor(expected, dtype=torch.float64))
    assert f.rank_correlation(torch.ones(4), torch.arange(4.0)).isnan()


def test_where_relevance_lies() -> None:
    maps, masks = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool)
    masks[0, :2, :2] = True
    maps[0, 0, 0], maps[0, 1, 1], maps[0, 3, 3], maps[0, 2, 2] = 3, 1, 1, -7
    assert float(f.relevance_mass(maps, masks)) == pytest.approx(4 / 5)  # what speaks against the class is left out
    # Two of the three largest inside, and one of the 12 zeros, of which 2 of 12 are inside.
    assert float(f.relevance_rank(maps, masks)) == pytest.approx((2 + 2 / 12) / 4)
    assert float(f.pointing_game(maps, masks)) == 1
    assert float(f.pointing_game(maps.roll(3, 1), masks)) == 0
    assert float(f.pointing_game(torch.zeros(1, 4, 4), masks)) == pytest.approx(1 / 4)
    assert float(f.relevance_rank(torch.zeros(1, 4, 4), masks)) == pytest.approx(1 / 4)
    nothing = torch.zeros_like(masks)
    for found in (
        f.relevance_mass(-maps.abs(), masks),
        f.relevance_rank(maps, nothing),
        f.pointing_game(maps, nothing),
    ):
        assert found.isnan().all()


def test_complexity_of_one_pixel_and_of_all() -> None:
    one, even = torch.zeros(1, 5, 4), torch.full((1, 5, 4), -2.0)
    one[0, 2, 2] = -3
    assert float(f.entropy(one)) == pytest.approx(0)
    assert float(f.entropy(even)) == pytest.approx(1)
    assert float(f.gini(one)) == pytest.approx(1 - 1 / 20)
    assert float(f.gini(even)) == pytest.approx(0)
    assert f.entropy(torch.zeros(1, 5, 4)).isnan()
    assert f.gini(torch.zeros(1, 5, 4)).isnan()


def test_max_sensitivity_is_the_farthest_move() -> None:
    before = torch.full((1, 3, 3), 2.0)
    after = torch.stack([before * 1.1, before * 0.5], 1)
    assert float(f.max_sensitivity(before, after)) == pytest.approx(0.5)


def test_what_is_refused(score: f.Score, pixels: Tensor) -> None:
    zeros = torch.zeros_like(pixels)
    with pytest.raises(SaywhyError, match="do not fit"):
        f.flip(score, pixels, torch.zeros(1, 5, 5), zeros)
    with pytest.raises(SaywhyError, match="not finite"):
        f.flip(score, pixels, torch.full((1, SIDE, SIDE), torch.nan), zeros)
    with pytest.raises(SaywhyError, match="cannot go in 10 steps"):
        f.flip(score, pixels, torch.zeros(1, SIDE, SIDE), zeros, side=6)
    with pytest.raises(SaywhyError, match="at least 1 pixel"):
        f.cells(4, 4, 0)


class _Linear(torch.nn.Module):
    """(N, 1, 12, 12) -> (N, 2): the second class is the negative of the first."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, x: Tensor) -> Tensor:
        found = (x.float() * self.weights).sum((1, 2, 3)) + 0.2 * x.float().amax((1, 2, 3)) ** 2
        return torch.stack([found, -found], 1)


def test_as_quantus_has_it(pixels: Tensor, weights: Tensor) -> None:
    """The same definitions where both have them: localisation, complexity, and pixel flipping one pixel at a time."""
    quantus = pytest.importorskip("quantus", reason="quantus is not installed: pip install quantus")
    x, w = pixels[:1], weights[:1]
    relevance = torch.randn(1, SIDE, SIDE, generator=torch.Generator().manual_seed(3)).abs()
    mask = f.random_squares(SIDE, SIDE, (5, 5), 1)
    network = _Linear(w).eval()
    batch = {
        "model": network, "x_batch": x[None].numpy(), "y_batch": np.array([0]), "a_batch": relevance[None].numpy(),
        "device": "cpu", "softmax": False,
    }  # fmt: skip
    quiet = {"disable_warnings": True, "display_progressbar": False, "abs": False, "normalise": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        placed = batch | {"s_batch": mask[None].numpy()}
        for ours, theirs in (
            (f.relevance_mass, quantus.RelevanceMassAccuracy(**quiet)),
            (f.relevance_rank, quantus.RelevanceRankAccuracy(**quiet)),
            (f.pointing_game, quantus.PointingGame(**quiet)),
        ):
            assert float(ours(relevance, mask)) == pytest.approx(float(theirs(**placed)[0]), abs=1e-6), theirs
        assert float(f.gini(relevance)) == pytest.approx(float(quantus.Sparseness(**quiet)(**batch)[0]), abs=1e-6)
        bits = float(quantus.Complexity(**quiet)(**batch)[0])
        assert float(f.entropy(relevance)) * np.log(SIDE * SIDE) == pytest.approx(bits, rel=1e-5)
        flipping = quantus.PixelFlipping(features_in_step=12, perturb_baseline="black", **quiet)
        theirs = np.array(flipping(**batch)[0], float)
    filled = float(x.min())  # what quantus calls black
    black = torch.full_like(x, filled)
    ours = f.flip(lambda pictures: network(pictures)[:, 0], x, relevance, black, side=1, steps=12).removed[0]
    np.testing.assert_allclose(ours[1:].numpy(), theirs, rtol=1e-4)
