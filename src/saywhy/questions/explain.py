"""The main path: pictures and a classifier in, explanations out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, final, overload

import numpy as np
import torch
from PIL import Image

from saywhy.answers.claims import CLASS_NAMES
from saywhy.answers.explanation import Explanation
from saywhy.answers.summary import summarise
from saywhy.classifiers.classifier import Classifier
from saywhy.classifiers.outputs import MULTI, SINGLE
from saywhy.errors import SaywhyError
from saywhy.pictures.channels import ChannelPicture, Display, channel_picture
from saywhy.pictures.in_batches import Advance, Failure, in_batches
from saywhy.pictures.reading import UNNAMED, PictureLike, display_copy, picture_name, read_picture
from saywhy.plumbing.steps import step
from saywhy.questions.concepts import why_not_vector
from saywhy.questions.described import check_target, describe
from saywhy.questions.names_and_defaults import (
    check_space,
    check_writer,
    explaining_space,
    files_brought,
    resolve_seen,
    resolve_space,
    resolve_vocabulary,
    resolve_writer,
)
from saywhy.questions.options import BATCH, ExplainOptions
from saywhy.questions.phrases import check_phrases, find_phrases
from saywhy.questions.verify import NONE, Others, lending, put_to_the_test
from saywhy.questions.why_not import Called, asked_other, called_by, check_other, counterfactual
from saywhy.seen.gate import NOTHING_KNOWN, Calibrated, Seen, of_sentence
from saywhy.seen.layer_statistics import eyes_of
from saywhy.seen.plain_facts import plain_facts
from saywhy.seen.references import Reference, doubts_of, usual_light
from saywhy.spaces.traits import KnowsClasses, KnowsFeatures, classifier_of
from saywhy.types import Claim, Contrast, Prediction, Sentence, Space, Vocabulary

if TYPE_CHECKING:
    from saywhy.questions.sentences.language_model import LanguageModel

FEW = 2  # pictures of a list that need no progress bar
LOOKING = "finding what the decision rests on, and naming what is there"
TESTING = "putting what is claimed to the test"
WRITING = "putting it into words"
"""Steps of an explanation, as who waits for one is told (``plumbing.steps``); TESTING only where there are checks."""
_T = TypeVar("_T")


@final
@dataclass(frozen=True, eq=False)
class _Listed:
    """A picture of a list that is not open yet."""

    name: str
    open: Callable[[], Image.Image]


class _Options(TypedDict, total=False):
    """The options of ``explain``, for both of its signatures."""

    display: Display
    vocabulary: str | Path | Vocabulary | None
    space: str | Space | None
    writer: str | LanguageModel | None
    calibration: str | Path | Calibrated | None
    reference: Reference | None
    target: int | str | Sequence[int | str] | None
    method: str
    composite: str | None
    regions: int
    top: int
    phrases: Sequence[str]
    checks: str
    why_not: int | str | None
    others: Sequence[PictureLike]
    batch_size: int


@overload
def explain(
    image: PictureLike | torch.Tensor, *, model: str | Classifier, **options: Unpack[_Options]
) -> Explanation: ...


@overload
def explain(
    image: list[Any] | tuple[Any, ...], *, model: str | Classifier, **options: Unpack[_Options]
) -> list[Explanation]: ...


def explain(
    image: Any,
    *,
    model: str | Classifier,
    display: Display = None,
    vocabulary: str | Path | Vocabulary | None = None,
    space: str | Space | None = None,
    writer: str | LanguageModel | None = None,
    calibration: str | Path | Calibrated | None = None,
    reference: Reference | None = None,
    target: int | str | Sequence[int | str] | None = ExplainOptions.target,
    method: str = ExplainOptions.method,
    composite: str | None = ExplainOptions.composite,
    regions: int = ExplainOptions.regions,
    top: int = ExplainOptions.top,
    phrases: Sequence[str] = ExplainOptions.phrases,
    checks: str = ExplainOptions.checks,
    why_not: int | str | None = ExplainOptions.why_not,
    others: Sequence[PictureLike] = (),
    batch_size: int = BATCH,
) -> Explanation | list[Explanation]:
    """Why a classifier decided as it did on one picture, or on each of a list.

    >>> explanation = explain("toucan.jpg", model="timm:resnet50", space="own")
    >>> explanation.save("why.html")
    >>> several = explain(["toucan.jpg", array, picture], model="timm:resnet50")

    image:      a path, a PIL picture, an array, bytes or a binary file (see ``read_picture``), or, as the network takes
                it, a (C, H, W) tensor; for a classifier that takes tensors an (H, W, C) array too. A list or tuple of
                these gives a list, with a progress bar on a terminal or in a notebook.
    model:      a source string (see ``Classifier.load``) or a Classifier.
    display:    of a tensor, what is looked at: the number of a channel, of three, or a picture; None: the first three,
                or the first.
    vocabulary: a name, a file or a Vocabulary; None: general concepts, or the world's own.
    space:      whose opinion the words are: "own", "concepts:FILE", "clip", "clip:ARCH/TAG", "clip:DIR",
                "world:NAME", "operated:FILE", or a Space; None: the classifier's own where it has a linear head.
    writer:     a language model that words a sentence: a transformers name or folder, "world:aviary", or a loaded
                one; None: no such sentence.
    calibration: how probable it is that phrases are there: a file of ``saywhy calibrate``, or a Calibration; None: what
                the space brings along or is shipped with, else no word is said as a fact.
    reference:  pictures that the networks know, 100 or more: files, folders or "world:NAME". Of a picture to which they
                respond otherwise no words are said. None: of a world's networks its own; else, of a list of 100 or
                more, its pictures.
    target, method, composite, regions, top, phrases, checks, why_not: see ``ExplainOptions``.
    others:     pictures that pieces may be taken from for ``why_not``; see ``saywhy.why_not``.
    batch_size: pictures of a list at once; fewer where they are large.

    Raises SaywhyError for a picture that cannot be read, of a list the first of a batch by its number and name, for
    unknown names, and for a reference of too few pictures.
    """
    targets = tuple(target) if isinstance(target, Sequence) and not isinstance(target, str) else target
    options = ExplainOptions(
        target=targets,
        method=method,
        composite=composite,
        regions=regions,
        top=top,
        phrases=tuple(phrases),
        checks=checks,
        why_not=why_not,
    )
    if batch_size < 1:
        raise SaywhyError(f"batch_size must be at least 1; it is {batch_size}")
    classifier = model if isinstance(model, Classifier) else Classifier.load(model)
    check_target(options.target, classifier)
    check_other(options.other, classifier)
    several = isinstance(image, list | tuple)
    asked = [_Listed(_name(one), partial(_read, one, classifier, display)) for one in (image if several else [image])]
    first = [] if several else [(asked[0].name, asked[0].open())]  # what is wrong with it is said before spaces load
    given = None if vocabulary is None else resolve_vocabulary(vocabulary, classifier)
    space = space or explaining_space(classifier, vocabulary, options.phrases)
    opinion = resolve_space(space, classifier) if isinstance(space, str) else space
    check_space(opinion, classifier)
    words = resolve_vocabulary(given, classifier, opinion)
    check_phrases(options.phrases, opinion)
    language = resolve_writer(writer)
    check_writer(language, opinion)
    doubts = doubts_of(
        eyes_of(opinion, classifier), reference, asked if several else (), brought=files_brought(space, calibration),
        tell=warnings.warn, bar=_bar,
    )  # fmt: skip
    seen = resolve_seen(opinion, words, calibration, doubts)
    lent = lending(classifier, reference, options.checks)
    if options.checks != NONE:
        seen = replace(seen, light=usual_light(reference, asked if several else (), bar=_bar))
    called = called_by([read_picture(one) for one in others], classifier) if options.other is not None else None
    if not several:
        (explanation,) = explain_pictures(first, classifier, words, opinion, options, language, seen, lent, called)
        if why_not is not None and all(one.counterfactual is None for one in explanation.each):
            raise SaywhyError(f"{explanation.target.name!r} is the explained class itself; name another one")
        return explanation

    def work(batch: Sequence[tuple[str, Image.Image]]) -> list[Explanation]:
        return explain_pictures(batch, classifier, words, opinion, options, language, seen, lent, called)

    explanations = []
    with _bar("explaining", len(asked)) as advance:
        for picture, result in in_batches(asked, work, batch_size=batch_size, advance=advance):
            if isinstance(result, Failure):
                raise SaywhyError(f"picture {asked.index(picture) + 1} of {len(asked)}: {result.reason}")
            explanations.append(result)
    return explanations


def explain_pictures(
    pictures: Sequence[tuple[str, Image.Image]],
    classifier: Classifier,
    vocabulary: Vocabulary,
    space: Space,
    options: ExplainOptions | None = None,
    writer: LanguageModel | None = None,
    seen: Seen = NOTHING_KNOWN,
    lent: Others | None = None,
    called: Called | None = None,
) -> list[Explanation]:
    """One explanation per (name, RGB picture), as one batch: one attribution, and one labelling of all crops.

    options: None: the defaults. Of several targets the explanation is of the first, and has the others in ``more``.
    seen:    what decides which words are said as facts; by default none are.
    lent:    of a run, what lends surroundings; None: the pictures of the batch lend each other theirs.
    called:  what pieces may be taken from for another class; None: places are filled with the colours around them.

    Raises SaywhyError for a target that the classifier does not know, or logits that are not finite.
    """
    options = options or ExplainOptions()
    step(LOOKING)
    found = describe(pictures, classifier, vocabulary, space, options, seen)
    look, pixels, plain, predictions = found.look, found.pixels, found.logits, found.predictions
    asked, which, images, logits = found.asked, found.which, found.images, plain[found.which]
    heatmaps, geometries, regions, crops = (
        found.heatmaps, found.geometries, found.regions, found.crops,
    )  # fmt: skip
    encoded, texts, silences = found.encoded, found.texts, found.silences
    findings, claims = found.findings, found.claims
    if options.checks != NONE:
        step(TESTING)
    tested = put_to_the_test(
        classifier, pixels, which, [target for _, target in asked], plain, regions, claims, options.checks, lent,
        images=images, space=space,
    )  # fmt: skip
    step(WRITING)
    words = (texts, vocabulary) if seen.alone is None else (seen.alone.texts, seen.alone.vocabulary)
    wholes = torch.stack([vectors[0] for vectors in encoded])
    phrases = find_phrases(images, wholes, texts, space, classifier, options)
    classes = [predictions[n][0].name for n in which]
    sentences = _sentences(images, crops, encoded, claims, silences, space, vocabulary, writer, classes)

    common: dict[str, Any] = {
        "model": classifier.name, "space": space.name, "vocabulary": vocabulary.name, "method": options.method,
        "composite": heatmaps.composite, "regions": options.regions, "top": options.top, "checks": options.checks,
        "writer": None if writer is None else writer.name, "saywhy": version("saywhy"), "torch": torch.__version__,
        **classifier.record,
    }  # fmt: skip
    if isinstance(space, KnowsFeatures):
        common["regions seen"] = "as crops" if look is None else "in the last map"
    if seen.names is not None:
        common[CLASS_NAMES] = str(seen.names)

    of_light = [not (classifier.takes_tensors or isinstance(image, ChannelPicture)) for image in images]
    measured = [
        plain_facts(
            classifier, pixels[n], images[row], geometries[row], heatmaps.values[row].numpy(), target, logits[row],
            regions[row], seen.light,
        )
        if options.checks != NONE and of_light[row]
        else ()
        for row, (n, target) in enumerate(asked)
    ]  # fmt: skip
    explanations: list[list[Explanation]] = [[] for _ in pictures]
    for row, (n, target) in enumerate(asked):
        image = images[row]
        picture = display_copy(image, pictures[n][0])
        explained = classifier.prediction(logits[row], target)
        silence, sentence, (kept, said, around) = silences[row], sentences[row], tested[row]
        said += measured[row]
        labels = None
        if classifier.task == MULTI:
            labels = [classifier.prediction(logits[row], c) for c in classifier.said(logits[row])]
        summary = summarise(
            picture, explained, predictions[n], kept, said, heatmaps[row], labels, silence=silence,
            surroundings=around,
        )  # fmt: skip
        others = [p for p in predictions[n] if p not in (labels or ())]
        explanations[n].append(
            Explanation(
                picture=picture,
                geometry=geometries[row],
                predictions=predictions[n],
                target=explained,
                heatmap=heatmaps[row],
                regions=kept,
                findings=tuple(findings[row][1:]),
                concepts=findings[row][0],
                claims=said + (() if sentence is None else of_sentence(said, sentence)),
                silence=silence,
                summary=summary,
                settings=common
                | {"target": None if options.target is None else target}
                | _settings_of(image, predictions[n], classifier, space),
                sentence=sentence,
                surroundings=around,
                counterfactual=None
                if (index := asked_other(options.other, classifier, logits[row], target)) is None
                else counterfactual(
                    image,
                    picture.name,
                    pixels[n],
                    classifier,
                    logits[row],
                    target,
                    index,
                    kept,
                    space,
                    called,
                    method=options.method,
                    composite=options.composite,
                ),
                phrases=() if silence else phrases[row],
                contrast=None
                if silence
                else _against_runner_up(encoded[row][0], *words, explained, others, space, options.top),
            )
        )
    return [replace(first, more=tuple(more)) for first, *more in explanations]


def _settings_of(
    image: Image.Image, predictions: Sequence[Prediction], classifier: Classifier, space: Space
) -> dict[str, Any]:
    """What of the settings is of one picture, or of a classifier that says several labels."""
    settings: dict[str, Any] = {}
    if classifier.task != SINGLE:
        settings["task"] = classifier.task
    if isinstance(image, ChannelPicture):
        settings["display"] = image.shown if classifier_of(space) else f"{image.shown}; {space.name} sees this too"
    if classifier.thresholds:
        settings["thresholds"] = {p.name: classifier.thresholds[p.index] for p in predictions}
    return settings


def _name(image: Any) -> str:
    return UNNAMED if isinstance(image, torch.Tensor) else picture_name(image)


@contextmanager
def _bar(what: str, count: int) -> Iterator[Advance]:
    """What advances a progress bar, which is there where pictures are more than a few and somebody sees it."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    seen = console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)
    with Progress(console=console, transient=True, disable=count <= FEW or not seen) as progress:
        task = progress.add_task(what, total=count)
        yield lambda more: progress.advance(task, more)


