"""Numbers of many rows over time, in memory that never grows: 360 points of 10 s, and 1,440 minutes of min, max, last.

NaN is "nothing known": a gap. A row takes 18,720 bytes, and memory is taken a block of rows at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SLOT: Final = 10
"""Seconds a point."""
POINTS: Final = 360
PER_MINUTE: Final = 60 // SLOT
MINUTES: Final = 1440
BLOCK: Final = 20
"""Rows that memory is taken for at once."""
WIDTH: Final = POINTS + 3 * MINUTES


class Minutes(NamedTuple):
    """The coarse step of some rows.

    Attributes:
        at: of each minute's begin, epoch seconds.
        least, most, last: a row each; least <= last <= most.
    """

    at: Ints
    least: NDArray[np.float32]
    most: NDArray[np.float32]
    last: NDArray[np.float32]


class Rings:
    """The numbers. ``slot`` counts points of `SLOT` seconds since the epoch.

    Attributes:
        slot: the newest point; None before the first.
        first: the oldest point that anything is known of.
        blocks: the numbers; a row of a block is the points, then least, most and last of the minutes, each a ring.
    """

    def __init__(self) -> None:
        self.slot: int | None = None
        self.first = 0
        self.blocks: list[NDArray[np.float32]] = []
        self._sum: Floats = np.zeros(0)  # of the minute that is open, for the rows whose `last` is the mean
        self._count: Floats = np.zeros(0)

    @property
    def rows(self) -> int:
        """For which there is memory."""
        return len(self.blocks) * BLOCK

    def grow(self) -> range:
        """Memory for one block more; its rows."""
        self.blocks.append(np.full((BLOCK, WIDTH), np.nan, np.float32))
        self._sum, self._count = np.zeros(self.rows), np.zeros(self.rows)
        return range(self.rows - BLOCK, self.rows)

    def clear(self, row: int) -> None:
        """Forgets a row."""
        self.blocks[row // BLOCK][row % BLOCK] = np.nan
        self._sum[row] = self._count[row] = 0.0

    def put(self, slot: int, values: Floats, averaged: NDArray[np.bool_]) -> None:
        """The values of every row at a point; points that were skipped are gaps.

        Args:
            slot: after the newest, or before it: the clock was set back, and what lies ahead of it is forgotten.
            values: one a row, NaN for none.
            averaged: rows whose `last` of a minute is the mean of its points: rates.
        """
        self._move(slot)
        with np.errstate(over="ignore"):
            small = values.astype(np.float32)
        small[np.isinf(small)] = np.nan
        known = ~np.isnan(small)
        self._sum += np.where(known, small, 0.0)
        self._count += known
        mean = self._sum / np.maximum(self._count, 1.0)
        last = np.where(averaged & (self._count > 0), mean, small).astype(np.float32)
        point, minute = slot % POINTS, slot // PER_MINUTE % MINUTES
        for number, block in enumerate(self.blocks):
            rows = slice(number * BLOCK, (number + 1) * BLOCK)
            block[:, point] = small[rows]
            least, most, final = _minutes(block)
            least[:, minute] = np.fmin(least[:, minute], small[rows])
            most[:, minute] = np.fmax(most[:, minute], small[rows])
            given = np.where(known[rows], last[rows], final[:, minute])
            final[:, minute] = np.clip(given, least[:, minute], most[:, minute])

    def _move(self, slot: int) -> None:
        """Makes ``slot`` the newest point, empty, and its minute too where it is new."""
        before = self.slot
        if before is None:
            self.first = slot
        elif slot <= before:
            self.first = min(self.first, slot)
            self._forget(slot, before)
        else:
            self._forget(before + 1, slot)
        if before is None or slot <= before or slot // PER_MINUTE != before // PER_MINUTE:
            self._sum[:] = self._count[:] = 0.0
        self.slot = slot

    def _forget(self, first: int, last: int) -> None:
        """Points ``first`` to ``last`` become gaps, and the minutes that begin among them."""
        points = np.arange(max(first, last - POINTS + 1), last + 1) % POINTS
        begins = -(-first // PER_MINUTE) if self.slot is not None and first > self.slot else first // PER_MINUTE
        ends = last // PER_MINUTE
        minutes = np.arange(max(begins, ends - MINUTES + 1), ends + 1) % MINUTES
        for block in self.blocks:
            block[:, points] = np.nan
            for part in _minutes(block):
                part[:, minutes] = np.nan

    # -- out

    def points(self, rows: Sequence[int], seconds: float) -> tuple[Ints, NDArray[np.float32]]:
        """(epoch seconds, a row of values each) of the newest ``seconds``, an hour at most."""
        at = self._range(self.slot, self.first, min(int(seconds // SLOT), POINTS))
        return at * SLOT, self._take(rows, at % POINTS)

    def minutes(self, rows: Sequence[int], seconds: float) -> Minutes:
        """The newest ``seconds`` by the minute, a day at most; the last one is not over."""
        newest = None if self.slot is None else self.slot // PER_MINUTE
        at = self._range(newest, self.first // PER_MINUTE, min(int(seconds // 60), MINUTES))
        parts = (self._take(rows, POINTS + k * MINUTES + at % MINUTES) for k in range(3))
        return Minutes(at * 60, *parts)

    @staticmethod
    def _range(newest: int | None, first: int, count: int) -> Ints:
        return np.arange(0) if newest is None else np.arange(max(newest - count + 1, first), newest + 1)

    def _take(self, rows: Sequence[int], columns: Ints) -> NDArray[np.float32]:
        taken = [self.blocks[row // BLOCK][row % BLOCK, columns] for row in rows]
        return np.array(taken, np.float32).reshape(len(rows), len(columns))


def _minutes(block: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """Views of least, most and last."""
    return tuple(block[:, POINTS + k * MINUTES : POINTS + (k + 1) * MINUTES] for k in range(3))
