"""In what order findings are told."""

import pytest

from saywhy.audits.conclude import ranked
from saywhy.audits.finding import AuditFinding
from saywhy.intervals import proportion


def _finding(
    kind: str, about: str, hits: int, of: int = 20, q: float = 0.001, decides: bool = True, null: float = float("nan"),
) -> AuditFinding:  # fmt: skip
    effect = proportion(hits, of)
    return AuditFinding(kind, (about,), f"{kind} {about}", decides, effect, "", null=null, q=q)


def _told(*findings: AuditFinding) -> list[str]:
    return [one.sentence for one in ranked(findings)]


@pytest.mark.parametrize(
    ("hits", "first"), [(18, "property decides"), (15, "property decides"), (3, "outside decides")]
)
def test_the_closer_cause_comes_first_unless_it_turns_fewer(hits: int, first: str) -> None:
    told = _told(_finding("outside decides", "crow", 18), _finding("property decides", "crow", hits))
    assert told[0] == f"{first} crow"


def test_one_cause_of_each_class_comes_before_second_ones() -> None:
    told = _told(
        _finding("outside decides", "crow", 19), _finding("property decides", "crow", 18),
        _finding("metadata decides", "crow", 17), _finding("outside decides", "wren", 9),
        _finding("recognised by", "crow", 20, decides=False), _finding("outside decides", "jay", 20, q=0.2),
    )  # fmt: skip
    assert told == [
        "metadata decides crow", "outside decides wren", "outside decides crow", "property decides crow",
        "recognised by crow",
    ]  # fmt: skip


def test_what_turns_more_above_its_controls_comes_first() -> None:
    told = _told(
        _finding("outside decides", "crow", 10, null=0.2), _finding("property decides", "wren", 8, null=0.0)
    )  # fmt: skip
    assert told == ["property decides wren", "outside decides crow"]
