"""How much faster are two workers than one? The same chunks of an audit as Ray Data actors, one thread each.

The two take turns, round after round, on one Ray that is started before. A rate is of the chunks that come after each
worker's first, when all are loaded. On a machine that does other work rates say little, so two things stand beside
them: the load, and what can be told from CPU time alone. If a picture takes w seconds of one worker, and with two
workers t seconds of all processes (workers, Ray, the driver), two cores of our own would give at most 2 w / t.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from statistics import median
from typing import Annotated, Any, final

import torch

from saywhy.audits.audit import subject_of
from saywhy.audits.chunks import describe_chunks
from saywhy.audits.on_ray import Cluster, on_ray, started
from saywhy.audits.options import AuditOptions
from saywhy.bench import Report
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.pictures.collections import collection
from saywhy.plumbing.names import shown

ROUNDS, CHUNK, CHUNKS = 5, 16, 10
AIM = 1.6


def run(
    limit: int | None = None,
    model: Annotated[str, "The classifier, as for audit."] = "world:aviary",
    data: Annotated[str, "Pictures, as for audit."] = "world:aviary",
    chunks: Annotated[str, "Chunks of 16 pictures in each round."] = str(CHUNKS),
) -> Report:
    """Pictures a second in this process, by one worker and by two, over ROUNDS rounds (or ``limit`` rounds).

    Raises SaywhyError without Ray, and for a number of chunks that is none or below 4.
    """
    if not chunks.isdigit() or int(chunks) < 4:
        raise SaywhyError(f"--chunks {shown(chunks)}: expected a whole number, at least 4")
    count, times = int(chunks), {1: list[Spent](), 2: list[Spent]()}
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 gives way to whatever else the machine does
    with _one_thread():
        pictures = collection([data], count * CHUNK)
        options = AuditOptions(chunk=CHUNK, batch_size=CHUNK, checks="none", objects=0)
        subject = subject_of(pictures, Classifier.load(model, device="cpu"), options)
        numbers = range(-(-len(pictures) // CHUNK))
        rates: dict[str, list[float]] = {"here": [], "1 worker": [], "2 workers": []}
        loads: list[float] = []
        with started(Cluster(workers=2)):
            for _ in range(limit or ROUNDS):
                rates["here"].append(_spent(describe_chunks(subject, numbers), 1).rate)
                for workers in (1, 2):
                    found = _spent(on_ray(subject, numbers, lambda n: None, Cluster(workers=workers)), workers)
                    rates[f"{workers} worker{'s'[: workers - 1]}"].append(found.rate)
                    times[workers].append(found)
                loads.append(os.getloadavg()[0])
    ratios = [two / one for one, two in zip(rates["1 worker"], rates["2 workers"], strict=True)]
    best = max(rates["2 workers"]) / max(rates["1 worker"])
    free = 2 * median(one.workers for one in times[1]) / median(two.all for two in times[2])
    rows = [
        {"what": what, "median a second": median(found), "best": max(found), "lowest": min(found)}
        for what, found in rates.items()
    ]
    return Report(
        "audit-ray",
        f"pictures a second, {subject.classifier.name}, {len(pictures)} pictures in chunks of {CHUNK}: two workers "
        f"over one: median {median(ratios):.2f}, best over best {best:.2f} (aim {AIM}); load {median(loads):.1f}; "
        f"by CPU time at most {free:.2f} on two cores of its own",
        ("what", "median a second", "best", "lowest"),
        rows,
        {
            "by CPU time": free,
            "CPU seconds a picture": {n: [asdict(one) for one in times[n]] for n in times},
            "ratios": ratios,
            "median ratio": median(ratios),
            "best over best": best,
            "loads": loads,
            "rates": rates,
        },
    )


@final
@dataclass(frozen=True)
class Spent:
    """From when each worker has given its first chunk to the last. rate: pictures a second. workers, all: CPU seconds a
    picture, of the workers and of all processes."""

    rate: float
    workers: float
    all: float


def _spent(chunks: Iterator[Any], workers: int) -> Spent:
    times, spent = [], []
    for _ in chunks:
        times.append(time.perf_counter())
        spent.append(_cpu())
    pictures = CHUNK * (len(times) - workers)
    of_workers, of_all = (last - first for first, last in zip(spent[workers - 1], spent[-1], strict=True))
    return Spent(pictures / (times[-1] - times[workers - 1]), of_workers / pictures, of_all / pictures)


def _cpu() -> tuple[float, float]:
    """CPU seconds so far of Ray's workers below this process, and of it and all processes below it."""
    import psutil

    workers = total = 0.0
    this = psutil.Process()
    for process in [this, *this.children(recursive=True)]:
        with suppress(psutil.Error):
            used = sum(process.cpu_times()[:2])
            total += used
            workers += used if "MapWorker" in " ".join(process.cmdline()) else 0.0
    return workers, total


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
