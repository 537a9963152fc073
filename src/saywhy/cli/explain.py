"""The command ``saywhy explain``: pictures and a classifier in, explanations out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, final

import typer

from saywhy.cli import completion
from saywhy.cli.console import (
    Terminal,
    complain,
    errors,
    find_asked,
    note,
    progress_bar,
    save_numbered,
    tell_each,
    tell_older,
)
from saywhy.cli.loading import (
    NOTHING_SAID,
    Loading,
    Model,
    load_classifier,
    takes_a_classifier,
)
from saywhy.cli.options import (
    ANSWER,
    OUTPUT,
    BatchSize,
    Device,
    Json,
    Limit,
    Quiet,
    Reference,
    Report,
    Seed,
    Sources,
    Vocabulary,
)
from saywhy.errors import SaywhyError
from saywhy.questions.options import BATCH, ExplainOptions

if TYPE_CHECKING:
    from PIL.Image import Image

    from saywhy.answers.explanation import Explanation
    from saywhy.classifiers.classifier import Classifier
    from saywhy.pictures.in_batches import Failure
    from saywhy.pictures.sources import Found, LabelledImage
    from saywhy.questions.why_not import Called

OTHERS = 400  # pictures of --others at most


@takes_a_classifier
def explain(
    pictures: Sources,
    model: Model,
    loading: Loading = NOTHING_SAID,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "-t",
            help="Class to explain, by index or name (default: the predicted one); may be repeated; all: all it says.",
            rich_help_panel=ANSWER,
        ),
    ] = None,
    phrase: Annotated[
        list[str] | None,
        typer.Option(help="Show where it sees this, e.g. 'a red crown'; may be repeated.", rich_help_panel=ANSWER),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="lrp, gradient-x-input, integrated-gradients or grad-cam",
            autocompletion=completion.among(lambda: completion.METHODS),
            rich_help_panel=ANSWER,
        ),
    ] = ExplainOptions.method,
    composite: Annotated[
        str | None,
        typer.Option(
            help="Rules of LRP, e.g. epsilon-plus, attnlrp (default: chosen by network).",
            autocompletion=completion.among(lambda: completion.COMPOSITES),
            rich_help_panel=ANSWER,
        ),
    ] = None,
    regions: Annotated[
        int, typer.Option(min=1, max=6, help="Regions at most.", rich_help_panel=ANSWER)
    ] = ExplainOptions.regions,
    vocabulary: Vocabulary = None,
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            "-s",
            help="Whose opinion: own, concepts:FILE, clip, clip:ARCH/TAG, clip:DIR, world:NAME, operated:FILE",
            autocompletion=completion.among(completion.spaces),
            rich_help_panel=ANSWER,
        ),
    ] = None,
    top: Annotated[
        int, typer.Option(min=1, help="Labels shown for each region.", rich_help_panel=ANSWER)
    ] = ExplainOptions.top,
    writer: Annotated[
        str | None,
        typer.Option(
            help="Language model for a sentence: NAME, DIR, world:aviary, none (default: a world's own).",
            rich_help_panel=ANSWER,
        ),
    ] = None,
    checks: Annotated[
        str,
        typer.Option(
            help="Tests of what is claimed of the decision: none, fast (at most 64 forward passes a picture), full.",
            autocompletion=completion.among(lambda: completion.CHECKS),
            rich_help_panel=ANSWER,
        ),
    ] = ExplainOptions.checks,
    why_not: Annotated[
        str | None,
        typer.Option(
            help="What would make it this class, by index or name, or the runner-up (default with --checks full).",
            rich_help_panel=ANSWER,
        ),
    ] = None,
    others: Annotated[
        list[str] | None,
        typer.Option(
            help="Pictures, some of the other class, whose pieces --why-not may put in; may be repeated.",
            rich_help_panel=ANSWER,
        ),
    ] = None,
    reference: Reference = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="What `saywhy calibrate` made: how probable each word is (default: the space's own).",
            rich_help_panel=ANSWER,
        ),
    ] = None,
    out: Report = None,
    json: Json = False,
    quiet: Quiet = False,
    thumbnails: Annotated[
        bool,
        typer.Option("--pictures", help="Show small pictures in the terminal.", rich_help_panel=OUTPUT),
    ] = False,
    limit: Limit = None,
    seed: Seed = 0,
    device: Device = None,
    batch_size: BatchSize = BATCH,
) -> None:
    """Say why a classifier decided as it did, picture by picture."""
    from saywhy.answers.plain_names import plain_name
    from saywhy.classifiers.outputs import MULTI
    from saywhy.cli.panels import show
    from saywhy.pictures.in_batches import in_batches
    from saywhy.pictures.sources import known
    from saywhy.plumbing.devices import choose_device
    from saywhy.questions.described import check_target
    from saywhy.questions.explain import explain_pictures
    from saywhy.questions.names_and_defaults import (
        check_space_name,
        check_writer,
        default_writer,
        explaining_space,
        files_brought,
        load_vocabulary,
        resolve_seen,
        resolve_space,
        resolve_vocabulary,
        resolve_writer,
        words_unused,
    )
    from saywhy.questions.phrases import check_phrases
    from saywhy.questions.verify import NONE, lending
    from saywhy.questions.why_not import check_other
    from saywhy.seen.layer_statistics import eyes_of
    from saywhy.seen.references import doubts_of, usual_light
    from saywhy.words.class_names import read_class_names

    if composite is not None and method != "lrp":
        raise SaywhyError(f"--composite is for --method lrp, not for {method}")
    options = ExplainOptions(
        target=tuple(target) if target else None, method=method, composite=composite, regions=regions, top=top,
        phrases=tuple(phrase or ()), checks=checks, why_not=why_not,
    )  # fmt: skip
    if space is not None:
        check_space_name(space)
    words = None if vocabulary is None else load_vocabulary(vocabulary)
    names = None if loading.labels is None else read_class_names(loading.labels)
    for one in target or ():
        _check_target(one, names, loading.num_classes)
    choose_device(device)
    found = find_asked(pictures, limit, seed, out)
    with errors.status("loading the model", spinner="dots"):
        language = None if writer is None else resolve_writer(writer)
        classifier = load_classifier(model, loading, device)
        check_target(options.target, classifier)  # an unknown class is said before any picture is read
        check_other(options.other, classifier)
        space = space or explaining_space(classifier, vocabulary, options.phrases)
        opinion = resolve_space(space, classifier, device)
        check_phrases(options.phrases, opinion)
        words = resolve_vocabulary(words, classifier, opinion)
        language = language if writer is not None else resolve_writer(default_writer(classifier, opinion))
        check_writer(language, opinion)

    console = Terminal(quiet=quiet)
    doubts = doubts_of(
        eyes_of(opinion, classifier), reference, found.pictures, brought=files_brought(space, calibration), tell=note,
        bar=progress_bar, seed=seed,
    )  # fmt: skip
    seen = resolve_seen(opinion, words, calibration, doubts=doubts)
    if unused := words_unused(seen, words):
        note(unused)
    if checks != NONE:
        seen = replace(seen, light=usual_light(reference, found.pictures, bar=progress_bar, seed=seed))

    lent = lending(classifier, reference, checks)
    called = _called(others or (), classifier, seed) if options.other is not None else None

    def work(batch: Sequence[tuple[str, Image]]) -> list[Explanation]:
        return explain_pictures(batch, classifier, words, opinion, options, language, seen, lent, called)

    asked = known(found.pictures, classifier.labels)
    report = (
        None if out is None else _Report(out, found, f"Why? {plain_name(classifier.name)}", classifier.task != MULTI)
    )

    def tell(picture: LabelledImage, result: Explanation, number: int) -> None:
        if report is not None:
            report.add(picture, result, number)
        if why_not is not None and result.counterfactual is None:
            note(f"{picture.name}: {result.target.name} is the class of --why-not itself")
        if json:
            print(result.to_json(), flush=True)
        else:
            show(result, console, top=top, pictures=thumbnails)

    with progress_bar("explaining", len(asked)) as advance:
        results = in_batches(asked, work, batch_size=batch_size, advance=advance)
        if report is None:
            tell_each(results, found, tell)
        else:
            tell_each(results, found, tell, report.fail, report.save)


def _called(sources: Sequence[str], classifier: Classifier, seed: int) -> Called | None:
    """What --others lends pieces from. Raises SaywhyError for sources without a picture."""
    from saywhy.pictures.in_batches import Readable
    from saywhy.pictures.sources import read_sources
    from saywhy.questions.why_not import called_by

    if not sources:
        return None
    pictures = read_sources(sources, OTHERS, seed)
    read = Readable(lambda failure: complain(failure.reason))
    with progress_bar("reading the others", len(pictures)) as advance:
        return called_by([image for _, image in read(pictures, advance)], classifier)


@final
class _Report:
    """What --out writes as explanations come: a JSON and a figure each, the tables, and the page.

    judged: whether a picture has one class, so that a prediction is right or wrong.
    """

    def __init__(self, out: Path, found: Found, title: str, judged: bool) -> None:
        from saywhy.answers.explanation import new_report
        from saywhy.answers.growing_page import MANY
        from saywhy.answers.tables import Tables
        from saywhy.answers.verdicts import tally

        pictures = len(found.pictures)
        self._out, self._figures = out, pictures < MANY
        self._tally = tally(())
        self._judged, self._right, self._known = judged, 0, 0
        self._written: set[str] = set()
        self._page, self._tables = new_report(out / "index.html", pictures, title=title), Tables(out)
        for failure in found.failures:
            self._tables.fail(failure.name, None, failure.reason)

    def add(self, picture: LabelledImage, result: Explanation, number: int) -> None:
        from saywhy.answers.verdicts import tally

        files = save_numbered(result, self._out, number, figure=self._figures)
        self._written.update(files)
        truth = _class_of(picture)
        self._tables.add(number, picture.name, truth, result)
        wrong = ""
        if truth is not None and self._judged:
            said = result.predictions[0].name
            wrong = "" if said == truth else f"called {said}, but it is {truth}"
            self._known, self._right = self._known + 1, self._right + (not wrong)
        for one in result.each:
            self._page.add(one, files, wrong=wrong)
            self._tally += tally(one.checks)

    def fail(self, picture: LabelledImage, failure: Failure) -> None:
        self._tables.fail(picture.name, _class_of(picture), failure.reason)

    def save(self, failures: Sequence[Failure]) -> Path:
        from saywhy.answers.tables import FILES

        self._tables.save()
        tell_older(self._out, self._written)
        right = f"{self._right:,} of {self._known:,} right" if self._known else ""
        return self._page.save(failures, ". ".join(filter(None, (right, str(self._tally)))), FILES)


def _class_of(picture: LabelledImage) -> str | None:
    return None if picture.label is None else str(picture.label)


def _check_target(target: str, names: Sequence[str] | None, classes: int | None) -> None:
    """Raises SaywhyError for an index that no class has, where the number of classes is known without the network."""
    classes = classes if names is None else len(names)
    if not re.fullmatch("-?[0-9]+", target) or target in (names or ()):
        return
    if int(target) < 0 or (classes is not None and int(target) >= classes):
        known = "indices begin with 0" if classes is None else f"there are 0 to {classes - 1}"
        raise SaywhyError(f"--target {target}: there is no such class; {known}")
