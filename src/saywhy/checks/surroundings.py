"""Does the decision rest on the surroundings of the object? A background, a frame, a letter in a corner, the light.

A cause that is everywhere around cannot be tested by filling a region: equal areas elsewhere hit it too. So all that
is around the object is swapped, for the surroundings of other pictures; the controls are the picture's own, mirrored
and shifted, so that what any disturbance of the surroundings does is taken off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from saywhy.checks.objects import object_mask
from saywhy.checks.outcomes import Outcomes, outcomes
from saywhy.checks.verdicts import untestable
from saywhy.checks.where import chances
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.types import BORNE_OUT, NOT_BORNE_OUT, Check

CHANGE = "its surroundings swapped for those of other pictures"
FAST, FULL = 10, 32  # passes: one for each swap, and one for each control
BORDER = 0.125  # of the shorter side: the border that is taken for surroundings, whatever is in it
OWN = "not clearly further than in its own"
LEAST = 0.1  # of the margin: what the decision is said to rest on takes at least so much more than the controls do
LEVEL = 0.05  # that the difference is less than that, one-sided (Welch)
FEWEST = 4  # other pictures
MORE = "explain several at once, or give a reference (--reference)"
"""What to do where too few are at hand."""
SOFT = 1 / 32  # of the shorter side: how softly the object's rim goes over into its new surroundings
DOWN = 0.1  # of the height: how far surroundings are shifted up or down, at most; sideways by up to half the width


def check_surroundings(
    classifier: Classifier,
    pixels: Tensor,
    target: int,
    others: Tensor | Sequence[Tensor],
    *,
    mask: np.ndarray | None = None,
    before: Outcomes | None = None,
    passes: int = FAST,
) -> Check:
    """What becomes of a class when all that is around the object is swapped.

    Borne out where the class falls further with other pictures' surroundings than with its own, mirrored and shifted,
    by at least LEAST of its margin: the lower end of Welch's one-sided interval lies above that. The effect is the fall
    with other pictures' surroundings, the control that with its own; the interval is that of their difference.

    pixels: (C, h, w), preprocessed. target: class index.
    others: (M, C, h, w), other pictures, preprocessed alike, best first; see ``other_pictures``.
    mask:   (h, w) bool, the object; None: what does not look like the picture's edge (``object_mask``), or the middle
            of the frame where nothing stands out.
    before: the picture's own outcome, where it is known already: saves a pass.
    passes: so many changed pictures, at most: half of them swaps, half controls.

    Raises SaywhyError for a mask of another shape than the picture's.
    """
    if before is None:
        before = outcomes(classifier, [pixels], [target])
    margin = float(before.margins[0])
    count = min(passes // 2, len(others))
    if count < FEWEST:
        return untestable(
            CHANGE,
            f"{FEWEST} other pictures have to lend their surroundings, and {len(others)} are at hand: {MORE}",
            before,
        )
    if margin <= 0:
        return untestable(CHANGE, "the class is no more than the average of all classes to begin with", before)
    middle = middle_of(pixels)
    if mask is None:
        stands_out = object_mask(pixels)
        mask = middle if stands_out is None or not (stands_out & middle).any() else stands_out & middle
    elif mask.shape != tuple(pixels.shape[1:]):
        raise SaywhyError(
            f"the mask is of shape {mask.shape}, the picture of {tuple(pixels.shape[1:])}; resize the mask"
        )
    if mask.all() or not mask.any():
        return untestable(CHANGE, "the object is the whole picture, or none of it: nothing is around it", before)

    kept = softened(mask).to(pixels)
    hole = mask | middle
    own = from_border(pixels, middle if hole.all() else hole)
    rng = chances(pixels, target)

    def changed() -> Iterator[Tensor]:
        for other in others[:count]:
            yield kept * pixels + (1 - kept) * _moved(from_border(other.to(pixels), middle), rng)
        for _ in range(count):
            yield kept * pixels + (1 - kept) * _moved(own, rng)

    found = outcomes(classifier, changed(), [target] * (2 * count))
    swapped, controls = found[:count], found[count:]
    falls, beside = ((before.logits[0] - part.logits).numpy() for part in (swapped, controls))
    interval, p, less = _welch(falls, beside, LEAST * margin)
    stands = less <= LEVEL
    return Check(
        CHANGE,
        BORNE_OUT if stands else NOT_BORNE_OUT,
        float(falls.mean()),
        margin,
        (float(before.probabilities[0]), float(swapped.probabilities.mean()), float(controls.probabilities.mean())),
        (int(before.ranks[0]), int(swapped.ranks.median())),
        interval=interval,
        control=float(beside.mean()),
        p=p,
        passes=2 * count,
        reason="" if stands else OWN,
    )


def other_pictures(predicted: Sequence[int], picture: int, count: int, rng: np.random.Generator) -> list[int]:
    """Which of N pictures lend their surroundings to one of them: at most ``count`` indices.

    predicted: (N,) class indices. Those of other classes come first: pictures of the same class often have the same
    surroundings, and with them the class would not fall though it rests on these.
    """
    drawn = rng.permutation(len(predicted))
    order = sorted((int(n) for n in drawn if n != picture), key=lambda n: predicted[n] == predicted[picture])
    return order[:count]


def middle_of(pixels: Tensor) -> np.ndarray:
    """(h, w) bool: all but the border."""
    wide = max(1, round(BORDER * min(pixels.shape[1:])))
    middle = np.zeros(tuple(pixels.shape[1:]), bool)
    middle[wide:-wide, wide:-wide] = True
    return middle


def softened(mask: np.ndarray) -> Tensor:
    """(h, w) how much of each pixel is kept: all of the object, ever less of what is around it.

    A hard rim would leave a seam of the old surroundings in the new ones, which the controls do not have, and networks
    see it: twice as many false claims (docs/checks.md).
    """
    from scipy.ndimage import binary_dilation, gaussian_filter

    wide = SOFT * min(mask.shape)
    grown = binary_dilation(mask, iterations=max(1, round(wide)))
    return torch.as_tensor(np.maximum(gaussian_filter(grown.astype(np.float32), wide), mask))


def from_border(pixels: Tensor, hole: np.ndarray) -> Tensor:
    """(C, h, w) with the pixels of a hole (h, w) mirrored in its rim; deeper than what is around, with the rim's."""
    from scipy.ndimage import distance_transform_edt

    height, width = hole.shape
    down, across = distance_transform_edt(hole, return_distances=False, return_indices=True)
    rows, columns = np.mgrid[:height, :width]
    beyond = _folded(2 * down - rows, height), _folded(2 * across - columns, width)
    within = hole[beyond]
    down, across = np.where(within, down, beyond[0]), np.where(within, across, beyond[1])
    return pixels[:, torch.as_tensor(down), torch.as_tensor(across)]


