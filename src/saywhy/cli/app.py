"""The command line: ``saywhy explain | why | ask | models | doctor | bench | train | data | world``.

An edge: nothing imports it.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from saywhy.cli.ask import ask
from saywhy.cli.console import INTERRUPTED, USAGE, complain, errors, note, tell_each, told_when_interrupted, writable
from saywhy.cli.data import check
from saywhy.cli.tuning import train_prompts
from saywhy.cli.why import why
from saywhy.errors import SaywhyError

if TYPE_CHECKING:
    from PIL.Image import Image

    from saywhy.answers.explanation import Explanation
    from saywhy.classifiers.classifier import Classifier
    from saywhy.types import Space, Vocabulary

app = typer.Typer(
    help="Ask any image classifier why, and get the answer in words with the evidence beside them.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """The console script: a SaywhyError becomes its message, and never a traceback."""
    _quiet_libraries()
    try:
        app()
    except SaywhyError as error:
        complain(error)
        sys.exit(USAGE)
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        complain("the memory is full: take fewer pictures at once, a smaller batch, a smaller model, or another device")
        sys.exit(USAGE)


def _out_of_memory(error: Exception) -> bool:
    """torch says it with an error of its own on a GPU, and with any RuntimeError on a CPU."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in said or "can't allocate memory" in said


def _quiet_libraries() -> None:
    """Progress bars and advice of other libraries would drown what this one says."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.basicConfig(level=logging.ERROR)
    warnings.filterwarnings("ignore")
    warnings.filterwarnings("default", module=r"saywhy\..*")
    warnings.showwarning = _show_warning


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Ours in one line. Others' are for programmers: which glyph a font lacks, by which line of ours."""
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
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
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
        raise SaywhyError(f"there is no method {method!r}; there are {', '.join(METHODS)}")
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


app.command()(why)
app.command()(ask)


@app.command()
def models() -> None:
    """What can be loaded, and what is embedded."""
    from saywhy.cli.panels import show_models

    show_models(Console(highlight=False))


@app.command()
def doctor() -> None:
    """Versions, device, caches, and what is reachable."""
    from saywhy.cli.doctor import examine
    from saywhy.cli.panels import show_findings

    show_findings(examine(), Console(highlight=False))


@app.command()
def bench(
    names: Annotated[
        list[str] | None, typer.Argument(help="Benchmarks to run; none: list them.", metavar="NAME...")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="A smaller run: at most N of what the benchmark counts.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON document and figures of each.")] = None,
    data: Annotated[str | None, typer.Option(help="lrp-clip: world:NAME, or a folder in CUB's layout.")] = None,
    model: Annotated[str | None, typer.Option(help="lrp-clip: the classifier, as for explain.")] = None,
    space: Annotated[str | None, typer.Option(help="lrp-clip: whose words, as for explain.")] = None,
    images: Annotated[str | None, typer.Option(help="zsl and others: a folder of pictures.")] = None,
    folds: Annotated[str | None, typer.Option(help="zsl: folds of classes; 10:3 runs three of ten.")] = None,
    mappers: Annotated[str | None, typer.Option(help="zsl: default,mlp,icis,ridge,... to compare.")] = None,
    encoder: Annotated[str | None, typer.Option(help="zsl: the text encoder.")] = None,
    wordnet: Annotated[str | None, typer.Option(help="zsl: folder with WordNet 3.0's data.noun.")] = None,
    transfer: Annotated[str | None, typer.Option(help="zsl: class folders the classifier never knew.")] = None,
    writer: Annotated[str | None, typer.Option(help="sentences, nle, captions: a language model.")] = None,
    methods: Annotated[str | None, typer.Option(help="sentences: guided,prefix.")] = None,
    scenes: Annotated[str | None, typer.Option(help="sentences: scenes of the aviary.")] = None,
    sentences: Annotated[str | None, typer.Option(help="nle: files of sentences, NAME=FILE,FILE.")] = None,
    painter: Annotated[str | None, typer.Option(help="nle: a diffusers text-to-image pipeline.")] = None,
    bank: Annotated[str | None, typer.Option(help="concepts: a file of texts.")] = None,
    train_on: Annotated[str | None, typer.Option(help="ecor: data with rationales to tune on.")] = None,
    test_on: Annotated[str | None, typer.Option(help="ecor: other such data, only asked about.")] = None,
    recipe: Annotated[str | None, typer.Option(help="ecor: settings of the runs, as for train prompts.")] = None,
    seeds: Annotated[str | None, typer.Option(help="ecor: runs of each objective.")] = None,
) -> None:
    """Measure. Prints a table, then one JSON document as the last line."""
    import json

    from saywhy.bench import BENCHMARKS, run_benchmark
    from saywhy.cli.panels import show_benchmarks, show_report

    if not names:
        show_benchmarks({name: what for name, (_, what) in BENCHMARKS.items()}, Console(highlight=False))
        return
    if out is not None:
        writable(out)  # before the work, not after it
    reports: dict[str, Any] = {}
    for name in names:
        with told_when_interrupted(f"{len(reports)} of {len(names)} benchmarks are done; trained models are kept"):
            report = run_benchmark(
                name, limit, data=data, model=model, space=space, images=images, folds=folds, mappers=mappers,
                encoder=encoder, wordnet=wordnet, transfer=transfer, writer=writer, methods=methods, scenes=scenes,
                sentences=sentences, painter=painter, bank=bank, train_on=train_on, test_on=test_on, recipe=recipe,
                seeds=seeds,
            )  # fmt: skip
        show_report(report, Console(highlight=False))
        reports[name] = report.document()
        if out is not None:
            (out / f"{name}.json").write_text(json.dumps(reports[name], indent=1))
            for file, png in report.figures.items():
                (out / file).write_bytes(png)
    print(json.dumps(reports[names[0]] if len(names) == 1 else reports))


