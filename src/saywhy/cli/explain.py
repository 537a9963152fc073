"""The command ``saywhy explain``: pictures and a classifier in, explanations out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from saywhy.cli.console import errors, tell_each, writable
from saywhy.errors import SaywhyError
from saywhy.plumbing.names import unknown

if TYPE_CHECKING:
    from PIL.Image import Image

    from saywhy.answers.explanation import Explanation
    from saywhy.classifiers.classifier import Classifier
    from saywhy.types import Space, Vocabulary


def explain(
    photos: Annotated[list[str], typer.Argument(help="Pictures to explain.", metavar="PHOTO...")],
    model: Annotated[str, typer.Option(help="timm:NAME|DIR, torchvision:NAME, hf:NAME|DIR or world:NAME")],
    labels: Annotated[str | None, typer.Option(help="Class names in order: a .txt, .json or .csv file.")] = None,
    vocabulary: Annotated[
        str | None, typer.Option(help="Words to use: concepts, descriptors, birds, a file; joined by +")
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="Whose opinion: own, clip, clip:ARCH/TAG, clip:DIR, world:NAME, operated:FILE")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Class to explain, by index or name (default: the predicted one).")
    ] = None,
    method: Annotated[str, typer.Option(help="lrp, gradient-x-input, integrated-gradients or grad-cam")] = "lrp",
    composite: Annotated[
        str | None, typer.Option(help="Rules of LRP, e.g. epsilon-plus, attnlrp (default: by network).")
    ] = None,
    regions: Annotated[int, typer.Option(min=1, max=6, help="Regions at most.")] = 3,
    top: Annotated[int, typer.Option(min=1, help="Labels shown of each.")] = 3,
    writer: Annotated[
        str | None,
        typer.Option(help="Language model for a sentence: NAME, DIR, world:aviary, none (default: a world's own)."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report: index.html, and a JSON and PNG each.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON document a line on standard output, nothing else.")
    ] = False,
    pictures: Annotated[bool, typer.Option("--pictures", help="Show small pictures in the terminal.")] = False,
    random_weights: Annotated[bool, typer.Option("--random-weights", help="Do not load the model's weights.")] = False,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1 ... (default: a GPU where there is one)")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures at once.")] = 16,
) -> None:
    """Say why a classifier decided as it did, picture by picture."""
    from saywhy.cli.panels import show
    from saywhy.questions.choices import default_writer, resolve_writer

    with errors.status("loading the model", spinner="dots"):
        classifier, words, place, index = _prepare(
            model, labels, vocabulary, space, target, pretrained=not random_weights, device=device
        )
        _check_choice(method, composite)
        language = resolve_writer(writer or default_writer(classifier))
        if out is not None:
            writable(out)

    console = Console(highlight=False)
    options = {
        "target": index, "method": method, "composite": composite, "regions": regions, "top": top, "writer": language,
    }  # fmt: skip

    def tell(result: Explanation, number: int) -> None:
        if out is not None:
            _save_one(result, out, number)
        if json:
            print(result.to_json(), flush=True)
        else:
            show(result, console, top=top, pictures=pictures)

    def save_page(done: list[Explanation], failures: list[tuple[str, str]]) -> Path:
        from saywhy.answers.explanation import save_report

        assert out is not None
        title = f"Why? {classifier.name}"
        return save_report(done, out / "index.html", failures=failures, title=title)

    tell_each(
        _explained(photos, classifier, words, place, batch_size, options),
        len(photos),
        tell,
        save_page if out is not None else None,
    )


def _prepare(
    model: str, labels: str | None, vocabulary: str | None, space: str | None, target: str | None,
    *, pretrained: bool, device: str | None,
) -> tuple[Classifier, Vocabulary, Space, int | None]:  # fmt: skip
    """Everything that names stand for; whatever is wrong with one of them is said before any picture is read."""
    from saywhy.classifiers.classifier import Classifier
    from saywhy.questions.choices import default_space, resolve_space, resolve_vocabulary

    classifier = Classifier.load(model, labels=labels, pretrained=pretrained, device=device)
    words = resolve_vocabulary(vocabulary, classifier)
    place = resolve_space(space or default_space(classifier), classifier, device)
    return classifier, words, place, None if target is None else classifier.class_index(target)


def _check_choice(method: str, composite: str | None) -> None:
    from saywhy.attribution import METHODS
    from saywhy.attribution.composites import find_composite

    if method not in METHODS:
        raise unknown("method", method, METHODS)
    if composite is not None:
        find_composite(composite)
        if method != "lrp":
            raise SaywhyError(f"--composite is for --method lrp, not for {method}")


def _explained(
    photos: Sequence[str],
    classifier: Classifier,
    words: Vocabulary,
    place: Space,
    batch_size: int,
    options: dict[str, Any],
) -> Iterator[Explanation | tuple[str, str]]:
    """An explanation for each photo in turn, or (name, reason) where there is none. Reads a batch at a time."""
    from rich.progress import Progress

    from saywhy.pictures.reading import read_picture
    from saywhy.questions.explain import explain_pictures

    with Progress(console=errors, transient=True, disable=len(photos) < 3) as progress:
        bar = progress.add_task("explaining", total=len(photos))
        for start in range(0, len(photos), batch_size):
            batch: list[tuple[str, Image]] = []
            for photo in photos[start : start + batch_size]:
                try:
                    batch.append((Path(photo).name, read_picture(photo)))
                except SaywhyError as error:
                    yield photo, str(error)
            try:
                yield from explain_pictures(batch, classifier, words, place, **options) if batch else ()
            except SaywhyError:
                for name, picture in batch:  # one of them is to blame: do the others without it
                    try:
                        yield explain_pictures([(name, picture)], classifier, words, place, **options)[0]
                    except SaywhyError as error:
                        yield name, f"{name}: {error}"
            progress.update(bar, completed=min(start + batch_size, len(photos)))


def _save_one(explanation: Explanation, out: Path, number: int) -> None:
    stem = f"{number:03d}-{Path(explanation.picture.name).stem}"
    explanation.save(out / f"{stem}.json")
    explanation.save(out / f"{stem}.png")
