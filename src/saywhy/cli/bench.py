"""The command ``saywhy bench``: which benchmarks there are, their options, their tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

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


def show_report(report: Report, console: Console) -> None:
    """A benchmark's tables."""
    for title, columns, rows in ((report.title, report.columns, report.rows), *report.more):
        table = Table(title=title, title_justify="left", title_style="bold")
        for column in columns:
            table.add_column(column)
        for row in rows:
            table.add_row(*(_cell(row.get(column)) for column in columns))
        console.print(table)


def _cell(value: object) -> str:
    if value is None or value != value:  # NaN is not itself
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
