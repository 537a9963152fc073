"""Claims of single pictures put to the test: of a sample of each class, and of what findings rest on.

A test takes many times as long as a picture's row (docs/checks.md), so not every picture is tested.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL.Image import Image

from saywhy.answers.claims import SENTENCE
from saywhy.answers.explanation import Explanation
from saywhy.audits.finding import REGIONS, SURROUNDINGS, WORDS, AuditFinding
from saywhy.audits.store import CHECKS, Store, View
from saywhy.audits.subject import Subject
from saywhy.pictures.in_batches import Advance, Failure, in_batches, opened
from saywhy.questions.explain import explain_pictures
from saywhy.questions.verify import LENDING, Others
from saywhy.types import BORNE_OUT, NOT_TESTABLE, Check

MOST = 300  # pictures of the sample, at most
OF_FINDINGS = 120  # pictures that findings rest on, at most
AT_ONCE = 32  # pictures that are written together


def sample(view: View, per_class: int, seed: int) -> list[int]:
    """Numbers of pictures, as many of each predicted class, at most ``per_class`` and MOST in all, by chance."""
    drawn = view.columns(
        "SELECT number, row_number() OVER (PARTITION BY predicted ORDER BY hash(number + ?), number) AS turn "
        "FROM pictures QUALIFY turn <= ? ORDER BY turn, hash(number + ?), number LIMIT ?",
        [seed, per_class, seed, MOST],
    )
    return [int(n) for n in drawn["number"]]


def check_pictures(
    store: Store, subject: Subject, numbers: Sequence[int], name: str, advance: Advance = lambda count: None
) -> None:
    """Test the claims of pictures, and keep what became of each; what an earlier run kept is not done again."""
    done = store.parts(CHECKS)
    lent: Others | None = None
    for start in range(0, len(numbers), AT_ONCE):
        part = f"{name}-{start // AT_ONCE:04d}"
        if part not in done:
            lent = _lending(subject) if lent is None else lent
            store.commit(CHECKS, part, {"checks": list(_rows(subject, numbers[start : start + AT_ONCE], lent))})
        advance(len(numbers[start : start + AT_ONCE]))


def of_findings(findings: Sequence[AuditFinding], view: View, tries: int) -> list[int]:
    """Which pictures have to be tested yet, so that ``verified`` can say of each finding what its examples bear out."""
    tested = {int(n) for n in view.columns("SELECT DISTINCT number FROM checks")["number"]}
    wanted = [n for finding in findings if finding.rests_on for n in finding.examples[:tries]]
    return [n for n in dict.fromkeys(wanted) if n not in tested][:OF_FINDINGS]


def verified(findings: Sequence[AuditFinding], view: View, tries: int) -> list[AuditFinding]:
    """The findings, with in how many of their examples what they rest on was borne out, of those that were testable."""
    rows = view.sql("SELECT number, about, text, verdict FROM checks").to_pylist()
    by_picture: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        by_picture.setdefault(row["number"], []).append(row)
    return [replace(one, verified=_verified(one, by_picture, tries)) for one in findings]


def _verified(finding: AuditFinding, by_picture: dict[int, list[dict[str, Any]]], tries: int) -> tuple[int, int] | None:
    told = []
    for number in finding.examples[:tries] if finding.rests_on else ():
        verdicts = [
            row["verdict"] for row in by_picture.get(number, ()) if _is_of(row, finding)
            if row["verdict"] != NOT_TESTABLE
        ]  # fmt: skip
        if verdicts:
            told.append(BORNE_OUT in verdicts)
    return (sum(told), len(told)) if told else None


def _is_of(row: dict[str, Any], finding: AuditFinding) -> bool:
    if finding.rests_on == SURROUNDINGS:
        return row["about"] == SURROUNDINGS
    if finding.rests_on == REGIONS:
        return row["about"] == "region 1"
    return finding.rests_on == WORDS and row["text"] in finding.words


def _lending(subject: Subject) -> Others:
    """Pictures spread over the collection that lend their surroundings; no others, so that a run may begin anywhere."""
    numbers = np.linspace(0, len(subject.pictures) - 1, 4 * LENDING).round().astype(int)
    lent = list[Image]()
    for _, image in opened(subject.pictures[int(n)] for n in np.random.default_rng(0).permutation(np.unique(numbers))):
        if not isinstance(image, Failure):
            lent.append(image)
        if len(lent) == LENDING:
            break
    return Others(lent, subject.classifier, none_else=True)


def _rows(subject: Subject, numbers: Sequence[int], lent: Others) -> Iterator[dict[str, Any]]:
    options = replace(subject.options.explain, checks=subject.options.checks)

    def work(batch: Sequence[tuple[str, Image]]) -> list[Explanation]:
        return explain_pictures(
            batch, subject.classifier, subject.vocabulary, subject.space, options, None, subject.seen, lent
        )

    asked = [subject.pictures[number] for number in numbers]
    numbered = {id(entry): number for entry, number in zip(asked, numbers, strict=True)}
    for entry, result in in_batches(asked, work, batch_size=subject.options.batch_size):
        if isinstance(result, Failure):
            continue
        common = {"number": numbered[id(entry)], "explained": result.target.index}
        for about, text, check in _checks(result):
            yield common | {
                "about": about, "text": text, "verdict": check.verdict, "fall": check.effect, "share": check.share,
                "control": check.control, "p": check.p, "q": check.q,
            }  # fmt: skip


def _checks(explanation: Explanation) -> Iterator[tuple[str, str | None, Check]]:
    """(about, text, check) of all that was tested of one explanation."""
    for number, region in enumerate(explanation.regions, start=1):
        if region.used is not None:
            yield f"region {number}", None, region.used
    for claim in explanation.claims:
        if claim.used is not None and claim.about != SENTENCE:
            yield "word", claim.text, claim.used
    if explanation.surroundings is not None:
        yield SURROUNDINGS, None, explanation.surroundings
