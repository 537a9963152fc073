"""The gate: what is said, of which look, and what is not."""

from __future__ import annotations

import torch

from saywhy.seen.evidence import Evidence
from saywhy.seen.gate import Seen, claims_of
from saywhy.types import Finding, Label, Vocabulary

WORDS = Vocabulary(
    ("red wing", "blue wing", "long tail", "water"), ("wing", "wing", "tail", "scene"), exclusive=frozenset({"wing"})
)
EVIDENCE = Evidence(
    WORDS,
    torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.1]]),
    torch.tensor([[1.0, 1.0, 2.0, 3.0], [4.0, 3.0, 1.0, 0.0]]),
)


class Given:
    threshold, basis, shifts, places = 0.8, "as given", False, True

    def __init__(self, *there: float) -> None:
        self._there = torch.tensor(there)

    def there(self, evidence: Evidence) -> torch.Tensor:
        return self._there


def findings(*near: int) -> list[Finding]:
    labels = tuple(Label(WORDS.phrases[m], WORDS.groups[m], 0.5, n, 2.0) for n, m in enumerate(near, 1))
    return [Finding(None, labels, "a space"), Finding(0, labels, "a space")]


def test_sure_phrases_are_said_once_by_look_and_the_surest_first() -> None:
    claims = claims_of(EVIDENCE, findings(0), Seen(Given(0.85, 0.1, 0.9, 0.95)))
    said = [(c.text, c.about, round(c.there or 0, 2)) for c in claims if c.said]
    assert said == [("water", "picture", 0.95), ("long tail", "picture", 0.9), ("red wing", "region 1", 0.85)]
    torch.testing.assert_close(torch.tensor([c.score for c in claims]), torch.tensor([0.4, 0.3, 0.5]))
    assert all(c.basis == "as given" for c in claims)


def test_what_is_not_known_to_be_placed_is_said_of_the_whole_picture() -> None:
    given = Given(0.85, 0.1, 0.9, 0.95)
    given.places = False
    claims = claims_of(EVIDENCE, findings(0, 1), Seen(given))
    assert [(c.text, c.about) for c in claims if c.said] == [
        ("water", "picture"), ("long tail", "picture"), ("red wing", "picture"),
    ]  # fmt: skip
    assert [(c.text, c.about) for c in claims if not c.said] == [("blue wing", "region 1")]


def test_of_phrases_that_exclude_each_other_one_is_said() -> None:
    claims = claims_of(EVIDENCE, findings(0, 1), Seen(Given(0.9, 0.95, 0.1, 0.1)))
    assert [(c.text, c.about) for c in claims if c.said] == [("blue wing", "region 1")]
    assert {c.text for c in claims if not c.said} == {"red wing"}


def test_what_is_not_known_is_not_said_and_has_no_probability() -> None:
    nan = float("nan")
    claims = claims_of(EVIDENCE, findings(0, 2), Seen(Given(nan, nan, 0.5, nan)))
    assert not any(c.said for c in claims)
    assert {c.text: c.there for c in claims} == {"red wing": None, "long tail": 0.5}


def test_without_a_calibration_what_is_near_is_claimed_by_nobody() -> None:
    claims = claims_of(EVIDENCE, findings(0, 2))
    assert [(c.text, c.about, c.there, c.said) for c in claims] == [
        (text, place, None, False) for place in ("picture", "region 1") for text in ("red wing", "long tail")
    ]


def test_the_first_doubt_gives_the_reason() -> None:
    class Says:
        def __init__(self, *reasons: str) -> None:
            self._reasons = list(reasons)

        def silences(self, images: object) -> list[str]:
            return self._reasons

    two = Seen(None, (Says("", "noise", ""), Says("flat", "flat", "")))
    assert two.silences([None] * 3) == ["flat", "noise", ""]  # type: ignore[list-item]
    assert two.silences([]) == []
