"""Does a map add up? The check that comes with every map, and the reason where there is no map at all."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from saywhy.attribution.account import CONSTANTS, HELD, SOFTMAX, Account
from saywhy.errors import SaywhyError
from saywhy.types import MapCheck

LOST = 0.02  # of the logit: so much may be lost
NOISE = {torch.float64: 1e-3, torch.float32: 1e-3, torch.bfloat16: 0.05, torch.float16: 0.05}
"""Or so much of the scale, which is more where the logit is small against its parts: ten times, and in float32 a
hundred times, what was ever lost of photographs to rounding (docs/relevance.md). And to the steps of integrated
gradients:"""
NOISE_OF_STEPS = 0.01
NOTHING = 1e-9  # of the logit: a map that adds up to no more, without signs, is none
HAIRS = 1e-20  # and so is one of this size: what is left of pixels that ``lrp.trace`` keeps a hair away from 0


SMALL = 0.005  # of the scale: parts below are not worth a word
CANCELS = 1e5  # times the largest logit; so far above it the scale of a map says that the map is noise
FEW = 0.05  # of the logit: a map that adds up to less says where, and not how much (docs/relevance.md)
MOST = 10  # times the logit: a part that is larger is told as a number, not in percent
NO_REASON = "all of it is zero, though the logit changes with the picture; use another composite or method"


class MapWarning(UserWarning):
    """A map that does not add up, or is none."""


def check_maps(
    relevance: Tensor,
    logits: Tensor,
    explained: Tensor | None,
    account: Account | None = None,
    *,
    noise: float | None,
    largest: Tensor | None = None,
) -> list[MapCheck]:
    """A check of each picture's map, without reasons: for these see ``missing.py``.

    relevance: (N, C, H, W). logits: (N,).
    explained: (N,), what maps have to account for; None: they are in no unit. account: of the same pass.
    largest:   (N,), the largest of all logits of each picture, without sign.
    noise:     how much of a map's scale may be lost at least; None: the method does not promise to add up.

    Raises SaywhyError for relevance that is not finite.
    """
    finite = relevance.isfinite().flatten(1).all(1)
    if not finite.all():
        cause = {
            torch.float16: "float16 overflows; use float32 or bfloat16",
            torch.bfloat16: "bfloat16 rounds too much for its rules; use float32",
        }.get(relevance.dtype, "its rules overflow; use another composite or method")
        number = int((~finite).nonzero()[0]) + 1
        raise SaywhyError(f"the map of picture {number} of {len(finite)} is not finite: {cause}")
    sums = relevance.sum((1, 2, 3), dtype=torch.float64).tolist()
    sizes = relevance.abs().sum((1, 2, 3), dtype=torch.float64).tolist()
    taken = [[0.0] * len(sums)] * 4
    if account is not None:
        taken = [t.tolist() for t in (*map(account.totals, (CONSTANTS, HELD, SOFTMAX)), account.size())]
    most = min(CANCELS, 10 / torch.finfo(relevance.dtype).eps)
    aims: list[Any] = [None] * len(sums) if explained is None else explained.double().tolist()
    checks = []
    for n, aim in enumerate(aims):
        constants, held, softmax, size = (kind[n] for kind in taken)
        rest = max(abs(float(logits[n])), size)
        empty = sizes[n] <= max(NOTHING * rest, HAIRS)
        scale = max(abs(aim or 0.0), sizes[n], size)
        cancels = largest is not None and scale > most * float(largest[n])
        allowed = None if noise is None else max(LOST * abs(aim or 0.0), noise * scale)
        checks.append(MapCheck(aim, sums[n], constants, held, softmax, scale, allowed, cancels=cancels, empty=empty))
    return checks


def said(check: MapCheck, method: str = "lrp") -> str:
    """The check in half a sentence: what the map adds up to, and where the rest is; "" of a map in no unit."""
    if check.empty:
        return f"there is no map: {check.reason or NO_REASON}"
    if check.explained is None:
        return ""
    logit = "the logit" if method != "integrated-gradients" else "the logit less that of the mean colour"
    parts = (check.relevance, check.constants, check.softmax, check.held, check.lost)
    percent = max(map(abs, parts)) <= MOST * abs(check.explained)

    def part(value: float) -> str:
        return _percent(value / (check.explained or 1)) if percent else f"{value:.2g}"

    whole = logit if percent else f"{logit}, which is {check.explained:.2g}"
    others = (("biases and other constants", check.constants), ("the softmax of attention", check.softmax))
    took = [(who, part(value)) for who, value in others if abs(value) >= SMALL * check.scale]
    if check.cancels and not check.empty:
        return (
            f"the map is noise: its parts, of {check.scale:.1g} together, cancel to a logit of "
            f"{check.explained:.2g}; use another composite or method"
        )
    if check.holds:
        few = ": it says where, not how much" if _few(check) else ""
        others_took = "".join(f", {who} took {share}" for who, share in took)
        return f"the map adds up to {part(check.relevance)} of {whole}{others_took}{few}"
    said = f"the map accounts for {part(check.relevance)} of {whole}" + "".join(f", {w} for {p}" for w, p in took)
    if abs(check.held) > abs(check.lost):
        said += f": {part(check.held)} went where no gradient comes back (torch.no_grad, detach)"
    elif method == "integrated-gradients":
        cause = f"the gradient is {check.reason}" if check.reason else "there are too few steps, or a wrong gradient"
        return f"{said}: {part(check.lost)} is missing, as {cause}"
    else:
        said += f": {part(check.lost)} is lost"
    return f"{said}, {check.reason}" if check.reason else said


def arrives(check: MapCheck) -> str:
    """How little of the logit a map accounts for, as a sentence; "" where that is enough, or nothing is promised."""
    if check.empty or not check.holds or check.explained is None or not _few(check):
        return ""
    share = _percent(check.relevance / check.explained)
    return f"{share} of the logit arrives at the pixels: the map says where, not how much."


def _few(check: MapCheck) -> bool:
    return check.explained is not None and abs(check.relevance) < FEW * abs(check.explained)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if abs(share) >= 0.01 or not share else f"{100 * share:.1g} %"
