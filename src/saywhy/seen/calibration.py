"""Calibration: the probability that a phrase is in a picture, learned from pictures of which that is known.

It holds for the space and the vocabulary that it was fitted in, and for such pictures as it was fitted on; a file of it
knows the first two again, and says the third.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saywhy.errors import SaywhyError
from saywhy.plumbing.tensors import reading_tensors, write_tensors
from saywhy.seen.evidence import Evidence
from saywhy.seen.models import KINDS, Logistic, Trees, arrays_of, model_from, probabilities
from saywhy.seen.pooling import FEATURES, Pooling, views_of
from saywhy.spaces.traits import clip_of
from saywhy.types import Space, Vocabulary

VERSION = 1
_KEY = "calibration"  # of the story; other documents may stand in the same file
_SAME = 0.99  # cosine of a probe from which it is the same space
_POOLING = ("prior", "centre", "scale", "weights", "every")


@final
@dataclass(frozen=True, eq=False)
class Reliability:
    """Out of fold: how often what got about that probability is there, by tenths of probability, empty ones left out.

    said: (B,) mean probability. true: (B,) share that is there. count: (B,) pairs of picture and phrase.
    """

    said: np.ndarray
    true: np.ndarray
    count: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean distance of the two, 0..1."""
        return float(np.average(np.abs(self.said - self.true), weights=self.count))


@final
@dataclass(frozen=True, eq=False)
class PhraseFigures:
    """Out of fold, of M phrases: (M,) each; NaN where there is nothing to count.

    known: pictures of which it is known. rate: share of these that have it. auc: of the probability. said: pictures it
    is said of at the threshold. precision: the share of these that have it.
    """

    known: np.ndarray
    rate: np.ndarray
    auc: np.ndarray
    said: np.ndarray
    precision: np.ndarray


