"""Population stability index on the reference's bins, its bias removed."""

from __future__ import annotations

from typing import Final

import numpy as np

from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.tests._part import Bins, Side, TestResult, distance

NAME: Final = "psi"
KINDS: Final = ("numeric", "categorical")
NEEDS: Final = "counts"
ROWS_A_BIN: Final = 15
"""With fewer rows a bin the index is mostly its bias."""


def distances(bins: Bins) -> Floats:
    """Of each stream (F,); counts alone put ``(K - 1) (1/n + 1/m)`` on it, which is taken off, down to 0.

    NaN with fewer than 15 rows a bin.
    """
    p, q = bins.masses()
    found = np.maximum(bins.each((p - q) * np.log(p / q)) - bins.bias(), 0.0)
    return np.where(bins.rows >= ROWS_A_BIN * bins.sizes, found, np.nan)


def compare(reference: Side, current: Side) -> TestResult:
    """Of one stream."""
    return distance(NAME, distances, reference, current, f"fewer than {ROWS_A_BIN} rows a bin")
