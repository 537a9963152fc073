"""The command ``saywhy bench``: which benchmarks there are, their options, their tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from saywhy.cli.console import told_when_interrupted, two_columns, writable

if TYPE_CHECKING:
    from saywhy.bench import Report


def show_benchmarks(benchmarks: Mapping[str, str], console: Console) -> None:
    """The names that ``saywhy bench`` knows."""
    two_columns("saywhy bench", benchmarks, console)


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


def bench(
    names: Annotated[
        list[str] | None, typer.Argument(help="Benchmarks to run; none: list them.", metavar="NAME...")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="A smaller run: at most N of what the benchmark counts.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON document and figures of each.")] = None,
    data: Annotated[str | None, typer.Option(help="lrp-clip: world:NAME, or a folder in CUB's layout.")] = None,
    model: Annotated[str | None, typer.Option(help="lrp-clip: the classifier, as for explain.")] = None,
    space: Annotated[str | None, typer.Option(help="lrp-clip: whose words, as for explain.")] = None,
    images: Annotated[str | None, typer.Option(help="zsl and others: a folder of pictures.")] = None,
    folds: Annotated[str | None, typer.Option(help="zsl: folds of classes; 10:3 runs three of ten.")] = None,
    mappers: Annotated[str | None, typer.Option(help="zsl: default,mlp,icis,ridge,... to compare.")] = None,
    encoder: Annotated[str | None, typer.Option(help="zsl: the text encoder.")] = None,
    wordnet: Annotated[str | None, typer.Option(help="zsl: folder with WordNet 3.0's data.noun.")] = None,
    transfer: Annotated[str | None, typer.Option(help="zsl: class folders the classifier never knew.")] = None,
    writer: Annotated[str | None, typer.Option(help="sentences, nle, captions: a language model.")] = None,
    methods: Annotated[str | None, typer.Option(help="sentences: guided,prefix.")] = None,
    scenes: Annotated[str | None, typer.Option(help="sentences: scenes of the aviary.")] = None,
    sentences: Annotated[str | None, typer.Option(help="nle: files of sentences, NAME=FILE,FILE.")] = None,
    painter: Annotated[str | None, typer.Option(help="nle: a diffusers text-to-image pipeline.")] = None,
    bank: Annotated[str | None, typer.Option(help="concepts: a file of texts.")] = None,
    train_on: Annotated[str | None, typer.Option(help="ecor: data with rationales to tune on.")] = None,
    test_on: Annotated[str | None, typer.Option(help="ecor: other such data, only asked about.")] = None,
    recipe: Annotated[str | None, typer.Option(help="ecor: settings of the runs, as for train prompts.")] = None,
    seeds: Annotated[str | None, typer.Option(help="ecor: runs of each objective.")] = None,
) -> None:
    """Measure. Prints a table, then one JSON document as the last line."""
    import json

    from saywhy.bench import BENCHMARKS, run_benchmark
    from saywhy.cli.bench import show_benchmarks, show_report

    if not names:
        show_benchmarks({name: what for name, (_, what) in BENCHMARKS.items()}, Console(highlight=False))
        return
    if out is not None:
        writable(out)  # before the work, not after it
    reports: dict[str, Any] = {}
    for name in names:
        with told_when_interrupted(f"{len(reports)} of {len(names)} benchmarks are done; trained models are kept"):
            report = run_benchmark(
                name, limit, data=data, model=model, space=space, images=images, folds=folds, mappers=mappers,
                encoder=encoder, wordnet=wordnet, transfer=transfer, writer=writer, methods=methods, scenes=scenes,
                sentences=sentences, painter=painter, bank=bank, train_on=train_on, test_on=test_on, recipe=recipe,
                seeds=seeds,
            )  # fmt: skip
        show_report(report, Console(highlight=False))
        reports[name] = report.document()
        if out is not None:
            (out / f"{name}.json").write_text(json.dumps(reports[name], indent=1))
            for file, png in report.figures.items():
                (out / file).write_bytes(png)
    print(json.dumps(reports[names[0]] if len(names) == 1 else reports))
