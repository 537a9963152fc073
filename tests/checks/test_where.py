import numpy as np
import pytest
import torch
from scipy.stats import kstest

from saywhy.checks.where import CONTROLS, check_masks, shared_areas
from saywhy.types import BORNE_OUT, NOT_BORNE_OUT
from tests.checks.linear import SIDE, linear_classifier


def _box(top: int, left: int, height: int = 4, width: int = 4) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[top : top + height, left : left + width] = True
    return mask


def test_what_a_linear_model_rests_on_is_borne_out_and_what_it_does_not_is_not() -> None:
    weights = torch.zeros(3, SIDE, SIDE)
    weights[:, 2:6, 2:6] = 1.0
    classifier = linear_classifier(weights)
    pixels = torch.zeros(1, 3, SIDE, SIDE)
    pixels[:, :, 2:6, 2:6] = 1.0  # its ring is 0, so that filling takes all of the logit, 3 * 16
    masks = np.stack([_box(2, 2), _box(10, 10)])
    (found,) = check_masks(classifier, pixels, [0], [masks])
    assert [check.verdict for check in found] == [BORNE_OUT, NOT_BORNE_OUT]
    assert [check.effect for check in found] == pytest.approx([48.0, 0.0], abs=1e-4)
    assert found[0].margin == pytest.approx(48 - 48 / 3)
    assert found[0].keeps == pytest.approx(1.0)  # all else has its own mean, which is 0
    assert found[1].keeps is None
    assert sum(check.passes for check in found) == 2 + CONTROLS + 1


def test_a_picture_is_tested_alone_as_among_others() -> None:
    classifier = linear_classifier(torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)))
    pixels = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    masks = [np.stack([_box(n, 3), _box(8, n)]) for n in range(3)]
    together = check_masks(classifier, pixels, [0, 0, 0], masks, always=True)
    for n in range(3):
        (alone,) = check_masks(classifier, pixels[n : n + 1], [0], masks[n : n + 1], always=True)
        assert [c.p for c in alone] == [c.p for c in together[n]]
        assert [c.effect for c in alone] == pytest.approx([c.effect for c in together[n]], abs=1e-4)


def test_nothing_is_spent_on_controls_where_no_fall_matters() -> None:
    classifier = linear_classifier(torch.ones(3, SIDE, SIDE))
    pixels = torch.ones(1, 3, SIDE, SIDE)
    (found,) = check_masks(classifier, pixels, [0], [np.stack([_box(3, 3)])])
    assert (found[0].verdict, found[0].p, found[0].passes) == (NOT_BORNE_OUT, None, 1)
    assert check_masks(classifier, pixels, [0], [np.zeros((0, SIDE, SIDE), bool)]) == [[]]


def test_random_claims_have_uniform_p_values() -> None:
    rng = np.random.default_rng(0)
    classifier = linear_classifier(torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)))
    pixels = torch.randn(250, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    shapes = np.stack([_box(0, 0), _box(0, 0, 3, 6)])
    masks = [np.concatenate([shared_areas(shape[None], 1, rng) for shape in shapes]) for _ in pixels]
    found = check_masks(classifier, pixels, [0] * 250, masks, always=True)
    # One of 40 steps wide each: spread evenly within its step, such a p is uniform on 0..1.
    p = np.array([c.p for checks in found for c in checks]) - rng.random(500) / (1 + CONTROLS)
    assert kstest(p, "uniform").pvalue > 0.01
