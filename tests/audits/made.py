"""Made-up audits for tests of findings: rows without pictures or networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from saywhy.audits.store import ROWS, Store, View


def view_of(
    folder: Path,
    pictures: Sequence[Mapping[str, Any]],
    regions: Sequence[Mapping[str, Any]] = (),
    *,
    labels: Sequence[str] = ("crow", "gull"),
    phrases: Sequence[str] = (),
    task: str = "single-label",
) -> View:
    """The view of an audit that has just these rows."""
    words = {"name": "made", "phrases": list(phrases), "groups": [""] * len(phrases), "attributes": [""] * len(phrases)}
    story = {
        "model": {"name": "made", "task": task, "labels": list(labels)},
        "vocabulary": words,
        "options": {"seed": 0},
    }
    store = Store.create(folder, story)
    store.commit(ROWS, "00000000", {"pictures": pictures, "regions": regions, "errors": []})
    return store.view()
