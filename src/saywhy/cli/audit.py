"""The commands over a whole data set: ``saywhy audit``, ``saywhy query``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from saywhy.audits.options import AuditOptions
from saywhy.cli.console import Terminal, errors, progress_bar
from saywhy.cli.loading import (
    Checkpoint,
    Ema,
    Labels,
    Model,
    NumClasses,
    Output,
    RandomWeights,
    Task,
    Threshold,
    load_classifier,
)
from saywhy.cli.options import ANSWER, OUTPUT, RUNNING, BatchSize, Device, Limit, Quiet, Reference, Seed, Vocabulary

Folder = Annotated[Path, typer.Argument(help="The folder of an audit, as saywhy audit --out made it.")]


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
    labels: Labels = None,
    checkpoint: Checkpoint = None,
    num_classes: NumClasses = None,
    ema: Ema = False,
    task: Task = None,
    threshold: Threshold = None,
    output: Output = None,
    random_weights: RandomWeights = False,
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
    engine: Annotated[
        str, typer.Option(help="local, or ray: many processes or machines.", rich_help_panel=RUNNING)
    ] = "local",
    limit: Limit = None,
    seed: Seed = 0,
    device: Device = None,
    batch_size: BatchSize = AuditOptions.batch_size,
    quiet: Quiet = False,
) -> None:
    """Say what a classifier has learned, over a whole data set: its shortcuts, slices, confusions; and label errors."""
    from saywhy.audits.audit import audit as run
    from saywhy.pictures.collections import collection

    options = AuditOptions(sample=sample, seed=seed, batch_size=batch_size)
    with errors.status("listing the pictures", spinner="dots"):
        pictures = collection(data, limit, seed, file_column=file_column, label_column=label_column)
    with errors.status("loading the model", spinner="dots"):
        classifier = load_classifier(
            model, labels=labels, checkpoint=checkpoint, num_classes=num_classes, ema=ema, task=task,
            threshold=threshold, output=output, random_weights=random_weights, device=device,
        )  # fmt: skip
    found = run(
        pictures, model=classifier, out=out, vocabulary=vocabulary, space=space, calibration=calibration,
        reference=reference, options=options, engine=engine, bar=_bar,
    )  # fmt: skip
    console = Terminal(quiet=quiet)
    for number, finding in enumerate(found.findings, start=1):
        console.print(f"{number:3d}. {finding.sentence}", markup=False)


def query(
    folder: Folder,
    sql: Annotated[str, typer.Argument(help="SQL over pictures, regions, errors and trials.")],
) -> None:
    """Ask the tables of an audit in SQL; nothing is changed."""
    from saywhy.audits.store import Store

    console = Terminal()
    for row in Store.open(folder).view().sql(sql).to_pylist():
        console.print(row, markup=False)


@contextmanager
def _bar(what: str, count: int | None) -> Iterator[Callable[[int], object]]:
    with progress_bar(what, count or 0) as advance:
        yield advance
