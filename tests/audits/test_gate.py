"""The gate: a rule breaks where the data show it, not by chance; what cannot be tested is said."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from saywhy import SaywhyError
from saywhy.audits.gate import BROKEN, HOLDS, NOT_TESTABLE, RULES, Judged, judge, read_rules, rules_of
from saywhy.audits.gate_formats import junit, markdown, workflow_commands
from saywhy.audits.told import told
from saywhy.cli.app import app
from saywhy.intervals import proportion
from tests.audits.finished import effect, finding, finished


def _judge(folder: Path, rules: Mapping[str, Any], old: Path | None = None) -> Judged:
    (found,) = judge(told(folder), rules_of(rules, "rules"), None if old is None else told(old))
    return found


def test_intervals_decide_unless_numbers_are_asked_for(tmp_path: Path) -> None:
    folder = finished(tmp_path / "a", {"crow": (26, 30), "gull": (27, 30)})  # .883, to .942
    assert _judge(folder, {"min_accuracy": 0.9}).state == HOLDS
    assert _judge(folder, {"min_accuracy": 0.9, "strict": True}).state == BROKEN
    broken = _judge(folder, {"min_accuracy": 0.95})
    assert broken.state == BROKEN
    assert "less than 0.950" in broken.reasons[0]


def test_the_worst_group_by_class_and_by_metadata(tmp_path: Path) -> None:
    rows = [{"metadata": {"camera": "B" if n < 30 else "A"}} for n in range(90)]
    folder = finished(tmp_path / "a", {"crow": (12, 30), "gull": (28, 30), "wren": (29, 30)}, rows=rows)
    by_class = _judge(folder, {"worst_group_within": 0.1})
    assert by_class.state == BROKEN
    assert by_class.reasons[0].startswith("crow is right in 12 of 30 pictures")
    by_camera = _judge(folder, {"worst_group_within": {"limit": 0.1, "by": "camera"}})
    assert [reason.split(" ")[0] for reason in by_camera.reasons] == ["B"]
    missing = _judge(folder, {"worst_group_within": {"limit": 0.1, "by": "lens"}})
    assert missing.state == NOT_TESTABLE
    assert "there are camera" in missing.reasons[0]


def test_groups_that_are_equal_seldom_break_a_rule() -> None:
    """Of 40 equal classes of 30 pictures the worst is 15 points below the mean by chance; the rule holds."""
    from saywhy.audits.gate import _gap, _together

    generator, broken, point = np.random.default_rng(0), 0, 0
    for _ in range(300):
        right = generator.binomial(30, 0.8, 40)
        gaps = [_gap(int(one), 30, int(right.sum()), 1200, _together(40)) for one in right]
        broken += any(gap.low > 0.0 for gap in gaps)
        point += any(gap.value > 0.1 for gap in gaps)
    assert broken / 300 <= 0.08
    assert point / 300 > 0.9


def test_relevance_on_the_background(tmp_path: Path) -> None:
    folder = finished(
        tmp_path / "a", {"crow": (30, 30), "gull": (30, 30), "wren": (3, 3)}, on_object={"gull": 0.5, "wren": 0.1}
    )
    found = _judge(folder, {"max_background": 0.2})
    assert found.state == BROKEN
    assert [reason.split(" ")[0] for reason in found.reasons] == ["gull"]
    assert found.notes == ("1 with fewer than 10 pictures with an object were not tested: wren",)
    assert _judge(folder, {"max_background": {"limit": 0.2, "exempt": ["gull"]}}).state == HOLDS
    assert _judge(folder, {"max_background": {"limit": 0.2, "min_pictures": 99}}).state == NOT_TESTABLE


def test_denied_words_are_those_that_are_used(tmp_path: Path) -> None:
    checks = [
        {"number": n, "about": "word", "text": text, "verdict": verdict}
        for n in range(10)
        for text, verdict in (("green grass", "borne out"), ("sky", "not borne out"))
    ]
    said = [{"words": ["sky"]}] * 30
    folder = finished(tmp_path / "a", tables={"checks": checks}, rows=said)
    assert _judge(folder, {"deny_words": ["grass"]}).state == BROKEN
    assert _judge(folder, {"deny_words": ["gras", "sky"]}).state == HOLDS
    assert _judge(folder, {"deny_words": {"words": ["SKY"], "among": "seen"}}).state == BROKEN
    untested = finished(tmp_path / "b", rows=said)
    assert _judge(untested, {"deny_words": ["sky"]}).state == NOT_TESTABLE
    decided = finished(tmp_path / "c", findings=[finding(words=("grass",))])
    assert "decides" in _judge(decided, {"deny_words": ["grass"]}).reasons[0]
    goes_with = finished(tmp_path / "d", findings=[finding("slice", decides=False, verified=(1, 6))])
    assert _judge(goes_with, {"deny_words": ["grass"]}).state == NOT_TESTABLE


def test_findings_that_are_new_or_forbidden(tmp_path: Path) -> None:
    old = finished(tmp_path / "old", findings=[finding(about="gull")])
    same = finished(tmp_path / "same", findings=[finding(about="gull", effect=effect(0.7))])
    new = finished(tmp_path / "new", findings=[finding(about="gull"), finding(about="crow")])
    rule: dict[str, Any] = {"no_new_findings": {}}
    assert _judge(same, rule, old).state == HOLDS
    broken = _judge(new, rule, old)
    assert (broken.state, len(broken.reasons)) == (BROKEN, 1)
    assert "What surrounds crow decides." in broken.reasons[0]
    with pytest.raises(SaywhyError, match="give --compare"):
        _judge(new, rule)
    assert _judge(new, {"forbid": ["outside decides"]}).state == BROKEN
    with pytest.raises(SaywhyError, match="did you mean outside decides"):
        _judge(new, {"forbid": ["outside decide"]})


def test_label_errors(tmp_path: Path) -> None:
    folder = finished(tmp_path / "a", findings=[finding("label errors", decides=False, effect=proportion(20, 90))])
    assert _judge(folder, {"max_label_errors": 0.05}).state == BROKEN
    assert _judge(folder, {"max_label_errors": 0.2}).state == HOLDS
    assert _judge(finished(tmp_path / "b"), {"max_label_errors": 0.05}).state == NOT_TESTABLE


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"min_acuracy": 0.9}, "did you mean min_accuracy"),
        ({"max_background": {"limt": 0.2}}, "did you mean limit"),
        ({"max_background": {"min_pictures": 5}}, "must say limit|must be a share"),
        ({"min_accuracy": 90}, "must be a share from 0 to 1"),
        ({"min_accuracy": True}, "must be a share"),
        ({"min_accuracy": "0.9"}, "must be a share"),
        ({"deny_words": "grass"}, "list of texts"),
        ({"deny_words": {"words": ["a"], "among": "all"}}, '"used" or "seen"'),
        ({"worst_group_within": {"limit": 0.1, "min_pictures": 0}}, "whole number"),
        ({"strict": 1, "min_accuracy": 0.9}, "strict must be"),
        ({"not_testable": "skip", "min_accuracy": 0.9}, "not_testable must be"),
        ({}, "holds no rule"),
    ],
)
def test_rules_that_are_wrong_are_refused(rules: dict[str, Any], said: str) -> None:
    with pytest.raises(SaywhyError, match=said):
        rules_of(rules, "rules.toml")


def test_formats_say_the_same(tmp_path: Path) -> None:
    nasty = "<b>|`\u202e\n%"
    folder = finished(tmp_path / "a", findings=[finding(sentence=nasty)], model=nasty)
    now, rules = (
        told(folder),
        rules_of({"forbid": ["outside decides"], "max_label_errors": 0.1, "min_accuracy": 0.1}, ""),
    )
    judged = judge(now, rules)
    suite = ElementTree.fromstring(junit(now, rules, judged)).find("testsuite")
    assert suite is not None
    assert {key: suite.get(key) for key in ("tests", "failures", "skipped", "errors")} == {
        "tests": "3", "failures": "1", "skipped": "1", "errors": "0",
    }  # fmt: skip
    assert [case.get("name") for case in suite.findall("testcase[failure]")] == ["forbid"]
    errors, warnings = workflow_commands(rules, judged)
    assert errors.startswith("::error title=saywhy%3A forbid::") or warnings.startswith("::error")
    assert all("\n" not in line for line in (errors, warnings))
    told_ = markdown(now, rules, judged)
    assert "<b>" not in told_
    assert told_.count("\n") == 7


def test_exit_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = finished(tmp_path / "a")
    runner, rules = CliRunner(), tmp_path / "rules.toml"
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))

    def run(text: str, *more: str) -> int:
        rules.write_text(text)
        result = runner.invoke(app, ["check", str(folder), "--rules", str(rules), *more])
        return 2 if isinstance(result.exception, SaywhyError) else result.exit_code

    assert run("min_accuracy = 0.5") == 0
    assert run("min_accuracy = 0.99", "--junit", str(tmp_path / "j.xml"), "--format", "github") == 3
    assert ElementTree.parse(tmp_path / "j.xml").getroot().get("failures") == "1"
    assert "broken" in summary.read_text()
    assert run("min_acc = 0.5") == 2
    assert run("max_label_errors = 0.5") == 0
    assert run('not_testable = "fail"\nmax_label_errors = 0.5') == 3
    assert run("min_accuracy = 0.5", "--format", "gitlab") == 2


def test_the_rules_of_the_docs_are_rules() -> None:
    documents = Path(__file__).parents[2] / "docs"
    assert set(read_rules(documents / "audit-rules.toml").rules) == set(RULES)


def test_what_was_not_tested_is_not_new_unless_it_is_asked_for(tmp_path: Path) -> None:
    old = finished(tmp_path / "old")
    worst = finding("worst group", "crow", decides=False, p=None, q=None)
    new = finished(tmp_path / "new", findings=[worst])
    assert _judge(new, {"no_new_findings": {}}, old).state == HOLDS
    assert _judge(new, {"no_new_findings": {"kinds": ["worst group"]}}, old).state == BROKEN


def test_concepts_inside_are_denied_and_required(tmp_path: Path) -> None:
    held = finding("inside", "gull", decides=False, words=("water", "sea"), sentence="Channel 3 goes with 'water'.")
    folder = finished(tmp_path / "a", findings=[held])
    assert _judge(folder, {"inside": ["Water"]}).state == BROKEN
    assert _judge(folder, {"inside": ["sea"]}).state == HOLDS
    found = _judge(folder, {"inside": {"deny": ["sand"], "require": ["water", "sky"]}})
    assert found.reasons == ("“sky” is not held inside: no part that stands out goes with it",)
    assert _judge(finished(tmp_path / "b"), {"inside": ["water"]}).state == NOT_TESTABLE
