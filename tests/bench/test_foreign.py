"""Foreign pictures are counted as they are: words of few of them, few familiar ones lost, beside what it costs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from saywhy.bench import run_benchmark


def first(text: str) -> float:
    found = re.search(r"[0-9.]+", text)
    assert found is not None
    return float(found[0])


@pytest.mark.slow
def test_without_the_pack_the_worlds_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SAYWHY_PACK", raising=False)
    report = run_benchmark("foreign", 8)
    assert [row["classifier"] for row in report.rows[::2]] == [
        "world:aviary", "world:aviary/vit", "world:digits", "world:digits/vit"
    ]  # fmt: skip
    for row in report.rows:
        own = "species" if "aviary" in row["classifier"] else "grey digits"
        assert row[own].startswith("lost")
        assert first(row[own]) <= 25
        assert [first(row[kind]) for kind in ("pixel noise", "flat")] == [0, 0]
    assert [title for title, _, _ in report.more] == ["the same, a little worse: familiar pictures lost", "time"]
