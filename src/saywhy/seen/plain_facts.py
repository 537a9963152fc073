"""Plain facts of a picture that no vocabulary has a word for and that matter: a square, a frame, a mark, its light.

They are measured in the picture (``pictures.plain``), not asked of a space, and are said only where the decision rests
on them: relevance lies on a piece, and the explained logit falls when it is filled with the colour around it, when a
frame is taken off, or when the light is set back to what is usual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from saywhy.answers.claims import MEASURED, WHOLE
from saywhy.answers.claims import region as region_name
from saywhy.answers.places import position
from saywhy.checks.filling import ring
from saywhy.checks.outcomes import of_logits, outcomes
from saywhy.classifiers.classifier import Classifier
from saywhy.pictures.plain import BAR, DISC, LETTER, RECTANGLE, SQUARE, Piece, frame, levels, measured, pieces
from saywhy.types import BORNE_OUT, Check, Claim, Geometry, Region

LEAST_SHARE = 0.05  # of the positive relevance: what lies on a piece that is spoken of
DENSER = 3.0  # how many times its share of the picture that is, at least
CONTRAST = 15.0  # delta E between a piece and what is around it, at least
FALL = 0.1  # of the margin: how far the explained logit falls at least without it
TRIED = 3  # pieces of a picture that are filled
UNUSUAL_LIGHT = 0.7  # deviations from what is usual, over the levels of brightness
FALL_OF_LIGHT = 0.35  # of the margin: how far the logit falls in usual light, more than in light as far off again
BASIS = "colour, shape and place measured; without it the score falls"
LIGHT_BASIS = "levels of brightness measured against other pictures; set back to what is usual, the score falls"
_SAID = (SQUARE, RECTANGLE, DISC, BAR, LETTER)


@final
@dataclass(frozen=True, eq=False)
class UsualLight:
    """What is usual of the brightness of pictures. centre, spread: (L,) of ``plain.levels``; spread is robust."""

    centre: np.ndarray
    spread: np.ndarray

    @staticmethod
    def of(found: np.ndarray) -> UsualLight:
        """From the (N, L) levels of pictures, of which fewer than half may be unusual."""
        centre = np.median(found, 0)
        return UsualLight(centre, np.maximum(1.4826 * np.median(np.abs(found - centre), 0), 0.01))

    def missing(self, shown: np.ndarray) -> float | None:
        """How much lighter (H, W, 3) uint8 would have to be, of 0..1, to be as usual; None where it is."""
        found = levels(shown)
        if abs(float(((found - self.centre) / self.spread).mean())) < UNUSUAL_LIGHT:
            return None
        return float((self.centre - found).mean())


def plain_facts(
    classifier: Classifier,
    pixels: Tensor,
    image: Image.Image,
    geometry: Geometry,
    relevance: np.ndarray,
    target: int,
    logits: Tensor,
    regions: Sequence[Region],
    usual: UsualLight | None = None,
) -> tuple[Claim, ...]:
    """The plain facts of one picture that its decision rests on, those on which most rests first.

    pixels:    (C, h, w), preprocessed. image: RGB. relevance: (h, w) signed, of the class ``target``.
    logits:    (C,) of the picture.
    usual:     what brightness is usual; None: nothing is said of it.

    Their score is the share of the margin (the explained logit above the mean of all) that is lost without them; where
    light is concerned, more than in light as far off again. Spends at most TRIED + 3 forward passes.
    """
    seen = image.crop(geometry.to_original((0, 0, *geometry.frame)))
    shown = measured(seen)
    spoken: list[tuple[str, int | None, str]] = []  # words, region, change
    changed: list[Tensor] = []
    for piece in _candidates(shown, relevance, geometry)[:TRIED]:
        mask = _in_frame(piece.mask, pixels)
        changed.append(ring(pixels, mask[None])[0])
        spoken.append((_words(piece, shown.shape), _region_of(mask, regions), "filled with the colours around it"))
    if (found := frame(shown)) is not None:
        changed.append(_without_frame(pixels, _in_frame(found.mask, pixels)))
        spoken.append((f"a {found.colour} frame around the picture", None, "covered with what lies inside of it"))
    light = None if usual is None else usual.missing(shown)
    if light is not None:
        changed += [_lit(pixels, classifier, light), _lit(pixels, classifier, -light)]
        words = f"the picture is {'brighter' if light < 0 else 'darker'} than usual"
        spoken.append((words, None, "the light set back to what is usual"))
    if not changed:
        return ()
    before = of_logits(classifier, logits[None], [target])
    margin, after = float(before.margins[0]), outcomes(classifier, changed, [target] * len(changed))
    shares = ((before.logits - after.logits) / margin).tolist() if margin > 0 else []
    needed = [FALL] * len(spoken)
    beside: list[float | None] = [None] * len(spoken)
    if light is not None and shares:
        opposite = max(0.0, shares.pop())
        shares[-1] -= opposite  # a picture of odd light is not what the network knows, either way
        needed[-1], beside[-1] = FALL_OF_LIGHT, opposite * margin
    claims = []
    for n, share in sorted(enumerate(shares), key=lambda one: -one[1]):
        if share < needed[n]:
            continue
        text, region, change = spoken[n]
        check = Check(
            change, BORNE_OUT, float(before.logits[0] - after.logits[n]), margin,
            (float(before.probabilities[0]), float(after.probabilities[n]), None),
            (int(before.ranks[0]), int(after.ranks[n])), control=beside[n], passes=1 if beside[n] is None else 2,
            reason="" if beside[n] is None else "the control is as large a change of light the other way",
        )  # fmt: skip
        about = WHOLE if region is None else region_name(region)
        basis = BASIS if beside[n] is None else LIGHT_BASIS
        claims.append(Claim(text, about, MEASURED, share, None, basis, said=True, used=check))
    return tuple(claims)


def _candidates(shown: np.ndarray, relevance: np.ndarray, geometry: Geometry) -> list[Piece]:
    """The pieces that stand out and have relevance on them, those with most first."""
    height, width = shown.shape[:2]
    positive = torch.from_numpy(np.nan_to_num(relevance).clip(min=0).astype(np.float32))[None, None]
    weight = F.interpolate(positive, (height, width), mode="bilinear", antialias=True)[0, 0].numpy()
    total = max(float(weight.sum()), 1e-12)
    found = []
    for piece in pieces(shown, weight, LEAST_SHARE):
        share = float(weight[_grown(piece.mask)].sum()) / total
        dense = share >= DENSER * piece.area or piece.shape == LETTER
        if piece.shape in _SAID and piece.contrast >= CONTRAST and dense:
            found.append((share * min(piece.contrast, 60), piece))
    ranked = [piece for _, piece in sorted(found, key=lambda one: -one[0])]
    return [piece for piece in ranked if not any(_within(piece, other) for other in ranked)]


def _within(piece: Piece, other: Piece) -> bool:
    """Whether a piece lies in the box of another, as the hole of a letter does."""
    inside = all(a >= b for a, b in zip(piece.box[:2], other.box[:2], strict=True)) and all(
        a <= b for a, b in zip(piece.box[2:], other.box[2:], strict=True)
    )
    return inside and piece.box != other.box


def _grown(mask: np.ndarray) -> np.ndarray:
    from scipy.ndimage import binary_dilation

    return np.asarray(binary_dilation(mask))


def _in_frame(mask: np.ndarray, pixels: Tensor) -> Tensor:
    """(h, w) bool: the mask of the measured picture in the preprocessed frame, a little grown."""
    grown = torch.from_numpy(_grown(mask)).float()[None, None]
    return F.interpolate(grown, tuple(pixels.shape[1:]), mode="bilinear", antialias=True)[0, 0] > 0.25


def _words(piece: Piece, shape: tuple[int, ...]) -> str:
    small = "small " if piece.area < 0.02 else ""
    place = position(piece.box, (shape[1], shape[0]))
    where = f"{place} corner" if piece.shape == LETTER else place
    return f"a {small}{piece.colour} {piece.shape}, {where}"


def _region_of(mask: Tensor, regions: Sequence[Region]) -> int | None:
    """The region that a piece lies in most."""
    inside = mask.numpy()
    shared = [int((region.mask & inside).sum()) for region in regions]
    return int(np.argmax(shared)) if any(shared) else None


def _without_frame(pixels: Tensor, mask: Tensor) -> Tensor:
    """(C, h, w): the border takes what lies nearest inside of it."""
    rows, columns = (~mask).any(1).nonzero()[:, 0], (~mask).any(0).nonzero()[:, 0]
    if not len(rows) or not len(columns):
        return pixels
    inner = pixels[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    left, top = int(columns[0]), int(rows[0])
    right, bottom = pixels.shape[2] - int(columns[-1]) - 1, pixels.shape[1] - int(rows[-1]) - 1
    return F.pad(inner[None].float(), (left, right, top, bottom), mode="replicate")[0].to(pixels.dtype)


def _lit(pixels: Tensor, classifier: Classifier, light: float) -> Tensor:
    """(C, h, w): so much lighter, of 0..1."""
    black, white = (end[:, None, None].to(pixels) for end in classifier.pixel_range)
    return torch.minimum(torch.maximum(pixels + light * (white - black), black), white)
