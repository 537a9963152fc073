"""The command ``saywhy demo``: explanations of pictures that are installed, by classifiers that need no hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saywhy.cli.console import Terminal, errors, note, save_numbered, told_when_interrupted, writable

if TYPE_CHECKING:
    from saywhy.answers.explanation import Explanation


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report: index.html, and a JSON and PNG each.")] = Path(
        "why-demo"
    ),
) -> None:
    """Explain installed photographs and rendered birds: nothing is downloaded."""
    from saywhy.answers.explanation import save_report
    from saywhy.cli.panels import show
    from saywhy.pictures.photos import PHOTOS
    from saywhy.worlds import SAMPLES

    writable(out)
    console, done, files = Terminal(), list["Explanation"](), list[list[str]]()
    with told_when_interrupted("run it again"):
        free = [f"photos:{name}" for name, photo in PHOTOS.items() if photo.licensed]
        for model, pictures in (("imagenet", free), ("world:aviary", [str(SAMPLES / "aviary")])):
            with errors.status(f"asking {model}", spinner="dots"):
                answers = _explained(model, pictures)
            for answer in answers:
                done.append(answer)
                files.append(save_numbered(answer, out, len(done)))
                show(answer, console)
        credits = [f"{name} by {photo.credit}" for name, photo in PHOTOS.items() if photo.licensed]
        note("photographs: " + "; ".join(credits))
        page = save_report(done, out / "index.html", title="Why? A demo", files=files)
        errors.print(f"report: {page}", markup=False, soft_wrap=True)


def _explained(model: str, sources: list[str]) -> list[Explanation]:
    """All pictures of some sources, asked of one classifier, as ``saywhy explain`` does where no option is given."""
    from saywhy.classifiers.classifier import Classifier
    from saywhy.pictures.sources import read_sources
    from saywhy.questions.explain import explain_pictures
    from saywhy.questions.names_and_defaults import (
        default_writer,
        explaining_space,
        files_brought,
        resolve_seen,
        resolve_space,
        resolve_vocabulary,
        resolve_writer,
    )
    from saywhy.seen.layer_statistics import eyes_of
    from saywhy.seen.references import doubts_of

    classifier = Classifier.load(model)
    named = explaining_space(classifier)
    space = resolve_space(named, classifier)
    words, writer = resolve_vocabulary(None, classifier, space), resolve_writer(default_writer(classifier, space))
    pictures = [(Path(picture.name).name, picture.open()) for picture in read_sources(sources)]
    seen = resolve_seen(space, words, doubts=doubts_of(eyes_of(space, classifier), brought=files_brought(named, None)))
    return explain_pictures(pictures, classifier, words, space, writer=writer, seen=seen)
