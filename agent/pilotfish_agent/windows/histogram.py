"""Histograms that add: log buckets for latencies, fixed bounds for Prometheus. Bounded, mergeable, numbers only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pilotfish_core.metrics import Distribution

_LARGEST = float(np.finfo(np.float64).max)


class LogHistogram:
    """Counts in buckets of equal ratio: any quantile to within ``error``, whatever the distribution.

    As DDSketch (Masson, Rim, Lee, VLDB 2019) with fixed ends, so that memory is bounded and merging is adding.

    Args:
        low: values at or below it share the first bucket.
        high: values above it share the last bucket.
        error: relative error of a quantile between the ends.
    """

    __slots__ = ("_counts", "_high", "_low", "_ratio", "total")

    def __init__(self, low: float = 1e-6, high: float = 1e5, error: float = 0.01) -> None:
        if not 0 < low < high < math.inf or not 0 < error < 1:
            raise ValueError(f"expected 0 < low < high and 0 < error < 1, got {low}, {high}, {error}")
        self._low, self._high = low, high
        self._ratio = math.log((1 + error) / (1 - error))
        self._counts = np.zeros(math.ceil(math.log(high / low) / self._ratio) + 2, np.int64)
        self.total = 0.0

    @property
    def count(self) -> int:
        """Values counted."""
        return int(self._counts.sum())

    def add(self, values: ArrayLike) -> int:
        """Counts the finite values; returns how many were not finite (they are left out)."""
        x = np.asarray(values, np.float64)
        finite = x[np.isfinite(x)]
        place = np.ceil(np.log(np.maximum(finite, self._low) / self._low) / self._ratio)
        place = np.minimum(place, len(self._counts) - 1).astype(np.int64)
        self._counts += np.bincount(place, minlength=len(self._counts))
        self.total = _sum(self.total, finite)
        return len(x) - len(finite)

    def merge(self, other: LogHistogram) -> None:
        """Adds another histogram of the same ends and error."""
        if (other._low, other._high, other._ratio) != (self._low, self._high, self._ratio):
            raise ValueError("histograms of different buckets do not add")
        self._counts += other._counts
        self.total += other.total

    def quantile(self, q: float) -> float:
        """The value below which a share ``q`` of the rows lies; NaN when empty."""
        n = self.count
        if n == 0:
            return math.nan
        rank = min(max(math.ceil(q * n), 1), n)
        place = int(np.searchsorted(np.cumsum(self._counts), rank))
        # The middle (in ratio) of the bucket (low r^(i-1), low r^i]: off by at most the error, on either side.
        upper = self._low * math.exp(self._ratio * place)
        return self._low if place == 0 else min(2 * upper / (1 + math.exp(self._ratio)), self._high)

    def zero(self) -> None:
        """Forgets everything."""
        self._counts[:] = 0
        self.total = 0.0


class FixedHistogram:
    """Counts between fixed upper bounds (``le``), as Prometheus has them.

    Args:
        bounds: ascending, finite, without +Inf.
    """

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = np.asarray(bounds, np.float64)
        self._counts: NDArray[np.int64] = np.zeros(len(self._bounds) + 1, np.int64)
        self._total = 0.0

    def add(self, values: ArrayLike) -> int:
        """Counts the finite values; returns how many were not finite (they are left out)."""
        x = np.asarray(values, np.float64)
        finite = x[np.isfinite(x)]
        self._counts += np.bincount(self._bounds.searchsorted(finite), minlength=len(self._counts))
        self._total = _sum(self._total, finite)
        return len(x) - len(finite)

    def merge(self, other: FixedHistogram) -> None:
        """Adds another histogram of the same bounds."""
        if not np.array_equal(other._bounds, self._bounds):
            raise ValueError("histograms of different bounds do not add")
        self._counts += other._counts
        self._total += other._total

    def distribution(self) -> Distribution:
        """The present value, for a Sample."""
        return Distribution(tuple(self._counts.tolist()), self._total)


def _sum(total: float, finite: NDArray[np.float64]) -> float:
    """``total`` and the sum of the values, kept within the range of float64: a sum must stay a number."""
    with np.errstate(over="ignore", invalid="ignore"):
        added = total + float(finite.sum())
    return min(max(added, -_LARGEST), _LARGEST) if not math.isnan(added) else total
