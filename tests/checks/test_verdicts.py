from dataclasses import replace

import numpy as np
import pytest
import torch

from saywhy.checks.outcomes import Outcomes
from saywhy.checks.verdicts import COMMON, LEAST, SMALL, check_of, rank_p, settled, untestable
from saywhy.types import BORNE_OUT, NOT_BORNE_OUT, NOT_TESTABLE


def _outcomes(*logits: float) -> Outcomes:
    values = torch.tensor(logits, dtype=torch.float64)
    return Outcomes(values, values - 2, values.sigmoid(), torch.ones(len(values)))


def test_a_fall_that_matters_and_that_no_control_reaches_is_borne_out() -> None:
    check = check_of("filled", _outcomes(12.0), _outcomes(4.0), _outcomes(*[11.0] * 39), passes=41)
    assert (check.verdict, check.effect, check.margin, check.control) == (BORNE_OUT, 8.0, 10.0, 1.0)
    assert check.p == check.q == pytest.approx(1 / 40)
    assert check.share == pytest.approx(0.8)
    assert check.interval == (7.0, 7.0)


@pytest.mark.parametrize(("after", "controls", "why"), [(12 - 0.9 * LEAST * 10, 12.0, SMALL), (4.0, 3.0, COMMON)])
def test_a_small_fall_and_one_that_controls_reach_are_not_and_it_is_said_why(
    after: float, controls: float, why: str
) -> None:
    check = check_of("filled", _outcomes(12.0), _outcomes(after), _outcomes(*[controls] * 39), passes=1)
    assert (check.verdict, check.reason) == (NOT_BORNE_OUT, why)


def test_a_class_without_a_margin_cannot_be_tested() -> None:
    check = check_of("filled", _outcomes(1.0), _outcomes(-4.0), _outcomes(*[1.0] * 39), passes=1)
    assert check.verdict == NOT_TESTABLE
    assert check.reason


def test_several_claims_are_corrected_together() -> None:
    one = check_of("filled", _outcomes(12.0), _outcomes(4.0), _outcomes(*[11.0] * 39), passes=1)
    none = replace(one, p=0.9)
    assert [c.verdict for c in settled([one, none, none, none])] == [BORNE_OUT, *[NOT_BORNE_OUT] * 3]
    lost = settled([one, none, none, none, none])
    assert [(c.verdict, c.reason) for c in lost] == [(NOT_BORNE_OUT, COMMON)] * 5
    assert settled(lost[:1])[0] == one  # alone again, it stands, and nothing is left of why it did not
    assert settled([replace(one, reason="as in the text")])[0].reason == "as in the text"
    assert settled([one, replace(one, p=None)])[0].q == pytest.approx(2 / 40)
    skipped = untestable("nothing", "there is no region", _outcomes(3.0))
    assert settled([one, skipped])[0].q == pytest.approx(1 / 40)
    assert settled([one, skipped])[1] == skipped or np.isnan(skipped.effect)
    assert settled([]) == []


def test_the_rank_counts_ties_against_the_claim() -> None:
    falls = np.array([1.0, 2.0, 3.0])
    assert [rank_p(fall, falls) for fall in (4.0, 3.0, 0.0)] == [0.25, 0.5, 1.0]
