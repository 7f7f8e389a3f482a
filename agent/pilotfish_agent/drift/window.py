"""What the streams look like now: decayed counts and the distance from the reference (section 10)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pilotfish_agent.drift.layout import Floats, Ints
from pilotfish_agent.drift.tested import Tested

FOLD_ROWS: Final = 10_000.0
MIN_ROWS: Final = 200
"""Fewer rows of a stream say nothing (section 10)."""


class Window:
    """Decayed counts of all streams: a row weighs 1 when it enters, 1/e after 10,000 more.

    Args:
        streams: the tested streams.
    """

    def __init__(self, streams: Tested) -> None:
        self._starts = streams.offsets[:-1]
        self._sizes = np.diff(streams.offsets)
        self.counts: NDArray[np.float32] = np.zeros(streams.width, np.float32)
        self.squares: Floats = np.zeros(len(streams.streams))
        self.seen: Ints = np.zeros(len(streams.streams), np.int64)

    def add(self, counts: Ints, levelled: Floats | None = None) -> None:
        """One tick of counts of all streams (width,), and where it is known the same without the season."""
        if not len(self._starts):
            return
        rows = np.add.reduceat(counts, self._starts)
        keep = np.exp(rows / -FOLD_ROWS)
        self.counts *= keep[0] if (rows == rows[0]).all() else np.repeat(keep, self._sizes)
        self.counts += counts if levelled is None else levelled
        self.squares *= keep * keep
        self.squares += rows
        self.seen += rows

    def rows(self) -> Floats:
        """Weight of each stream's window (F,): rows, the older the less."""
        return self._sum(self.counts)

    def effective(self) -> Floats:
        """Rows of equal weight that would be as certain, (F,): ``(sum w)^2 / sum w^2``; 0 where there are none."""
        total = self.rows()
        return np.divide(total * total, self.squares, out=np.zeros_like(total), where=self.squares > 0)

    def _sum(self, values: Floats | NDArray[np.float32]) -> Floats:
        return np.add.reduceat(values, self._starts, dtype=np.float64) if len(self._starts) else np.zeros(0)

    def dump(self) -> dict[str, NDArray[np.generic]]:
        """All that it knows, which a checkpoint keeps and fills in: the arrays themselves."""
        return {"counts": self.counts, "squares": self.squares, "seen": self.seen}
