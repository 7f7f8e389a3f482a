"""Time is an argument: code takes a `Clock`, tests hand in a `ManualClock`."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def wall(self) -> float:
        """Seconds since the epoch: for people and for Prometheus, never for differences."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back: for intervals and deadlines."""
        ...


class SystemClock:
    """The machine's clocks."""

    wall = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


class ManualClock:
    """A clock that moves when told to.

    Args:
        start: seconds since the epoch at which it stands.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._wall = start
        self._monotonic = 0.0

    def wall(self) -> float:
        """Seconds since the epoch."""
        return self._wall

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Moves both clocks forward by ``seconds``."""
        self._wall += seconds
        self._monotonic += seconds
