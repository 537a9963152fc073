"""Why this class and not that one? The least change of a picture that makes the classifier say the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saywhy.answers.counterfactual import AROUND
from saywhy.attribution import attribute
from saywhy.checks.concept_change import concept_changes
from saywhy.checks.counterfactual import Fill, Turn, candidates, turn
from saywhy.checks.filling import others as filled_with
from saywhy.checks.filling import ring
from saywhy.classifiers.classifier import Classifier
from saywhy.classifiers.outputs import MULTI
from saywhy.errors import SaywhyError
from saywhy.pictures.channels import ChannelPicture, channel_picture
from saywhy.pictures.geometry import pasted
from saywhy.pictures.reading import UNNAMED, PictureLike, display_copy, picture_name, read_picture
from saywhy.questions.names_and_defaults import explaining_space, resolve_space
from saywhy.questions.options import RUNNER_UP, ExplainOptions
from saywhy.spaces.concepts import ConceptSpace
from saywhy.types import ConceptChange, Counterfactual, Geometry, Picture, Region, Space

FROM_OTHERS = "taken from a picture that it calls {}"
MOST_OTHERS = 64  # pictures of the other class among which the nearest is sought


@final
@dataclass(frozen=True, eq=False)
class Called:
    """Pictures that pieces may be taken from: (N, C, h, w), preprocessed, and (N,) the class said of each."""

    pixels: Tensor
    said: Tensor

    def nearest(self, pixels: Tensor, index: int) -> Tensor | None:
        """(C, h, w) the picture called so that differs least, pixel by pixel; None where there is none."""
        called = self.pixels[self.said == index][:MOST_OTHERS]
        called = called[[not torch.equal(one, pixels) for one in called]] if len(called) else called
        if not len(called):
            return None
        return called[(called - pixels).abs().flatten(1).mean(1).argmin()]


def called_by(images: Sequence[Image.Image], classifier: Classifier, batch_size: int = 16) -> Called | None:
    """What the classifier says of pictures, which pieces may then be taken from; None for no pictures."""
    if not images:
        return None
    pixels = classifier.preprocess(images)
    said = torch.cat([classifier.logits(batch).float().cpu().argmax(1) for batch in pixels.split(batch_size)])
    return Called(pixels, said)


def why_not(
    image: PictureLike | Tensor,
    *,
    model: str | Classifier,
    other: int | str = RUNNER_UP,
    others: Sequence[PictureLike | Tensor] = (),
    space: str | Space | None = None,
    method: str = ExplainOptions.method,
    composite: str | None = ExplainOptions.composite,
) -> Counterfactual:
    """The least change of a picture that makes a classifier say another class.

    >>> why_not("toucan.jpg", model="timm:resnet50", other="hornbill").picture  # the changed picture

    image:  as of ``explain``, one.
    other:  a class by index or name; "runner-up": the second best.
    others: pictures, of which the nearest that the classifier calls ``other`` lends what is put into the changed
            places; none, or none called so: they are filled with the colours around them, which tells what speaks for
            the class that is said, and seldom makes another one.
    space:  concept probes, in whose phrases it is said too; None: those that are shipped for the classifier.
    method, composite: of the maps, as of ``attribute``.

    Raises SaywhyError for a picture that cannot be read, an unknown class, and the class that is said itself.
    """
    classifier = model if isinstance(model, Classifier) else Classifier.load(model)
    picture = _read(image, classifier)
    name = explaining_space(classifier, None, ()) if space is None else space
    probes = None if space is None and not str(name).startswith("concepts:") else name
    opinion = resolve_space(probes, classifier) if isinstance(probes, str) else probes
    pixels = classifier.preprocess([picture])
    logits = classifier.logits(pixels).float().cpu()[0]
    lent = called_by([_read(one, classifier) for one in others], classifier)
    return counterfactual(
        picture, UNNAMED if isinstance(image, Tensor) else picture_name(image), pixels[0], classifier, logits,
        int(logits.argmax()), other, (), opinion, lent, method=method, composite=composite,
    )  # fmt: skip


def _read(image: PictureLike | Tensor, classifier: Classifier) -> Image.Image:
    if isinstance(image, Tensor):
        return channel_picture(image, None, None if classifier.takes_tensors else classifier.pixel_range)
    return read_picture(image)


def counterfactual(
    image: Image.Image,
    name: str,
    pixels: Tensor,
    classifier: Classifier,
    logits: Tensor,
    target: int,
    other: int | str,
    regions: Sequence[Region],
    space: Space | None = None,
    called: Called | None = None,
    geometry: Geometry | None = None,
    **options: Any,
) -> Counterfactual:
    """Why ``target`` and not ``other``, of one picture.

    pixels: (C, h, w), preprocessed. logits: (classes,) of it. regions: of its explanation, which are tried too.
    geometry: where the frame lies on the picture that regions are of; None: on this one.
    options: of ``attribute``.

    Raises SaywhyError for an unknown class, and for the explained one itself.
    """
    index = other_class(classifier, logits, target, other)
    geometry = geometry or classifier.frame_on(image)
    maps = attribute(classifier, pixels[None].repeat(2, 1, 1, 1), [target, index], names=[name] * 2, **options)
    difference = (maps.values[0] - maps.values[1]).numpy()
    pieces = candidates(pixels, difference, [region.mask for region in regions], geometry)
    lender = None if called is None else called.nearest(pixels, index)
    fill: Fill = ring if lender is None else partial(_filled, lender=lender)
    found = turn(classifier, pixels, target, index, pieces, fill)
    before, after = (classifier.probabilities(row) for row in found.logits)
    predicted = classifier.prediction(found.logits[1], int(found.logits[1].argmax()))
    ahead = bool(found.logits[1, index] > found.logits[1, target])
    total = float(np.clip(difference, 0, None).sum())
    changed = tuple(
        Region(geometry.to_original(_box(piece)), piece, float(np.clip(difference[piece], 0, None).sum()) / total)
        for piece in found.pieces
    )
    return Counterfactual(
        other=classifier.prediction(logits, index),
        after=predicted,
        explained=(float(before[target]), float(after[target])),
        probability=(float(before[index]), float(after[index])),
        turned=predicted.index == index and bool(len(changed)),
        ahead=ahead and bool(len(changed)),
        regions=changed,
        area=float(found.mask.mean()) if len(changed) else 0.0,
        change=AROUND if lender is None else FROM_OTHERS.format(classifier.labels[index]),
        minimal=found.minimal,
        elsewhere=found.elsewhere,
        passes=found.passes + 2,
        picture=_shown(image, name, found, classifier) if len(changed) else None,
        concepts=_in_concepts(space, classifier, pixels, target, index),
    )


def check_other(other: int | str | None, classifier: Classifier) -> None:
    """Raises SaywhyError for a class that the classifier does not know."""
    if other is not None and other != RUNNER_UP:
        classifier.class_index(other)


def asked_other(other: int | str | None, classifier: Classifier, logits: Tensor, target: int) -> int | None:
    """The index of the class to compare with; None where nobody asked, and where it is the explained one itself."""
    if other is None or len(logits) < 2 or (other != RUNNER_UP and classifier.class_index(other) == target):
        return None
    return other_class(classifier, logits, target, other)


def other_class(classifier: Classifier, logits: Tensor, target: int, other: int | str) -> int:
    """The index of the class to compare with. Raises SaywhyError for an unknown one, and the explained one itself."""
    if other == RUNNER_UP and not classifier.names_class(RUNNER_UP):
        ranked = [c for c in logits.argsort(descending=True).tolist() if c != target]
        if not ranked:
            raise SaywhyError(f"{classifier.name} has one class; there is no other")
        return ranked[0]
    index = classifier.class_index(other)
    if index == target:
        raise SaywhyError(f"{classifier.labels[target]!r} is the explained class itself; name another one")
    return index


def _filled(pixels: Tensor, masks: Tensor, lender: Tensor) -> Tensor:
    return filled_with(pixels, masks, lender[None].expand(len(masks), -1, -1, -1))


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _shown(image: Image.Image, name: str, found: Turn, classifier: Classifier) -> Picture:
    """The changed picture: what is changed is put on the picture, where the frame lies."""
    if isinstance(image, ChannelPicture) or classifier.takes_tensors:
        limits = None if classifier.takes_tensors else classifier.pixel_range
        return display_copy(channel_picture(found.changed, None, limits), name)
    frame = channel_picture(found.changed, None, classifier.pixel_range)
    return display_copy(pasted(image, frame, found.mask, classifier.frame_on(image)), name)


def _in_concepts(
    space: Space | None, classifier: Classifier, pixels: Tensor, target: int, other: int
) -> tuple[ConceptChange, ...]:
    if not isinstance(space, ConceptSpace):
        return ()
    features = classifier.features(pixels[None]).float().cpu()[0]
    against = [target] if classifier.task == MULTI else None
    return concept_changes(space.probes, features, classifier.head, other, against)
