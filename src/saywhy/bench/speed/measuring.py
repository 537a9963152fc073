"""Time and memory of work, for benchmarks that compare ways to do it in one process, or in fresh ones."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

MB = 1e6


def now() -> float:
    """Seconds, when all that was asked of the GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(work: Callable[[], Any]) -> float:
    """Seconds that it takes."""
    start = now()
    work()
    return now() - start


def in_turn(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each in each round. All run once in every round, so that a busy machine slows all of them alike; a
    first round, which is not counted, warms up."""
    times: dict[str, list[float]] = {what: [] for what in contenders}
    for n in range(rounds + 1):
        for what, spent in contenders.items():
            found = spent()
            if n:
                times[what].append(found)
    return times


def in_fresh_process(work: Callable[..., Any], *args: Any) -> Any:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(work, args)


def forget_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """Bytes: the most that was allocated on the GPU, or else resident, since it was last forgotten."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if sys.platform == "linux":
        # Not ru_maxrss: it cannot be forgotten, and a new process begins with that of its parent.
        line = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
