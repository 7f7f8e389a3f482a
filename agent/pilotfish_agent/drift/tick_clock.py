"""The open tick of a model, by the clock of whoever feeds it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pilotfish_agent.drift.strata import Strata
from pilotfish_agent.windows.ticks import TickRule


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick that is over.

    Attributes:
        opened, closed: epoch seconds.
        rows: rows of the model in it.
        row: all rows of the model up to and including it.
        stratum: which one of the reference's strata it lies in.
    """

    opened: float
    closed: float
    rows: int
    row: int
    stratum: int = 0


class TickClock:
    """Counts rows into ticks.

    Args:
        rule: when a tick closes; may be set.

    Attributes:
        ticks: closed so far.
        rows: so far, those of the open tick included; open_rows: of the open tick.
        closed: epoch seconds at which the last tick closed, 0 before.
        stratum: of the open tick, which ends where the stratum does.
    """

    def __init__(self, rule: TickRule) -> None:
        self.ticks = 0
        self.rows = 0
        self.open_rows = 0
        self.closed = 0.0
        self.stratum = 0
        self.rule = rule
        self._strata = Strata()
        self._until = math.inf
        self._opened = 0.0
        self._last = 0.0

    def tell_apart(self, strata: Strata) -> None:
        """From now on ticks lie in one of these strata; the open tick in that of its last row."""
        self._strata = strata
        self._look(self._last)

    def _look(self, moment: float) -> None:
        self.stratum, self._until = self._strata.at(moment), self._strata.until(moment)

    def arrive(self, rows: int, moment: float) -> None:
        """Rows that came at ``moment``; one before the last row's counts as then: clocks step back, ticks do not."""
        if not self.open_rows:
            self._opened = self._last = moment
            self._look(moment)
        self._last = max(self._last, moment)
        self.open_rows += rows
        self.rows += rows

    def due(self, now: float) -> float | None:
        """Where the open tick closes, at or before ``now``: a multiple of the tick, the end of its stratum; or None."""
        if not self.open_rows:
            return None
        return self.rule.closes_at(self._opened, self._last, self.open_rows, max(now, self._last), self._until)

    def close(self, at: float) -> Tick:
        """Ends the open tick."""
        tick = Tick(self._opened, at, self.open_rows, self.rows, self.stratum)
        self.open_rows = 0
        self.closed = at
        self.ticks += 1
        return tick

    def drop(self) -> None:
        """The rows of the open tick are not for the evidence: what they are compared with has changed."""
        self.open_rows = 0
