"""Progress of an audit that is asked for in Python; the command line has its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from saywhy.pictures.in_batches import Advance
from saywhy.plumbing.now_and_then import now_and_then

EVERY = 10.0  # seconds between lines, where standard error is no terminal


@contextmanager
def seen_bar(what: str, count: int | None) -> Iterator[Advance]:
    """A bar on standard error, or lines where that is no terminal (a notebook, a log). count: None: nobody knows."""
    if not sys.stderr.isatty():
        yield _lines(what, count)
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=count == 0, redirect_stdout=False) as progress:
        task = progress.add_task(what.replace("[", r"\["), total=count)
        yield lambda more: progress.advance(task, more)


def _lines(what: str, count: int | None) -> Advance:
    def tell(done: int, seconds: float) -> None:
        of = "" if count is None else f" of {count:,}"
        left = "" if not count or not done else f", about {(count - done) * seconds / done:,.0f} s left"
        print(f"{what}: {done:,}{of}{left}", file=sys.stderr, flush=True)

    return now_and_then(EVERY, tell)
