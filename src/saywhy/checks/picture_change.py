"""Is the rationale used? What the score does when its place in the picture is covered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import final

import torch
from PIL import Image
from torch import Tensor

from saywhy.checks.belief import ROUNDING, check_asked, log_rationale, scores_of_category, with_progress
from saywhy.checks.masking import Trial
from saywhy.errors import SaywhyError
from saywhy.spaces.pairs.bank import WordBank
from saywhy.spaces.pairs.conditional import ROWS
from saywhy.spaces.pairs.scorer import PairScorer

BATCH = 16  # trials at once
MANY_TRIALS = 50  # likewise


@final
@dataclass(frozen=True, eq=False)
class PictureChange:
    """What happened to N answers when the picture was changed; NaN where it was not.

    falls:     (N, 2) of log P(r | I) and of log P(c | r, I), when what the rationale is about was taken out.
    elsewhere: (N, draws, 2) the same, when an equal area elsewhere was.
    """

    falls: Tensor
    elsewhere: Tensor

    @property
    def used(self) -> Tensor:
        """(N,) float: 1 where both fall, and both more than under every equal area elsewhere, else 0; NaN untested.

        Where the place is no other than the places elsewhere each of the two is the greatest with chance
        1 / (draws + 1), both with no more. That is the chance of a place that was drawn at random; a place that was
        chosen because much is there (the middle, the bird) may beat it for that alone.
        """
        most = torch.cat([self.elsewhere, torch.zeros_like(self.falls)[:, None]], 1).amax(1)
        both = (self.falls > most + ROUNDING).all(1).to(self.falls.dtype)
        return torch.where(self.falls.isnan().any(1), torch.nan, both)

    @property
    def chance(self) -> Tensor:
        """(N,) what chance gives for ``used``, at most."""
        even = torch.full((len(self.falls),), 1 / (self.elsewhere.shape[1] + 1))
        return torch.where(self.falls.isnan().any(1), torch.nan, even)


Encode = Callable[[Sequence[Image.Image]], Tensor]
"""N pictures -> (N, d) unit vectors, as a Space's ``encode_images``."""


def picture_change(
    encode: Encode,
    trials: Iterable[Trial | None],
    scorer: PairScorer[WordBank],
    categories: Tensor,
    rationales: Tensor,
) -> PictureChange:
    """Take what the rationale is about out of the picture, and see whether rationale and category fall, and how much
    more than without another area of the same size.

    trials:     N, read one batch at a time, so that they may be made on the way; see ``trial``. All with as many areas
                elsewhere; None: not tested.
    categories: (N,) the category that was named. rationales: (N,) the rationale; -1: none was, nothing is tested.

    Raises SaywhyError as ``log_conditional``, and for trials that are not N, or not alike.
    """
    check_asked(None, scorer, categories, rationales, none=True)
    named = (rationales >= 0).tolist()
    rest = iter(trials)
    tested: list[int] = []
    vectors: list[Tensor] = []
    kinds: set[int] = set()
    for start in with_progress(range(0, len(named), BATCH), "changing the pictures", len(named) > MANY_TRIALS):
        batch = list(islice(rest, min(BATCH, len(named) - start)))
        if len(batch) < min(BATCH, len(named) - start):
            raise SaywhyError(f"{start + len(batch)} trials for {len(named)} answers; give one for each, or None")
        here = [(start + n, each) for n, each in enumerate(batch) if each is not None and named[start + n]]
        kinds |= {len(each.elsewhere) for _, each in here}
        if len(kinds) > 1:
            raise SaywhyError("trials have different numbers of areas elsewhere; give them all the same number")
        if here:
            tested += [n for n, _ in here]
            vectors.append(
                encode([image for _, each in here for image in (each.picture, each.changed, *each.elsewhere)])
            )
    if next(rest, None) is not None:
        raise SaywhyError(f"more than {len(named)} trials for as many answers; give one for each")
    draws = kinds.pop() if kinds else 0
    falls = torch.full((len(named), 1 + draws, 2), torch.nan)
    if tested:
        images, who = torch.cat(vectors), torch.tensor(tested)
        of = who.repeat_interleave(2 + draws)
        logs = _evidence(images, scorer, categories[of], rationales[of]).unflatten(0, (-1, 2 + draws))
        falls[who] = logs[:, :1] - logs[:, 1:]
    return PictureChange(falls[:, 0], falls[:, 1:])


def _evidence(images: Tensor, scorer: PairScorer[WordBank], categories: Tensor, rationales: Tensor) -> Tensor:
    """(M, 2) log P(r | I) and log P(c | r, I) of M pictures, each with its answer."""
    named = [
        log_rationale(batch, scorer).gather(1, chosen[:, None])[:, 0]
        for batch, chosen in zip(images.split(ROWS), rationales.split(ROWS), strict=True)
    ]
    logs, _ = scores_of_category(images, torch.arange(len(images)), scorer, categories, rationales)
    return torch.stack([torch.cat(named), logs], 1)
