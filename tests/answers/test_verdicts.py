"""How tests are said."""

from dataclasses import replace

from saywhy.answers.verdicts import SURROUNDINGS, fall, fall_in_short, tally
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


def test_two_verdicts_never_have_the_same_numbers() -> None:
    """Where rounding hides what the rule saw, by how much the logit falls is said, in full and in short."""
    sure = replace(CHECK, probability=(0.998, 0.991, 0.9949), effect=2.3, control=0.1)
    unsure = replace(sure, probability=(0.998, 0.993, 0.9941), effect=0.9, control=0.8, verdict=NOT_BORNE_OUT)
    assert fall(sure) == (
        "without it its logit falls by 23% of its margin, the score falls from 1.00 to 0.99; "
        "equal areas elsewhere: falls by 1%, the score 0.99"
    )
    assert "its logit falls by 9% of its margin" in fall(unsure)
    assert "falls by 8%, the score 0.99" in fall(unsure)
    assert fall_in_short(sure) == ["logit falls by 23%, 1.00 to 0.99", "elsewhere falls by 1%, 0.99"]
    assert fall_in_short(unsure) == ["logit falls by 9%, 1.00 to 0.99", "elsewhere falls by 8%, 0.99"]
    assert fall_in_short(CHECK) == ["0.93 to 0.41", "elsewhere 0.90"]
    assert fall_in_short(replace(CHECK, probability=(0.93, 0.93, None))) == ["logit falls by 20%, 0.93 to 0.93"]


def test_what_is_counted_adds_up() -> None:
    verdicts = (BORNE_OUT, NOT_BORNE_OUT, NOT_BORNE_OUT, NOT_TESTABLE)
    counted = tally([replace(CHECK, verdict=verdict) for verdict in verdicts])
    assert str(counted) == "4 claims put to the test: 1 borne out, 2 not borne out, 1 not testable"
    assert str(tally(())) == ""
