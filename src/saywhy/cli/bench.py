"""The command ``saywhy bench``: which benchmarks there are, their options, their tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from saywhy.cli.console import Terminal, told_when_interrupted, two_columns, writable
from saywhy.plumbing.files import write_whole

if TYPE_CHECKING:
    from saywhy.bench import Report

WORDS_AS_TYPED = {"ignore_unknown_options": True, "help_option_names": []}
"""Settings of the command: its options depend on the named benchmarks, and so are parsed in a second step."""

_Names = Annotated[list[str], typer.Argument(help="Benchmarks to run.", metavar="NAME...")]
_Limit = Annotated[int | None, typer.Option(min=1, help="A smaller run: at most N of what the benchmark counts.")]
_Out = Annotated[Path | None, typer.Option(help="Folder for the JSON document and figures of each.")]


def bench(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="Benchmarks to run and their options; none: list them.", metavar="NAME..."),
    ] = None,
) -> None:
    """Measure: a table, then one JSON document as the last line. `saywhy bench NAME --help` shows its options."""
    from saywhy.bench import BENCHMARKS

    if not words or words == ["--help"]:
        two_columns("saywhy bench", {name: what for name, (_, what) in BENCHMARKS.items()}, Terminal())
        return
    program = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    program.command()(_command_of([word for word in words if word in BENCHMARKS]))
    if code := program(words, prog_name="saywhy bench", standalone_mode=False):
        raise typer.Exit(code)


def _command_of(names: Sequence[str]) -> Callable[..., None]:
    """``_measure`` with the options that the benchmarks of these names have, and no others."""
    from saywhy.bench import BENCHMARKS, options_of

    def command(names: list[str], limit: int | None, out: Path | None, **options: str | None) -> None:
        _measure(names, limit, out, options)

    taken: dict[str, Any] = {"limit": _Limit, "out": _Out}
    for option in (option for name in names for option in options_of(name)):
        shown = option.default if option.default is not None else False
        taken.setdefault(option.name, Annotated[str | None, typer.Option(help=option.says, show_default=shown)])
    parameters = [Parameter("names", Parameter.POSITIONAL_OR_KEYWORD, annotation=_Names)]
    parameters += [
        Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=hint) for name, hint in taken.items()
    ]
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = "\n\n".join(BENCHMARKS[name][1] for name in names) or "Measure."
    return command


def _measure(names: Sequence[str], limit: int | None, out: Path | None, options: dict[str, str | None]) -> None:
    from saywhy.bench import run_benchmark

    if out is not None:
        writable(out)  # before the work, not after it
    reports: dict[str, Any] = {}
    for name in names:
        with told_when_interrupted(f"{len(reports)} of {len(names)} benchmarks are done; trained models are kept"):
            report = run_benchmark(name, limit, **options)
        show_report(report, Terminal())
        reports[name] = report.document()
        if out is not None:
            write_whole(out / f"{name}.json", json.dumps(reports[name], indent=1))
            for file, png in report.figures.items():
                write_whole(out / file, png)
    print(json.dumps(reports[names[0]] if len(names) == 1 else reports))


WIDEST = 32  # characters of a cell that are kept on one line; a longer text may take several


def show_report(report: Report, console: Console) -> None:
    """A benchmark's tables; one that is wider than the terminal comes in parts, each with what its rows are called."""
    for title, columns, rows in ((report.title, report.columns, report.rows), *report.more):
        cells = {column: [_cell(row.get(column)) for row in rows] for column in columns}
        console.print(Text(title, style="bold"))
        for part in _parts(columns, cells, console.width):
            table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
            for column, width in _shared_out(part, cells, console.width).items():
                table.add_column(Text(column), width=width)
            for n in range(len(rows)):
                table.add_row(*(Text(cells[column][n]) for column in part))
            console.print(table)
            console.print()


def _parts(columns: Sequence[str], cells: Mapping[str, Sequence[str]], width: int) -> list[list[str]]:
    """The columns in parts that fit, each beginning with those that tell the rows apart (three at most)."""
    names = list(columns[: _telling(columns, cells)])
    room = width - sum(_width(name, cells[name]) + GAP for name in names)
    parts = [list(names)]
    left = room
    for column in columns[len(names) :]:
        needed = _width(column, cells[column]) + GAP
        if needed > left and len(parts[-1]) > len(names):
            parts.append(list(names))
            left = room
        parts[-1].append(column)
        left -= needed
    return parts


GAP = 2  # characters between columns


def _shared_out(part: Sequence[str], cells: Mapping[str, Sequence[str]], width: int) -> dict[str, int]:
    """Each column's characters: what it needs, and of what is left over as much as it could use, in their order."""
    widths = {column: _width(column, cells[column]) for column in part}
    left = width - sum(widths.values()) - GAP * (len(part) - 1)
    for column in part:
        more = max(0, min(left, max(map(len, (column, *cells[column]))) - widths[column]))
        widths[column] += more
        left -= more
    return widths


def _telling(columns: Sequence[str], cells: Mapping[str, Sequence[str]]) -> int:
    """How many of the first columns it takes that no two rows are called the same; 1 where three do not do."""
    for count in range(1, min(3, len(columns)) + 1):
        called = list(zip(*(cells[column] for column in columns[:count]), strict=True))
        if len(set(called)) == len(called):
            return count
    return 1


def _width(column: str, cells: Sequence[str]) -> int:
    """Characters that a column needs so that no short cell and no word of its head is broken."""
    return max([len(word) for word in column.split()] + [min(len(cell), WIDEST) for cell in cells], default=1)


def _cell(value: object) -> str:
    if value is None or value != value:  # NaN is not itself
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
