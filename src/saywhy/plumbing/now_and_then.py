"""Progress in lines: for long work where no bar can be shown."""

from __future__ import annotations

import time
from collections.abc import Callable


def now_and_then(seconds: float, tell: Callable[[int, float], None]) -> Callable[[int], None]:
    """Takes how many more are done; calls ``tell`` with all that are and the seconds that took, at most so often."""
    began = told = time.monotonic()
    done = 0

    def advance(more: int) -> None:
        nonlocal done, told
        done += more
        now = time.monotonic()
        if now - told >= seconds:
            told = now
            tell(done, now - began)

    return advance
