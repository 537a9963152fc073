"""Does an answer rest on its rationales? Both tests of ``rationale_use``, for the reasons of one picture.

By the text: is the category more probable with this rationale than with absent ones in its place? By the picture: do
rationale and category fall when its place is covered, and more than when equal areas elsewhere are? A reason is borne
out where both say so: its p is the largest of the three, which is valid whatever the tests have in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saywhy.checks.belief import ROUNDING, log_rationale, scores_of_category
from saywhy.checks.masking import masked, random_masks_like
from saywhy.checks.picture_change import Encode
from saywhy.checks.text_swap import absent_rationales
from saywhy.checks.verdicts import LEVEL
from saywhy.spaces.pairs.bank import WordBank
from saywhy.spaces.pairs.scorer import PairScorer
from saywhy.types import BORNE_OUT, NOT_BORNE_OUT, NOT_TESTABLE, Check, RationaleUse

AREAS = 49  # elsewhere, for a picture: of five reasons one alone can then be borne out, 5 / (1 + 49) = LEVEL
SWAPS = 199  # absent rationales at most; they cost no pass
BY_TEXT = "another rationale put in its place in the text"
BY_PICTURE = "its place covered with the colours around"


@torch.no_grad()
def check_reasons(
    picture: Image.Image,
    places: Sequence[np.ndarray],
    encode: Encode,
    scorer: PairScorer[WordBank],
    category: int,
    rationales: Sequence[int],
    *,
    areas: int = AREAS,
    seed: int = 0,
) -> list[RationaleUse]:
    """For each of R rationales of one category whether the answer rests on it.

    picture: as the space sees it. places: R masks (H, W) bool, where each rationale is; one without a pixel was not
             found, and its reason cannot be tested by the picture.
    areas:   elsewhere, in all, of the shapes of the places in turn; shared by the reasons.

    Spends a pass for the picture, each place and each area. Raises SaywhyError as ``log_conditional``.
    """
    found = [n for n, place in enumerate(places) if place.any()]
    rng = np.random.default_rng(seed)
    shares = [len(range(k, areas, len(found))) for k in range(len(found))]
    elsewhere = [
        area for n, share in zip(found, shares, strict=True) for area in random_masks_like(places[n], share, rng)
    ]
    images = encode([picture, *(masked(picture, place) for place in (*(places[n] for n in found), *elsewhere))])
    (absent,) = absent_rationales(scorer.bank.words, [category], [set()])
    uses = []
    for n, named in enumerate(rationales):
        text = _by_text(images[:1], scorer, category, named, absent, seed)
        if n in found:
            at = 1 + found.index(n)
            picked = torch.cat([images[:1], images[at : at + 1], images[1 + len(found) :]])
            seen, rank = _logs(picked, scorer, category, named)
            changed = _by_picture(seen, rank, passes=1 + (len(elsewhere) + 1 if at == 1 else 0))
        else:
            changed = _untestable(BY_PICTURE, "nothing in the picture speaks for it, so its place is not known", text)
        uses.append(_together(text, changed))
    return settled(uses)


def settled(uses: Sequence[RationaleUse]) -> list[RationaleUse]:
    """The same with verdicts, their p corrected together (Benjamini and Hochberg, 1995)."""
    from scipy.stats import false_discovery_control

    tested = [n for n, use in enumerate(uses) if use.p is not None]
    q = dict(zip(tested, false_discovery_control([uses[n].p for n in tested]) if tested else [], strict=True))
    return [
        use if n not in q else replace(
            use, q=float(q[n]), verdict=BORNE_OUT if q[n] <= LEVEL + 1e-9 else NOT_BORNE_OUT
        )
        for n, use in enumerate(uses)
    ]  # fmt: skip


def _together(text: Check, picture: Check) -> RationaleUse:
    """Not testable where one test is, unless the other one has already failed at LEVEL."""
    both = [check.p for check in (text, picture) if check.p is not None]
    if len(both) == 2:
        return RationaleUse(NOT_BORNE_OUT, max(both), None, text, picture)
    failed = any(p > LEVEL for p in both)
    return RationaleUse(NOT_BORNE_OUT if failed else NOT_TESTABLE, None, None, text, picture)


def _logs(images: Tensor, scorer: PairScorer[WordBank], category: int, named: int) -> tuple[Tensor, Tensor]:
    """(M, 2) log P(r | I) and log P(c | r, I), and the (M,) rank of the category."""
    many = len(images)
    logs, rank = scores_of_category(
        images, torch.arange(many), scorer, torch.full((many,), category), torch.full((many,), named)
    )
    return torch.stack([log_rationale(images, scorer)[:, named], logs], 1).double(), rank


def _by_text(
    image: Tensor, scorer: PairScorer[WordBank], category: int, named: int, absent: np.ndarray, seed: int
) -> Check:
    others = np.random.default_rng([seed, named]).permutation(absent[absent != named])[:SWAPS]
    asked = torch.as_tensor(np.array([named, *others], np.int64))
    of = torch.zeros(len(asked), dtype=torch.long)
    logs, ranks = scores_of_category(image, of, scorer, torch.full((len(asked),), category), asked)
    logs = logs.double()
    own, rest = float(logs[0]), logs[1:]
    before, rank = float(np.exp(own)), int(ranks[0])
    check = Check(BY_TEXT, NOT_TESTABLE, float("nan"), -own, (before, before, None), (rank, rank))
    if not len(rest):
        return replace(check, reason="no other rationale is known to be absent")
    p = float((1 + (rest >= own - ROUNDING).sum()) / (1 + len(rest)))
    return replace(
        check, verdict=BORNE_OUT if p <= LEVEL else NOT_BORNE_OUT, effect=own - float(rest.mean()), p=p,
        probability=(before, float(rest.exp().mean()), None), rank=(rank, round(float(ranks[1:].median()))),
    )  # fmt: skip


def _by_picture(logs: Tensor, ranks: Tensor, passes: int) -> Check:
    """Of (2 + K, 2) logs of the picture, without the place, and without each area elsewhere."""
    falls = logs[:1] - logs[1:]
    own, rest = falls[0], falls[1:]
    each = (1 + (rest >= own - ROUNDING).sum(0)) / (1 + len(rest))
    p = 1.0 if bool((own <= ROUNDING).any()) else float(each.max())  # both have to fall
    before, after, elsewhere = (float(part) for part in (logs[0, 1].exp(), logs[1, 1].exp(), logs[2:, 1].exp().mean()))
    seen = [float(part) for part in (logs[0, 0].exp(), logs[1, 0].exp(), logs[2:, 0].exp().mean())]
    return Check(
        BY_PICTURE, BORNE_OUT if p <= LEVEL else NOT_BORNE_OUT, float(own[1]), -float(logs[0, 1]),
        (before, after, elsewhere), (int(ranks[0]), int(ranks[1])), control=float(rest[:, 1].mean()), p=p,
        passes=passes, reason=f"P(r) from {seen[0]:.2f} to {seen[1]:.2f}, elsewhere {seen[2]:.2f}",
    )  # fmt: skip


def _untestable(change: str, reason: str, like: Check) -> Check:
    before, rank = like.probability[0], like.rank[0]
    nan = float("nan")
    return Check(change, NOT_TESTABLE, nan, like.margin, (before, before, None), (rank, rank), reason=reason)
