"""Concept probes: phrases learned from pictures, as directions in the classifier's own features.

A label from here is the classifier's own opinion, in words whose meaning pictures have taught: a phrase is said where
the classifier's features look as they do in pictures of which it is true. ``saywhy train concepts`` fits them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import inf
from pathlib import Path
from typing import Any, Protocol, final

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from saywhy.attribution import Composite, attribute
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.plumbing.names import unknown
from saywhy.plumbing.records import typed
from saywhy.plumbing.tensors import reading_tensors, write_tensors
from saywhy.types import Geometry, Heatmap, Vocabulary

REACH = 3.0  # times the usual length of a picture's vector: beyond it lengths are cut off
BATCH = 32  # pictures or crops at once
_STORY = "probes"
_ARTICLES = ("a ", "an ", "the ")


class Scored(Protocol):
    """What ``there`` needs of ``seen.evidence.Evidence``."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The M phrases."""

    @property
    def cosines(self) -> Tensor:
        """(L, M) of the picture, first, and its regions."""


@final
@dataclass(frozen=True, eq=False)
class Probes:
    """M phrases as directions in the features of one classifier, and how well it holds each.

    phrases, groups, attributes: M texts, the group of each, and what it gives a value of, as in a Vocabulary.
    weights:   (M, d), for features as ``standardised``; a phrase's score is the product, 0 on average.
    mean, scale: (d,) of features of unit length.
    base:      (M,) the share of pictures that have it.
    spread:    (M,) standard deviation of the score over pictures that its probe had not seen.
    auc:       (M, 3) of the score over such pictures: value, and 95 % interval; NaN where it cannot be told, and so is
               ``spread``.
    held:      (M,) bool: whether the features hold it, by the interval's lower end.
    counts:    (M, 4) pictures that have it and that do not; of those it was said of in the folds: how many, how many
               rightly.
    platt:     (5,) intercept, and weights of ``platt_terms``.
    reference: (K, d) standardised features of pictures: what is usual.
    threshold: the probability from which a phrase is said; infinite where none reaches the precision asked for.
    precision: that precision.
    basis:     what all this rests on, in a few words.
    learned_from: the name of the data; teacher: what labelled it, where that was a CLIP, else "".
    left_out:  (phrase, why) of those that are never said, by no fault of the features: for some there were too few
               pictures, and they have no direction; some have one, and how often they are right cannot be known.
    classifier: fingerprint of the classifier.
    """

    phrases: tuple[str, ...]
    groups: tuple[str, ...]
    attributes: tuple[str, ...]
    weights: Tensor
    mean: Tensor
    scale: Tensor
    base: Tensor
    spread: Tensor
    auc: Tensor
    held: Tensor
    counts: Tensor
    platt: Tensor
    reference: Tensor
    threshold: float
    precision: float
    basis: str
    learned_from: str
    teacher: str
    left_out: tuple[tuple[str, str], ...]
    classifier: str

    def standardised(self, features: Tensor) -> Tensor:
        """(N, d) of features (N, d): unit length first, then each zero on average, about unit length together."""
        return (F.normalize(features.float(), dim=1) - self.mean) / self.scale

    def scores(self, features: Tensor) -> Tensor:
        """(N, M) of features (N, d)."""
        return self.standardised(features) @ self.weights.T

    def probabilities(self, scores: Tensor) -> Tensor:
        """(N, M) that each phrase is there, by scores (N, M); NaN for phrases that the features do not hold."""
        return torch.where(
            self.held, (platt_terms(scores, self.base, self.spread, self.auc[:, 0]) @ self.platt).sigmoid(), torch.nan
        )

    def save(self, path: Path) -> Path:
        """Write all of it into one safetensors file. Raises SaywhyError where it cannot be written."""
        tensors = {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}
        story = {name: value for name, value in asdict(replace(self)).items() if name not in tensors}
        story["threshold"] = None if self.threshold == inf else self.threshold
        return write_tensors(path, tensors, story, key=_STORY, make_folder=True)

    @staticmethod
    def load(path: Path) -> Probes:
        """What ``save`` wrote. Raises SaywhyError for a file that holds no probes."""
        with reading_tensors(path, "holds no concept probes", key=_STORY) as file:
            story: dict[str, Any] = dict(file.story)
            story["threshold"] = inf if story["threshold"] is None else float(story["threshold"])
            for name in ("phrases", "groups", "attributes"):
                story[name] = tuple(story[name])
            story["left_out"] = tuple((phrase, why) for phrase, why in story["left_out"])
            own = {f.name for f in fields(Probes)}  # a file may hold more; see seen.typical.add_typical
            tensors = {name: tensor for name, tensor in file.tensors.items() if name in own}
            probes = typed(Probes(**(story | tensors)))
            probes._check()
        return probes

    def _check(self) -> None:
        """Raises ValueError where the parts do not fit each other."""
        many, width = self.weights.shape
        shapes = {
            "base": (many,), "spread": (many,), "auc": (many, 3), "held": (many,), "counts": (many, 4),
            "mean": (width,), "scale": (width,), "platt": (5,), "reference": (len(self.reference), width),
        }  # fmt: skip
        for name, shape in shapes.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(f"{name} is of shape {tuple(getattr(self, name).shape)}, not {shape}")
        if {many} != {len(self.phrases), len(self.groups), len(self.attributes), len(set(self.phrases))}:
            raise ValueError(f"{many} directions, {len(self.phrases)} phrases")
        if not self.weights.isfinite().all() or not self.platt.isfinite().all():
            raise ValueError("its weights are not finite")


