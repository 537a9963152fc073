"""What the commands share: exit codes, messages, and the loop over many pictures."""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from saywhy.cli.stopping import exit_code
from saywhy.errors import SaywhyError, one_line
from saywhy.plumbing.now_and_then import now_and_then

if TYPE_CHECKING:
    from saywhy.pictures.in_batches import Failure
    from saywhy.pictures.sources import Found, LabelledImage
    from saywhy.types import Picture

OK, SOME_FAILED, USAGE = 0, 1, 2

LONGEST_STEM = 200
"""Bytes of a picture's name in the names of files about it: file systems take 255, with all that stands around it."""


class Terminal(Console):
    """Rich's console, which leaves the numbers in a text alone, and a pipe that nobody reads to whoever prints."""

    def __init__(self, *, stderr: bool = False, quiet: bool = False) -> None:
        super().__init__(stderr=stderr, quiet=quiet, highlight=False)

    def on_broken_pipe(self) -> None:
        raise  # the BrokenPipeError: Rich would exit at once


errors = Terminal(stderr=True)
"""Standard error: notes, bars and spinners, which ``errors.quiet`` leaves out."""
_T = TypeVar("_T")


def complain(problem: object) -> None:
    """Print a problem as one line on standard error, however quiet."""
    console = Terminal(stderr=True) if errors.quiet else errors
    console.print("saywhy:", style="bold red", end=" ")
    console.print(one_line(str(problem)), markup=False, soft_wrap=True)


def note(text: object) -> None:
    """Print one line on standard error about something that is not a failure."""
    errors.print(one_line(f"note: {text}"), markup=False, soft_wrap=True)


def as_text(text: str, style: str = "") -> Text:
    """A name, phrase or sentence for a terminal: what would move its cursor or turn its writing is escaped."""
    return Text(one_line(text), style)


def replace_what_cannot_be_said() -> None:
    """Where standard output or error is not UTF-8, write signs that look alike, or escapes, for what it has not."""
    codecs.register_error("saywhy", _alike)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="saywhy")


_ALIKE = str.maketrans("█░▀→×–—‘’“”…·", "#.#>x--''\"\".-")


def _alike(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_ALIKE)
    return text.encode("ascii", "backslashreplace").decode(), error.end


def writable(out: Path) -> None:
    """Make the folder. Raises SaywhyError where it cannot be made, or nothing can be written into it."""
    taken = next((one for one in (out, *out.parents) if os.path.lexists(one)), out)
    if taken.is_file():
        file = "is a file" if taken == out else f"{taken} is a file, and holds no folder"
        raise SaywhyError(f"--out {out}: {file}; name a folder, which is made where there is none")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SaywhyError(f"--out {out}: the folder cannot be made ({error.strerror or error})") from None
    try:
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise SaywhyError(f"--out {out}: nothing can be written there ({error.strerror or error})") from None


def check_apart(out: Path | None, pictures: Iterable[LabelledImage]) -> None:
    """Raises SaywhyError where a picture lies in the folder for the report: the next run would explain its maps."""
    if out is None:
        return
    folder = out.resolve()
    for picture in pictures:
        if os.path.exists(picture.name) and folder in Path(picture.name).resolve().parents:
            raise SaywhyError(f"--out {out}: {picture.name} lies there, which is asked about; name a folder of its own")


def tell_found(found: Found) -> None:
    """Say which names stand for no pictures, and what was passed over."""
    for failure in found.failures:
        complain(failure.reason)
    if found.others:
        files = "1 file that is" if found.others == 1 else f"{found.others:,} files that are"
        note(f"{files} no picture by name: left out")
    if found.again:
        again = "1 name is that" if found.again == 1 else f"{found.again:,} names are those"
        note(f"{again} of pictures that were named before: left out")


def find_asked(sources: Iterable[str], limit: int | None, seed: int, out: Path | None) -> Found:
    """The pictures that a command is asked about, whose report goes into ``out``; what stands for none is said.

    Raises SaywhyError where the report cannot be written, or a picture lies in its folder, and typer.Exit where there
    is no picture at all.
    """
    from saywhy.pictures.sources import find_pictures

    if out is not None:
        writable(out)
    found = find_pictures(sources, limit, seed)
    tell_found(found)
    check_apart(out, found.pictures)
    if not found.pictures:
        raise typer.Exit(USAGE)
    return found


class Saved(Protocol):
    """An answer about one picture: an ``Explanation`` or a ``Why``."""

    @property
    def picture(self) -> Picture: ...

    def save(self, path: str | Path) -> Path: ...


def save_numbered(answer: Saved, out: Path, number: int, *, figure: bool = True) -> list[str]:
    """Write an answer's JSON and figure into a folder, under its number and its picture's name; gives their names."""
    name = one_line(Path(answer.picture.name).stem).encode()[:LONGEST_STEM].decode(errors="ignore")
    stem = f"{number:03d}-{name}"
    endings = ("json", "png") if figure else ("json",)
    return [answer.save(out / f"{stem}.{ending}").name for ending in endings]


