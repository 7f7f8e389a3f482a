"""How many rows count as one: variance inflation measured on tick counts alone (docs/statistics.md, section 7).

Von Neumann's ratio: successive differences of block means of the location and scale scores, against what independent
rows would give, at blocks of 1, 2, 4 .. 64 ticks. Levels have no location; two contrasts stand in: the most frequent
level, and +-1 by the lowest bit of SHA-256(stream, NUL, level).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pilotfish_agent.drift.dictionary import hermite_directions
from pilotfish_agent.drift.layout import SPECIAL, Floats, Ints, nominal

BLOCKS: Final = (1, 2, 4, 8, 16, 32, 64)
"""Ticks a block."""
LEAST: Final = 24
"""Fewer differences say nothing."""
SIGNIFICANCE: Final = 1e-3
STEP: Final = 1.25
"""Phi is rounded up to a power of it, so that equal streams share tables."""


@dataclass(slots=True)
class Sums:
    """Sums of squared differences over their expectation, (blocks, contrasts), and their number, (blocks,)."""

    squares: Floats
    differences: Ints

    def value(self) -> float:
        """Phi: the largest significant inflation, rounded up to a power of 1.25, at least 1. Needs scipy.special."""
        best = 1.0
        for squares, count in zip(self.squares, self.differences.tolist(), strict=True):
            if count >= LEAST:
                freedom = count * 2 / 3  # differences overlap
                line = _chi2_isf(SIGNIFICANCE, freedom) / freedom
                best = max([best, *(x for x in (squares / count).tolist() if x > line)])
        return float(STEP ** math.ceil(math.log(best) / math.log(STEP) - 1e-9)) if best > 1 else 1.0


def _chi2_isf(probability: float, freedom: float) -> float:
    from scipy.special import gammainccinv

    return float(2 * gammainccinv(freedom / 2, probability))


class Phi:
    """One stream's measurement.

    Args:
        name: of the stream.
        counts: of the reference, (K,).
        numeric: whether the last three bins are special ones; else the bins are levels, other, missing.
        levels: names of the levels, without the last two bins.
        directions: contrasts over the bins (2, K), where they are known already.
    """

    def __init__(
        self,
        name: str,
        counts: Any,
        *,
        numeric: bool,
        levels: Sequence[str] = (),
        directions: Floats | None = None,
    ) -> None:
        pi = nominal(counts)
        if directions is None:
            directions = _numeric(pi) if numeric else _levels(name, levels, np.asarray(counts))
        self._directions = directions - (directions * pi).sum(1, keepdims=True)
        self._variance = np.maximum((pi * self._directions**2).sum(1), 1e-300)
        self._ticks = np.zeros(len(BLOCKS), np.int64)  # in the open blocks
        self._held: Floats = np.zeros((len(BLOCKS), 3))  # of the open blocks: sums of the contrasts, rows
        self._last: Floats = np.zeros((len(BLOCKS), 3))  # of the last ones: means of the contrasts, rows
        self.sums = Sums(np.zeros((len(BLOCKS), 2)), np.zeros(len(BLOCKS), np.int64))

    def add(self, counts: Any) -> None:
        """The next tick (K,)."""
        self._held[:, :2] += self._directions @ counts
        self._held[:, 2] += np.sum(counts)
        self._ticks += 1
        for i in np.flatnonzero(self._ticks == BLOCKS).tolist():
            self._close(i)

    def _close(self, i: int) -> None:
        rows, before = self._held[i, 2], self._last[i, 2]
        if rows > 0:
            mean = self._held[i, :2] / rows
            if before > 0:
                self.sums.squares[i] += (mean - self._last[i, :2]) ** 2 / (self._variance * (1 / rows + 1 / before))
                self.sums.differences[i] += 1
            self._last[i] = (*mean, rows)
        self._held[i] = 0
        self._ticks[i] = 0

    def dump(self) -> Floats:
        """All that it remembers, one line a block, (blocks, 10)."""
        counts = np.column_stack((self._ticks, self.sums.differences)).astype(np.float64)
        return np.hstack((self._held, self._last, self.sums.squares, counts))

    def load(self, dumped: Floats) -> None:
        """Back from `dump`.

        Raises:
            ValueError: of another shape.
        """
        if np.shape(dumped) != (len(BLOCKS), 10):
            raise ValueError(f"a measurement of shape {np.shape(dumped)}, expected ({len(BLOCKS)}, 10)")
        self._held, self._last = np.array(dumped[:, :3], np.float64), np.array(dumped[:, 3:6], np.float64)
        self._ticks = dumped[:, 8].astype(np.int64)
        self.sums = Sums(np.array(dumped[:, 6:8], np.float64), dumped[:, 9].astype(np.int64))

    def value(self) -> float:
        """Phi of all ticks so far; see `Sums.value`."""
        return self.sums.value()


def _numeric(pi: Floats) -> Floats:
    return hermite_directions(pi, tuple(range(len(pi) - SPECIAL, len(pi))))[:2]


def _levels(name: str, levels: Sequence[str], counts: Floats | Ints) -> Floats:
    words = [*levels, "other", "missing"] if levels else [str(i) for i in range(len(counts))]
    most = np.zeros(len(counts))
    most[int(np.argmax(counts))] = 1.0
    digests = (hashlib.sha256(f"{name}\0{w}".encode("utf-8", "replace")).digest() for w in words)
    signs = np.array([1.0 if d[-1] & 1 else -1.0 for d in digests])
    return np.array([most, signs])
