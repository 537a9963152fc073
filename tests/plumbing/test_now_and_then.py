"""Progress in lines: no more often than asked, and of all that is done."""

from __future__ import annotations

import time

import pytest

from saywhy.plumbing.now_and_then import now_and_then


def test_it_tells_all_that_is_done_at_most_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 104.0, 110.0, 119.0, 121.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    told: list[tuple[int, float]] = []
    advance = now_and_then(10, lambda done, seconds: told.append((done, seconds)))
    for more in (1, 2, 3, 4):
        advance(more)
    assert told == [(3, 10.0), (10, 21.0)]
