"""Phrases of pictures as a CLIP labels them, for concept probes where no table says what is there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.progress import track

from saywhy.classifiers.classifier import Classifier
from saywhy.pictures.phrase_tables import ABSENT, THERE, UNKNOWN, PhraseData
from saywhy.pictures.sources import LabelledImage
from saywhy.questions.explain import explain_pictures
from saywhy.questions.options import BATCH, ExplainOptions
from saywhy.seen.gate import Seen
from saywhy.types import Space, Vocabulary

CLEARLY = 1.5  # standard deviations above what is usual from which an uncalibrated space labels; docs/probes.md
HARDLY = 0.1  # probability below which a calibrated space says that a phrase is not there


def labelled_by(
    space: Space,
    pictures: Sequence[LabelledImage],
    classifier: Classifier,
    vocabulary: Vocabulary,
    seen: Seen,
    name: str,
) -> PhraseData:
    """What a space says of pictures, as if it were the truth.

    With a calibration, what is said of a picture and its regions is there, phrases of a probability below HARDLY are
    not, and of the rest nobody knows. Without one, a phrase is there from CLEARLY standard deviations above what is
    usual in the whole picture, else not. Of pictures of which no words are said nobody knows anything.

    name: what the pictures are called. Raises SaywhyError for a picture that cannot be read.
    """
    there = np.full((len(pictures), len(vocabulary)), UNKNOWN, np.int8)
    columns = {phrase: m for m, phrase in enumerate(vocabulary.phrases)}
    options = ExplainOptions(top=len(vocabulary))
    for start in track(range(0, len(pictures), BATCH), "labelling", transient=True, disable=len(pictures) <= 2 * BATCH):
        opened = [(picture.name, picture.open()) for picture in pictures[start : start + BATCH]]
        for row, one in zip(
            there[start:], explain_pictures(opened, classifier, vocabulary, space, options, seen=seen), strict=False
        ):
            if seen.calibration is None:
                for label in one.concepts.labels:
                    row[columns[label.text]] = THERE if label.unusual >= CLEARLY else ABSENT
            for claim in one.claims if seen.calibration is not None else ():
                if claim.said:
                    row[columns[claim.text]] = THERE
                elif claim.there is not None and claim.there < HARDLY:
                    row[columns[claim.text]] = ABSENT
    return PhraseData(name, tuple(pictures), vocabulary, there)