def _read(image: Any, classifier: Classifier, display: Display) -> Image.Image:
    """The RGB picture that an image shows; of a tensor, with its channels."""
    if isinstance(image, torch.Tensor) or (classifier.takes_tensors and isinstance(image, np.ndarray)):
        limits = None if classifier.takes_tensors else classifier.pixel_range
        return channel_picture(image, display, limits)
    if display is not None:
        raise SaywhyError("display= says what is looked at of a tensor; a picture is looked at itself")
    return image if isinstance(image, ChannelPicture) else read_picture(image)


def _sentences(
    images: Sequence[Image.Image],
    crops: Sequence[Sequence[Image.Image]],
    encoded: Sequence[torch.Tensor],
    claims: Sequence[Sequence[Claim]],
    silences: Sequence[str],
    space: Space,
    vocabulary: Vocabulary,
    writer: LanguageModel | None,
    classes: Sequence[str],
) -> Sequence[Sentence | None]:
    """A sentence for each picture that may be spoken of; class names pass the filter of words."""
    if writer is None:
        return [None] * len(images)
    from saywhy.questions.narrate import narrate

    shown = [n for n, silence in enumerate(silences) if not silence]

    def of(values: Sequence[_T]) -> list[_T]:
        return [values[n] for n in shown]

    written = iter(
        narrate(
            of(images),
            space,
            writer,
            crops=of(crops),
            encoded=of(encoded),
            allowed=set(classes),
            claims=of(claims),
            vocabulary=vocabulary,
        )
    )
    return [None if silence else next(written) for silence in silences]


def _against_runner_up(
    picture: torch.Tensor,
    texts: torch.Tensor,
    vocabulary: Vocabulary,
    target: Prediction,
    predictions: Sequence[Prediction],
    space: Space,
    top: int,
) -> Contrast | None:
    """Why this class and not the best of the others, where the space knows the classes.

    predictions: best first; of a multi-label classifier without the labels that it says too, which are no alternatives.
    """
    others = [p for p in predictions if p.index != target.index]
    if not isinstance(space, KnowsClasses) or not others:
        return None
    return why_not_vector(picture, texts, target, others[0], space, vocabulary, top=top)