def platt_terms(scores: Tensor, base: Tensor, spread: Tensor, auc: Tensor) -> Tensor:
    """(N, M, 5) what the log-odds of a phrase are made of. scores: (N, M). The others: (M,).

    1, log-odds of the base rate, score over spread, that times (AUC - .5), score.

    The base rate stays in: a score alone says how unusual a picture is, and not how probable a phrase.
    """
    unusual = scores / spread
    parts = (torch.ones_like(scores), base.logit().expand_as(scores), unusual, unusual * (auc.nan_to_num(0.5) - 0.5))
    return torch.stack([*parts, scores], -1)


def features_of(classifier: Classifier, images: Sequence[Image.Image]) -> Tensor:
    """(N, d) of N pictures, on the CPU. Raises SaywhyError for a classifier without a linear head."""
    return torch.cat(
        [
            classifier.features(classifier.preprocess(images[start : start + BATCH])).float().cpu()
            for start in range(0, len(images), BATCH)
        ]
    )


@final
class ConceptSpace:
    """A Space of a classifier and its probes: pictures by their features, phrases by their directions.

    A picture's score on a phrase is the cosine times a factor of the phrase: the vectors of pictures have one value
    more, which makes up for their lengths. Raises SaywhyError for the probes of another classifier, and for one
    without a linear head.

    vocabulary:  the phrases that the features hold. calibration: how probable it is that they are there.
    context: how much wider than a region its crop is; as in the classifier's own space.
    """

    context = 2.2

    def __init__(self, classifier: Classifier, probes: Probes) -> None:
        if probes.classifier != classifier.fingerprint:
            raise SaywhyError(
                f"the probes belong to another classifier than {classifier.name} (other weights, class names or "
                "transform); train them with `saywhy train concepts`"
            )
        self.classifier, self.probes = classifier, probes
        self._lengths = probes.weights.norm(dim=1).clamp(min=1e-12)
        self._rows = {phrase.casefold(): m for m, phrase in reversed(list(enumerate(probes.phrases)))}
        self.vocabulary = _vocabulary(probes)
        self.calibration = ProbeCalibration(self)

    @property
    def name(self) -> str:
        return f"the classifier itself, in {self.vocabulary.name}"

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """(N, d + 1) unit vectors."""
        return self.encode_features(self.features(images))

    def features(self, images: Sequence[Image.Image]) -> Tensor:
        """(N, d) the classifier's features, as they are."""
        return features_of(self.classifier, images)

    def encode_features(self, features: Tensor) -> Tensor:
        """(N, d + 1) unit vectors of pictures whose features (N, d) are known."""
        return _on_sphere(self.probes.standardised(features))

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """(M, d + 1) unit vectors. Raises SaywhyError for a phrase that no picture taught, naming near ones."""
        directions = F.normalize(self.probes.weights[[self.row(text) for text in texts]], dim=1)
        return F.pad(directions, (0, 1))

    def row(self, text: str) -> int:
        """Which of the probes a phrase is, with or without its article. Raises SaywhyError for none of them."""
        plain = " ".join(text.split()).casefold()
        bare = next((plain.removeprefix(a) for a in _ARTICLES if plain.startswith(a)), plain)
        for one in (plain, bare):
            if one in self._rows:
                return self._rows[one]
        for phrase, why in self.probes.left_out:
            if phrase.casefold() in (plain, bare):
                raise SaywhyError(f"{phrase!r} was left out of the probes: {why}")
        raise unknown("probe for", text, self.probes.phrases, see="its phrases, by `saywhy train concepts`", cutoff=0.5)

    def scores(self, cosines: Tensor, rows: Sequence[int]) -> Tensor:
        """(..., M) scores of the probes of these rows, from cosines (..., M)."""
        return cosines * REACH * self._lengths[list(rows)]

    def text_maps(
        self, images: Tensor | Sequence[Image.Image], texts: Sequence[str], *, method: str = "lrp",
        composite: str | Composite | None = None, batch_size: int = BATCH, **options: Any,
    ) -> Heatmap:  # fmt: skip
        """A Heatmap of N pictures, each for its phrase: relevance for ``features @ row``, as of a class's row.

        The row is the probe's, without what all pictures have in common. Arguments and errors as of ``attribute``.
        """
        phrases = list(dict.fromkeys(texts))
        rows = self.probes.weights[[self.row(phrase) for phrase in phrases]] / self.probes.scale
        usual = F.normalize(self.probes.mean, dim=0)
        asked = self.classifier.with_rows(rows - (rows @ usual)[:, None] * usual, phrases)
        options = {"names": texts} | options  # what a warning calls the maps
        which = [phrases.index(text) for text in texts]
        found = attribute(asked, images, which, method, composite, batch_size=batch_size, **options)
        return replace(found, targets=tuple(texts))

    def text_frame(self, image: Image.Image) -> Geometry:
        """Where these maps lie on a picture."""
        return self.classifier.frame_on(image)

    def reference(self) -> Tensor:
        """(K, d + 1) what pictures usually look like here: some of those that the probes were fitted on."""
        return _on_sphere(self.probes.reference.float())

    def save(self, path: Path) -> Path:
        """See ``Probes.save``."""
        return self.probes.save(path)

    @staticmethod
    def load(path: str | Path, classifier: Classifier) -> ConceptSpace:
        """The space of saved probes. Raises SaywhyError where they are those of another classifier, or damaged."""
        return ConceptSpace(classifier, Probes.load(Path(path)))


