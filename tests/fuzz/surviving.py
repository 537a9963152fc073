"""Whatever befalls a file, it is read or refused in one line, soon, and in bounded memory."""

from __future__ import annotations

import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import final

from saywhy.errors import SaywhyError

LONGEST = 10
"""Seconds of the processor's time for one file: other work on the machine does not count."""
WAIT = 60  # seconds of the clock's, for what waits and does nothing
MOST_SAID = 4000  # characters of a refusal, with escapes


class Hang(BaseException):
    """No library's ``except Exception`` catches it."""


@final
@dataclass(frozen=True)
class Survival:
    """What became of some files.

    read, refused: how many were read, and how many were refused in a line.
    longest:       seconds of the processor's time that one file took at most, and its name.
    peak, grown:   bytes that the process held at most, and how much of that came with these files.
    """

    read: int
    refused: int
    longest: tuple[float, str]
    peak: int
    grown: int

    def __add__(self, other: Survival) -> Survival:
        longest, peak = max(self.longest, other.longest), max(self.peak, other.peak)
        return Survival(self.read + other.read, self.refused + other.refused, longest, peak, self.grown + other.grown)

    def __str__(self) -> str:
        seconds, name = self.longest
        return (
            f"{self.read + self.refused:,} files: {self.read:,} read, {self.refused:,} refused in a line, none else; "
            f"longest {seconds:.2f} s of the processor ({name}), peak memory {self.peak >> 20} MiB "
            f"({self.grown >> 20} MiB more than before)"
        )


def survive(files: Iterable[tuple[Path, bytes]], read: Callable[[Path], object]) -> Survival:
    """Write each file, read it and remove it again.

    Raises AssertionError, with the file's name, for any other exception than a SaywhyError of one line, and where
    reading takes more than LONGEST seconds, or waits for WAIT.
    """
    before, done, longest = _peak(), Counter[str](), (0.0, "")
    earlier = {number: signal.signal(number, _hang) for number in (signal.SIGALRM, signal.SIGPROF)}
    try:
        for path, content in files:
            path.write_bytes(content)
            start = time.process_time()
            signal.alarm(WAIT)
            signal.setitimer(signal.ITIMER_PROF, LONGEST)
            try:
                done[_outcome(path, read)] += 1
            except BaseException as error:
                raise AssertionError(f"{path.name}: {type(error).__name__}: {error}") from error
            finally:
                signal.alarm(0)
                signal.setitimer(signal.ITIMER_PROF, 0)
            longest = max(longest, (time.process_time() - start, path.name))
            path.unlink()
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
    return Survival(done["read"], done["refused"], longest, _peak(), _peak() - before)


def _outcome(path: Path, read: Callable[[Path], object]) -> str:
    try:
        read(path)
    except SaywhyError as error:
        said = str(error)
    else:
        return "read"
    assert said.replace("\u200c", "").replace("\u200d", "").isprintable(), f"not one line: {said!r}"
    assert 0 < len(said) < MOST_SAID, f"not a line that can be read: {said[:200]} ..."
    return "refused"


def _hang(*_: object) -> None:
    raise Hang


def _peak() -> int:
    """Bytes that this process has held at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
