"""The steps of one piece of work: who does it says which comes next, and who waits for it may end it there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str], object]
"""Is told what is done next; "" for a step without a name. What it raises ends the work."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def heard(listener: Listener) -> Iterator[None]:
    """While this lasts, ``step`` in this thread tells the listener."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


def step(what: str = "") -> None:
    """Tell whoever listens in this thread what comes next; without a listener nothing happens."""
    listener = _listener.get()
    if listener is not None:
        listener(what)
