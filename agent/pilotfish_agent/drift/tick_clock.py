"""The open tick of a model, by the clock of whoever feeds it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pilotfish_agent.windows.ticks import TickRule


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick that is over.

    Attributes:
        opened, closed: epoch seconds.
        rows: rows of the model in it.
        row: all rows of the model up to and including it.
    """

    opened: float
    closed: float
    rows: int
    row: int


class TickClock:
    """Counts rows into ticks.

    Args:
        rule: when a tick closes.

    Attributes:
        ticks: closed so far.
        rows: so far, those of the open tick included; open_rows: of the open tick.
        closed: epoch seconds at which the last tick closed, 0 before.
    """

    def __init__(self, rule: TickRule) -> None:
        self.ticks = 0
        self.rows = 0
        self.open_rows = 0
        self.closed = 0.0
        self._rule = rule
        self._opened = 0.0
        self._last = 0.0

    def arrive(self, rows: int, moment: float) -> None:
        """Rows that came at ``moment``; one before the last row's counts as then: clocks step back, ticks do not."""
        if not self.open_rows:
            self._opened = self._last = moment
        self._last = max(self._last, moment)
        self.open_rows += rows
        self.rows += rows

    def due(self, now: float) -> float | None:
        """The multiple of the tick at or before ``now`` at which the open tick closes, None while it stays open."""
        if not self.open_rows:
            return None
        return self._rule.closes_at(self._opened, self._last, self.open_rows, max(now, self._last))

    def close(self, at: float) -> Tick:
        """Ends the open tick."""
        tick = Tick(self._opened, at, self.open_rows, self.rows)
        self.open_rows = 0
        self.closed = at
        self.ticks += 1
        return tick

    def drop(self) -> None:
        """The rows of the open tick are not for the evidence: what they are compared with has changed."""
        self.open_rows = 0
