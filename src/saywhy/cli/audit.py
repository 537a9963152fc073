"""The commands over a whole data set: ``saywhy audit``, ``saywhy query``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from csv import writer
from json import dumps
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from saywhy.audits.options import AuditOptions
from saywhy.cli.console import Terminal, as_text, errors, note, rated_bar, told_when_interrupted
from saywhy.cli.loading import (
    NOTHING_SAID,
    Loading,
    Model,
    load_classifier,
    takes_a_classifier,
)
from saywhy.cli.options import (
    ANSWER,
    OUTPUT,
    RUNNING,
    BatchSize,
    Device,
    Json,
    Limit,
    Quiet,
    Reference,
    Seed,
    Vocabulary,
)
from saywhy.errors import SaywhyError

if TYPE_CHECKING:
    import pyarrow

MOST_ROWS = 100

Folder = Annotated[Path, typer.Argument(help="The folder of an audit, as saywhy audit --out made it.")]


@takes_a_classifier
def audit(
    data: Annotated[
        list[str],
        typer.Argument(
            help="Pictures with their classes: a folder by class, a CSV or Parquet table, CUB, WebDataset shards, a "
            "Hugging Face data set on disk, a world."
        ),
    ],
    model: Model,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="A folder for the audit; the same one goes on.", rich_help_panel=OUTPUT)
    ],
    loading: Loading = NOTHING_SAID,
    vocabulary: Vocabulary = None,
    space: Annotated[
        str | None,
        typer.Option("--space", "-s", help="Whose words: own, clip:DIR, ...", rich_help_panel=ANSWER),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="What `saywhy calibrate` made.", rich_help_panel=ANSWER)
    ] = None,
    reference: Reference = None,
    file_column: Annotated[
        str | None, typer.Option(help="Of a table: the column of files.", rich_help_panel=RUNNING)
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Of a table: the column of labels.", rich_help_panel=RUNNING)
    ] = None,
    sample: Annotated[
        int, typer.Option(min=0, help="Pictures of each class that are changed.", rich_help_panel=RUNNING)
    ] = AuditOptions.sample,
    checks: Annotated[
        str, typer.Option(help="Of a sample, and of what findings rest on: none, fast, full.", rich_help_panel=RUNNING)
    ] = AuditOptions.checks,
    pictures_mb: Annotated[
        float, typer.Option("--pictures-mb", min=0, help="Of thumbnails and maps, at most.", rich_help_panel=OUTPUT)
    ] = AuditOptions.pictures_mb,
    chunk: Annotated[
        int, typer.Option(min=1, help="Pictures that are written together.", rich_help_panel=RUNNING)
    ] = AuditOptions.chunk,
    engine: Annotated[
        str, typer.Option(help="local, or ray: many processes or machines.", rich_help_panel=RUNNING)
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Of ray: processes; default: one a GPU, or a CPU core.", rich_help_panel=RUNNING),
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="Of ray: a cluster, auto or HOST:PORT; default: here.", rich_help_panel=RUNNING)
    ] = None,
    limit: Limit = None,
    seed: Seed = 0,
    device: Device = None,
    batch_size: BatchSize = AuditOptions.batch_size,
    quiet: Quiet = False,
) -> None:
    """Say what a classifier has learned, over a whole data set: its shortcuts, slices, confusions; and label errors."""
    from saywhy.audits.audit import audit as run
    from saywhy.audits.page import headlines
    from saywhy.audits.store import as_before, need_tables
    from saywhy.audits.told import told
    from saywhy.pictures.collections import collection

    need_tables()
    options = AuditOptions(
        sample=sample, seed=seed, batch_size=batch_size, chunk=chunk, checks=checks, pictures_mb=pictures_mb
    )
    with errors.status("listing the pictures", spinner="dots"):
        pictures = collection(as_before(data, out), limit, seed, file_column=file_column, label_column=label_column)
    with errors.status("loading the model", spinner="dots"):
        classifier = load_classifier(model, loading, device)
    with told_when_interrupted(f"what was done is kept in {out}, and the same command goes on from there"):
        found = run(
            pictures, model=classifier, out=out, vocabulary=vocabulary, space=space, calibration=calibration,
            reference=reference, options=options, engine=engine, workers=workers, ray_address=ray_address,
            bar=rated_bar,
        )  # fmt: skip
    if failed := found.query("SELECT count(*) AS n FROM errors")["n"][0].as_py():
        note(
            f"{failed:,} {'picture has' if failed == 1 else 'pictures have'} no answer; "
            f"saywhy query {shlex.quote(str(out))} 'FROM errors' says why"
        )
    with errors.status("writing the page", spinner="dots"):
        page = found.report()
        lines = headlines(told(found.folder), {})
    console = Terminal(quiet=quiet)
    for line in lines:
        mark = as_text(f"{line['badge']:9s}", "bold red" if line["decides"] else "dim")
        said = f"{line['sentence']} {line['also']}".strip()
        console.print(*([] if line["decides"] is None else [mark]), as_text(said), soft_wrap=True)
    told_here, every = sum(line["decides"] is not None for line in lines), len(found.findings)
    if told_here < every:
        errors.print(f"{every} findings; {every - told_here} of them are only in the report", markup=False)
    else:
        errors.print(f"{every} {'finding' if every == 1 else 'findings'}", markup=False)
    errors.print(f"report: {page}", markup=False, soft_wrap=True)


def query(
    folder: Folder,
    sql: Annotated[
        str,
        typer.Argument(
            help="One SELECT over pictures, regions, errors, trials, checks and shown; docs/reference-formats.md has "
            "their columns."
        ),
    ],
    json: Json = False,
    csv: Annotated[
        bool, typer.Option("--csv", help="Comma-separated values with a head.", rich_help_panel=OUTPUT)
    ] = False,
    most: Annotated[
        int, typer.Option("--most", min=1, help="Rows that a table shows.", rich_help_panel=OUTPUT)
    ] = MOST_ROWS,
) -> None:
    """Ask the tables of an audit in SQL, as DuckDB has it; they are only read. `SHOW TABLES`, `DESCRIBE pictures`."""
    from saywhy.audits.store import Store

    if json and csv:
        raise SaywhyError("--json and --csv: give one of them")
    found = Store.open(folder).view().answer(sql)
    if json:
        for row in found.to_pylist():
            print(dumps(_plain(row)))
    elif csv:
        lines = writer(sys.stdout, lineterminator="\n")
        lines.writerow(found.column_names)
        lines.writerows([_cell(value) for value in row.values()] for row in _rows(found))
    else:
        _show(found, most)


def _rows(found: pyarrow.Table) -> Iterator[dict[str, Any]]:
    for batch in found.to_batches():
        yield from batch.to_pylist()


def _show(found: pyarrow.Table, most: int) -> None:
    console = Terminal()
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for field in found.schema:
        numeric = str(field.type) in ("int64", "int32", "double", "float")
        table.add_column(as_text(field.name), justify="right" if numeric else "left", overflow="fold")
    for row in _rows(found.slice(0, most)):
        table.add_row(*(as_text(_cell(value)) for value in row.values()))
    console.print(table)
    if found.num_rows > most:
        errors.print(f"{most} of {found.num_rows:,} rows; --most shows more, --json and --csv all", markup=False)


def _plain(value: Any) -> Any:
    """As JSON has it: bytes by their number, maps as objects, no NaN."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, float) and not isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        pairs = bool(value) and all(isinstance(one, tuple) and len(one) == 2 for one in value)
        return {str(key): _plain(one) for key, one in value} if pairs else [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | None) else str(value)


def _cell(value: Any) -> str:
    plain = _rounded(_plain(value))
    if isinstance(plain, float):
        return f"{plain:g}"
    return "" if plain is None else plain if isinstance(plain, str) else dumps(plain, ensure_ascii=False)


def _rounded(plain: Any) -> Any:
    if isinstance(plain, float):
        return float(f"{plain:.6g}")
    if isinstance(plain, dict):
        return {key: _rounded(one) for key, one in plain.items()}
    return [_rounded(one) for one in plain] if isinstance(plain, list) else plain
