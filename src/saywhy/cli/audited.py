"""The commands over an audit that was made: ``saywhy report``, ``saywhy check``, ``saywhy export``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from saywhy.cli.audit import Folder
from saywhy.cli.console import Terminal, as_text, errors
from saywhy.cli.options import OUTPUT, Json, Quiet
from saywhy.errors import SaywhyError
from saywhy.plumbing.names import unknown

KEPT_OUT = 3  # the exit code of a check whose rules are broken
FORMATS = ("text", "github")
STYLES = {"holds": "green", "broken": "bold red", "not testable": "yellow"}

Compare = Annotated[
    Path | None, typer.Option("--compare", "-c", help="The folder of an older audit: what changed since?")
]


def report(
    folder: Folder,
    compare: Compare = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The page's file; report.html in the folder.", rich_help_panel=OUTPUT),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the page about an audit: what the classifier has learned, for managers and engineers; one file."""
    if as_json:
        from saywhy.audits.compare import compare as compared
        from saywhy.audits.told import told

        now = told(folder)
        document = now.document()
        if compare is not None:
            document["comparison"] = compared(told(compare), now).document()
        print(json.dumps(document, allow_nan=False), flush=True)
        return
    from saywhy.audits.page import write_page

    with errors.status("writing the page", spinner="dots"):
        page = write_page(folder, out, compare)
    Terminal(quiet=quiet).print(f"report: {page}", markup=False, soft_wrap=True)


def check(
    folder: Folder,
    rules: Annotated[Path, typer.Option("--rules", "-r", help="A TOML file of rules; see docs/audit-gate.md.")],
    compare: Compare = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML there.", rich_help_panel=OUTPUT)] = None,
    form: Annotated[
        str, typer.Option("--format", help="text, or github: annotations and a summary.", rich_help_panel=OUTPUT)
    ] = "text",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Hold an audit against rules: 0 where all hold, 3 where one is broken, 2 for rules that cannot be read."""
    from saywhy.audits.gate import BROKEN, judge, read_rules
    from saywhy.audits.gate_formats import junit as as_junit
    from saywhy.audits.gate_formats import markdown, workflow_commands
    from saywhy.audits.told import told
    from saywhy.plumbing.files import write_whole

    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    read = read_rules(rules)
    now = told(folder)
    judged = judge(now, read, None if compare is None else told(compare))
    kept_out = read.fails(judged)
    if junit is not None:
        write_whole(junit, as_junit(now, read, judged))
    if form == "github":
        for line in workflow_commands(read, judged):
            print(line, flush=True)
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            try:
                with open(summary, "a", encoding="utf-8") as file:
                    file.write(markdown(now, read, judged))
            except OSError as error:
                raise SaywhyError(f"GITHUB_STEP_SUMMARY {summary}: cannot be written ({error.strerror})") from None
    if as_json:
        rows = [{"rule": one.rule, "state": one.state, "reasons": one.reasons, "notes": one.notes} for one in judged]
        print(json.dumps({"passes": not kept_out, "rules": rows}, allow_nan=False), flush=True)
    elif form == "text":
        console = Terminal(quiet=quiet and not kept_out)
        for one in judged:
            if quiet and one.state != BROKEN:
                continue
            console.print(as_text(f"{one.state:13s}", STYLES[one.state]), as_text(one.rule, "bold"), soft_wrap=True)
            for line in one.reasons:
                console.print(as_text(f"    {line}"), soft_wrap=True)
            for line in one.notes:
                console.print(as_text(f"    {line}", "dim"), soft_wrap=True)
    if kept_out:
        raise typer.Exit(KEPT_OUT)


def export(
    folder: Folder,
    to: Annotated[str, typer.Option("--to", "-t", help="fiftyone, wandb, tensorboard or model-card.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A folder; of a model card, a file.", rich_help_panel=OUTPUT)
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Give an audit to where people already look: FiftyOne, Weights & Biases, TensorBoard, a model card."""
    from saywhy.audits.exports import export as run

    with errors.status("exporting", spinner="dots"):
        said = run(folder, to, out)
    Terminal(quiet=quiet).print(said, markup=False, soft_wrap=True)
