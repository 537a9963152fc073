"""Benchmarks: each a module with ``run(limit) -> Report``; ``saywhy bench NAME`` prints its table and its JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from typing import Any, final

from saywhy.errors import SaywhyError

BENCHMARKS = {
    "lrp-speed": "time of LRP over one forward plus one backward pass, and over zennit and LXT where installed",
    "own-space": "do attribute phrases in a bird model's own space find the birds that have them? (needs shared/pack)",
}
"""Name -> what it measures. The module is saywhy.bench with underscores for dashes."""


@final
@dataclass(frozen=True)
class Report:
    """What a benchmark found: a table for people, and the same with its circumstances for programs.

    rows: one dict a row, keyed by ``columns``.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[dict[str, Any]]
    summary: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Everything as plain values, with the machine it ran on."""
        import torch

        machine = {
            "torch": torch.__version__, "threads": torch.get_num_threads(), "python": platform.python_version(),
            "machine": platform.machine(), "cores": os.cpu_count(), "cuda": torch.cuda.is_available(),
        }  # fmt: skip
        return {
            "benchmark": self.name,
            "title": self.title,
            "rows": list(self.rows),
            **self.summary,
            "machine": machine,
        }


def run_benchmark(name: str, limit: int | None = None) -> Report:
    """Raises SaywhyError for an unknown name, or where what it needs is not here."""
    if name not in BENCHMARKS:
        near = get_close_matches(name, BENCHMARKS, n=1) or list(BENCHMARKS)
        raise SaywhyError(f"there is no benchmark {name!r}; did you mean {', '.join(near)}?")
    return import_module(f"saywhy.bench.{name.replace('-', '_')}").run(limit)
