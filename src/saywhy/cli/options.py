"""Options that several commands have, with the same short names, help and completion everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saywhy.cli import completion
from saywhy.cli.console import errors

ANSWER, RUNNING, OUTPUT = "The question", "Pictures and device", "Output"


def _hush(quiet: bool) -> bool:
    errors.quiet = quiet
    return quiet


Sources = Annotated[
    list[str],
    typer.Argument(
        help="Files, folders with all below them, patterns in quotes ('photos/**/*.jpg'), photos:all, world:NAME, "
        "@FILE with a list of these, or - for a list from standard input.",
        metavar="PICTURES",
        show_default=False,
    ),
]
Vocabulary = Annotated[
    str | None,
    typer.Option(
        help="Words to use: concepts, descriptors, birds, a file; joined by +",
        autocompletion=completion.among(completion.vocabularies),
        rich_help_panel=ANSWER,
    ),
]
Reference = Annotated[
    list[str] | None,
    typer.Option(
        help="Pictures that the model knows, 100 or more: of others no words are said. Files, folders, world:NAME; may "
        "be repeated.",
        rich_help_panel=ANSWER,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", "-n", min=1, help="Pictures at most, evenly over the classes.", rich_help_panel=RUNNING),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Which pictures --limit takes.", rich_help_panel=RUNNING)]
Device = Annotated[
    str | None,
    typer.Option(
        "--device", "-d", help="cpu, cuda, cuda:1 ... (default: a GPU where there is one)", rich_help_panel=RUNNING
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", callback=_hush, help="No words, notes or progress: failures only.", rich_help_panel=OUTPUT
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="One JSON document per line on standard output, nothing else.", rich_help_panel=OUTPUT),
]
Report = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", help="Folder for the report: index.html, and a JSON and PNG each.", rich_help_panel=OUTPUT
    ),
]
BatchSize = Annotated[
    int,
    typer.Option(
        "--batch-size", "-b", min=1, help="Pictures at once; fewer where they are large.", rich_help_panel=RUNNING
    ),
]


def examples(*lines: str) -> str:
    """Commands, as a command's help ends with them."""
    return "\n\n".join(["Examples:", *lines])
