"""Pictures that were changed for a finding that decides, kept beside what they were: it is seen what was done."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from PIL import Image

from saywhy.audits import altered
from saywhy.audits.finding import AuditFinding
from saywhy.audits.kinds import KINDS, module_of
from saywhy.audits.rows import THUMBNAIL_BYTES, small_jpeg
from saywhy.audits.store import SHOWN, Store, View
from saywhy.audits.subject import Subject
from saywhy.errors import SaywhyError
from saywhy.pictures.in_batches import Advance

EACH, MOST = 4, 24  # pictures of a finding, and findings


def show_changed(
    store: Store, subject: Subject, view: View, findings: Sequence[AuditFinding],
    bar: Callable[[str, int | None], AbstractContextManager[Advance]],
) -> None:  # fmt: skip
    """Make again some of the changed pictures that turned into the class, and keep them: rows of ``tables.CHANGED``."""
    deciding = [finding for finding in findings if finding.decides][:MOST]
    wanted = [(finding.kind, row) for finding in deciding for row in turned(view, finding)]
    name = "changed-" + hashlib.sha256(repr(wanted).encode()).hexdigest()[:12]
    if not wanted or name in store.parts(SHOWN):
        return
    with bar("keeping changed pictures", len(wanted)) as advance:
        rows = []
        for kind, row in wanted:
            make = getattr(module_of(KINDS[kind]), "changed_picture", altered.changed_picture)
            rows += _shown(subject, row, make)
            advance(1)
    store.commit(SHOWN, name, {"changed": rows})


def turned(view: View, finding: AuditFinding) -> list[dict[str, Any]]:
    """Rows of the trials of a finding in which the changed picture is called as the finding says, one a picture."""
    kind = KINDS.get(finding.kind)
    if kind is None or not kind.trials:
        return []
    part = finding.details.get("part")
    query = """
        SELECT * FROM trials WHERE family = ? AND about = ? AND (?::varchar IS NULL OR part = ?) AND hit
        AND NOT coalesce(control, false) AND variant NOT LIKE '%, %'
        QUALIFY row_number() OVER (PARTITION BY number ORDER BY probability_after DESC, other) = 1
        ORDER BY probability_after DESC, number LIMIT ?
    """
    about = finding.about[1] if finding.kind == "metadata decides" else finding.about[0]
    return view.sql(query, [module_of(kind).FAMILY, about, part, part, EACH]).to_pylist()


def _shown(
    subject: Subject, row: Mapping[str, Any], make: Callable[[Subject, Mapping[str, Any]], Image.Image | None]
) -> list[dict[str, Any]]:
    before = altered.opened(subject, row["number"])
    try:
        after = make(subject, row)
    except SaywhyError:
        return []
    if before is None or after is None:
        return []
    labels = subject.classifier.labels
    return [
        {
            "family": row["family"], "part": row["part"], "about": row["about"], "number": row["number"],
            "variant": row["variant"], "said": labels[row["after"]], "probability": row["probability_after"],
            "before": small_jpeg(before.convert("RGB"), THUMBNAIL_BYTES),
            "after": small_jpeg(after.convert("RGB"), THUMBNAIL_BYTES),
        }
    ]  # fmt: skip
