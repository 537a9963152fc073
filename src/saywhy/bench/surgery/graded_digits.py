"""Digit classifiers of known bias: how much each of them goes by the colour is set in training, and measured.

Colour follows the label in a share of the training pictures (``bias``), and every seventh label is in doubt, so that
the shape says less than everything: what a classifier makes of the colour then grows with ``bias``. Without doubt it
does not: a shape that is always right leaves the colour unused until that is always right too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import final

import numpy as np
import torch
from PIL import Image

from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.plumbing.caches import made_once
from saywhy.training.worlds.classifiers import train_digits
from saywhy.worlds import TOWERS
from saywhy.worlds.digits import DigitSet, digits

DOUBT = 0.15
EPOCHS = 6
TEST = 400
TEST_SEED = 77


@final
@dataclass(frozen=True)
class TrueBias:
    """What a digit classifier goes by, measured on pictures whose colour says nothing.

    accuracy: right answers, percent; chance is 50.
    flips:    how often the answer changes with the colour of the very same picture, percent.
    colour, shape: half the mean change of the logit margin (eight less five) from red to green, and from five to eight.
    """

    accuracy: float
    flips: float
    colour: float
    shape: float

    @property
    def share(self) -> float:
        """Of what moves the margin, the colour's share, 0..1."""
        return abs(self.colour) / (abs(self.colour) + abs(self.shape))


def graded_classifier(
    bias: float | None, seed: int, mnist: str | Path | None = None, doubt: float = DOUBT, tower: str = "resnet"
) -> Classifier:
    """A classifier trained on digits whose colour follows the label so far; trained once, and kept in the cache.

    tower: "resnet" or "vit", small; or "timm:NAME", "timm:DIR": that one, fine-tuned.
    """
    source = "digits" if mnist is None else f"mnist-{sha256(str(Path(mnist).resolve()).encode()).hexdigest()[:8]}"
    kind = re.sub(r"[^\w.-]+", "-", "" if tower == "resnet" else f"{tower}-")

    def train(out: Path) -> None:
        ready = None if tower in TOWERS else Classifier.load(tower, device="cpu").network
        train_digits(out, bias=bias, tower=tower, epochs=EPOCHS, seed=seed, doubt=doubt, mnist=mnist, ready=ready)

    out = made_once(f"trained/{source}-{kind}{bias}-{doubt}-{EPOCHS}-{seed}", train)
    return Classifier.load(f"timm:{out}")


def true_bias(classifier: Classifier, mnist: str | Path | None = None, count: int = TEST) -> TrueBias:
    """By test handwritings in a random colour, and the same ones in the other colour."""
    test, swapped = (digits("test", 0.0, count, TEST_SEED, mnist, swap=swap) for swap in (False, True))
    margin, other = _margins(classifier, test), _margins(classifier, swapped)
    by_colour = np.where(test.colour == 1, margin - other, other - margin)
    both = (margin + other) / 2
    return TrueBias(
        accuracy=100 * float(((margin > 0) == test.labels).mean()),
        flips=100 * float(((margin > 0) != (other > 0)).mean()),
        colour=float(by_colour.mean()) / 2,
        shape=float(both[test.labels == 1].mean() - both[test.labels == 0].mean()) / 2,
    )


def accuracy(classifier: Classifier, bias: float | None, mnist: str | Path | None = None, count: int = TEST) -> float:
    """Percent of test digits, coloured by ``bias`` or grey (None), that are classified rightly."""
    test = digits("test", bias, count, TEST_SEED, mnist)
    return 100 * float(((_margins(classifier, test) > 0) == test.labels).mean())


def pictures(data: DigitSet) -> list[Image.Image]:
    """The pictures of a set, as PIL images."""
    return [Image.fromarray(pixels) for pixels in data.pixels]


def _margins(classifier: Classifier, data: DigitSet) -> np.ndarray:
    """(N,) logit of the eight less that of the five. Raises SaywhyError for a classifier of other classes."""
    if len(classifier.labels) != 2:
        raise SaywhyError(f"{classifier.name} has {len(classifier.labels)} classes, not a five and an eight")
    pixels = classifier.preprocess(pictures(data))
    logits = torch.cat([classifier.logits(some).float().cpu() for some in pixels.split(64)])
    return (logits[:, 1] - logits[:, 0]).numpy()