def tell_older(out: Path, written: Collection[str]) -> None:
    """Say which numbered files of an earlier run lie in a report's folder, beside those that were just ``written``."""
    numbered = re.compile(r"[0-9]{3,}-.+\.(json|png)")
    older = sorted(one.name for one in out.iterdir() if numbered.fullmatch(one.name) and one.name not in written)
    if older:
        rest = f" and {len(older) - 1:,} more" if len(older) > 1 else ""
        note(f"--out {out}: {older[0]}{rest}, of an earlier run, are left there; the page shows this run alone")


@contextmanager
def told_when_interrupted(left: str) -> Iterator[None]:
    """On Ctrl+C and SIGTERM, print one line that says what is ``left`` of the work, and exit with their code."""
    try:
        yield
    except KeyboardInterrupt as stop:
        complain(f"interrupted; {left}")
        raise typer.Exit(exit_code(stop)) from None


@contextmanager
def progress_bar(what: str, count: int) -> Iterator[Callable[[int], object]]:
    """A bar on standard error for ``count`` pictures, where there are more than two; gives what advances it."""
    with _progress(count > 2) as progress:
        task = progress.add_task(what, total=count)
        yield lambda more: progress.advance(task, more)


LINES_EVERY = 30.0
"""Seconds between two lines about progress, where no bar can be shown."""


@contextmanager
def rated_bar(what: str, count: int | None) -> Iterator[Callable[[int], object]]:
    """As ``progress_bar``, of long work: with the rate and the time that is left. count: None: nobody knows.

    Where standard error is no terminal, a line now and then says the same.
    """
    if not errors.is_terminal:
        yield _lines(what, count)
        return
    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    shown = not errors.quiet and count != 0
    with Progress(
        *columns, console=errors, transient=True, disable=not shown, redirect_stdout=sys.stdout.isatty()
    ) as progress:
        task = progress.add_task(what, total=count)
        yield lambda more: progress.advance(task, more)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.1f}/s" if task.speed else "")


def _lines(what: str, count: int | None) -> Callable[[int], None]:
    def tell(done: int, seconds: float) -> None:
        rate = done / seconds
        of = "" if count is None else f" of {count:,}"
        left = "" if not count or not rate else f", {_duration((count - done) / rate)} left"
        errors.print(one_line(f"{what}: {done:,}{of}, {rate:,.1f} a second{left}"), markup=False, soft_wrap=True)

    return now_and_then(LINES_EVERY, tell)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    return f"{seconds:.0f} s" if seconds < 100 else f"{minutes} min" if not hours else f"{hours:,} h {rest} min"


def _progress(wanted: bool) -> Progress:
    """Bars that disappear. What is printed meanwhile goes above them where both are on a terminal, and nowhere else."""
    shown = wanted and errors.is_terminal and not errors.quiet
    return Progress(console=errors, transient=True, disable=not shown, redirect_stdout=sys.stdout.isatty())


Steps = Callable[[Sequence[int]], Iterator[int]]
"""Iterates over the steps of one piece of work, and shows progress."""


@contextmanager
def progress_bars(what: str, count: int) -> Iterator[tuple[Callable[[int], object], Steps]]:
    """As ``progress_bar``, with a second bar below it for the steps of the current picture."""
    with _progress(True) as progress:
        task = progress.add_task(what, total=count, visible=count > 2)

        def steps_of(steps: Sequence[int]) -> Iterator[int]:
            below = progress.add_task("locating rationales", total=len(steps))
            for step in steps:
                yield step
                progress.advance(below)
            progress.remove_task(below)

        yield lambda more: progress.advance(task, more), steps_of


def tell_each(
    results: Iterable[tuple[LabelledImage, _T | Failure]],
    found: Found,
    tell: Callable[[LabelledImage, _T, int], None],
    fail: Callable[[LabelledImage, Failure], None] = lambda picture, failure: None,
    save: Callable[[list[Failure]], Path] | None = None,
) -> NoReturn:
    """Print each of the results as it comes, write the page about all of them, and exit.

    results:   in order; a Failure where a picture has none, which is said at once, and the others go on.
    found:     the pictures, and the names that stand for none, which were told already.
    tell:      is given each of the others with its picture and its number, counted from 1. fail: each Failure.
    save:      writes the page, is given the pictures that failed, and gives its path; None: no page is asked for.

    Raises typer.Exit with OK, SOME_FAILED, or the code of what stopped it (``stopping``): what was done before is on
    the page.
    """
    from saywhy.pictures.in_batches import Failure

    done = 0
    failures = list(found.failures)
    code: int | None = None
    try:
        for picture, result in results:
            if isinstance(result, Failure):
                failures.append(result)
                complain(result.reason)
                fail(picture, result)
            else:
                done += 1
                tell(picture, result, done)
    except KeyboardInterrupt as stop:
        code = exit_code(stop)
        complain(f"interrupted; {done} of {len(found.pictures)} pictures are done")
    except BrokenPipeError as stop:
        code = exit_code(stop)
    if save is not None and (done or failures):
        errors.print(f"report: {save(failures)}", markup=False, soft_wrap=True)
    if code is None:
        code = SOME_FAILED if failures else OK
    raise typer.Exit(code)


def two_columns(title: str, rows: Mapping[str, str], console: Console) -> None:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False)
    for name, what in rows.items():
        table.add_row(Text(name, style="cyan"), Text(what))
    console.print(table)
    console.print()
