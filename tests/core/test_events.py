"""Internal events: one event is one count and one log line, and a storm of them is few lines."""

from __future__ import annotations

import threading

import pytest
from structlog.testing import capture_logs

from pilotfish_core.clock import ManualClock
from pilotfish_core.events import EVENTS_TOTAL, Event, Events

BOILS = Event("kettle_boils", "warning", "The kettle boils.")
COOLS = Event("kettle_cools", "info", "The kettle cools.")


def counts(events: Events) -> dict[tuple[str | None, ...], object]:
    """Labels -> value."""
    return {s.labels: s.value for s in events.samples() if s.metric is EVENTS_TOTAL}


def test_one_event_is_one_line_and_one_count() -> None:
    """The line has the text, the name and the fields; the count has name and level."""
    events = Events(ManualClock())
    with capture_logs() as lines:
        events.emit(BOILS, degrees=100)
    assert lines == [{"event": "The kettle boils.", "kind": "kettle_boils", "degrees": 100, "log_level": "warning"}]
    assert counts(events) == {("kettle_boils", "warning"): 1.0}


def test_nothing_happened() -> None:
    """An event that never was has no series."""
    assert Events(ManualClock()).samples() == ()


def test_rate_limit() -> None:
    """Beyond the burst of a minute events are counted but not written; the next minute writes again."""
    clock = ManualClock()
    events = Events(clock, burst=3)
    with capture_logs() as lines:
        for _ in range(10):
            events.emit(BOILS)
        assert len(lines) == 3
        clock.advance(60)
        events.emit(BOILS)
    assert len(lines) == 4
    assert counts(events) == {("kettle_boils", "warning"): 11.0}


def test_rate_limit_is_per_event() -> None:
    """A storm of one event does not hide another."""
    events = Events(ManualClock(), burst=1)
    with capture_logs() as lines:
        for _ in range(5):
            events.emit(BOILS)
        events.emit(COOLS)
    assert [line["kind"] for line in lines] == ["kettle_boils", "kettle_cools"]


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_levels(level: str) -> None:
    """An event's level is its line's level."""
    with capture_logs() as lines:
        Events(ManualClock()).emit(Event("x", level, "X."))  # type: ignore[arg-type]
    assert [line["log_level"] for line in lines] == [level]


def test_threads() -> None:
    """Counts from several threads are all there."""
    events = Events(ManualClock(), burst=0)

    def storm() -> None:
        for _ in range(500):
            events.emit(BOILS)

    threads = [threading.Thread(target=storm) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts(events) == {("kettle_boils", "warning"): 2000.0}
