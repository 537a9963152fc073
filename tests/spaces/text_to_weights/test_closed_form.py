"""Mappers in closed form, against other people's implementations and against what must be true of them."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge

from saywhy.spaces.text_to_weights.closed_form import (
    fit_blend,
    fit_kernel_ridge,
    fit_neighbours,
    fit_procrustes,
    fit_ridge,
)
from tests.helpers import unit


def test_kernel_ridge_is_scikit_learns() -> None:
    texts, targets, new = unit(40, 16), unit(40, 24), unit(9, 16)
    ours = fit_kernel_ridge(texts * 5, targets, ridge=0.7, width=3.0)  # lengths of texts do not count
    theirs = KernelRidge(alpha=0.7, kernel="rbf", gamma=3.0 / ours.median).fit(texts, targets)
    torch.testing.assert_close(ours.coefficients, torch.tensor(theirs.dual_coef_).float(), rtol=1e-4, atol=1e-5)
    expected = F.normalize(torch.tensor(theirs.predict(new)).float(), dim=1)
    torch.testing.assert_close(ours(new * 2), expected, rtol=1e-4, atol=1e-5)


def test_ridge_is_scikit_learns() -> None:
    texts, targets, new = unit(40, 16), unit(40, 24), unit(9, 16)
    theirs = Ridge(alpha=0.7, fit_intercept=False).fit(texts, targets)
    expected = F.normalize(torch.tensor(theirs.predict(new)).float(), dim=1)
    torch.testing.assert_close(fit_ridge(texts, targets, ridge=0.7)(new), expected, rtol=1e-4, atol=1e-5)


def test_with_little_regularisation_class_names_map_to_their_own_weights() -> None:
    texts, targets = unit(40, 16), unit(40, 24)
    torch.testing.assert_close(fit_kernel_ridge(texts, targets, ridge=1e-6)(texts), targets, rtol=1e-3, atol=1e-3)


def test_the_order_of_classes_does_not_matter() -> None:
    texts, targets, new, order = unit(40, 16), unit(40, 24), unit(7, 16), torch.randperm(40)
    for fit in (fit_ridge, fit_kernel_ridge, fit_neighbours, fit_procrustes, fit_blend):
        expected = fit(texts, targets)(new)
        torch.testing.assert_close(fit(texts[order], targets[order])(new), expected, rtol=1e-4, atol=1e-5)


def test_kernel_ridge_generalises_a_smooth_relation() -> None:
    """Weights that are a linear function of the text: unseen texts land nearer to theirs than to any other's."""
    texts, matrix = unit(400, 6), torch.randn(6, 24)
    targets = F.normalize(texts @ matrix, dim=1)
    mapped = fit_kernel_ridge(texts[:360], targets[:360], ridge=0.01, width=1.0)(texts[360:])
    assert ((mapped @ targets[360:].T).argmax(1) == torch.arange(40)).float().mean() > 0.8


def test_variance_is_that_of_a_gaussian_process() -> None:
    texts, targets, new = unit(40, 16), unit(40, 24), unit(9, 16)
    ours = fit_kernel_ridge(texts, targets, ridge=0.3, width=4.0)
    kernel = RBF(math.sqrt(ours.median / 8), "fixed")  # exp(-d^2 / (2 length^2)) = exp(-4 d^2 / median)
    theirs = GaussianProcessRegressor(kernel, alpha=0.3).fit(texts, targets)
    _, deviation = theirs.predict(new, return_std=True)
    expected = torch.tensor(deviation[:, 0]).float() ** 2
    torch.testing.assert_close(ours.variance(new), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fit_blend(texts, targets, width=4.0).variance(new), expected, rtol=1e-4, atol=1e-5)


def test_variance_grows_with_the_distance_from_all_classes() -> None:
    somewhere = F.normalize(torch.ones(1, 16) + 0.5 * torch.randn(200, 16), dim=1)
    mapper = fit_kernel_ridge(somewhere, unit(200, 8), ridge=0.1)
    away = F.normalize(torch.lerp(somewhere[:1], -somewhere[:1].roll(3, 1), torch.linspace(0, 1, 6)[:, None]), dim=1)
    variance = mapper.variance(away)
    assert (variance.diff() >= 0).all()
    assert 0 <= variance[0] < 0.2
    assert 0.99 < variance[-1] <= 1


def test_sharp_neighbours_are_the_nearest_class() -> None:
    texts, targets, new = unit(40, 16), unit(40, 24), unit(9, 16)
    nearest = (new @ texts.T).argmax(1)
    torch.testing.assert_close(fit_neighbours(texts, targets, sharpness=1e5)(new), targets[nearest])
    torch.testing.assert_close(fit_neighbours(texts, targets, count=1)(new), targets[nearest])


def test_blunt_neighbours_are_the_mean_of_all() -> None:
    texts, targets = unit(12, 16), unit(12, 24)
    mapped = fit_neighbours(texts, targets, count=99, sharpness=0.0)(unit(3, 16))
    torch.testing.assert_close(mapped, F.normalize(targets.mean(0), dim=0).expand(3, -1))


def test_procrustes_finds_a_planted_rotation() -> None:
    rotation = torch.linalg.qr(torch.randn(24, 8)).Q.T  # (8, 24), orthonormal rows
    texts, new = unit(60, 8), unit(9, 8)
    torch.testing.assert_close(fit_procrustes(texts, texts @ rotation)(new), new @ rotation, rtol=1e-4, atol=1e-5)


def test_procrustes_keeps_as_many_axes_as_asked() -> None:
    assert torch.linalg.matrix_rank(fit_procrustes(unit(60, 8), unit(60, 24), axes=3).rotation) == 3


def test_a_blend_lies_halfway() -> None:
    texts, targets, new = unit(40, 16), unit(40, 24), unit(9, 16)
    blend = fit_blend(texts, targets)
    halfway = fit_kernel_ridge(texts, targets, width=2.0)(new) + fit_neighbours(texts, targets)(new)
    torch.testing.assert_close(blend(new), F.normalize(halfway, dim=1))


def test_names_that_differ_by_rounding_alone_are_one_name() -> None:
    for _ in range(20):
        names = unit(1, 384) * torch.linspace(0.5, 2, 7)[:, None]
        targets = unit(7, 24)
        for fit in (fit_kernel_ridge, fit_procrustes):
            rows = fit(names, targets)(names)
            expected = F.normalize(targets.mean(0), dim=0).expand(7, -1)
            torch.testing.assert_close(rows, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("fit", [fit_kernel_ridge, fit_neighbours, fit_blend])
def test_two_classes_of_one_name_share_their_weights(fit: object) -> None:
    texts, targets = unit(3, 8)[[0, 0, 1]], unit(3, 5)
    mapped = fit(texts, targets)(texts)  # type: ignore[operator]
    torch.testing.assert_close(mapped[0], mapped[1])
    assert mapped[0] @ targets[0] > mapped[0] @ targets[2]
    torch.testing.assert_close(mapped[0] @ targets[0], mapped[0] @ targets[1], rtol=0.05, atol=0.05)