@final
@dataclass(frozen=True, eq=False)
class Calibration:
    """How probable it is that phrases of a vocabulary are in a picture, by the evidence of a space.

    data:        what it was fitted on: "800 scenes of world:aviary". looks: how they were cut from the pictures.
    space:       the space's name. probe: (P, d) what it makes of test pictures, by which it is known again.
    vocabulary:  its name. phrases: M. words: a digest of all that is in it.
    pooling, model: evidence -> numbers -> log-odds.
    threshold:   the probability from which a phrase is said; infinite where none is sure enough.
    target:      the precision that the threshold was chosen for. precision, claims: what it reached out of fold, and
                 with how many phrases a picture.
    shifts:      whether it needs ``Evidence.steady``, which takes more crops.
    """

    data: str
    looks: str
    space: str
    probe: Tensor
    vocabulary: str
    phrases: tuple[str, ...]
    words: str
    pooling: Pooling
    model: Trees | Logistic
    threshold: float
    target: float
    precision: float
    claims: float
    shifts: bool
    reliability: Reliability
    figures: PhraseFigures

    @property
    def places(self) -> bool:
        """A word is said of the look in which it stands out most: ``bench seen`` counts by look too."""
        return True

    @property
    def basis(self) -> str:
        """What the probabilities rest on."""
        return f"calibrated on {self.data}"

    @property
    def kind(self) -> str:
        """One of models.KINDS."""
        return "trees" if isinstance(self.model, Trees) else "logistic"

    def there(self, evidence: Evidence) -> Tensor:
        """(M,) the probability that each phrase is in the picture; NaN where it is not known.

        It is known of no phrase of another vocabulary, as ``why_not`` says. Raises SaywhyError for evidence without
        shifted crops where these are needed.
        """
        if digest_of(evidence.vocabulary) != self.words:
            return torch.full((len(evidence.vocabulary),), torch.nan)
        if self.shifts and evidence.steady is None:
            raise SaywhyError("this calibration needs the evidence of shifted crops; gather it with shifted=")
        views, at = views_of([evidence], self.pooling.rivals, self.shifts)
        rows = self.pooling.features(views, at)[0]
        return torch.from_numpy(np.where(np.isnan(self.pooling.prior), np.nan, probabilities(self.model, rows))).float()

    def why_not(self, space: Space, vocabulary: Vocabulary) -> str:
        """Why it says nothing of what this space finds of this vocabulary; "" where it does."""
        if digest_of(vocabulary) != self.words:
            return f"the calibration is of the vocabulary {self.vocabulary}, and not of {vocabulary.name} as it is here"
        if not same_space(probe(space), self.probe):
            return f"the calibration is of {self.space}, and not of {space.name} as it is here"
        return ""

    def save(self, path: str | Path) -> Path:
        """Write it to one file. Raises SaywhyError where it cannot be written."""
        story = {
            "version": VERSION, "data": self.data, "looks": self.looks, "space": self.space,
            "vocabulary": self.vocabulary, "phrases": list(self.phrases), "words": self.words, "kind": self.kind,
            "features": list(FEATURES), "target": self.target, "shifts": self.shifts,
        }  # fmt: skip
        arrays = {
            "numbers": np.array([self.threshold, self.precision, self.claims]),
            **{name: getattr(self.pooling, name) for name in _POOLING},
            "rivals": self.pooling.rivals.astype(np.int32),
            "reliability": np.stack([self.reliability.said, self.reliability.true, self.reliability.count]),
            "figures": np.stack([getattr(self.figures, name) for name in PhraseFigures.__dataclass_fields__]),
            **{f"model.{name}": array for name, array in arrays_of(self.model).items()},
        }  # fmt: skip
        tensors = {f"{_KEY}.{name}": torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        return write_tensors(Path(path), {**tensors, f"{_KEY}.probe": self.probe}, story, key=_KEY)

    @staticmethod
    def load(path: str | Path) -> Calibration:
        """Raises SaywhyError, in one line, for a file that is absent, damaged, or no calibration."""
        with reading_tensors(
            Path(path), "is damaged, or not a calibration", "; make one with saywhy calibrate", key=_KEY
        ) as file:
            story = file.story
            kept = {
                name.removeprefix(f"{_KEY}."): tensor
                for name, tensor in file.tensors.items()
                if name.startswith(f"{_KEY}.")
            }
            arrays = {name: tensor.numpy() for name, tensor in kept.items()}
            if story["version"] != VERSION or tuple(story["features"]) != FEATURES or story["kind"] not in KINDS:
                raise ValueError("of another version of saywhy")
            pooling = Pooling(**{name: arrays[name] for name in _POOLING}, rivals=arrays["rivals"].astype(int))
            phrases = tuple(story["phrases"])
            if not pooling.is_of(len(phrases)):
                raise ValueError("its arrays are not of its phrases")
            model = {name.removeprefix("model."): a for name, a in arrays.items() if name.startswith("model.")}
            threshold, precision, claims = arrays["numbers"].tolist()
            return Calibration(
                story["data"], story["looks"], story["space"], kept["probe"], story["vocabulary"], phrases,
                story["words"], pooling, model_from(story["kind"], model, len(FEATURES)), threshold,
                float(story["target"]), precision, claims, bool(story["shifts"]),
                Reliability(*arrays["reliability"]), PhraseFigures(*arrays["figures"]),
            )  # fmt: skip


def digest_of(vocabulary: Vocabulary) -> str:
    """Of all that scores depend on: phrases in their order, prompts, attributes."""
    places = range(len(vocabulary))
    said = [(vocabulary.phrases[n], vocabulary.prompts(n), vocabulary.attribute(n)) for n in places]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def probe(space: Space) -> Tensor:
    """(P, d) unit vectors of a few test pictures and texts: what tells a space from another, whatever it is made of."""
    random = np.random.default_rng(0)
    grains = random.integers(0, 256, (8, 8, 3), np.uint8)
    slope = np.linspace(0, 255, 64)[None, :, None] * np.array([1.0, 0.5, 0.1]) + np.zeros((64, 1, 1))
    pictures = [
        Image.fromarray(grains).resize((64, 64), Image.Resampling.NEAREST), Image.fromarray(slope.astype(np.uint8)),
    ]  # fmt: skip
    texts = space.encode_texts(["a red thing", "a photo of a striped wing"])
    return torch.cat([space.encode_images(pictures), texts]).float()


def same_space(one: Tensor, other: Tensor) -> bool:
    """Whether two probes are of one space, on whatever device."""
    return one.shape == other.shape and bool((torch.cosine_similarity(one, other) >= _SAME).all())


def shipped_calibration(space: Space, vocabulary: Vocabulary) -> Calibration | None:
    """That of an embedded world's CLIP and vocabulary; None for any other."""
    clip = clip_of(space)
    if clip is None or clip is not space or not clip.source.startswith("world:"):
        return None
    path = _shipped(clip.source)
    if path is None:
        return None
    calibration = _loaded(path)
    return None if digest_of(vocabulary) != calibration.words or calibration.why_not(space, vocabulary) else calibration


def _shipped(source: str) -> Path | None:
    from saywhy.worlds import calibration_file

    path = calibration_file(source.removeprefix("world:"))
    return path if path.is_file() else None


@lru_cache(maxsize=4)
def _loaded(path: Path) -> Calibration:
    return Calibration.load(path)


def bins(probability: np.ndarray, truth: np.ndarray) -> Reliability:
    """By tenths of probability. probability, truth: (R,) of pairs of which the truth is known."""
    tenth = np.minimum((probability * 10).astype(int), 9)
    count = np.bincount(tenth, minlength=10)
    filled = count > 0
    said, true = (np.bincount(tenth, values, minlength=10)[filled] / count[filled] for values in (probability, truth))
    return Reliability(said, true, count[filled].astype(float))


def figures_of(probability: np.ndarray, truth: np.ndarray, said: np.ndarray) -> PhraseFigures:
    """Of (N, M) pictures and phrases; truth NaN where it is not known; said: bool."""
    from scipy.stats import rankdata

    known = ~np.isnan(truth)
    there = truth == 1
    count, positive = known.sum(0), there.sum(0)
    auc = np.full(truth.shape[1], np.nan)
    for m in np.flatnonzero((positive > 0) & (positive < count)):
        ranks = rankdata(probability[known[:, m], m])
        over = ranks[there[known[:, m], m]].sum() - positive[m] * (positive[m] + 1) / 2
        auc[m] = over / (positive[m] * (count[m] - positive[m]))
    chosen = (said & known).sum(0)
    with np.errstate(invalid="ignore"):
        return PhraseFigures(
            count.astype(float), positive / count, auc, chosen.astype(float), (said & there).sum(0) / chosen
        )
