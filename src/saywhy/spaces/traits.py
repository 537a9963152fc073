"""What a space may know beyond the three members of ``types.Space``, and what holds for one that does not say.

A space is any object with ``name``, ``encode_images`` and ``encode_texts``; it imports nothing and inherits nothing.
These members are optional. Whoever asks for one of them asks here, so that each default is said once.

    reference() -> (K, d)       what pictures usually look like; else what is usual is the mean over the vocabulary
    context: float              how much wider than a region the piece is that is looked at; else 1, the region itself
    alternatives: bool          phrases that exclude each other are told apart by what they do not share; else not
    encode_texts_once(texts)    as encode_texts, for texts not worth keeping on disk; else encode_texts
    scale: float                what cosines are multiplied by before a softmax over texts; else 100, as CLIP's
    class_direction(n) -> (d,)  what speaks for class n; else there is no contrast with the runner-up
    text_maps(images, texts)    where each text is in its picture (attribution.LooksForTexts); else no map of a text
    text_frame(image)           where these maps lie on a picture
    vocabulary: Vocabulary      the phrases it knows, where it knows no others; else any
    calibration                 how probable it is that phrases are there (seen.gate.Calibrated); else it is not known
    classifier: Classifier      whose opinion it is; else it is of no classifier
    encode_features(f)          (N, d) of the classifier's features (N, f); else its regions are looked at as crops
    clip: ClipSpace             the CLIP it is made from; else itself, where it is one
    tower: Module               the image tower in the place of that CLIP's; else that CLIP's
    words, usual, chance        the rationales it was tuned on, what they usually score, and how probable it is that one
                                which ``why`` gives is there; else None
    objective, temperatures     what it was tuned for, and what its scores are divided by; else "ecor", and 1
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from torch import Tensor, nn

from saywhy.errors import SaywhyError
from saywhy.spaces.clip import ClipSpace
from saywhy.spaces.similarity import Usual
from saywhy.types import Space, Vocabulary

if TYPE_CHECKING:
    from saywhy.classifiers.classifier import Classifier
    from saywhy.spaces.pairs.beliefs import ReasonChance
    from saywhy.words.rationale_words import RationaleWords

SCALE = 100.0  # of cosines, where a space says none
OBJECTIVE = "ecor"  # what a space is asked for, where it was tuned for nothing


@runtime_checkable
class KnowsFeatures(Protocol):
    """A space of what a classifier's features show, so that pictures need not be run through it again."""

    @property
    def classifier(self) -> Classifier:
        """Whose features they are."""

    def encode_features(self, features: Tensor) -> Tensor:
        """(N, d) unit vectors of pictures, or parts of them, whose features (N, f) are known."""


@runtime_checkable
class KnowsClasses(Protocol):
    """A space in which the classes of a classifier have directions of their own."""

    def class_direction(self, index: int) -> Tensor:
        """(d,) unit: what speaks for a class rather than for the average one."""


def reference_of(space: Space) -> Tensor | None:
    """(K, d) what pictures usually look like in the space; None where it does not know."""
    return space.reference() if hasattr(space, "reference") else None


def context_of(space: Space) -> float:
    """How much wider than a region the piece is that is looked at."""
    return float(getattr(space, "context", 1.0))


def tells_alternatives_apart(space: Space) -> bool:
    """Whether phrases that exclude each other are encoded without what they share; see ``encode_vocabulary``."""
    return bool(getattr(space, "alternatives", False))


def encode_once(space: Space, texts: Sequence[str]) -> Tensor:
    """(M, d) unit vectors of texts that will not be asked for again, which a space need not keep on disk."""
    return getattr(space, "encode_texts_once", space.encode_texts)(texts)


def scale_of(space: Space) -> float:
    """What cosines are multiplied by before a softmax over texts."""
    return float(getattr(space, "scale", SCALE))


def calibration_of(space: Space) -> object | None:
    """What the space itself knows of how probable it is that phrases are there; None where it knows nothing."""
    return getattr(space, "calibration", None)


def vocabulary_of(space: Space) -> Vocabulary | None:
    """The phrases that the space knows; None where it knows any."""
    return getattr(space, "vocabulary", None)


def classifier_of(space: Space) -> Classifier | None:
    """The classifier whose opinion the space gives; None where it gives no classifier's."""
    return getattr(space, "classifier", None)


def clip_of(space: Space) -> ClipSpace | None:
    """The CLIP that the space is, or is made from; None where it is made from none."""
    clip = getattr(space, "clip", space)
    return clip if isinstance(clip, ClipSpace) else None


def tower_of(space: Space) -> tuple[nn.Module, ClipSpace]:
    """What sees pictures, and the CLIP it belongs to: a ClipSpace, or a space with a tuned ``tower`` and its ``clip``.

    Raises SaywhyError for a space without a CLIP, or with a tower that is a bare function.
    """
    clip = clip_of(space)
    tower = getattr(space, "tower", None) or getattr(clip, "image_tower", None)
    if clip is None or not isinstance(tower, nn.Module):
        raise SaywhyError(f"rationales need a CLIP, as it is or tuned; {space.name} is not one")
    return tower, clip


def words_of(space: Space) -> RationaleWords | None:
    """The categories and rationales that the space was tuned on; None where it was not."""
    return getattr(space, "words", None)


def usual_of(space: Space) -> Usual | None:
    """What the rationales of ``words_of`` score on pictures in general; None where that is not known."""
    return getattr(space, "usual", None)


def chance_of(space: Space) -> ReasonChance | None:
    """How probable it is that a rationale of ``words_of`` that is given as a reason is there; None: not known."""
    return getattr(space, "chance", None)


def objective_of(space: Space) -> str:
    """What the space was tuned for, which is what it is asked for."""
    return str(getattr(space, "objective", OBJECTIVE))


def temperatures_of(space: Space) -> Mapping[str, float]:
    """Term -> what its scores are divided by; empty where nothing was calibrated."""
    return getattr(space, "temperatures", {})
