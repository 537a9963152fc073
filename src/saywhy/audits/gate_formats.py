"""What a gate says, as continuous integration reads it: JUnit XML, and GitHub's annotations and summary."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from saywhy.audits.gate import BROKEN, FAIL, HOLDS, NOT_TESTABLE, Judged, Rules
from saywhy.audits.told import Told
from saywhy.errors import one_line

SUITE = "saywhy check"


def junit(now: Told, rules: Rules, judged: Sequence[Judged]) -> str:
    """A test case a rule: a failure where it is broken, skipped where it cannot be tested, an error if that must be."""
    missing = "error" if rules.not_testable == FAIL else "skipped"
    tags = {BROKEN: "failure", NOT_TESTABLE: missing}
    found = [tags.get(one.state) for one in judged]
    counts = {
        "name": SUITE, "tests": str(len(judged)), "failures": str(found.count("failure")),
        "errors": str(found.count("error")), "skipped": str(found.count("skipped")), "time": "0",
    }  # fmt: skip
    root = ElementTree.Element("testsuites", {key: value for key, value in counts.items() if key != "skipped"})
    suite = ElementTree.SubElement(root, "testsuite", counts)
    for one, tag in zip(judged, found, strict=True):
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": one_line(now.name), "name": one.rule, "time": "0"}
        )
        if tag:
            told = {"message": one_line(one.reasons[0])} | ({} if tag == "skipped" else {"type": one.state})
            ElementTree.SubElement(case, tag, told).text = "\n".join(map(one_line, one.reasons))
        if one.notes or one.state == HOLDS:
            lines = [*(one.reasons if one.state == HOLDS else ()), *one.notes]
            ElementTree.SubElement(case, "system-out").text = "\n".join(map(one_line, lines))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"


def workflow_commands(rules: Rules, judged: Sequence[Judged]) -> list[str]:
    """GitHub's workflow commands: an error a broken rule, a warning a rule that cannot be tested."""
    lines = []
    for one in judged:
        if one.state != HOLDS:
            error = one.state == BROKEN or rules.not_testable == FAIL
            title = _escaped(f"saywhy: {one.rule}", ":,")
            lines.append(f"::{'error' if error else 'warning'} title={title}::{_escaped(chr(10).join(one.reasons))}")
    return lines


def markdown(now: Told, rules: Rules, judged: Sequence[Judged]) -> str:
    """A summary for a page of GitHub: a table of the rules, then why some are broken."""
    signs = {HOLDS: "✅ holds", BROKEN: "❌ broken", NOT_TESTABLE: "⚪ not testable"}
    verdict = "fails" if rules.fails(judged) else "passes"
    lines = [f"### saywhy check: {_plain(now.store.manifest['model']['name'])} {verdict}", "", "| rule | | why |"]
    lines += ["|---|---|---|"]
    for one in judged:
        why = "<br>".join(_plain(reason) for reason in (*one.reasons, *one.notes))
        lines.append(f"| `{one.rule}` | {signs[one.state]} | {why} |")
    return "\n".join(lines) + "\n"


def _escaped(text: str, more: str = "") -> str:
    """As GitHub's workflow commands need it."""
    return re.sub(f"[%\r\n{more}]", lambda found: f"%{ord(found[0]):02X}", text)


def _plain(text: str) -> str:
    """A text in a cell of a Markdown table, of which nothing is markup."""
    safe = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~@$])", r"\\\1", safe)
