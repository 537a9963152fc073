"""The command ``saywhy explain``: pictures and a classifier in, explanations out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saywhy.cli.console import Terminal, errors, progress_bar, save_numbered, tell_each, writable
from saywhy.cli.loading import (
    Checkpoint,
    Ema,
    Labels,
    Model,
    NumClasses,
    Output,
    RandomWeights,
    Task,
    load_classifier,
)
from saywhy.errors import SaywhyError
from saywhy.questions.options import ExplainOptions

if TYPE_CHECKING:
    from PIL.Image import Image

    from saywhy.answers.explanation import Explanation
    from saywhy.pictures.in_batches import Failure


def explain(
    photos: Annotated[
        list[str], typer.Argument(help="Files, photos:coffee, photos:all, world:NAME.", metavar="PHOTO...")
    ],
    model: Model,
    labels: Labels = None,
    checkpoint: Checkpoint = None,
    num_classes: NumClasses = None,
    ema: Ema = False,
    task: Task = None,
    output: Output = None,
    vocabulary: Annotated[
        str | None, typer.Option(help="Words to use: concepts, descriptors, birds, a file; joined by +")
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="Whose opinion: own, clip, clip:ARCH/TAG, clip:DIR, world:NAME, operated:FILE")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Class to explain, by index or name (default: the predicted one).")
    ] = None,
    method: Annotated[
        str, typer.Option(help="lrp, gradient-x-input, integrated-gradients or grad-cam")
    ] = ExplainOptions.method,
    composite: Annotated[
        str | None, typer.Option(help="Rules of LRP, e.g. epsilon-plus, attnlrp (default: chosen by network).")
    ] = None,
    regions: Annotated[int, typer.Option(min=1, max=6, help="Regions at most.")] = ExplainOptions.regions,
    top: Annotated[int, typer.Option(min=1, help="Labels shown for each region.")] = ExplainOptions.top,
    writer: Annotated[
        str | None,
        typer.Option(help="Language model for a sentence: NAME, DIR, world:aviary, none (default: a world's own)."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report: index.html, and a JSON and PNG each.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON document per line on standard output, nothing else.")
    ] = False,
    pictures: Annotated[bool, typer.Option("--pictures", help="Show small pictures in the terminal.")] = False,
    random_weights: RandomWeights = False,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1 ... (default: a GPU where there is one)")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures at once.")] = 16,
) -> None:
    """Say why a classifier decided as it did, picture by picture."""
    from saywhy.answers.explanation import save_report
    from saywhy.cli.panels import show
    from saywhy.pictures.in_batches import in_batches
    from saywhy.pictures.sources import unopened
    from saywhy.questions.explain import explain_pictures
    from saywhy.questions.names_and_defaults import (
        default_space,
        default_writer,
        resolve_space,
        resolve_vocabulary,
        resolve_writer,
    )

    with errors.status("loading the model", spinner="dots"):
        if composite is not None and method != "lrp":
            raise SaywhyError(f"--composite is for --method lrp, not for {method}")
        options = ExplainOptions(target=target, method=method, composite=composite, regions=regions, top=top)
        classifier = load_classifier(
            model, labels=labels, checkpoint=checkpoint, num_classes=num_classes, ema=ema, task=task, output=output,
            random_weights=random_weights, device=device,
        )  # fmt: skip
        words = resolve_vocabulary(vocabulary, classifier)
        opinion = resolve_space(space or default_space(classifier), classifier, device)
        if target is not None:
            classifier.class_index(target)  # an unknown class is said before any picture is read
        language = resolve_writer(writer or default_writer(classifier))
        if out is not None:
            writable(out)

    console = Terminal()

    def work(batch: Sequence[tuple[str, Image]]) -> list[Explanation]:
        return explain_pictures(batch, classifier, words, opinion, options, language)

    def tell(result: Explanation, number: int) -> None:
        if out is not None:
            save_numbered(result, out, number)
        if json:
            print(result.to_json(), flush=True)
        else:
            show(result, console, top=top, pictures=pictures)

    def save_page(done: list[Explanation], failures: list[Failure]) -> Path:
        assert out is not None
        return save_report(done, out / "index.html", failures=failures, title=f"Why? {classifier.name}")

    asked = unopened(photos)
    with progress_bar("explaining", len(asked)) as advance:
        results = in_batches(asked, work, batch_size=batch_size, advance=advance)
        tell_each(results, len(asked), tell, save_page if out is not None else None)
