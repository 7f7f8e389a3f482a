"""Clocks."""

from __future__ import annotations

from pilotfish_core.clock import Clock, ManualClock, SystemClock


def test_manual_clock_moves_when_told() -> None:
    """It stands still until it is advanced, and then both clocks move alike."""
    clock: Clock = ManualClock(start=100.0)
    assert (clock.wall(), clock.monotonic()) == (100.0, 0.0)
    assert isinstance(clock, ManualClock)
    clock.advance(2.5)
    assert (clock.wall(), clock.monotonic()) == (102.5, 2.5)


def test_system_clock() -> None:
    """The monotonic clock never goes back, and the wall clock is past this code's birth."""
    clock: Clock = SystemClock()
    first = clock.monotonic()
    assert clock.monotonic() >= first
    assert clock.wall() > 1_700_000_000
