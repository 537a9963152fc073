"""The figure of ``saywhy bench ecor``: what is right for each method, and how much of it needs no look at a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from saywhy.checks.rationale_use import Use
from saywhy.metrics.blind_controls import Measured

RED, BLUE, GREY = "#c0392b", "#2c6fbb", "#888888"
_BELOW: dict[str, Any] = {
    "frameon": False, "fontsize": 8, "loc": "upper center", "bbox_to_anchor": (0.5, -0.05), "ncols": 2,
}  # fmt: skip


def use_figure(
    measured: Mapping[Any, Measured], uses: Mapping[tuple[str, str], Use], of: str, names: Sequence[str],
    said: Mapping[str, str],
) -> bytes:  # fmt: skip
    """PNG: RR with its interval beside that of the best blind control, for k = 5 and 1, and the share that is used.

    measured: (pictures, method, k) -> what was measured. uses: (method, whose rationale) -> of these, used.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 0.42 * len(names) + 1.3), layout="constrained")
    left, middle, right = figure.subplots(1, 3, sharey=True)
    for axis, k in ((left, 5), (middle, 1)):
        for row, name in enumerate(names):
            result = measured[of, name, k]
            rr = result.interval("RR")
            spread = [[rr.value - rr.low], [rr.high - rr.value]]
            axis.barh(row, result.values[result.best_control], color=GREY, alpha=0.5, height=0.7)
            axis.errorbar(rr.value, row, xerr=spread, fmt="o", color=RED, ms=5, lw=1.2)
        axis.set_title(f"doubly right (RR, %), k = {k}", fontsize=9)
    left.plot([], [], "o", color=RED, label="method")
    left.barh(0, 0, color=GREY, alpha=0.5, label="best blind control")
    left.legend(**_BELOW)
    kinds = list(dict.fromkeys(which for _, which in uses))
    for shift, colour, which in zip((-0.12, 0.12), (BLUE, GREY), kinds, strict=False):
        for row, name in enumerate(names):
            use = uses[name, which]
            share = (use.both or use.text or use.picture).share  # type: ignore[union-attr]
            spread = [[share.value - share.low], [share.high - share.value]]
            label = f"rationale: {which}" if row == 0 else None
            right.errorbar(share.value, row + shift, xerr=spread, fmt="s", color=colour, ms=4, lw=1.2, label=label)
    right.set_title("rationale is used (% of right categories)", fontsize=9)
    right.legend(**_BELOW)
    left.set_yticks(range(len(names)), [said[name] for name in names], fontsize=8)
    left.invert_yaxis()
    for axis in (left, middle, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_xlim(left=0)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()