@final
@dataclass(frozen=True, eq=False)
class ProbeCalibration:
    """What the probes know of how probable it is that phrases are there: by the look of the whole picture."""

    space: ConceptSpace
    shifts = False
    places = False  # of 31 words that stood out most in a region, 21 were in it: docs/photographs.md

    @property
    def threshold(self) -> float:
        return self.space.probes.threshold

    @property
    def basis(self) -> str:
        return self.space.probes.basis

    @property
    def unknown(self) -> str:
        """Why no probability of a phrase is known."""
        probes = self.space.probes
        if not any(phrase in probes.phrases for phrase, _ in probes.left_out):
            return "the classifier's features do not hold these words"
        return (
            f"how often these words are right cannot be known from {probes.learned_from}, as too few of its classes "
            "share them, or they always go together"
        )

    def there(self, evidence: Scored) -> Tensor:
        """(M,) the probability of each phrase; NaN for what the features do not hold."""
        rows = [self.space.row(phrase) for phrase in evidence.vocabulary.phrases]
        scores = torch.zeros(1, len(self.space.probes.phrases))
        scores[0, rows] = self.space.scores(evidence.cosines[0].float().cpu(), rows)
        return self.space.probes.probabilities(scores)[0, rows]


def _vocabulary(probes: Probes) -> Vocabulary:
    """The phrases that the features hold, or of which it is not known; all of them where there is none such.

    Its name says how many, from what.
    """
    unknown = {phrase for phrase, _ in probes.left_out}
    held = enumerate(zip(probes.phrases, probes.held.tolist(), strict=True))
    kept = [m for m, (phrase, holds) in held if holds or phrase in unknown] or list(range(len(probes.phrases)))
    phrases, groups, attributes = (
        tuple(of[m] for m in kept) for of in (probes.phrases, probes.groups, probes.attributes)
    )
    words = "1 word" if len(phrases) == 1 else f"{len(phrases)} words"
    by = f" as {probes.teacher} calls them" if probes.teacher else ""
    name = f"{words} learned from pictures{by} ({probes.learned_from})"
    return Vocabulary(phrases, groups, name=name, attributes=attributes if any(attributes) else ())


def _on_sphere(vectors: Tensor) -> Tensor:
    """(N, d + 1) unit vectors of (N, d) that are at most REACH long: one value more makes up for the length."""
    missing = (REACH**2 - vectors.square().sum(1, keepdim=True)).clamp(min=0).sqrt()
    return F.normalize(torch.cat([vectors, missing], 1), dim=1)
