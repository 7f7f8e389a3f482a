"""When a tick closes (docs/statistics.md, section 2). Pure: time is an argument."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

MIN_ROWS = 20
MAX_SECONDS = 600.0
Floats = NDArray[np.float64]


class Ends(Protocol):
    """Spans of time that no tick goes beyond, such as the hours that a reference tells apart."""

    def until(self, moment: float) -> float:
        """When the span of a moment ends."""
        ...

    def ends(self, times: Floats) -> Floats:
        """The same of each time (n,)."""
        ...


class Endless:
    """One span for all time."""

    def until(self, moment: float) -> float:
        """Never."""
        del moment
        return math.inf

    def ends(self, times: Floats) -> Floats:
        """Never."""
        return np.full(len(times), math.inf)


@dataclass(frozen=True, slots=True)
class TickRule:
    """A tick closes at a multiple of ``tick_seconds`` once it holds ``min_rows``, or after ``max_seconds`` with one.

    It closes in any case where a span of time ends that no tick may go beyond.

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

    def closes_at(self, opened: float, latest: float, rows: int, now: float, until: float = math.inf) -> float | None:
        """The multiple (or ``until``) at or before ``now`` at which a tick closes, else None.

        Args:
            opened: when the tick's first row came.
            latest: when its last row came, ``opened <= latest <= now``.
            rows: rows in it.
            now: the present.
            until: the end of the span that it may not go beyond, after ``latest``.
        """
        if rows < 1:
            return None
        full = self.following(latest)
        if rows < self.min_rows:
            # The first multiple at which it is old enough, but none before its last row came.
            patience = math.ceil(max(self.max_seconds, self.tick_seconds) / self.tick_seconds) * self.tick_seconds
            full = max(full, self.boundary(opened) + patience)
        full = min(full, until)
        return full if now >= full else None


@dataclass(slots=True)
class TickSplitter:
    """Cuts rows with times into ticks, a batch at a time, as the agent's clock would have.

    A row older than the open tick counts in the open tick and in ``late``.

    Attributes:
        rule: when a tick closes.
        spans: no tick goes beyond one of them.
        late: rows that came after their tick had closed.
        rows: of the open tick; begins: the multiple at which it could have begun, -inf before the first closing.
    """

    rule: TickRule
    spans: Ends = field(default_factory=Endless)
    late: int = 0
    rows: int = 0
    begins: float = -math.inf
    _opened: float = math.nan
    _now: float = -math.inf
    _until: float = math.inf

    def split(self, times: Floats) -> list[tuple[int, float]]:
        """Where ticks close within the next rows.

        Args:
            times: epoch seconds of the rows, in file order, finite.

        Returns:
            (i, at): before row i a tick closed, at the multiple (or end of a span) ``at``; ascending.
        """
        if not len(times):
            return []
        clock = np.maximum.accumulate(np.maximum(times, self._now))
        cells = np.floor(clock / self.rule.tick_seconds)
        until = self.spans.ends(clock)
        changes = (np.diff(cells) != 0) | (until[1:] != until[:-1])
        starts = np.concatenate(([0], np.flatnonzero(changes) + 1)).tolist()
        ends = [*starts[1:], len(times)]
        closed: list[tuple[int, float]] = []
        for start, end in zip(starts, ends, strict=True):
            at = self.advance(float(clock[start]))
            if at is not None:
                closed.append((start, at))
            if not self.rows:
                self._opened, self._until = float(clock[start]), float(until[start])
            self.rows += end - start
            self._now = float(clock[end - 1])
            if self.begins > -math.inf:
                self.late += int((times[start:end] < self.begins).sum())
        return closed

    def advance(self, now: float) -> float | None:
        """Closes the open tick if it is due at ``now``; returns the multiple at which it closed."""
        at = self.rule.closes_at(self._opened, self._now, self.rows, now, self._until) if self.rows else None
        if at is not None:
            self.rows, self.begins = 0, at
        return at

    def flush(self) -> float | None:
        """Closes the last tick at the end of the data, if it holds a row, when it would have closed."""
        if not self.rows:
            return None
        return self.advance(self._now + max(self.rule.max_seconds, self.rule.tick_seconds) + self.rule.tick_seconds)


@dataclass(slots=True)
class RowSplitter:
    """Ticks of a fixed number of rows, for data without times; a tick stands for one minute.

    With times, a tick ends early where a span ends that no tick may go beyond.

    Attributes:
        size: rows a tick.
    """

    size: int
    late: int = field(default=0, init=False)
    rows: int = field(default=0, init=False)
    ticks: int = field(default=0, init=False)

    _end: float = field(default=math.inf, init=False)

    def split(self, rows: int, ends: Floats | None = None) -> list[tuple[int, float]]:
        """Where ticks close within the next ``rows``: (i, seconds since the first row), i = rows when at the end.

        Args:
            rows: how many there are.
            ends: when the span of each row (rows,) ends.
        """
        closed: list[int] = []
        cuts = [0, *([] if ends is None else (np.flatnonzero(ends[1:] != ends[:-1]) + 1).tolist()), rows]
        for first, last in itertools.pairwise(cuts):
            end = math.inf if ends is None or first == last else float(ends[first])
            if self.rows and end != self._end and first < last:
                closed.append(first)
                self.rows = 0
            if first < last:
                self._end = end
            closed += range(first + self.size - self.rows, last + 1, self.size)
            self.rows = (self.rows + last - first) % self.size
        self.ticks += len(closed)
        return [(at, (self.ticks - len(closed) + i + 1) * 60.0) for i, at in enumerate(closed)]
