"""The queue: in order, bounded, and a place is free as soon as nobody waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from saywhy.errors import SaywhyError
from saywhy.plumbing.steps import step
from saywhy.web.work import BROKEN, STOPPING, Done, Failed, Full, Job, Queue, Queued, Running, State


@pytest.fixture
def queue() -> Iterator[Queue]:
    one = Queue(workers=1, places=3)
    yield one
    one.close()


class Waiter:
    """Hears how work stands."""

    def __init__(self, queue: Queue, work: Callable[[], object], steps: int = 1) -> None:
        self.heard: list[State] = []
        self.ended = threading.Event()
        self.job: Job = queue.add(work, self.hear, steps)

    def hear(self, state: State) -> None:
        self.heard.append(state)
        if isinstance(state, Done | Failed):
            self.ended.set()

    def last(self) -> State:
        assert self.ended.wait(10)
        return self.heard[-1]


def held() -> tuple[threading.Event, threading.Event, Callable[[], str]]:
    """Work that says when it has begun, and goes on when it may, in steps."""
    begun, may = threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        while not may.wait(0.005):
            step()
        return "done"

    return begun, may, work


def until(what: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_steps_are_told_and_counted(queue: Queue) -> None:
    def work() -> str:
        step("one")
        step()
        step("two")
        return "x"

    waiter = Waiter(queue, work, 2)
    assert waiter.last() == Done("x")
    assert waiter.heard == [Queued(1), Running("one", 0, 2), Running("two", 1, 2), Done("x")]


def test_who_waits_is_told_when_places_move(queue: Queue) -> None:
    begun, may, work = held()
    first = Waiter(queue, work)
    assert begun.wait(10)
    others = [Waiter(queue, lambda n=n: n) for n in range(3)]
    assert [one.heard for one in others] == [[Queued(1)], [Queued(2)], [Queued(3)]]
    others[0].job.leave()
    assert others[2].heard == [Queued(3), Queued(2)]
    may.set()
    assert [first.last(), others[1].last(), others[2].last()] == [Done("done"), Done(1), Done(2)]
    assert others[0].heard == [Queued(1)]


def test_a_queue_is_bounded_and_a_place_that_is_left_is_free(queue: Queue) -> None:
    begun, may, work = held()
    Waiter(queue, work)
    assert begun.wait(10)
    waiting = [Waiter(queue, work) for _ in range(3)]
    with pytest.raises(Full):
        Waiter(queue, work)
    waiting[1].job.leave()
    Waiter(queue, work)
    with pytest.raises(Full):
        Waiter(queue, work)
    may.set()


def test_work_that_is_left_stops_at_its_next_step(queue: Queue) -> None:
    begun, _, work = held()
    waiter = Waiter(queue, work)
    assert begun.wait(10)
    waiter.job.leave()
    until(lambda: queue.counts() == (0, 0))
    assert Waiter(queue, lambda: 1).last() == Done(1)
    assert not waiter.ended.is_set()


def test_no_handler_on_the_way_holds_up_who_left(queue: Queue) -> None:
    begun = threading.Event()

    def stubborn() -> None:
        begun.set()
        while True:
            try:
                step()
            except Exception:
                continue

    waiter = Waiter(queue, stubborn)
    assert begun.wait(10)
    waiter.job.leave()
    until(lambda: queue.counts() == (0, 0))


def test_what_fails_is_told_and_the_next_is_served(queue: Queue, capsys: pytest.CaptureFixture[str]) -> None:
    def wrong() -> None:
        raise SaywhyError("cat.jpg: is no picture")

    def broken() -> None:
        raise RuntimeError("a secret of /home/me")

    assert Waiter(queue, wrong).last() == Failed("cat.jpg: is no picture")
    assert Waiter(queue, broken).last() == Failed(BROKEN, 500)
    assert "a secret of" in capsys.readouterr().err
    assert Waiter(queue, lambda: 1).last() == Done(1)


def test_whoever_waits_when_it_closes_is_told() -> None:
    queue = Queue(1, 3)
    begun, _, work = held()
    running = Waiter(queue, work)
    assert begun.wait(10)
    waiting = Waiter(queue, work)
    queue.close()
    assert running.last() == waiting.last() == Failed(STOPPING, 503)
    assert queue.counts() == (0, 0)
    queue.close()
    with pytest.raises(Full):
        Waiter(queue, work)


def test_several_threads_work_at_once() -> None:
    queue = Queue(3, 3)
    meet = threading.Barrier(3, timeout=10)
    assert all(isinstance(one.last(), Done) for one in [Waiter(queue, meet.wait) for _ in range(3)])
    queue.close()
