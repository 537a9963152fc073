"""Numbers with their intervals as bars of a page: where on the bar each of them lies, in percent of its width."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from saywhy.intervals import Interval


def bar_ends(values: Iterable[float]) -> tuple[float, float]:
    """The two ends of a bar on which values lie: 0 to 1, -1 to 1, or as far as it must reach."""
    finite = [one for one in values if math.isfinite(one)]
    low, high = min([0.0, *finite]), max([0.0, *finite])
    return -1.0 if -1 <= low < 0 else low, 1.0 if high <= 1 else high * 1.05


def on_bar(
    effect: Interval, ends: tuple[float, float], text: str, *, null: float = float("nan"), null_text: str = "",
    full: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What the macro ``bar`` of parts.html draws.

    ends: of the bar, see ``bar_ends``. text: the number in words. null: what there would be by chance, or under the
    controls; NaN for none. full: a value that is marked as the whole.
    """
    low, high = ends

    def at(value: float) -> float:
        value = low if math.isnan(value) else min(max(value, low), high)
        return round(100 * (value - low) / (high - low or 1.0), 1)

    return {
        "text": text, "value": at(effect.value), "low": at(effect.low),
        "width": round(max(0.0, at(effect.high) - at(effect.low)), 1), "zero": at(0.0) if low < 0 else None,
        "null": None if math.isnan(null) else at(null), "null_text": null_text,
        "full": None if full is None else at(full),
    }  # fmt: skip
