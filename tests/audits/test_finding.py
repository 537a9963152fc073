"""A finding is the same after it was written as JSON and read."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from saywhy import SaywhyError
from saywhy.audits.conclude import FINDINGS, kept_findings
from saywhy.audits.finding import AuditFinding
from saywhy.audits.store import Store
from saywhy.intervals import Interval
from saywhy.plumbing.texts import parse_json
from tests.audits.finished import finished


def test_findings_come_back_from_json_without_nan() -> None:
    finding = AuditFinding(
        "slice", ("Gull",), "Gulls are worse.", False, Interval(0.5, float("nan"), float("inf")), "of pictures",
        examples=(1, 2), details={"n": np.int64(3), "shares": np.array([0.5, np.nan]), 4: (1, 2)},
    )  # fmt: skip
    text = json.dumps(finding.document(), allow_nan=False)
    back = AuditFinding.read(parse_json(text, "findings"))
    assert np.isnan(back.null)
    assert np.isnan(back.effect.high)
    assert back.details == {"n": 3, "shares": [0.5, None], "4": [1, 2]}
    assert json.dumps(back.document()) == text
    assert asdict(back)["examples"] == (1, 2)


@pytest.mark.parametrize(
    "text", ["{}", "[]", '{"findings": 3, "tests": {}}', '{"findings": [{"kind": "x"}], "tests": {}}']
)
def test_findings_that_are_none_are_one_line(tmp_path: Path, text: str) -> None:
    folder = finished(tmp_path / "a")
    (folder / FINDINGS).write_text(text)
    with pytest.raises(SaywhyError, match="are no findings of this version"):
        kept_findings(Store.open(folder))