def _moved(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Shifted, and mirrored or not, by chance; what leaves on one side comes back mirrored on the other."""
    height, width = pixels.shape[1:]
    most = int(DOWN * height)
    rows = _folded(np.arange(height) + rng.integers(-most, most + 1), height)
    columns = _folded(np.arange(width) + rng.integers(-(width // 2), width // 2 + 1), width)
    columns = columns[::-1].copy() if rng.random() < 0.5 else columns
    return pixels[:, torch.as_tensor(rows)][:, :, torch.as_tensor(columns)]


def _folded(places: np.ndarray, side: int) -> np.ndarray:
    """Places on an axis that is mirrored at its ends."""
    places = places % (2 * side)
    return np.where(places >= side, 2 * side - 1 - places, places)


def _welch(a: np.ndarray, b: np.ndarray, least: float) -> tuple[tuple[float, float], float, float]:
    """Of mean a less mean b: the 95 % interval, and the one-sided p of its being 0, and of its being ``least``."""
    from scipy.stats import t

    further = float(a.mean() - b.mean())
    parts = np.array([a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)])
    error = float(np.sqrt(parts.sum()))
    if error <= 1e-6 * max(1.0, abs(further)):  # nothing varies but rounding
        return (further, further), float(further <= 1e-5), float(further < least)
    freedom = float(parts.sum() ** 2 / (parts**2 / np.array([len(a) - 1, len(b) - 1])).sum())
    half = float(t.ppf(0.975, freedom)) * error
    p, less = (float(t.sf((further - x) / error, freedom)) for x in (0.0, least))
    return (further - half, further + half), p, less
