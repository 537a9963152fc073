"""How well captions fit pictures, before surgery and after; the path of ``saywhy ask``.

Source: Caption-driven XAI (Koller et al. 2025). What the answers say is measured in ``answers.captions_measures``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saywhy.answers.captions import Answers
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.pictures.in_batches import Advance, Readable, bounded
from saywhy.pictures.sources import LabelledImage, named
from saywhy.questions.options import ASK_BATCH, AskOptions
from saywhy.spaces.clip import ClipSpace
from saywhy.spaces.operated import BATCH as MATCHED_AT_ONCE
from saywhy.spaces.operated import OperatedSpace, match_classifier
from saywhy.spaces.surgery.matching import Matching
from saywhy.spaces.traits import scale_of
from saywhy.types import Space


def read_groups(texts: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Groups of captions from what a user types: "red digit|green digit" is one; all without a bar are another.

    Raises SaywhyError where there is no caption, an empty one, or one that is in a group twice.
    """
    alone = tuple(text.strip() for text in texts if "|" not in text)
    groups: list[tuple[str, ...]] = []
    for text in texts:
        group = tuple(part.strip() for part in text.split("|")) if "|" in text else alone
        if group not in groups:
            groups.append(group)
    if not groups:
        raise SaywhyError('no captions to ask; e.g. "a red digit|a green digit" "the digit 5|the digit 8"')
    for group in groups:
        if not all(group) or len(set(group)) < len(group):
            raise SaywhyError(f"captions must not be empty, or twice in one group: {' | '.join(group)}")
    return tuple(groups)


def ask(
    images: Iterable[Image.Image],
    groups: Sequence[Sequence[str]],
    space: Space,
    operated: Space | None = None,
    *,
    pictures: Sequence[str] | None = None,
    classes: Sequence[str | None] | None = None,
    predicted: Sequence[str] | None = None,
    batch_size: int = ASK_BATCH,
) -> Answers:
    """Ask every caption of every picture. Pictures are read once, a batch at a time.

    groups:   captions that compete with each other; see ``read_groups``.
    operated: the same space with a classifier's activations in it; see ``OperatedSpace``.

    Raises SaywhyError where there are no pictures, or the numbers of names or classes are not that of pictures.
    """
    captions = [caption for group in groups for caption in group]
    spaces = [space] if operated is None else [space, operated]
    texts = [each.encode_texts(captions) for each in spaces]
    scores: list[list[Tensor]] = [[] for _ in spaces]
    for batch in bounded(((None, image) for image in images), batch_size):
        for each, text, scored in zip(spaces, texts, scores, strict=True):
            scored.append(each.encode_images([image for _, image in batch]) @ text.T)
    if not scores[0]:
        raise SaywhyError("there are no pictures to ask about")
    cosines = [torch.cat(batches) for batches in scores]
    count = len(cosines[0])
    for what, names in (("names", pictures), ("classes", classes), ("predictions", predicted)):
        if names is not None and len(names) != count:
            raise SaywhyError(f"{len(names)} {what} for {count} pictures")
    return Answers(
        groups=tuple(tuple(group) for group in groups),
        before=cosines[0],
        after=cosines[1] if operated is not None else None,
        pictures=tuple(pictures or (str(n) for n in range(1, count + 1))),
        classes=None if classes is None else tuple(classes),
        predicted=None if predicted is None else tuple(predicted),
        scale=scale_of(space),
        spaces=tuple(each.name for each in spaces),
    )


ENOUGH = 50  # pictures, below which correlations and intervals are rough


def find_matching(
    clip: ClipSpace,
    classifier: Classifier,
    pictures: Sequence[LabelledImage],
    options: AskOptions | None = None,
    read: Readable | None = None,
    advance: Advance = lambda count: None,
    seed: int = 0,
    batch_size: int = MATCHED_AT_ONCE,
) -> Matching:
    """``match_classifier`` on pictures in a random order, as its null needs, that is the same for the same seed.

    options: None: the defaults. read: opens the pictures, and knows which cannot be read.

    Raises SaywhyError for fewer than two pictures that can be read, and as ``match_classifier``.
    """
    order = np.random.default_rng(seed).permutation(len(pictures))
    images = (image for _, image in (read or Readable())([pictures[n] for n in order], advance))
    at_once = min(batch_size, MATCHED_AT_ONCE)
    return match_classifier(clip, classifier, images, **vars((options or AskOptions()).matching), batch_size=at_once)


def operate(clip: ClipSpace, classifier: Classifier, matching: Matching, options: AskOptions) -> OperatedSpace:
    """CLIP with the classifier's matched channels in it, all of them or the share that the options ask for."""
    chosen = matching if options.share is None else matching.strongest(options.share)
    return OperatedSpace(clip, classifier, chosen, options.surgery)


def ask_pictures(
    pictures: Sequence[LabelledImage],
    groups: Sequence[Sequence[str]],
    space: Space,
    operated: OperatedSpace | None = None,
    classifier: Classifier | None = None,
    read: Readable | None = None,
    advance: Advance = lambda count: None,
    batch_size: int = ASK_BATCH,
) -> tuple[Answers, list[str]]:
    """The answers, and the classes of the pictures that the classifier does not have.

    Where there are such classes, right and wrong predictions are not distinguished. Pictures are read once. Of a
    multi-label classifier a picture's own class counts as predicted where it is among the labels that are said.

    read: opens the pictures, and knows which cannot be read.

    Raises SaywhyError where no picture can be read.
    """
    read = read or Readable()
    pictures, strangers = (pictures, []) if classifier is None else named(pictures, classifier.labels)
    done: list[LabelledImage] = []
    predicted: list[str] = []

    def images() -> Iterator[Image.Image]:
        for batch in bounded(read(pictures, advance), batch_size):
            done.extend(picture for picture, _ in batch)
            if classifier is not None:
                logits = classifier.logits(classifier.preprocess([image for _, image in batch])).float().cpu()
                for (picture, _), row in zip(batch, logits, strict=True):
                    said = [classifier.labels[c] for c in classifier.said(row)]
                    best = classifier.predictions(row[None], 1)[0][0].name
                    predicted.append(str(picture.label) if picture.label in said else (said or [best])[0])
            yield from (image for _, image in batch)

    answers = ask(images(), groups, space, operated, batch_size=batch_size)
    classes = tuple(None if picture.label is None else str(picture.label) for picture in done)
    answers = replace(
        answers,
        pictures=tuple(picture.name for picture in done),
        classes=classes if any(name is not None for name in classes) else None,
        predicted=None if classifier is None else tuple(predicted),
        judged=not strangers,
        model=None if classifier is None else classifier.name,
        surgery=None if operated is None else asdict(operated.surgery),
        matching=None if operated is None else matching_summary(operated.matching),
        failures=read.failures,
    )
    return answers, strangers


def matching_summary(matching: Matching) -> dict[str, Any]:
    """How channels were matched, and how well, as plain values."""
    return {
        "how": matching.how, "images": matching.images, "decisive": matching.decisive, "layers": matching.quality(),
    }  # fmt: skip
