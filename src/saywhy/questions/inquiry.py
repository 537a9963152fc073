"""Pictures and captions, a classifier and a CLIP -> answers: the main path of ``saywhy ask``, each step a function."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from itertools import islice
from typing import Any, final

import numpy as np
from PIL import Image

from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.pictures.sources import LabelledImage, named
from saywhy.questions.ask import BATCH, Answers, answers_findings, ask, concept_table
from saywhy.spaces.clip import ClipSpace
from saywhy.spaces.operated import OperatedSpace, match_classifier
from saywhy.spaces.surgery.matching import Matching
from saywhy.types import Space

FORMAT = "saywhy.answers/1"
ENOUGH = 50  # pictures, below which correlations and intervals are rough


@final
class Reader:
    """Opens pictures one after another. What cannot be read is told once, and left out of every later pass too.

    tell:    what is done with the reason, one line.
    tracked: (pictures, what is done with them) -> the pictures, for a progress bar.

    ``failures`` maps the name of each picture that could not be read to the reason.
    """

    def __init__(
        self,
        tell: Callable[[str], None] = lambda reason: None,
        tracked: Callable[[Sequence[LabelledImage], str], Iterable[LabelledImage]] = lambda pictures, what: pictures,
    ) -> None:
        self.failures: dict[str, str] = {}
        self._tell, self._tracked = tell, tracked

    def __call__(self, pictures: Sequence[LabelledImage], what: str) -> Iterator[tuple[LabelledImage, Image.Image]]:
        """Each picture that can be read, with what it shows."""
        for picture in self._tracked(pictures, what):
            if picture.name in self.failures:
                continue
            try:
                image = picture.open()
            except SaywhyError as error:
                self.failures[picture.name] = str(error)
                self._tell(str(error))
                continue
            yield picture, image


def find_matching(
    clip: ClipSpace, classifier: Classifier, pictures: Sequence[LabelledImage], read: Reader, **options: Any
) -> Matching:
    """``match_classifier`` on pictures in an order that is random, as its null needs, and always the same.

    Raises SaywhyError for fewer than two pictures that can be read, and as ``match_classifier``.
    """
    order = np.random.default_rng(0).permutation(len(pictures))
    images = (image for _, image in read([pictures[n] for n in order], "matching channels"))
    return match_classifier(clip, classifier, images, **options)


def inquire(
    pictures: Sequence[LabelledImage],
    groups: Sequence[Sequence[str]],
    space: Space,
    operated: Space | None,
    classifier: Classifier | None,
    read: Reader,
) -> tuple[Answers, list[str]]:
    """The answers, and the classes of the pictures that the classifier does not have.

    Where there are such classes right and wrong are not told apart. Pictures are read once.

    Raises SaywhyError where no picture can be read.
    """
    pictures, strangers = (pictures, []) if classifier is None else named(pictures, classifier.labels)
    done: list[LabelledImage] = []
    predicted: list[str] = []

    def images() -> Iterator[Image.Image]:
        opened = read(pictures, "asking")
        while some := list(islice(opened, BATCH)):
            done.extend(picture for picture, _ in some)
            if classifier is not None:
                best = classifier.predict([image for _, image in some], top=1)
                predicted.extend(classes[0].name for classes in best)
            yield from (image for _, image in some)

    answers = ask(images(), groups, space, operated)
    classes = tuple(None if picture.label is None else str(picture.label) for picture in done)
    answers = replace(
        answers,
        pictures=tuple(picture.name for picture in done),
        classes=classes if any(name is not None for name in classes) else None,
        predicted=None if classifier is None else tuple(predicted),
        judged=not strangers,
    )
    return answers, strangers


def answers_document(
    answers: Answers,
    operated: OperatedSpace | None = None,
    classifier: Classifier | None = None,
    failures: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Everything that was found over all pictures, as plain values for JSON; ``answers_csv`` has each picture."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "pictures": len(answers.pictures),
        "groups": answers.groups,
        "spaces": answers.spaces,
        "scale": answers.scale,
        "model": None if classifier is None else classifier.name,
        "findings": answers_findings(answers),
        "concepts": concept_table(answers),
        "failures": dict(failures or {}),
    }
    if operated is not None:
        matching = operated.matching
        document["surgery"] = asdict(operated.surgery)
        document["matching"] = {
            "how": matching.how, "images": matching.images, "decisive": matching.decisive, "layers": matching.quality(),
        }  # fmt: skip
    return {key: _plain(value) for key, value in document.items()}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def answers_csv(answers: Answers) -> str:
    """A row for each picture: its name, class and predicted class, and each caption's similarity before and after."""
    names = {"name": answers.pictures, "class": answers.classes, "predicted": answers.predicted}
    columns: dict[str, Sequence[Any]] = {name: values for name, values in names.items() if values is not None}
    for when, scores in (("before", answers.before), ("after", answers.after)):
        if scores is not None:
            columns |= {
                f"{when}: {caption}": [f"{score:.6f}" for score in scores[:, n].tolist()]
                for n, caption in enumerate(answers.captions)
            }
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()
