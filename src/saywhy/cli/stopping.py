"""What stops a command from outside, as exceptions with an exit code: Ctrl-C, SIGTERM, a pipe that nobody reads.

The codes are 128 and the signal's number, as shells have it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

_SIGPIPE = 13  # by number: Windows has no name for it


class Stopped(KeyboardInterrupt):
    """Raised in the main thread by a signal, whose number it holds: what handles Ctrl-C handles SIGTERM too."""


def exit_code(stop: BaseException) -> int:
    """Of a command that a KeyboardInterrupt or a BrokenPipeError ended."""
    if isinstance(stop, BrokenPipeError):
        return 128 + _SIGPIPE
    return 128 + (stop.args[0] if isinstance(stop, Stopped) else signal.SIGINT)


@contextmanager
def signals_heeded() -> Iterator[None]:
    """SIGTERM stops what runs inside as Ctrl-C does; a second one, of either, ends the process at once."""
    process = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # a forked child: as if none of this were
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        for heeded in before:
            signal.signal(heeded, signal.SIG_DFL)
        raise Stopped(number)

    # What is ignored stays so: the background jobs of a script do not hear Ctrl-C.
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
    before: dict[int, Any] = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def silence() -> None:
    """Nothing goes to standard output any more, from here or from a buffer: it would fail again."""
    with suppress(OSError, ValueError):  # of a stream without a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
