"""What becomes of ``saywhy serve`` under load: is a question lost, an answer wrong, memory kept, a place not freed?

A server process of its own is asked over HTTP, as a browser asks it. First each picture alone, which gives the serial
answers; then rounds of N questions at once, each of which sends its picture as a file. An answer is wrong where a
single character of it is not that of the serial one. In the end the queue is filled up, and clients are killed.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, final

import numpy as np
import torch

from saywhy.bench import Report
from saywhy.errors import SaywhyError
from saywhy.pictures.photos import PHOTOS
from saywhy.questions.explain import explain
from saywhy.questions.names_and_defaults import default_writer, explaining_space, resolve_space
from saywhy.questions.verify import verify
from saywhy.types import NOT_TESTABLE
from saywhy.worlds import SAMPLES
from saywhy.worlds.scenes import draw

AT_ONCE = 50
ROUNDS = 3
PICTURES, SIDE = 10, 256
PATIENCE = 180.0  # seconds for the server to start
WORKERS, PLACES = 2, 64  # the command's own defaults


def run(
    limit: int | None = None,
    model: Annotated[str, "The classifier that is asked."] = "world:aviary",
    checks: Annotated[str, "How much is put to the test: none, fast, full."] = "fast",
    rounds: Annotated[str, "How often so many questions are asked at once."] = str(ROUNDS),
) -> Report:
    """AT_ONCE questions at once (or ``limit``), ROUNDS times. Raises SaywhyError where the server does not start."""
    count, times = limit or AT_ONCE, int(rounds)
    pictures = [_picture(seed) for seed in range(PICTURES)]
    load = os.getloadavg()
    with _server(model) as server:
        alone = [server.ask(picture, checks) for picture in pictures]
        serial = [one.answer for one in alone]
        if not all(serial):
            raise SaywhyError(f"the server did not answer one question alone ({alone[0].status}); start it by hand")
        before = server.memory()
        rows = []
        for n in range(times):
            rows.append({"round": str(n + 1), **_round(server, pictures, serial, count, checks)})
        kept = _killed(server, pictures[0], checks)
        after = server.memory()
        ended = server.stop()
    same = _as_the_library(model, pictures[0], serial[0], checks)
    first, last = rows[0]["MiB after"], rows[-1]["MiB after"]
    return Report(
        "serve-load",
        f"{count} questions at once, {times} times: {model}, checks {checks}, {WORKERS} workers, {PLACES} places",
        ("round", "answered", "lost", "wrong", "p50 s", "p95 s", "all s", "MiB after"),
        rows,
        {
            "serial seconds": float(np.median([one.seconds for one in alone])),
            "MiB before": before, "MiB after the first round": first, "MiB after the last round": last,
            "MiB in the end": after, "as saywhy.explain": same, **kept, "exit code on Ctrl-C": ended,
            "load before": load, "load after": os.getloadavg(),
        },
    )  # fmt: skip


@final
@dataclass(frozen=True)
class _Asked:
    """status: of HTTP; 0 where the connection broke. answer: the last line, "" where it is no answer."""

    status: int
    answer: str
    seconds: float


def _round(server: _Server, pictures: list[bytes], serial: list[str], count: int, checks: str) -> dict[str, Any]:
    began = time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        found = list(pool.map(lambda n: server.ask(pictures[n % len(pictures)], checks), range(count)))
    whole = time.perf_counter() - began
    right = [one.answer == serial[n % len(pictures)] for n, one in enumerate(found)]
    seconds = [one.seconds for one in found if one.answer]
    return {
        "answered": sum(bool(one.answer) for one in found),
        "lost": sum(not one.answer for one in found),
        "wrong": sum(bool(one.answer) and not same for one, same in zip(found, right, strict=True)),
        "p50 s": float(np.percentile(seconds, 50)) if seconds else float("nan"),
        "p95 s": float(np.percentile(seconds, 95)) if seconds else float("nan"),
        "all s": whole,
        "MiB after": server.memory(),
    }


def _killed(server: _Server, picture: bytes, checks: str) -> dict[str, Any]:
    """Fill the queue and kill a client that waits; then all, those that are served too. Are their places free?"""
    waiting: list[_Open] = []
    refused = 0
    while not refused and len(waiting) < 4 * (WORKERS + PLACES):
        one = server.open(picture, checks)
        refused = one.status if one.status != 200 else 0
        if refused:
            one.close()
        else:
            waiting.append(one)
    filled = len(waiting)
    waiting.pop().close()  # killed: it waits, as the last one
    freed, taken = _place(server, picture, checks)
    for each in (*waiting, *([] if taken is None else [taken])):
        each.close()
    began = time.perf_counter()
    alone = server.ask(picture, checks)
    return {
        "filled up at": filled, "refused with": refused, "a killed client's place is free after s": freed,
        "all killed: the next is answered after s": time.perf_counter() - began if alone.answer else float("nan"),
    }  # fmt: skip


def _place(server: _Server, picture: bytes, checks: str, patience: float = 5.0) -> tuple[float, _Open | None]:
    """Seconds until a question is taken that found no place before, and that question."""
    began = time.perf_counter()
    while time.perf_counter() - began < patience:
        one = server.open(picture, checks)
        if one.status == 200:
            return time.perf_counter() - began, one
        one.close()
        time.sleep(0.02)
    return float("nan"), None


def _as_the_library(model: str, picture: bytes, served: str, checks: str) -> bool:
    """Whether the served document is that of ``saywhy.explain``, on as many threads as a worker has."""
    from saywhy.classifiers.classifier import Classifier

    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // WORKERS))
    try:
        classifier = Classifier.load(model)
        space = explaining_space(classifier)  # by its name, by which files that it brings are known
        writer = default_writer(classifier, resolve_space(space, classifier))
        found = explain(picture, model=classifier, space=space, checks=checks, writer=writer)
        document = json.loads(served)["explanation"]
        if (document["surroundings"] or {}).get("verdict", NOT_TESTABLE) != NOT_TESTABLE:
            lent = _gallery(model)  # as the server's gallery does
            found = verify(
                found, classifier, picture, space=resolve_space(space, classifier), checks=checks, others=lent
            )
    finally:
        torch.set_num_threads(threads)
    mine = json.loads(found.to_json())
    for one in (document, mine):
        one.pop("shown", None)
        one["picture"].pop("name")
        one["summary"] = ""  # which names the picture
    return document == mine


def _gallery(model: str) -> list[Path]:
    """The files of the server's gallery that lend a model their surroundings."""
    if model.startswith("world:"):
        return sorted((SAMPLES / "aviary").glob("*.jpg"))
    return [photo.path for photo in PHOTOS.values() if photo.licensed and photo.path.is_file()]


