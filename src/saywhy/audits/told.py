"""An audit as it is told to people and machines: what it found, and what its rows say. No classifier is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from saywhy.audits.conclude import kept_findings
from saywhy.audits.finding import AuditFinding, as_json
from saywhy.audits.overview import Overview, overview
from saywhy.audits.store import Store, View
from saywhy.audits.thumbnails import Thumbnails
from saywhy.intervals import Interval


@final
@dataclass(frozen=True, eq=False)
class Told:
    """What an audit's folder tells. tests: of each kind of finding, how many were made, and what to know of them."""

    store: Store
    view: View
    findings: Sequence[AuditFinding]
    tests: Mapping[str, Mapping[str, Any]]
    overview: Overview
    thumbnails: Thumbnails

    @property
    def name(self) -> str:
        """Its folder."""
        return str(self.store.folder)

    @property
    def phrases(self) -> Sequence[str]:
        """Of the space's vocabulary."""
        return tuple(self.store.manifest["vocabulary"]["phrases"])

    def document(self) -> dict[str, Any]:
        """As JSON."""
        manifest = {key: value for key, value in self.store.manifest.items() if key != "vocabulary"}
        return dict(
            as_json(
                {"audit": manifest, "tests": self.tests, "findings": [one.document() for one in self.findings]}
                | self.overview.document()
            )
        )


def told(folder: str | Path) -> Told:
    """What an audit's folder tells. Raises SaywhyError where it is no audit, or one that is not finished."""
    store = Store.open(folder)
    findings, tests = kept_findings(store)
    view = store.view()
    thumbnails = Thumbnails(view)
    return Told(store, view, findings, tests, overview(view, thumbnails.numbers), thumbnails)


def number(value: float) -> str:
    """A number of a page: three digits that count."""
    if not math.isfinite(value):
        return "unknown" if math.isnan(value) else ("over any bound" if value > 0 else "below any bound")
    return f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"


def in_words(effect: Interval) -> str:
    if math.isnan(effect.value):
        return number(effect.value)
    return f"{number(effect.value)} ({number(effect.low)} to {number(effect.high)})"


def probable(p: float | None) -> str:
    """A p-value as people write it; "" for none."""
    if p is None or math.isnan(p):
        return ""
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def percent(share: Interval) -> str:
    return f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})"
