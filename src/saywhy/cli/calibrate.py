"""The command ``saywhy calibrate``: from pictures of known truth to the probability that a word is true."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saywhy.cli import completion
from saywhy.cli.console import Terminal, complain, errors, note, progress_bar, writable
from saywhy.cli.loading import NOTHING_SAID, Loading, MaybeModel, load_classifier, takes_a_classifier
from saywhy.cli.options import RUNNING, BatchSize, Device, Quiet, Seed
from saywhy.errors import SaywhyError
from saywhy.questions.options import BATCH

if TYPE_CHECKING:
    from saywhy.seen.calibration import Calibration


@takes_a_classifier
def calibrate(
    data: Annotated[
        str,
        typer.Option(
            help="Pictures of known truth: a folder in CUB's layout, a .csv or .parquet of picture,phrase, "
            "world:aviary or world:digits."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="File for the calibration (.safetensors).")],
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            "-s",
            help="Whose opinion: own, clip, clip:ARCH/TAG, clip:DIR, world:NAME ... (default: as explain)",
            autocompletion=completion.among(completion.spaces),
        ),
    ] = None,
    vocabulary: Annotated[
        str | None,
        typer.Option(
            help="Words to calibrate (default: the phrases of the data).",
            autocompletion=completion.among(completion.vocabularies),
        ),
    ] = None,
    model: MaybeModel = None,
    loading: Loading = NOTHING_SAID,
    target_precision: Annotated[
        float, typer.Option(help="Share of the words said as facts that must be true, 0 to 1.")
    ] = 0.95,
    model_kind: Annotated[str, typer.Option(help="What is fitted: trees or logistic")] = "trees",
    shifts: Annotated[
        bool, typer.Option("--shifts", help="Look at shifted crops too: steadier scores, four times the crops.")
    ] = False,
    figure: Annotated[Path | None, typer.Option(help="The reliability diagram (default: OUT as .png).")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="Pictures at most.", rich_help_panel=RUNNING)
    ] = None,
    seed: Seed = 0,
    device: Device = None,
    batch_size: BatchSize = BATCH,
    quiet: Quiet = False,
) -> None:
    """Learn from labelled pictures how probable it is that a word is in a picture, and from when on it may be said.

    Beside the file stand a reliability diagram (.png) and what each phrase reached (.csv), out of fold.
    """
    from saywhy.plumbing.devices import choose_device
    from saywhy.plumbing.files import write_whole
    from saywhy.questions.calibrate import calibrate as fitted
    from saywhy.questions.calibrate import read_known
    from saywhy.questions.names_and_defaults import (
        check_space,
        check_space_name,
        default_space,
        load_vocabulary,
        resolve_space,
    )
    from saywhy.seen.fitting import FitOptions
    from saywhy.seen.layer_statistics import eyes_of
    from saywhy.seen.references import keep_typical
    from saywhy.seen.reliability import phrases_csv, reliability_png

    options = FitOptions(target=target_precision, kind=model_kind, shifts=shifts)
    if model is None and not data.startswith("world:"):
        raise SaywhyError("regions come from a classifier; name the one that is explained with --model")
    if space is not None:
        check_space_name(space)
    words = None if vocabulary is None else load_vocabulary(vocabulary)
    choose_device(device)
    writable(out.parent)
    with errors.status("loading the model", spinner="dots"):
        known = read_known(data, words, limit, seed)
        classifier = load_classifier(model or data, loading, device)
        opinion = resolve_space(space or (data if model is None else default_space(classifier)), classifier, device)
        check_space(opinion, classifier)
    with progress_bar("looking", len(known.pictures)) as advance:
        made = fitted(
            known, classifier, opinion, options, batch_size=batch_size, advance=advance,
            tell=lambda failure: complain(failure.reason),
        )  # fmt: skip
    made.save(out)
    keep_typical(out, eyes_of(opinion, classifier), known.pictures, f"pictures of {made.data}", progress_bar, note)
    picture, table = figure or out.with_suffix(".png"), out.with_suffix(".csv")
    write_whole(picture, reliability_png(made))
    write_whole(table, phrases_csv(made))
    _show(made, Terminal(quiet=quiet))
    note(f"{out}, with {picture} and {table}")


def _show(made: Calibration, console: Terminal) -> None:
    """The table of phrases, and what is said at the threshold."""
    from math import isfinite, isnan

    from rich.table import Table

    from saywhy.seen.reliability import COLUMNS, phrase_rows

    table = Table(*COLUMNS, box=None)
    for row in phrase_rows(made):
        name, count, rate, auc, said, precision = (row[column] for column in COLUMNS)
        numbers = [f"{count:.0f}", *("" if isnan(float(v)) else f"{float(v):.2f}" for v in (rate, auc))]
        table.add_row(str(name), *numbers, f"{said:.0f}", "" if isnan(float(precision)) else f"{float(precision):.2f}")
    console.print(table)
    if isfinite(made.threshold):
        console.print(
            f"Said from p = {made.threshold:.2f} on: {made.claims:.2f} words a picture, {100 * made.precision:.1f} % "
            f"of them true (out of fold; target {100 * made.target:.0f} %). "
            f"Calibration error {made.reliability.ece:.3f}."
        )
    else:
        console.print(f"No phrase is ever sure enough for {100 * made.target:.0f} %: nothing will be said as a fact.")
