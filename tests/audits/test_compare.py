"""Two audits: what changed is said with intervals, paired where both saw the same pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from saywhy import SaywhyError
from saywhy.audits.compare import compare
from saywhy.audits.told import told
from tests.audits.finished import effect, finding, finished

BEFORE = {"crow": (30, 30), "gull": (30, 40), "wren": (30, 30)}


def test_the_same_pictures_are_paired(tmp_path: Path) -> None:
    now = {"crow": (15, 30), "gull": (32, 40), "wren": (30, 30)}
    found = compare(
        told(finished(tmp_path / "old", BEFORE, on_object={"crow": 0.5})), told(finished(tmp_path / "new", now))
    )
    assert found.paired == 100
    assert (found.wrong, found.right) == (15, 2)
    crow = found.classes[0]
    assert (crow.name, crow.accuracy.value, crow.p) == ("crow", -0.5, binomtest(0, 15).pvalue)
    assert crow.significant
    assert crow.on_object.low > 0.3
    assert [one.significant for one in found.classes[1:]] == [False, False]
    assert found.all.accuracy.value == pytest.approx(-0.13)
    assert found.all.accuracy.high < 0
    assert set(found.newly_wrong) == set(range(15, 30))


def test_other_pictures_are_compared_as_groups(tmp_path: Path) -> None:
    renamed = [{"file": f"other {n}"} for n in range(100)]
    old = told(finished(tmp_path / "old", BEFORE))
    found = compare(old, told(finished(tmp_path / "new", BEFORE, rows=renamed)))
    assert found.paired == 0
    assert found.newly_wrong == []
    assert found.all.accuracy.low < 0 < found.all.accuracy.high
    paired = compare(old, told(finished(tmp_path / "same", BEFORE)))
    assert np.ptp([paired.all.accuracy.low, paired.all.accuracy.high]) < np.ptp(
        [found.all.accuracy.low, found.all.accuracy.high]
    )


def test_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    """Rows are paired by name and truth, in whatever order a database gives them."""
    swapped = [{"number": 99 - n} for n in range(100)]
    found = compare(told(finished(tmp_path / "old", BEFORE)), told(finished(tmp_path / "new", BEFORE, rows=swapped)))
    assert (found.paired, found.wrong, found.right) == (100, 0, 0)


def test_findings_are_new_gone_or_changed(tmp_path: Path) -> None:
    old = [finding(about="gull", effect=effect(0.8)), finding(about="crow"), finding(about="wren", effect=effect(0.5))]
    new = [finding(about="gull", effect=effect(0.3), words=("sea",)), finding(about="wren", effect=effect(0.53)),
           finding("slice", "gull")]  # fmt: skip
    found = compare(told(finished(tmp_path / "old", BEFORE, old)), told(finished(tmp_path / "new", BEFORE, new)))
    assert [one.kind for one in found.new_findings] == ["slice"]
    assert [one.about for one in found.gone] == [("crow",)]
    assert {pair.new.about[0]: pair.changed for pair in found.both} == {"gull": True, "wren": False}


def test_an_audit_is_not_compared_with_itself(tmp_path: Path) -> None:
    one = told(finished(tmp_path / "a"))
    with pytest.raises(SaywhyError, match="compared with itself"):
        compare(one, one)
