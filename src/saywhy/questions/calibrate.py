"""Fits a calibration on pictures of which it is known what is in them, looked at as ``explain`` looks at them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import final

import numpy as np
from PIL import Image

from saywhy.attribution import attribute
from saywhy.attribution.regions import find_regions
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.pictures.in_batches import Advance, Failure, in_batches
from saywhy.pictures.phrase_tables import THERE, UNKNOWN, read_phrases
from saywhy.pictures.sources import LabelledImage
from saywhy.questions.labels import encode_looks, encode_shifted, encode_vocabulary, pieces
from saywhy.questions.options import BATCH, ExplainOptions
from saywhy.seen.calibration import Calibration
from saywhy.seen.evidence import Evidence, gather
from saywhy.seen.fitting import DEFAULT_FIT, FitOptions, fit_calibration
from saywhy.types import Space, Vocabulary
from saywhy.worlds import world_vocabulary
from saywhy.worlds.scenes import CALIBRATION_SEED, draw, facts_of

SCENES = 1200  # of a world, where no number is given
SIDE = 384  # pixels of the aviary's scenes
RANDOM = 100_000
"""Scenes of random plumage have seeds so much higher than those of species."""


@final
@dataclass(frozen=True, eq=False)
class Known:
    """N pictures, and what is in them.

    data:   what a calibration on them says of itself: "1200 scenes of world:aviary, half of them of random plumage".
    truth:  (N, M) 1, 0, or NaN where it is not known, of the vocabulary.
    groups: of each picture, for the folds; None: each is its own.
    """

    data: str
    pictures: tuple[LabelledImage, ...]
    vocabulary: Vocabulary
    truth: np.ndarray
    groups: tuple[Hashable, ...] | None


def read_known(
    source: str | Path, vocabulary: Vocabulary | None = None, limit: int | None = None, seed: int = 0
) -> Known:
    """What a source says: a folder in CUB's layout or a table, as ``read_phrases``; world:aviary or world:digits.

    A world's scenes are drawn from seeds that nothing else has; its classes are those that it will be asked about, so
    that folds are by picture. Where other pictures have classes, these stay together in a fold.

    vocabulary: the phrases that are asked about, in its prompts; what the source does not know of is not known. None:
                the source's own.

    Raises SaywhyError as ``read_phrases``, and where the source knows none of the phrases.
    """
    name = str(source)
    if name in ("world:aviary", "world:digits"):
        known = (_aviary if name == "world:aviary" else _digits)(SCENES if limit is None else limit)
    else:
        data = read_phrases(source, limit, seed)
        truth = np.where(data.there == UNKNOWN, np.nan, data.there == THERE)
        labels = "their labels" if data.shares is None else "the labels of their classes"
        known = Known(
            f"{len(data)} pictures of {data.name} by {labels}", data.pictures, data.vocabulary, truth, data.classes
        )
    if vocabulary is None:
        return known
    columns = {phrase: m for m, phrase in enumerate(known.vocabulary.phrases)}
    shared = [phrase for phrase in vocabulary.phrases if phrase in columns]
    if not shared:
        raise SaywhyError(
            f"{name}: knows none of the phrases of {vocabulary.name}; its own are {known.vocabulary.phrases[0]!r} ..."
        )
    truth = np.full((len(known.pictures), len(vocabulary)), np.nan)
    for m, phrase in enumerate(vocabulary.phrases):
        if phrase in columns:
            truth[:, m] = known.truth[:, columns[phrase]]
    return Known(known.data, known.pictures, vocabulary, truth, known.groups)


def calibrate(
    known: Known,
    classifier: Classifier,
    space: Space,
    options: FitOptions = DEFAULT_FIT,
    looks: ExplainOptions | None = None,
    *,
    batch_size: int = BATCH,
    advance: Advance = lambda count: None,
    tell: Callable[[Failure], object] = lambda failure: None,
) -> Calibration:
    """A calibration of the space and of the vocabulary of the pictures, with the regions of the classifier.

    looks: how heatmaps and regions are made. advance: told of pictures that are done. tell: of those that cannot be
    read, which are left out.

    Raises SaywhyError as ``fit_calibration``.
    """
    looks = looks or ExplainOptions()
    work = partial(
        evidence_of, classifier=classifier, vocabulary=known.vocabulary, space=space, looks=looks, shifts=options.shifts
    )
    evidence, rows = [], []
    numbers = {picture.name: n for n, picture in enumerate(known.pictures)}
    for picture, result in in_batches(known.pictures, work, batch_size=batch_size, advance=advance):
        if isinstance(result, Failure):
            tell(result)
        else:
            evidence.append(result)
            rows.append(numbers[picture.name])
    composite = f" ({looks.composite})" if looks.composite else ""
    return fit_calibration(
        evidence, known.truth[rows], space, data=known.data, options=options,
        looks=f"the picture and up to {looks.regions} regions, by {looks.method}{composite} of {classifier.name}",
        groups=None if known.groups is None else [known.groups[n] for n in rows],
    )  # fmt: skip


def evidence_of(
    pictures: Sequence[tuple[str, Image.Image]],
    classifier: Classifier,
    vocabulary: Vocabulary,
    space: Space,
    looks: ExplainOptions,
    shifts: bool,
) -> list[Evidence]:
    """Of each (name, RGB picture), for the class that the classifier says; as one batch."""
    images = [image for _, image in pictures]
    pixels = classifier.preprocess(images)
    logits = classifier.logits(pixels).float().cpu()
    targets = [([*classifier.said(row)] or [int(row.argmax())])[0] for row in logits]
    heatmaps = attribute(
        classifier, pixels, targets, looks.method, looks.composite, batch_size=len(images), plain=logits,
        names=[name for name, _ in pictures],
    )  # fmt: skip
    regions = [
        find_regions(heatmaps.values[n].numpy(), classifier.frame_on(image), count=looks.regions)
        for n, image in enumerate(images)
    ]
    crops = [pieces(image, areas, space) for image, areas in zip(images, regions, strict=True)]
    encoded = encode_looks([[image, *cut] for image, cut in zip(images, crops, strict=True)], space)
    shifted = encode_shifted(images, regions, space) if shifts else None
    return gather(encoded, encode_vocabulary(vocabulary, space), vocabulary, space, shifted)


def _aviary(count: int) -> Known:
    """Scenes of species and of random plumage in equal numbers; what is drawn is there, hidden or not."""
    vocabulary = world_vocabulary("aviary")
    drawn = [("species", CALIBRATION_SEED + n) for n in range((count + 1) // 2)]
    drawn += [("random", CALIBRATION_SEED + RANDOM + n) for n in range(count // 2)]
    pictures = [LabelledImage(f"world:aviary {kind} {seed}", None, partial(_scene, kind, seed)) for kind, seed in drawn]
    facts = [facts_of(kind, seed) for kind, seed in drawn]
    truth = np.array([[phrase in true for phrase in vocabulary.phrases] for true in facts], float)
    data = f"{count} scenes of world:aviary, half of them of random plumage"
    return Known(data, tuple(pictures), vocabulary, truth, None)


def _scene(kind: str, seed: int) -> Image.Image:
    return draw(kind, seed, SIDE)[0].image


def _digits(count: int) -> Known:
    """Fives and eights: a third grey, the others red or green whatever the digit; handwritings of the test half."""
    from saywhy.worlds.digits import CLASSES, COLOURS, digits

    vocabulary = world_vocabulary("digits")
    grey = digits("test", None, count // 3, CALIBRATION_SEED)
    coloured = digits("test", 0.0, count - count // 3, CALIBRATION_SEED)
    pictures: list[LabelledImage] = []
    truth = []
    for made in (coloured, grey):
        for n in range(len(made.labels)):
            name = f"world:digits {len(pictures)}"
            pictures.append(LabelledImage(name, None, partial(Image.fromarray, made.pixels[n])))
            ink = COLOURS[made.colour[n]] if made.colour[n] >= 0 else "grey"
            true = {f"a {CLASSES[made.labels[n]]}", ink}
            truth.append([phrase in true for phrase in vocabulary.phrases])
    data = f"{count} digits of world:digits, red, green and grey"
    return Known(data, tuple(pictures), vocabulary, np.array(truth, float), None)
