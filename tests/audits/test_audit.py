"""An audit from end to end, on a world."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from saywhy import SaywhyError, audit
from saywhy.audits.audit import Audit
from saywhy.audits.checked import verified
from saywhy.audits.finding import SURROUNDINGS, AuditFinding
from saywhy.intervals import Interval
from saywhy.types import BORNE_OUT, NOT_TESTABLE


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    out = tmp_path_factory.mktemp("audit") / "here"
    return audit("world:aviary-background", model="world:aviary-background", space="own", out=out, limit=24, chunk=10)


def test_every_picture_has_one_row_and_its_regions(small: Audit) -> None:
    assert small.query("SELECT number FROM pictures ORDER BY number")["number"].to_pylist() == list(range(24))
    assert not small.query('SELECT * FROM regions WHERE "right" <= "left" OR share <= 0').num_rows
    orphans = "SELECT * FROM regions WHERE number NOT IN (SELECT number FROM pictures)"
    assert not small.query(orphans).num_rows


def test_the_same_audit_goes_on_and_another_is_refused(small: Audit) -> None:
    again = audit("world:aviary-background", model="world:aviary-background", space="own", out=small.folder, limit=24,
                  chunk=10)  # fmt: skip
    assert again.query("SELECT count(*) AS n FROM pictures")["n"].to_pylist() == [24]
    with pytest.raises(SaywhyError, match="other data"):
        audit("world:aviary-background", model="world:aviary-background", space="own", out=small.folder, limit=12)


def test_vectors_come_back(small: Audit) -> None:
    numbers, relevance = small.view.matrix("relevance")
    assert list(numbers) == list(range(24))
    np.testing.assert_allclose(relevance.sum(1), 1, atol=2e-2)
    assert small.picture(3) is not None


def test_a_folder_without_an_audit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SaywhyError, match="holds no audit"):
        Audit.open(tmp_path)


def test_a_sample_of_each_class_is_tested_and_no_picture_twice(small: Audit) -> None:
    tested = small.query("SELECT number, count(*) FILTER (about = 'surroundings') AS n FROM checks GROUP BY number")
    assert set(tested["n"].to_pylist()) == {1}
    classes = "SELECT count(DISTINCT predicted) AS n FROM pictures"
    covered = small.query(f"{classes} WHERE number IN (SELECT number FROM checks)")
    assert covered["n"].to_pylist() == small.query(classes)["n"].to_pylist()


def test_what_a_finding_rests_on_is_counted_over_its_examples(small: Audit) -> None:
    rows = small.query("SELECT number, verdict FROM checks WHERE about = 'surroundings' ORDER BY number").to_pylist()
    numbers = tuple(row["number"] for row in rows[:4])
    finding = AuditFinding(
        "outside decides", ("x",), "", True, Interval(1, 1, 1), "", examples=numbers, rests_on=SURROUNDINGS
    )
    (found,) = verified([finding], small.view, 4)
    testable = [row["verdict"] for row in rows[:4] if row["verdict"] != NOT_TESTABLE]
    assert found.verified == ((testable.count(BORNE_OUT), len(testable)) if testable else None)
    (none,) = verified([replace(finding, rests_on="")], small.view, 4)
    assert none.verified is None