def _picture(seed: int) -> bytes:
    buffer = BytesIO()
    draw("species", seed, SIDE)[0].image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


@final
class _Open:
    """A question that is asked, and whose answer has begun or was refused. ``close`` is what a killed client does."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection
        self._answer = connection.getresponse()
        self.status = self._answer.status

    def last(self) -> str:
        """The last line, of a finished answer."""
        lines = self._answer.read().decode().splitlines()
        return lines[-1] if lines and self.status == 200 else ""

    def close(self) -> None:
        self._answer.close()
        self._connection.close()


@final
class _Server:
    """A server process. port: it listens on."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process, self._port = process, port

    def open(self, picture: bytes, checks: str) -> _Open:
        """Ask, and wait for the first line."""
        body = _form({"checks": checks}, picture)
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=600)
        connection.request(
            "POST", "/api/explanations", body, {"Content-Type": "multipart/form-data; boundary=saywhy-bench"}
        )
        return _Open(connection)

    def ask(self, picture: bytes, checks: str) -> _Asked:
        """Ask, and wait for the answer."""
        began = time.perf_counter()
        try:
            one = self.open(picture, checks)
            last = one.last()
            one.close()
        except (OSError, http.client.HTTPException):
            return _Asked(0, "", time.perf_counter() - began)
        return _Asked(one.status, last if '"state": "done"' in last[:40] else "", time.perf_counter() - began)

    def memory(self) -> float:
        """MiB of the process that are in memory; NaN where the system does not say."""
        try:
            found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self._process.pid}/status").read_text())
        except OSError:
            return float("nan")
        return int(found.group(1)) / 1024 if found else float("nan")

    def stop(self) -> int:
        """End it as Ctrl-C does; gives the exit code."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(30)


@contextmanager
def _server(model: str) -> Iterator[_Server]:
    command = [sys.executable, "-m", "saywhy", "serve", "--model", model, "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        began, said = time.monotonic(), ""
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/", said)):
            said = process.stderr.readline()
            if not said or time.monotonic() - began > PATIENCE:
                raise SaywhyError(f"the server of {model} did not start; see saywhy serve --model {model}")
        yield _Server(process, int(found.group(1)))
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def _form(fields: Mapping[str, str], picture: bytes) -> bytes:
    parts = [f'--saywhy-bench\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    head = '--saywhy-bench\r\nContent-Disposition: form-data; name="picture"; filename="picture.jpg"\r\n\r\n'
    return "".join([*parts, head]).encode() + picture + b"\r\n--saywhy-bench--\r\n"
