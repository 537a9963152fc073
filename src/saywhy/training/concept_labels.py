"""Phrases of pictures as a CLIP labels them, for probes where no table says what is there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.progress import track
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.pictures.phrase_tables import ABSENT, THERE, UNKNOWN, PhraseData
from saywhy.pictures.sources import LabelledImage
from saywhy.seen.evidence import gather
from saywhy.seen.gate import Calibrated
from saywhy.types import Space, Vocabulary

CLEARLY = 1.5  # standard deviations above what is usual from which an uncalibrated space labels; docs/probes.md
HARDLY = 0.1  # probability below which a calibrated space says that a phrase is not there
BATCH = 32  # pictures at once


def labelled_by(
    space: Space,
    pictures: Sequence[LabelledImage],
    texts: Tensor,
    vocabulary: Vocabulary,
    name: str,
    calibration: Calibrated | None = None,
) -> PhraseData:
    """What a space says of whole pictures, as if it were the truth.

    texts:       (M, d) the vocabulary in the space, by ``encode_vocabulary``. name: what the pictures are called.
    calibration: from its threshold on a phrase is there, below HARDLY it is not, and between nobody knows; None: from
                 CLEARLY standard deviations above what is usual it is there, else not.

    Raises SaywhyError for a picture that cannot be read, and for a calibration that needs shifted crops.
    """
    if calibration is not None and calibration.shifts:
        raise SaywhyError(f"the calibration of {space.name} needs shifted crops, and labels look at whole pictures only")
    there = np.full((len(pictures), len(vocabulary)), ABSENT, np.int8)
    starts = range(0, len(pictures), BATCH)
    for start in track(starts, "labelling the pictures", transient=True, disable=len(starts) < 3):
        images = [picture.open() for picture in pictures[start : start + BATCH]]
        vectors = space.encode_images(images)
        for n, evidence in enumerate(gather([one[None] for one in vectors], texts, vocabulary, space), start=start):
            if calibration is None:
                there[n, evidence.unusual[0].numpy() >= CLEARLY] = THERE
            else:
                chances = calibration.there(evidence).numpy()
                there[n] = np.where(chances < HARDLY, ABSENT, UNKNOWN)
                there[n, chances >= calibration.threshold] = THERE
    return PhraseData(name, tuple(pictures), vocabulary, there)
