"""Pictures that were changed for a finding are kept beside what they were, and shown."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from saywhy.audits.changed import show_changed, turned
from saywhy.audits.conclude import no_bar
from saywhy.audits.findings import outside
from saywhy.audits.page import write_page
from saywhy.audits.store import Store
from tests.audits.finished import LABELS, finding, finished


def test_changed_pictures_are_kept_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = {"family": outside.FAMILY, "part": "1", "about": "gull", "other": 30, "after": 1, "variant": "surroundings"}
    made = ((0, True, False, 0.7), (1, True, False, 0.9), (2, False, False, 0.1), (3, True, True, 0.9))
    trials = [
        base | {"number": n, "hit": hit, "control": control, "probability_after": p} for n, hit, control, p in made
    ]
    folder = finished(tmp_path / "a", findings=[finding()], tables={"trials/outside": trials})
    store = Store.open(folder)
    view = store.view()
    assert [row["number"] for row in turned(view, finding())] == [1, 0]
    assert turned(view, finding(about="crow")) == []
    pictures = [SimpleNamespace(open=lambda: Image.new("RGB", (40, 30), "white"))] * 4
    subject: Any = SimpleNamespace(classifier=SimpleNamespace(labels=LABELS), pictures=pictures)
    monkeypatch.setattr(outside, "changed_picture", lambda subject, row: Image.new("RGB", (40, 30), "red"))
    for _ in range(2):  # the second time nothing is done again
        show_changed(store, subject, store.view(), [finding()], no_bar)
    rows = store.view().sql("SELECT * FROM changed ORDER BY number").to_pylist()
    assert [(row["number"], row["said"]) for row in rows] == [(0, "gull"), (1, "gull")]
    assert Image.open(io.BytesIO(rows[0]["after"])).getpixel((5, 5))[0] > 200  # type: ignore[index]
    html = write_page(folder).read_text()
    assert "What was done: before, and changed" in html
    assert "crow &rarr; <b>gull</b> 0.90" in html
