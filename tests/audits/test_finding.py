"""A finding is the same after it was written as JSON and read."""

import json
from dataclasses import asdict

import numpy as np

from saywhy.audits.finding import AuditFinding
from saywhy.intervals import Interval
from saywhy.plumbing.texts import parse_json


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
