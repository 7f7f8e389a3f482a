"""The pipeline's thread: one step after the other, and what is asked of it in between."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from pilotfish_agent.pipeline.pace import Pace

LONG = 3600.0


class Stepped:
    """Counts steps; the next one is due at once until there are ``most``."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self.most = 1
        self.done = threading.Event()

    def __call__(self) -> float:
        self.threads.append(threading.get_ident())
        if len(self.threads) < self.most:
            return 0.0
        self.done.set()
        return LONG

    def wait(self) -> int:
        """Until there were as many as there are to be; how many."""
        assert self.done.wait(20)
        self.done.clear()
        return len(self.threads)


@pytest.fixture
def steps() -> Stepped:
    return Stepped()


@pytest.fixture
def pace(steps: Stepped) -> Iterator[Pace]:
    made = Pace(steps)
    made.start()
    yield made
    made.stop()


def test_it_steps_from_the_first_call_on_and_as_often_as_steps_are_due(pace: Pace, steps: Stepped) -> None:
    """All in one thread, which is not ours."""
    assert pace.do(lambda: len(steps.threads)).result(20) == 0
    steps.most = 5
    pace.hurry()
    assert steps.wait() == 5
    (thread,) = set(steps.threads)
    assert thread != threading.get_ident()


def test_a_step_comes_early_when_it_is_called_for(pace: Pace, steps: Stepped) -> None:
    """The intake cannot wait for an hour."""
    for expected in (1, 2, 3):
        pace.hurry()
        assert steps.wait() == expected


def test_what_is_asked_is_done_in_the_thread_of_the_steps(pace: Pace, steps: Stepped) -> None:
    """So models are touched by one thread alone."""
    pace.hurry()
    steps.wait()
    assert {pace.do(threading.get_ident).result(20) for _ in range(2)} == set(steps.threads)


def test_an_error_is_for_who_has_asked(pace: Pace, steps: Stepped) -> None:
    """The thread goes on; what nobody waits for any more is not done."""
    with pytest.raises(ZeroDivisionError):
        pace.do(lambda: 1 // 0).result(20)
    held, release, done = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        release.wait(20)

    pace.do(hold)
    assert held.wait(20)
    given_up: Future[None] = pace.do(done.set)
    assert given_up.cancel()
    release.set()
    pace.hurry()
    assert steps.wait() == 1
    assert not done.is_set()


def test_nothing_is_done_after_the_end_but_what_was_asked_before(steps: Stepped) -> None:
    """The last work is the pipeline's own end: no step may follow it."""
    pace = Pace(steps)
    last = pace.do(lambda: 7)
    pace.stop()
    pace.hurry()
    pace.start()
    assert last.result(20) == 7
    pace._thread.join(20)
    assert not pace._thread.is_alive()
    assert steps.threads == []
