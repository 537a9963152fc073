"""The same work on many machines: chunks of pictures as tasks of Ray Data actors.

Each actor loads the subject once and describes one chunk after another; the driver writes what comes back. An actor
that is lost is started again by Ray, and the chunk that it had is described again: nothing was written of it.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil
from types import SimpleNamespace
from typing import Any, final

import numpy as np
import torch

from saywhy.audits.chunks import Chunk, describe_chunk, numbers_of, shown_of
from saywhy.audits.subject import Subject
from saywhy.audits.tables import as_table
from saywhy.classifiers.own_code import own_modules
from saywhy.errors import SaywhyError
from saywhy.pictures.in_batches import Advance
from saywhy.plumbing.extras import need
from saywhy.plumbing.names import first_line, shown

MOST_BLOCKS = 10_000  # tasks that Ray keeps account of; of more chunks several are one task
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}


@final
@dataclass(frozen=True)
class Cluster:
    """Where the work is done.

    address: of a Ray cluster ("auto", "10.0.0.1:6379", "ray://..."); None: this machine.
    workers: processes; None: one for each GPU where the classifier is on one, else one for each CPU core. More than
             GPUs share them: opening pictures and making rows of them is a CPU's work.
    threads: of each worker on a CPU.
    """

    address: str | None = None
    workers: int | None = None
    threads: int = 1


def on_ray(
    subject: Subject, chunks: Sequence[int], advance: Advance, cluster: Cluster | None = None
) -> Iterator[Chunk]:
    """The rows of chunks, in any order; where the classifier is on a GPU, so is each worker.

    Raises SaywhyError without Ray, for a cluster that does not answer or has too little, and what the work raises.
    """
    if not chunks:
        return
    cluster = cluster or Cluster()
    gpu = subject.classifier.device.type == "cuda"
    with started(cluster, gpu) as ray:
        workers, gpus = workers_of(ray.cluster_resources(), cluster, gpu)
        # In the store once, and copied to each machine once; the pictures are read there in place.
        shared = [ray.put(packed(replace(subject, pictures=_NONE))), ray.put(subject.pictures)]
        data = ray.data.from_items(list(chunks), override_num_blocks=min(len(chunks), MOST_BLOCKS)).map_batches(
            _Worker,
            fn_constructor_args=(shared, "cuda" if gpu else "cpu", cluster.threads),
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(chunks))),
            batch_size=1,
            num_cpus=1 if gpu else cluster.threads,
            num_gpus=gpus,
        )
        try:
            for row in data.iter_rows():
                chunk: Chunk | SaywhyError = pickle.loads(row["chunk"])
                if isinstance(chunk, SaywhyError):
                    raise chunk
                yield chunk
                advance(len(numbers_of(subject, chunk.number)))
        except ray.exceptions.RayError as error:
            faults = re.findall(r"^\w*(?:Error|Exception): .+", str(error), re.MULTILINE)
            said = faults or [first_line(error)]
            raise SaywhyError(f"the work on Ray failed ({shown(said[-1], 200)}); what is written is kept") from error


_NONE: Any = ()


class _Worker:
    """An actor. Ray pickles the class, so what it needs is imported by name where it runs."""

    def __init__(self, shared: Sequence[Any], device: str, threads: int) -> None:
        import ray

        if device == "cpu":
            torch.set_num_threads(threads)
        content, pictures = ray.get(list(shared))
        self.subject = replace(unpacked(content, device), pictures=pictures)
        self.shown = shown_of(self.subject)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        try:
            chunk = describe_chunk(self.subject, int(batch["item"][0]), self.shown)
        except SaywhyError as error:  # as a value: Ray would try again, and wrap it
            return {"chunk": np.array([pickle.dumps(error)], object)}
        # As columns, which the driver only has to write.
        chunk = replace(chunk, tables={name: as_table(name, rows) for name, rows in chunk.tables.items()})
        return {"chunk": np.array([pickle.dumps(chunk)], object)}


def packed(subject: Subject) -> bytes:
    """A subject as bytes that another machine of the same versions unpacks on another device."""
    from ray import cloudpickle  # takes what a user's transform is made of, lambdas too

    buffer = io.BytesIO()
    mine = own_modules()  # of --model python:FILE.py:NAME: no worker can import them
    for module in mine:
        cloudpickle.register_pickle_by_value(module)
    try:
        torch.save(subject, buffer, pickle_module=cloudpickle)
    except Exception as error:  # of whatever a user's network or transform holds
        raise SaywhyError(
            f"--engine ray sends the classifier to its workers, and it cannot be pickled ({first_line(error)}); make "
            "it of parts that can, or use --engine local"
        ) from None
    finally:
        for module in mine:
            cloudpickle.unregister_pickle_by_value(module)
    return buffer.getvalue()


def unpacked(content: bytes, device: str) -> Subject:
    """A subject on a device of this process, wherever it was before. content: of our own ``packed``, never a file."""

    class Moving(pickle.Unpickler):
        def find_class(self, module: str, name: str, /) -> Any:
            if (module, name) == ("torch", "device"):
                return lambda *args: torch.device(device)
            return super().find_class(module, name)

    module = SimpleNamespace(Unpickler=Moving, load=pickle.load, __name__="pickle")
    return torch.load(io.BytesIO(content), map_location=device, pickle_module=module, weights_only=False)


@contextmanager
def started(cluster: Cluster, gpu: bool = False) -> Iterator[Any]:
    """Ray, connected and quiet, and disconnected at the end where it was not before. gpu: what workers need.

    Raises SaywhyError without Ray, and for a cluster that does not answer.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    ray = need("--engine ray", "ray")
    need("--engine ray", "ray.data")
    mine = not ray.is_initialized()
    here: dict[str, Any] = {"include_dashboard": False}
    if cluster.workers is not None and not gpu:
        here["num_cpus"] = cluster.workers * cluster.threads
    if mine:
        where = here if cluster.address is None else {"address": cluster.address}
        try:
            _answers(cluster.address)
            with _hushed():
                ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **where)
        except Exception as error:  # of sockets, of gRPC, of Ray
            place = "here" if cluster.address is None else f"at {shown(cluster.address)}"
            raise SaywhyError(f"Ray cannot be reached {place} ({first_line(error)})") from None
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("ray.")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    try:
        yield ray
    finally:
        if mine:
            ray.shutdown()


def _answers(address: str | None) -> None:
    """Raises OSError where nothing listens at HOST:PORT: Ray would try for many minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


@contextmanager
def _hushed() -> Iterator[None]:
    """Nothing goes to standard error: Ray's libraries in C++ say there how loud they are, whatever they are told."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def workers_of(resources: Mapping[str, float], cluster: Cluster, gpu: bool) -> tuple[int, float]:
    """How many workers there will be, and the GPUs of each, which is a part of one where workers share it.

    resources: "CPU" and "GPU" -> how many Ray has. Raises SaywhyError where it cannot hold the workers.
    """
    cores, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if gpu and not gpus:
        raise SaywhyError("the classifier is on a GPU, and Ray has none; give --device cpu, or a cluster with GPUs")
    each = 1 if gpu else cluster.threads
    workers = cluster.workers or (gpus if gpu else cores // each)
    if not 1 <= workers <= cores // each:
        raise SaywhyError(
            f"Ray has {cores} CPU cores, too few for {max(workers, 1)} workers of {each}; give fewer --workers"
        )
    return workers, 1 / ceil(workers / gpus) if gpu else 0.0
