"""The pipeline's thread: a step when one is due, and between two steps what is asked of it.

It keeps time by itself. To wake one thread a second costs half of what it costs to wake the event loop, which wakes a
thread, which wakes the loop to say that it is done; and nothing that the loop does for others delays a sample.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import Empty, SimpleQueue
from typing import TypeVar

_T = TypeVar("_T")
_LONGEST = 3600.0
"""Seconds of one wait: C libraries take no endless ones."""


class Pace:
    """One thread that steps.

    Args:
        step: one step, which never raises; the seconds until the next one is due.
    """

    def __init__(self, step: Callable[[], float]) -> None:
        self._step = step
        self._due = math.inf
        self._asked: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="pf-pipeline", daemon=True)

    def start(self) -> None:
        """Starts the thread; the first step comes with `hurry`."""
        self._thread.start()

    def hurry(self) -> None:
        """A step now, from any thread."""
        self._asked.put(self._now)

    def do(self, work: Callable[[], _T]) -> Future[_T]:
        """``work`` between two steps, from any thread."""
        future: Future[_T] = Future()
        self._asked.put(partial(_answer, future, work))
        return future

    def stop(self) -> None:
        """No step after this one; what was asked before is done."""
        self._asked.put(None)

    def _run(self) -> None:
        while True:
            try:
                asked = self._asked.get(timeout=min(max(self._due - time.monotonic(), 0.0), _LONGEST))
            except Empty:
                if self._due <= time.monotonic():
                    self._due = self._step() + time.monotonic()
                continue
            if asked is None:
                return
            asked()

    def _now(self) -> None:
        self._due = time.monotonic()


def _answer(future: Future[_T], work: Callable[[], _T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001 - whatever it is, who has asked gets it
        future.set_exception(error)
