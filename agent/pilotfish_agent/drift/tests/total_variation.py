"""Total variation on the reference's bins: the share of rows that would have to move to another bin."""

from __future__ import annotations

from typing import Final

import numpy as np

from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.tests._part import Bins, Side, TestResult, distance

NAME: Final = "total_variation"
KINDS: Final = ("numeric", "categorical")
NEEDS: Final = "counts"


def distances(bins: Bins) -> Floats:
    """Of each stream (F,): half the sum of the absolute differences of the shares."""
    p, q = bins.shares()
    return bins.each(np.abs(p - q)) / 2


def compare(reference: Side, current: Side) -> TestResult:
    """Of one stream."""
    return distance(NAME, distances, reference, current, "")
