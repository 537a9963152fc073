"""How tests are said."""

from dataclasses import replace

from saywhy.answers.verdicts import SURROUNDINGS, fall, tally
from saywhy.types import BORNE_OUT, NOT_BORNE_OUT, NOT_TESTABLE, Check

CHECK = Check("filled", BORNE_OUT, 2.0, 10.0, (0.93, 0.41, 0.90), (1, 2))


def test_a_fall_is_said_beside_its_controls() -> None:
    assert fall(CHECK) == "without it the score falls from 0.93 to 0.41; equal areas elsewhere: 0.90"


def test_what_is_not_borne_out_is_said_with_what_it_lacks() -> None:
    """A probability that falls far looks borne out: the rule is about the logit."""
    said = fall(replace(CHECK, verdict=NOT_BORNE_OUT, reason="its logit falls by less than 8% of its margin"))
    assert said.endswith("(its logit falls by less than 8% of its margin)")
    assert "(" not in fall(CHECK)


def test_a_decision_that_rests_on_it_is_not_said_to_stay_as_it_is() -> None:
    """Where the probability does not move the logit does, and is said first."""
    said = fall(replace(CHECK, probability=(0.37, 0.371, 0.37)), *SURROUNDINGS)
    assert said.startswith("in other surroundings its logit falls by 20% of its margin, the score stays at 0.37;")
    rises = fall(replace(CHECK, effect=-0.1, probability=(0.37, 0.37, None), verdict=NOT_BORNE_OUT))
    assert "rises by 1% of its margin" in rises


def test_what_is_counted_adds_up() -> None:
    verdicts = (BORNE_OUT, NOT_BORNE_OUT, NOT_BORNE_OUT, NOT_TESTABLE)
    counted = tally([replace(CHECK, verdict=verdict) for verdict in verdicts])
    assert str(counted) == "4 claims put to the test: 1 borne out, 2 not borne out, 1 not testable"
    assert str(tally(())) == ""
