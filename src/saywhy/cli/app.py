"""The command line: ``saywhy demo | explain | why | ask | audit | query | report | check | bench | ...``.

An edge: nothing imports it.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from saywhy.cli.ask import ask
from saywhy.cli.audit import audit, query
from saywhy.cli.audited import check, export, report
from saywhy.cli.bench import WORDS_AS_TYPED, bench
from saywhy.cli.calibrate import calibrate
from saywhy.cli.console import USAGE, complain, note, replace_what_cannot_be_said
from saywhy.cli.data import data, worlds
from saywhy.cli.demo import demo
from saywhy.cli.doctor import doctor, models
from saywhy.cli.explain import explain
from saywhy.cli.inside import inside
from saywhy.cli.options import examples
from saywhy.cli.serve import serve
from saywhy.cli.stopping import exit_code, signals_heeded, silence
from saywhy.cli.train import train
from saywhy.cli.why import why
from saywhy.errors import SaywhyError

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)  # what is no fault of the program


class Commands(TyperGroup):
    """Commands that end in one line, or none, where they are stopped, where nobody reads them, and on a full disk."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        with _ending():
            return super().make_context(*args, **options)  # here --version and --help answer

    def invoke(self, ctx: Any) -> Any:
        with _ending():
            return super().invoke(ctx)


@contextmanager
def _ending() -> Iterator[None]:
    try:
        with signals_heeded():
            try:
                yield
            finally:
                sys.stdout.flush()  # not left to the interpreter's end, where nobody could catch what it raises
    except KeyboardInterrupt as stop:
        complain("interrupted")
        raise typer.Exit(exit_code(stop)) from None
    except BrokenPipeError as stop:
        silence()
        raise typer.Exit(exit_code(stop)) from None
    except OSError as error:
        if error.errno not in _DISK:
            raise
        if error.filename is None:
            silence()
        complain(f"{error.filename or 'the output'} cannot be written ({error.strerror}); what was done is kept")
        raise typer.Exit(USAGE) from None


app = typer.Typer(
    cls=Commands,
    help="Ask any image classifier why, and get the answer in words with the evidence beside them.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """The console script: a SaywhyError becomes its message, and never a traceback."""
    _quiet_libraries()
    replace_what_cannot_be_said()
    try:
        app()
    except SaywhyError as error:
        complain(error)
        sys.exit(USAGE)
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        complain("out of memory: use fewer pictures at once, a smaller batch, a smaller model, or another device")
        sys.exit(USAGE)


def _out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: torch has an error of its own for GPUs, but raises a plain RuntimeError on a CPU."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in said or "can't allocate memory" in said


def _quiet_libraries() -> None:
    """Silence progress bars and advice of other libraries, which would drown out our own messages."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.basicConfig(level=logging.ERROR)
    warnings.filterwarnings("ignore")
    warnings.filterwarnings("default", module=r"saywhy\..*|own_code_.*")  # the latter: --model python:FILE.py:NAME
    warnings.showwarning = _show_warning


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Show our own warnings in one line. Others' are for programmers: which glyph a font lacks, and where."""
    if category.__module__.startswith("saywhy."):
        note(message)


def _version(show: bool) -> None:
    if show:
        from saywhy import __version__

        print(f"saywhy {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


app.command()(demo)
app.command(
    epilog=examples(
        "saywhy explain photo.jpg --model timm:resnet50 --out why",
        "saywhy explain photos 'more/**/*.png' @list.txt -m timm:DIR -o why",
        "find . -name '*.jpg' -print0 | saywhy explain - -m hf:DIR --json | jq .summary",
    )
)(explain)
app.command(
    epilog=examples(
        "saywhy why photo.jpg --space clip --rationales lists.json",
        "saywhy why photos --space tuned:DIR --limit 20 --out why",
    )
)(why)
app.command(
    epilog=examples(
        'saywhy ask photos "a dog on grass|a dog on snow" --space clip',
        'saywhy ask world:digits "a red digit|a green digit" --model world:digits-coloured --operate world:digits',
    )
)(ask)
app.command(
    epilog=examples(
        "saywhy calibrate --data CUB_200_2011 --model timm:DIR --space clip --out birds.safetensors",
        "saywhy calibrate --data table.csv --model timm:DIR --space clip --vocabulary concepts -o mine.safetensors",
    )
)(calibrate)
app.command(
    epilog=examples(
        "saywhy audit photos --model timm:DIR --out audit",
        "saywhy audit world:aviary-background --model world:aviary-background --space world:aviary -o audit",
    )
)(audit)
app.command(epilog=examples('saywhy query audit "SELECT truth, avg(correct::int) FROM pictures GROUP BY truth"'))(query)
app.command(
    epilog=examples(
        "saywhy inside audit",
        "saywhy inside audit --search 'a red roof' --sae sae.safetensors",
        "saywhy inside audit --compare audit-of-the-last-version",
    )
)(inside)
app.command(epilog=examples("saywhy report audit", "saywhy report audit --compare audit-of-last-week"))(report)
app.command(
    epilog=examples(
        "saywhy check audit --rules rules.toml",
        "saywhy check audit --rules rules.toml --compare old --junit saywhy.xml --format github",
    )
)(check)
app.command(epilog=examples("saywhy export audit --to model-card", "saywhy export audit --to fiftyone --out dataset"))(
    export
)
app.command(
    epilog=examples(
        "saywhy serve",
        "saywhy serve -m timm:DIR --vocabulary concepts --vocabulary mine.txt",
        "saywhy serve --audit DIR",
    )
)(serve)
for command in (models, doctor):
    app.command()(command)
app.command(context_settings=WORDS_AS_TYPED)(bench)
for name, group in (("train", train), ("data", data), ("world", worlds)):
    app.add_typer(group, name=name)


if __name__ == "__main__":
    main()
