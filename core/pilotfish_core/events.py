"""Internal events: one event is one log line and one count, from one place.

Events are declared by the part that emits them (``EVENTS = (Event(...),)``), so their names are bounded.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Literal

import structlog

from pilotfish_core.clock import Clock
from pilotfish_core.metrics import Metric, Sample

Level = Literal["debug", "info", "warning", "error"]
EVENTS_TOTAL = Metric(
    "pilotfish_events_total",
    "counter",
    "Internal events of the agent by name, each also one log line; look the name up in the agent's log.",
    ("event", "level"),
)
METRICS = (EVENTS_TOTAL,)


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of internal event.

    Attributes:
        name: snake case, unique.
        level: of its log line.
        text: the log line's message; fields are added by the emitter.
    """

    name: str
    level: Level
    text: str


class Events:
    """Where all parts report; safe from any thread. An event logs at most ``burst`` lines a minute and counts all."""

    def __init__(self, clock: Clock, burst: int = 20) -> None:
        self._clock = clock
        self._burst = burst
        self._lock = threading.Lock()
        self._counts: dict[Event, int] = {}
        self._minute: dict[Event, tuple[int, int]] = {}
        self._log = structlog.get_logger("pilotfish")

    def emit(self, event: Event, **fields: Any) -> None:
        """Counts ``event`` and logs it with ``fields``."""
        minute = int(self._clock.monotonic() // 60)
        with self._lock:
            self._counts[event] = self._counts.get(event, 0) + 1
            then, lines = self._minute.get(event, (minute, 0))
            lines = lines + 1 if then == minute else 1
            self._minute[event] = (minute, lines)
        if lines <= self._burst:
            getattr(self._log, event.level)(event.text, kind=event.name, **fields)

    def samples(self) -> tuple[Sample, ...]:
        """The counts so far."""
        with self._lock:
            return tuple(Sample(EVENTS_TOTAL, (e.name, e.level), float(n)) for e, n in self._counts.items())
