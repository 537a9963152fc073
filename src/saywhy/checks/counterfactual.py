"""Why this class and not that one? The fewest pieces of the picture whose change makes the classifier say the other.

The smallest set cannot be found in a reasonable number of passes: pieces are tried one by one, joined greedily, and
whatever turns out to be superfluous is put back. What is left is minimal (none of it can be left out), which is seen
and not assumed; that no other set is smaller is not claimed. Filled with what a picture of the other class shows at
the same place this is the search of Goyal et al. 2019 (Counterfactual Visual Explanations).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from saywhy.attribution.regions import find_regions
from saywhy.checks.filling import ring
from saywhy.checks.masking import random_masks_like
from saywhy.checks.outcomes import CPU_BATCH
from saywhy.classifiers.classifier import Classifier
from saywhy.classifiers.outputs import MULTI
from saywhy.errors import SaywhyError
from saywhy.types import Geometry

PASSES = 64  # of the search; the controls come on top
CONTROLS = 19  # equal areas elsewhere
LARGEST = 0.5  # of the frame: what is changed more than this is another picture
OF_MAP, OF_PICTURE = 8, 20  # pieces at most: cut from the map, and superpixels
SUPERPIXELS = 60  # that the frame is cut into
TRIED = 4  # pieces that are tried beside those already taken, in each step
Fill = Callable[[Tensor, Tensor], Tensor]
"""A picture (C, h, w) and masks (M, h, w) -> (M, C, h, w), filled under each of them."""


@final
@dataclass(frozen=True, eq=False)
class Turn:
    """What was found: the pieces to change (K, h, w) bool, none where nothing that was tried puts the other ahead.

    logits:    (2, C) float64, before and after. changed: (C, h, w), the changed picture, as the network takes it.
    minimal:   whether each piece was seen to be needed. elsewhere: (how many equal areas do the same, how many tried).
    """

    pieces: np.ndarray
    logits: Tensor
    changed: Tensor
    minimal: bool
    elsewhere: tuple[int, int]
    passes: int

    @property
    def mask(self) -> np.ndarray:
        """(h, w) bool: all that is changed."""
        return np.asarray(self.pieces.any(0))


def candidates(pixels: Tensor, difference: np.ndarray, regions: Sequence[np.ndarray], geometry: Geometry) -> np.ndarray:
    """(P, h, w) bool, pieces of one picture (C, h, w) that may be changed: regions, pieces of the map, superpixels.

    difference: (h, w) what speaks for the explained class rather than for the other one. Pieces may overlap; those of
    which the difference is not positive in sum are left out.
    """
    from skimage.segmentation import slic

    found = [np.asarray(mask, bool) for mask in regions]
    found += [r.mask for r in find_regions(difference, geometry, count=OF_MAP, least_share=0.0)]
    shown = pixels.float().cpu().permute(1, 2, 0).numpy()
    shown = (shown - shown.min()) / max(float(shown.max() - shown.min()), 1e-12)
    places = slic(shown, SUPERPIXELS, start_label=0, convert2lab=shown.shape[2] == 3)
    cells = [places == place for place in np.unique(places)]
    found += sorted(cells, key=lambda cell: -float(difference[cell].sum()))[:OF_PICTURE]
    unique = {mask.tobytes(): mask for mask in found if mask.any() and difference[mask].sum() > 0}
    return np.stack([*unique.values()]) if unique else np.zeros((0, *difference.shape), bool)


def turn(
    classifier: Classifier,
    pixels: Tensor,
    target: int,
    other: int,
    pieces: np.ndarray,
    fill: Fill = ring,
    *,
    passes: int = PASSES,
    controls: int = CONTROLS,
    seed: int = 0,
) -> Turn:
    """The fewest of some pieces whose change makes the classifier say ``other``, or else puts it above ``target``.

    pixels:   one picture (C, h, w), preprocessed. pieces: (P, h, w) bool, the likeliest first.
    passes:   of the search, at most. controls: equal areas elsewhere, which come on top.

    Sets that cover more than LARGEST of the frame are not tried. Raises SaywhyError for one class given twice, and
    fewer than one pass.
    """
    if target == other:
        raise SaywhyError(f"{classifier.labels[target]!r} is the explained class itself; name another one")
    if passes < 1:
        raise SaywhyError(f"passes must be at least 1; they are {passes}")
    search = _Search(classifier, pixels, pieces, fill, passes)
    before = search.logits[()]

    def says(logits: Tensor) -> float:
        """How far the other class is from being said; below 0: it is."""
        return float((logits.amax() if logits.argmax() != other else logits.topk(2).values[1]) - logits[other])

    def ahead(logits: Tensor) -> float:
        return float(logits[target] - logits[other])

    goals = [ahead] if classifier.task == MULTI else [says, ahead]
    for goal in goals:
        last = goal is goals[-1]
        best = search.grown(goal, search.left if last else search.left - (search.left - len(pieces)) // 4)
        if best is None:
            continue
        best, minimal = search.pruned(best, goal)
        mask = np.asarray(pieces[list(best)].any(0))
        rng = np.random.default_rng(seed)
        areas = torch.as_tensor(random_masks_like(mask, controls, rng))
        same = sum(goal(logits) < 0 for logits in search.run(fill(pixels, areas))) if controls else 0
        changed = fill(pixels, torch.as_tensor(mask)[None])[0]
        logits = torch.stack([before, search.logits[best]])
        return Turn(pieces[list(best)], logits, changed, minimal, (same, controls), search.spent)
    none = np.zeros((0, *pixels.shape[1:]), bool)
    return Turn(none, torch.stack([before, before]), pixels, False, (0, 0), search.spent)


_Set = tuple[int, ...]
_Goal = Callable[[Tensor], float]


class _Search:
    """Sets of pieces that have been tried, with the (C,) logits without them, and the passes that are left."""

    def __init__(self, classifier: Classifier, pixels: Tensor, pieces: np.ndarray, fill: Fill, passes: int) -> None:
        self.classifier, self.pixels, self.fill = classifier, pixels, fill
        self.masks = torch.as_tensor(pieces)
        self.left, self.spent = passes, 0
        self.logits: dict[_Set, Tensor] = {(): self.run(pixels[None])[0]}
        self.left -= 1

    def run(self, changed: Tensor) -> Tensor:
        """(M, C) logits of M pictures."""
        self.spent += len(changed)
        batches = changed.contiguous(memory_format=torch.channels_last).split(CPU_BATCH)
        return torch.cat([self.classifier.logits(batch).double().cpu() for batch in batches])

    def area(self, some: _Set) -> float:
        return float(self.masks[list(some)].any(0).float().mean())

    def try_out(self, sets: Sequence[_Set]) -> None:
        """Run what has not been run, as far as passes last."""
        new = [some for some in dict.fromkeys(sets) if some not in self.logits and self.area(some) <= LARGEST]
        new = new[: max(self.left, 0)]
        if new:
            masks = torch.stack([self.masks[list(some)].any(0) for some in new])
            self.logits |= dict(zip(new, self.run(self.fill(self.pixels, masks)), strict=True))
            self.left -= len(new)

    def reached(self, goal: _Goal) -> _Set | None:
        """The smallest area of those tried that reaches a goal."""
        reaching = [some for some, logits in self.logits.items() if some and goal(logits) < 0]
        return min(reaching, key=self.area, default=None)

    def grown(self, goal: _Goal, passes: int) -> _Set | None:
        """A set that reaches a goal: the best piece, to which the most helpful of the next ones are joined."""
        end = self.left - passes
        self.try_out([(n,) for n in range(len(self.masks))])
        found = self.reached(goal)
        tried = sorted((some for some in self.logits if len(some) == 1), key=lambda some: goal(self.logits[some]))
        if found is not None or not tried:
            return found
        (first, *rest) = [n for (n,) in tried]
        taken: _Set = (first,)
        while rest and self.left > end:
            sets = [tuple(sorted((*taken, n))) for n in rest[:TRIED]]
            self.try_out(sets)
            known = [
                (goal(self.logits[some]), some, n) for some, n in zip(sets, rest, strict=False) if some in self.logits
            ]
            best = min(known, default=None)
            if best is None or best[0] >= goal(self.logits[taken]):
                rest = rest[TRIED:]
                continue
            taken = best[1]
            rest.remove(best[2])
            if best[0] < 0:
                return self.reached(goal)
        return self.reached(goal)

    def pruned(self, some: _Set, goal: _Goal) -> tuple[_Set, bool]:
        """The set without what can be left out, and whether it was seen that nothing more can."""
        while len(some) > 1:
            fewer = [tuple(n for n in some if n != out) for out in some]
            self.try_out(fewer)
            known = [one for one in fewer if one in self.logits]
            reaching = [one for one in known if goal(self.logits[one]) < 0]
            if not reaching:
                return some, len(known) == len(fewer)
            some = min(reaching, key=self.area)
        return some, True
