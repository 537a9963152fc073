"""What the commands share: exit codes, and how they complain."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from saywhy.errors import SaywhyError

OK, SOME_FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

errors = Console(stderr=True, highlight=False)


def complain(problem: object) -> None:
    """One line on standard error."""
    errors.print("saywhy:", style="bold red", end=" ")
    errors.print(str(problem), markup=False, soft_wrap=True)


def note(text: object) -> None:
    """One line on standard error about something that is no failure."""
    errors.print(f"note: {text}", markup=False, soft_wrap=True)


def writable(out: Path) -> None:
    """Make the folder. Raises SaywhyError where it cannot be made."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SaywhyError(f"--out {out}: cannot be made a folder ({error.strerror or error})") from None
