import numpy as np
import pytest
import torch
from scipy.stats import kstest

from saywhy.checks.objects import object_mask
from saywhy.checks.surroundings import FAST, FEWEST, FULL, check_surroundings, other_pictures
from saywhy.errors import SaywhyError
from saywhy.types import BORNE_OUT, NOT_BORNE_OUT, NOT_TESTABLE
from tests.checks.linear import SIDE, linear_classifier

OBJECT = np.zeros((SIDE, SIDE), bool)
OBJECT[5:11, 5:11] = True
FAR = np.ones((SIDE, SIDE), bool)  # from the object: beyond its soft rim
FAR[2:14, 2:14] = False
AROUND = FAR.sum()


def _scene(around: float, within: float = 0.5) -> torch.Tensor:
    """(3, SIDE, SIDE): flat surroundings, and a flat object on them."""
    return torch.where(torch.as_tensor(OBJECT), within, around).float().expand(3, -1, -1).contiguous()


def test_what_rests_on_the_surroundings_is_borne_out_with_the_fall_in_closed_form() -> None:
    classifier = linear_classifier(torch.ones(3, SIDE, SIDE) * torch.as_tensor(FAR))
    others = torch.stack([_scene(around) for around in (0.25, -0.25, 0.0, 0.25, -0.25)])
    found = check_surroundings(classifier, _scene(1.0), 0, others, mask=OBJECT)
    # The surroundings' logit is 3 * AROUND; with those of the others 0 on average, with its own what it was.
    assert found.verdict == BORNE_OUT
    assert found.effect == pytest.approx(3 * AROUND, rel=1e-4)
    assert found.control == pytest.approx(0.0, abs=1e-2)
    assert found.margin == pytest.approx(3 * AROUND * 2 / 3, rel=1e-4)
    assert found.interval is not None
    assert found.interval[0] < 3 * AROUND < found.interval[1]
    assert found.p is not None
    assert found.p < 1e-3
    assert found.passes == FAST
    assert found.rank[0] == 1


def test_what_rests_on_the_object_is_not_borne_out() -> None:
    classifier = linear_classifier(torch.ones(3, SIDE, SIDE) * torch.as_tensor(OBJECT))
    others = torch.randn(20, 3, SIDE, SIDE)
    found = check_surroundings(classifier, _scene(1.0), 0, others, mask=OBJECT, passes=FULL)
    assert (found.verdict, found.passes) == (NOT_BORNE_OUT, FULL)
    assert found.effect == pytest.approx(0.0, abs=1e-4)
    assert found.p == 1.0


def test_that_any_disturbance_of_the_surroundings_takes_the_class_is_not_enough() -> None:
    """The class wants one pattern at its place: its own surroundings, shifted, lose it as those of others do."""
    pattern = torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * torch.as_tensor(FAR)
    classifier = linear_classifier(pattern)
    others = torch.randn(16, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    found = check_surroundings(classifier, pattern, 0, others, mask=OBJECT, passes=FULL)
    assert found.effect > 0.7 * found.margin
    assert found.control is not None
    assert found.control > 0.7 * found.margin
    assert found.verdict == NOT_BORNE_OUT


def test_its_own_surroundings_in_place_of_others_have_uniform_p_values() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(3, SIDE, SIDE, generator=generator)
    classifier = linear_classifier(weights)
    p, borne_out = [], 0
    for _ in range(200):
        pixels = torch.randn(3, SIDE, SIDE, generator=generator) + weights * torch.as_tensor(OBJECT)
        found = check_surroundings(classifier, pixels, 0, pixels.expand(FAST // 2, -1, -1, -1), mask=OBJECT)
        p.append(found.p)
        borne_out += found.verdict == BORNE_OUT
    assert kstest(p, "uniform").pvalue > 0.01
    assert borne_out <= 0.1 * len(p)


def test_few_other_pictures_say_what_to_give() -> None:
    classifier = linear_classifier(torch.ones(3, SIDE, SIDE))
    for others in (torch.zeros(0, 3, SIDE, SIDE), torch.zeros(FEWEST - 1, 3, SIDE, SIDE)):
        found = check_surroundings(classifier, _scene(1.0), 0, others)
        assert (found.verdict, found.passes, found.p) == (NOT_TESTABLE, 0, None)
        assert "several at once" in found.reason
        assert "--reference" in found.reason
    assert check_surroundings(classifier, _scene(-1.0), 0, torch.zeros(9, 3, SIDE, SIDE)).verdict == NOT_TESTABLE


def test_a_mask_without_surroundings_is_not_testable_and_one_of_another_shape_is_refused() -> None:
    classifier = linear_classifier(torch.ones(3, SIDE, SIDE))
    others = torch.zeros(9, 3, SIDE, SIDE)
    for mask in (np.ones((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool)):
        assert check_surroundings(classifier, _scene(1.0), 0, others, mask=mask).verdict == NOT_TESTABLE
    with pytest.raises(SaywhyError, match="resize the mask"):
        check_surroundings(classifier, _scene(1.0), 0, others, mask=np.ones((3, 3), bool))


def test_the_same_picture_has_the_same_check_again() -> None:
    classifier = linear_classifier(torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)))
    pixels = torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) + 0.3 * _scene(1.0)
    others = torch.randn(9, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    target = int(classifier.logits(pixels[None]).argmax())
    assert check_surroundings(classifier, pixels, target, others) == check_surroundings(
        classifier, pixels, target, others
    )


def test_pictures_of_other_classes_lend_first_and_never_itself() -> None:
    predicted = [0, 0, 0, 1, 2, 0]
    rng = np.random.default_rng(0)
    for _ in range(20):
        lent = other_pictures(predicted, 1, 4, rng)
        assert set(lent[:2]) == {3, 4}
        assert 1 not in lent
        assert len(set(lent)) == 4
    assert sorted(other_pictures(predicted, 1, 99, rng)) == [0, 2, 3, 4, 5]
    assert other_pictures([7], 0, 9, rng) == []


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_the_object_is_what_does_not_look_like_the_edge(channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = 0.1 * torch.randn(channels, 96, 80, generator=generator)
    pixels[:, 40:60, 30:55] += 3
    found = object_mask(pixels)
    assert found is not None
    assert found.shape == (96, 80)
    assert found[40:60, 30:55].mean() > 0.95
    assert found.mean() < 3 * 20 * 25 / (96 * 80)


def test_nothing_stands_out_of_a_flat_picture() -> None:
    assert object_mask(torch.ones(3, 64, 64)) is None
    assert object_mask(torch.ones(3, 3, 3)) is None
