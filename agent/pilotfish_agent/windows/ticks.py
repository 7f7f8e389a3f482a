"""When a tick closes (docs/statistics.md, 2.5). Pure: time is an argument."""

from __future__ import annotations

import math
from dataclasses import dataclass

MIN_ROWS = 20
MAX_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class TickRule:
    """A tick closes at a multiple of ``tick_seconds`` once it holds ``min_rows``, or after ``max_seconds`` with one.

    Attributes:
        tick_seconds: `drift.tick`.
        min_rows: a tick with fewer rows stays open.
        max_seconds: but not for longer than this, counted from the multiple before its first row.
    """

    tick_seconds: float = 10.0
    min_rows: int = MIN_ROWS
    max_seconds: float = MAX_SECONDS

    def boundary(self, now: float) -> float:
        """The last multiple of the tick at or before ``now``, epoch seconds."""
        return math.floor(now / self.tick_seconds) * self.tick_seconds

    def following(self, now: float) -> float:
        """The first multiple of the tick after ``now``."""
        return (math.floor(now / self.tick_seconds) + 1) * self.tick_seconds

    def closes_at(self, opened: float, rows: int, now: float) -> float | None:
        """The multiple at or before ``now`` at which a tick closes that holds ``rows`` since ``opened``, else None.

        Args:
            opened: time of the tick's first row.
            rows: rows in it, none of them later than ``now``.
            now: the present.
        """
        if rows < 1:
            return None
        start = self.boundary(opened)
        first = start + self.tick_seconds
        if rows < self.min_rows:
            first = start + math.ceil(max(self.max_seconds, self.tick_seconds) / self.tick_seconds) * self.tick_seconds
        return first if now >= first else None
