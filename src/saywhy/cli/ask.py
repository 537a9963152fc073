"""The command ``saywhy ask``: captions asked of pictures, before and after surgery."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, final

import typer

from saywhy.cli import completion
from saywhy.cli.console import (
    OK,
    SOME_FAILED,
    Terminal,
    check_apart,
    complain,
    errors,
    note,
    progress_bar,
    tell_found,
    told_when_interrupted,
    writable,
)
from saywhy.cli.loading import (
    NOTHING_SAID,
    Loading,
    MaybeModel,
    load_classifier,
    takes_a_classifier,
)
from saywhy.cli.options import OUTPUT, RUNNING, BatchSize, Device, Limit, Quiet
from saywhy.errors import SaywhyError
from saywhy.plumbing.files import write_whole
from saywhy.questions.options import ASK_BATCH

if TYPE_CHECKING:
    from saywhy.answers.captions import Answers
    from saywhy.classifiers.classifier import Classifier
    from saywhy.pictures.in_batches import Readable
    from saywhy.pictures.sources import LabelledImage
    from saywhy.questions.options import AskOptions
    from saywhy.spaces.clip import ClipSpace
    from saywhy.spaces.operated import OperatedSpace
    from saywhy.types import Space

MATCHING, SURGERY = "Matching of channels (with --operate)", "Surgery"


@takes_a_classifier
def ask(
    words: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders (of class folders too), patterns, world:NAME, @FILE or - for a list; then captions. "
            'Those of "a|b" compete with each other, and so do all without a bar.',
            metavar="PICTURES... CAPTIONS",
            show_default=False,
        ),
    ],
    model: MaybeModel = None,
    loading: Loading = NOTHING_SAID,
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            "-s",
            help="Whose opinion, without surgery: as for explain.",
            autocompletion=completion.among(completion.spaces),
        ),
    ] = None,
    operate: Annotated[
        str | None, typer.Option(help="Put the classifier into this CLIP: clip, clip:ARCH/TAG, clip:DIR, world:NAME")
    ] = None,
    match_on: Annotated[
        str | None,
        typer.Option(help="Pictures to match on (default: those asked about).", rich_help_panel=MATCHING),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            help="Layers of the classifier: evidence, stages, last, convolutions, NAMES", rich_help_panel=MATCHING
        ),
    ] = None,
    clip_layers: Annotated[
        str | None, typer.Option(help="Layers of CLIP: last, stages, convolutions, NAMES", rich_help_panel=MATCHING)
    ] = None,
    pairing: Annotated[str | None, typer.Option(help="best or one-to-one", rich_help_panel=MATCHING)] = None,
    chance: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of channels (0..1) that may match by chance.", rich_help_panel=MATCHING),
    ] = None,
    shuffles: Annotated[
        int | None,
        typer.Option(min=1, help="Shuffles of the pictures, to know chance (default 19).", rich_help_panel=MATCHING),
    ] = None,
    floor: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Ignore evidence that varies by less, in logits (with --layers evidence).",
            rich_help_panel=MATCHING,
        ),
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Save the matching to this .safetensors file.", rich_help_panel=MATCHING)
    ] = None,
    matching: Annotated[
        Path | None, typer.Option(help="Use a saved matching, with its CLIP.", rich_help_panel=SURGERY)
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="0 leaves CLIP as it is, 1 replaces its channels.", rich_help_panel=SURGERY),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Replace this share (0..1) of channels, the best matched.", rich_help_panel=SURGERY
        ),
    ] = None,
    unmatched: Annotated[
        str | None, typer.Option(help="Channels without a match: keep or mean", rich_help_panel=SURGERY)
    ] = None,
    by_class: Annotated[
        bool, typer.Option("--by-class", help="Also report by class, and right and wrong.", rich_help_panel=OUTPUT)
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder for index.html, answers.json, answers.png and pictures.csv.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on standard output.", rich_help_panel=OUTPUT)
    ] = False,
    quiet: Quiet = False,
    limit: Limit = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0, help="Which pictures --limit takes, and in which order they are matched.", rich_help_panel=RUNNING
        ),
    ] = 0,
    device: Device = None,
    batch_size: BatchSize = ASK_BATCH,
) -> None:
    """Ask how well captions fit pictures; with --operate, also when CLIP sees what the classifier sees."""
    from saywhy.cli.panels import show_answers
    from saywhy.pictures.in_batches import Readable
    from saywhy.pictures.sources import is_source
    from saywhy.plumbing.devices import choose_device
    from saywhy.questions.ask import ask_pictures, read_groups
    from saywhy.questions.names_and_defaults import check_captions, check_space_name, default_space, usual_phrases
    from saywhy.spaces.clip import load_clip

    how = {
        "layers": layers,
        "clip_layers": clip_layers,
        "how": pairing,
        "chance": chance,
        "shuffles": shuffles,
        "floor": floor,
    }
    surgery = {"strength": strength, "unmatched": unmatched}
    operation = Operation(
        clip=operate, file=matching, match_on=match_on, save=save, how=_given(how), surgery=_given(surgery), share=share
    )
    operation.check(model, space)
    if model is None and (meant := next((name for name, value in asdict(loading).items() if value), None)):
        raise SaywhyError(f"{_flag(meant)} is for a classifier: name one with --model")
    groups = read_groups([word for word in words if not is_source(word)])
    if space is not None:
        check_space_name(space)
    choose_device(device)
    if out is not None:
        writable(out)
    with told_when_interrupted("nothing was answered"):
        pictures = _find([word for word in words if is_source(word)], limit, seed)
        others = _find([match_on], limit, seed) if match_on else pictures
        check_apart(out, [*pictures, *others])
        operation.check_pictures(others)
        with errors.status("loading the models", spinner="dots"):
            classifier = None if model is None else load_classifier(model, loading, device)
            if classifier is not None and loading.random_weights:
                classifier = replace(classifier, name=f"{classifier.name} at random weights")
            opinion, operated = _spaces(classifier, space, operation, device)
            check_captions(opinion)
            usual = usual_phrases(space or default_space(classifier), opinion, classifier)
        read = Readable(lambda failure: complain(failure.reason))
        if classifier is not None and operation.anew:
            with progress_bar("matching channels", len(others)) as advance:
                clip = load_clip(str(operation.clip), device)
                operated = operation.perform(clip, classifier, others, read, advance, seed, batch_size)
        with progress_bar("asking", len(pictures)) as advance:
            answers, strangers = ask_pictures(
                pictures, groups, opinion, operated, classifier, read, advance, batch_size, usual
            )
        if strangers:
            listed = ", ".join(strangers[:3]) + (" ..." if len(strangers) > 3 else "")
            note(f"{model} has no class {listed}: right and wrong predictions are left out")
        document = answers.document()
        if as_json:
            print(json.dumps(document, allow_nan=False), flush=True)
        else:
            matched = None if operated is None else operated.matching
            show_answers(answers, Terminal(quiet=quiet), matching=matched, by_class=by_class)
        if out is not None:  # at last: the answers are there even where the disk is full
            _save(answers, document, out)
    raise typer.Exit(SOME_FAILED if answers.failures or answers.unmatched else OK)


@final
@dataclass(frozen=True, kw_only=True)
class Operation:
    """The options that put a classifier into a CLIP; None, and not in a mapping, is what was not given.

    clip:     the CLIP's name. file: a saved matching, instead of a new one.
    match_on: pictures to match on. save: where to save the matching.
    how:      of ``match_classifier``. surgery: fields of ``Surgery``. share: of channels, the best.
    """

    clip: str | None
    file: Path | None
    match_on: str | None
    save: Path | None
    how: Mapping[str, Any]
    surgery: Mapping[str, Any]
    share: float | None

    def check(self, model: str | None, space: str | None) -> None:
        """Raises SaywhyError for options that contradict each other, before anything is loaded or read."""
        from saywhy.spaces.surgery.matching import HOW

        matched = [*self.how, *_given({"match_on": self.match_on, "save": self.save})]
        options = [*matched, *self.surgery, *_given({"share": self.share})]
        if self.clip is None and self.file is None:
            if options:
                raise SaywhyError(f"{_flag(options[0])} is for surgery: name a CLIP with --operate")
            return
        if model is None:
            raise SaywhyError("surgery puts a classifier into CLIP; give one with --model")
        if space is not None:
            raise SaywhyError("--space and --operate exclude each other: after surgery the CLIP of --operate is asked")
        if self.file is not None and matched:
            raise SaywhyError(f"{_flag(matched[0])} is for a new matching; --matching uses a saved one")
        if self.how.get("how", HOW[0]) not in HOW:
            raise SaywhyError(f"--pairing must be {' or '.join(HOW)}, not {self.how['how']!r}")
        if self.save is not None and (self.save.suffix != ".safetensors" or not self.save.absolute().parent.is_dir()):
            raise SaywhyError(f"--save {self.save}: needs the ending .safetensors, and a folder that exists")
        self.options()

    @property
    def anew(self) -> bool:
        """Whether channels are matched anew."""
        return self.clip is not None and self.file is None

    def check_pictures(self, pictures: Sequence[LabelledImage]) -> None:
        """Raises SaywhyError for too few pictures to match on; notes where they are few."""
        from saywhy.questions.ask import ENOUGH

        if self.anew and len(pictures) < 2:
            raise SaywhyError("channels are matched on at least two pictures; give more with --match-on")
        if self.anew and len(pictures) < ENOUGH:
            note(f"channels are matched on {len(pictures)} pictures; with fewer than {ENOUGH} a match says little")

    def options(self) -> AskOptions:
        """What was given, and defaults for what was not. Raises SaywhyError for values out of range."""
        from saywhy.questions.options import AskOptions

        matching: dict[str, Any] = {
            name: _layers(value) if "layers" in name else value for name, value in self.how.items()
        }
        return AskOptions(
            matching=replace(AskOptions.matching, **matching),
            surgery=replace(AskOptions.surgery, **self.surgery),
            share=self.share,
        )

    def perform(
        self,
        clip: ClipSpace,
        classifier: Classifier,
        pictures: Sequence[LabelledImage],
        read: Readable,
        advance: Callable[[int], object],
        seed: int,
        batch_size: int,
    ) -> OperatedSpace:
        """Match on pictures in the order of the seed, save the matching where asked to, and operate."""
        from saywhy.questions.ask import find_matching, operate

        matching = find_matching(clip, classifier, pictures, self.options(), read, advance, seed, batch_size)
        if self.save is not None:
            matching.save(self.save)
        return operate(clip, classifier, matching, self.options())


def _find(sources: Sequence[str], limit: int | None, seed: int) -> list[LabelledImage]:
    """The pictures, with notes of what was passed over. Raises SaywhyError for a name that stands for none."""
    from saywhy.pictures.sources import NO_PICTURES, find_pictures

    if not sources:
        raise SaywhyError(NO_PICTURES)
    found = find_pictures(sources, limit, seed)
    for failure in found.failures:
        raise SaywhyError(f"{failure.reason} (a caption may not contain a slash or end as a picture file does)")
    tell_found(found)
    return found.pictures


def _spaces(
    classifier: Classifier | None, space: str | None, operation: Operation, device: str | None
) -> tuple[Space, OperatedSpace | None]:
    """The space before surgery, and, with a saved matching, the one after it."""
    from saywhy.questions.ask import operate
    from saywhy.questions.names_and_defaults import default_space, resolve_space
    from saywhy.spaces.clip import load_clip
    from saywhy.spaces.operated import load_operated

    if operation.clip is not None and operation.clip.startswith(("own", "operated:")):
        raise SaywhyError(f"--operate {operation.clip}: must be a CLIP: clip, clip:ARCH/TAG, clip:DIR or world:NAME")
    clip = None if operation.clip is None else load_clip(operation.clip, device)
    if classifier is not None and operation.file is not None:
        operated = load_operated(operation.file, classifier, device=device)
        if clip is not None and clip.key != operated.clip.key:
            raise SaywhyError(f"{operation.file}: was made with {operated.clip.name}, not with {clip.name}")
        return operated.clip, operate(operated.clip, classifier, operated.matching, operation.options())
    return clip or resolve_space(space or default_space(classifier), classifier, device), None


def _save(answers: Answers, document: Mapping[str, Any], out: Path) -> None:
    from saywhy.answers.captions import answers_csv, answers_to_html, draw_answers
    from saywhy.answers.drawing import as_png

    files: dict[str, str | bytes] = {
        "answers.json": json.dumps(document, indent=1, allow_nan=False),
        "answers.png": as_png(draw_answers(answers), dpi=120),
        "pictures.csv": answers_csv(answers),
    }
    for name, content in files.items():
        write_whole(out / name, content)
    page = write_whole(out / "index.html", answers_to_html(answers, files=list(files)))
    errors.print(f"report: {page}", markup=False, soft_wrap=True)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _flag(option: str) -> str:
    return "--pairing" if option == "how" else f"--{option.replace('_', '-')}"


def _layers(text: str) -> str | tuple[str, ...]:
    """A known choice of layers as it is, or the names in a comma-separated list."""
    from saywhy.spaces.operated import LAYERS

    return text if text in LAYERS else tuple(name.strip() for name in text.split(","))