train = typer.Typer(
    help="Train a classifier to explain, or a language model to word explanations.", no_args_is_help=True
)
app.add_typer(train, name="train")
train.command("prompts")(train_prompts)
data = typer.Typer(help="Data with rationales.", no_args_is_help=True)
app.add_typer(data, name="data")
data.command("check")(check)
worlds = typer.Typer(help="The embedded worlds' data.", no_args_is_help=True)
app.add_typer(worlds, name="world")


@train.command("classifier")
def train_classifier_command(
    data: Annotated[Path, typer.Option(help="Folder in CUB-200-2011's layout.")],
    out: Annotated[Path, typer.Option(help="Folder for the trained network (loads as timm:OUT).")],
    arch: Annotated[str, typer.Option(help="timm:NAME")] = "timm:vit_large_patch16_224",
    pretrained: Annotated[bool, typer.Option(help="Start from ImageNet weights (needs a hub).")] = True,
    epochs: Annotated[int, typer.Option(min=1)] = 20,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    rate: Annotated[float, typer.Option(min=0, help="Highest learning rate.")] = 2e-5,
    size: Annotated[int | None, typer.Option(min=8, help="Side of the input, pixels.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Stop after this many steps: a trial.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read pictures.")] = 2,
    resume: Annotated[bool, typer.Option(help="Go on from the last epoch in OUT.")] = False,
) -> None:
    """Fine-tune a timm network on birds, as LRP-CLIP did; resumable, in mixed precision on a GPU."""
    import json

    from saywhy.training.classifier import Settings, train_classifier

    settings = Settings(arch, pretrained, epochs, batch_size, rate, steps=steps, size=size)
    try:
        measured = train_classifier(data, out, settings, resume=resume, workers=workers)
    except KeyboardInterrupt:
        complain(f"stopped; go on with --resume (in {out}: the last whole epoch)")
        raise typer.Exit(INTERRUPTED) from None
    print(json.dumps(measured))


@train.command("language")
def train_language_command(
    texts: Annotated[Path, typer.Option(help="Sentences: a .txt, one a line, or a .json list of strings.")],
    out: Annotated[Path, typer.Option(help="Folder for the trained model (loads with transformers).")],
    epochs: Annotated[int, typer.Option(min=1)] = 8,
    layers: Annotated[int, typer.Option(min=1)] = 4,
    width: Annotated[int, typer.Option(min=4, help="Of a token's vector; a multiple of 4, the attention heads.")] = 256,
    vocabulary: Annotated[int, typer.Option(min=257, help="Tokens at most.")] = 4096,
    resume: Annotated[bool, typer.Option(help="Go on from the last epoch in OUT.")] = False,
) -> None:
    """Train a small GPT-2 on one's own sentences; resumable, on a GPU where there is one."""
    import json

    from saywhy.training.language import Settings, train_language

    settings = Settings(epochs, layers, width, vocabulary=vocabulary)
    writable(out)
    try:
        measured = train_language(texts, out, settings, resume)
    except KeyboardInterrupt:
        complain(f"stopped; go on with the same command and --resume (in {out}: the last whole epoch)")
        raise typer.Exit(INTERRUPTED) from None
    print(json.dumps(measured))


@data.callback()
@worlds.callback()
def _group() -> None:
    """Keeps a lone command one of its own: Typer would run it under the group's name."""


@worlds.command("write")
def world_write(
    name: Annotated[str, typer.Argument(help="aviary, or a planted one: aviary-background, ...")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    train_pictures: Annotated[int, typer.Option("--train", min=0, help="Pictures of the training half.")] = 0,
    test_pictures: Annotated[int, typer.Option("--test", min=0, help="Pictures of the test half.")] = 200,
    size: Annotated[int, typer.Option(min=32, help="cub: pixels, square.")] = 384,
    layout: Annotated[str, typer.Option(help="cub, or doubly-right: close-ups with their rationales.")] = "cub",
) -> None:
    """Write an aviary in CUB-200-2011's layout, with part masks and what decides each class, or as close-ups."""
    from saywhy.worlds.cub_layout import write_cub
    from saywhy.worlds.planted import PLANTS

    unfinished = told_when_interrupted(f"{out} is not whole; remove it before you write there again")
    if layout == "doubly-right":
        with unfinished:
            _write_closeups(name, out, {"train": train_pictures, "test": test_pictures})
        return
    if layout != "cub":
        raise SaywhyError(f"there is no layout {layout!r}; there are cub and doubly-right")
    kinds = {"aviary": "species", **{f"aviary-{kind}": f"planted-{kind}" for kind in PLANTS}}
    if name.removeprefix("world:") not in kinds:
        raise SaywhyError(f"there is no aviary {name!r}; there are {', '.join(kinds)}")
    writable(out)
    with unfinished:
        write_cub(out, kinds[name.removeprefix("world:")], train=train_pictures, test=test_pictures, size=size)
    errors.print(f"{train_pictures + test_pictures} pictures in {out}")


def _write_closeups(name: str, out: Path, counts: dict[str, int]) -> None:
    from itertools import chain

    from saywhy.pictures.rationale_folders import write_doubly_right
    from saywhy.worlds.aviary import SPECIES
    from saywhy.worlds.closeups import closeups, rationale_lists, rows

    if name.removeprefix("world:") != "aviary":
        raise SaywhyError(f"only the aviary has rationales, not {name!r}")
    parts = (rows(closeups(tuple(SPECIES), count, split), split) for split, count in counts.items() if count)
    write_doubly_right(out, chain.from_iterable(parts), rationale_lists())
    errors.print(f"{sum(counts.values())} pictures in {out}")


if __name__ == "__main__":
    main()
