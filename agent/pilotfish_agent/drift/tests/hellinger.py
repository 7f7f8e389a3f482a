"""Hellinger distance on the reference's bins: 0 alike, 1 disjoint."""

from __future__ import annotations

from typing import Final

import numpy as np

from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.tests._part import Bins, Side, TestResult, distance

NAME: Final = "hellinger"
KINDS: Final = ("numeric", "categorical")
NEEDS: Final = "counts"


def distances(bins: Bins) -> Floats:
    """Of each stream (F,): the root of half the squared difference of the roots of the shares."""
    p, q = bins.shares()
    found: Floats = np.sqrt(bins.each((np.sqrt(p) - np.sqrt(q)) ** 2) / 2)
    return found


def compare(reference: Side, current: Side) -> TestResult:
    """Of one stream."""
    return distance(NAME, distances, reference, current, "")
