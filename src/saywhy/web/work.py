"""A queue of bounded length, and the threads that work it off: load makes it slower, and does not end it."""

from __future__ import annotations

import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, final

from saywhy.errors import SaywhyError
from saywhy.pictures.decoding import decoding_in_threads, in_thread
from saywhy.plumbing.steps import heard

BROKEN = "something went wrong here; the server's standard error says what"
"""What somebody is told of an error that is a fault of the program."""


STOPPING = "the server is stopping; ask again when it is back"


class Full(Exception):
    """There is no place in the queue."""


class _Left(BaseException):
    """Raised in a thread whose work nobody waits for any more. Not an Exception: no handler on its way holds it up."""


@final
@dataclass(frozen=True)
class Queued:
    """Work that waits. position: 1 is the next."""

    position: int


@final
@dataclass(frozen=True)
class Running:
    """Work that is done. what: is done now. done, total: steps."""

    what: str
    done: int
    total: int


@final
@dataclass(frozen=True)
class Done:
    """What it gave."""

    value: Any


@final
@dataclass(frozen=True)
class Failed:
    """Why it gave nothing. status: of HTTP; 422: what was asked is wrong."""

    error: str
    status: int = 422


State = Queued | Running | Done | Failed
Work = Callable[[], Any]


@final
class Job:
    """A piece of work with a place in the queue. ``leave`` gives it up: it stops at its next step."""

    def __init__(self, queue: Queue, work: Work, hear: Callable[[State], object], steps: int) -> None:
        self._queue, self._work, self._hear, self._steps = queue, work, hear, steps
        self._left, self._done = threading.Event(), 0

    def leave(self) -> None:
        """Nobody waits for it any more. May be called twice, and where it is done."""
        self._left.set()
        self._queue.remove(self)

    def tell(self, state: State) -> None:
        """Say how it stands, to whoever waits for it."""
        if not self._left.is_set():
            self._hear(state)

    def run(self) -> None:
        """Do it, in this thread, and tell what it gave."""
        try:
            self._step("")
            with heard(self._step):
                state: State = Done(self._work())
        except _Left:
            return
        except SaywhyError as error:
            state = Failed(str(error))
        except MemoryError:
            state = Failed("there is not enough memory for this picture now; try a smaller one", 503)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            state = Failed(BROKEN, 500)
        self.tell(state)

    def _step(self, what: str) -> None:
        if self._left.is_set():
            raise _Left
        if what:
            self.tell(Running(what, self._done, self._steps))
            self._done = min(self._done + 1, self._steps)


@final
class Queue:
    """Work in the order of its coming, done by a number of threads.

    workers: threads, and so many pieces of work at once. places: so many more may wait.
    """

    def __init__(self, workers: int, places: int) -> None:
        self.workers, self.places = workers, places
        self._waiting: deque[Job] = deque()
        self._running: set[Job] = set()
        self._closed = False
        self._changed = threading.Condition()
        self._warnings = ExitStack()
        self._warnings.enter_context(decoding_in_threads())
        self._threads = [
            threading.Thread(target=self._work, name=f"saywhy-work-{n}", daemon=True) for n in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def add(self, work: Work, hear: Callable[[State], object], steps: int = 1) -> Job:
        """Work with the last place. hear: is told how it stands, from any thread. steps: that it will tell of.

        Raises Full where there is no place.
        """
        job = Job(self, work, hear, steps)
        with self._changed:
            if self._closed or len(self._waiting) >= self.places + max(0, self.workers - len(self._running)):
                raise Full
            self._waiting.append(job)
            job.tell(Queued(len(self._waiting)))
            self._changed.notify()
        return job

    def remove(self, job: Job) -> None:
        """Free the place of work that waits; of other work nothing happens."""
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                self._tell_places()

    def counts(self) -> tuple[int, int]:
        """How many are worked on, and how many wait."""
        with self._changed:
            return len(self._running), len(self._waiting)

    def close(self, patience: float = 5.0) -> None:
        """No more work: who waits is told, and what runs stops at its next step.

        patience: seconds to wait for that. May be called twice.
        """
        with self._changed:
            self._closed = True
            left = [*self._running, *self._waiting]
            self._waiting.clear()
            self._changed.notify_all()
        for job in left:
            job.tell(Failed(STOPPING, 503))
            job.leave()
        for thread in self._threads:
            thread.join(patience / max(1, len(self._threads)))
        self._warnings.close()

    def _work(self) -> None:
        in_thread()
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                job = self._waiting.popleft()
                self._running.add(job)
                self._tell_places()
            try:
                job.run()
            finally:
                with self._changed:
                    self._running.remove(job)
                del job  # and the picture that it holds

    def _tell_places(self) -> None:
        for place, job in enumerate(self._waiting, start=1):
            job.tell(Queued(place))
