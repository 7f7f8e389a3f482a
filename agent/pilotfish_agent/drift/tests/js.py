"""Jensen-Shannon divergence on the reference's bins, nats, its bias removed: 0 alike, ln 2 disjoint."""

from __future__ import annotations

from typing import Final

import numpy as np

from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.tests._part import Bins, Side, TestResult, distance

NAME: Final = "js"
KINDS: Final = ("numeric", "categorical")
NEEDS: Final = "counts"


def distances(bins: Bins) -> Floats:
    """Of each stream (F,); counts alone put ``(K - 1) (1/n + 1/m) / 8`` on it, which is taken off, down to 0."""
    p, q = bins.masses()
    middle = (p + q) / 2
    found = bins.each(p * np.log(p / middle) + q * np.log(q / middle)) / 2 - bins.bias() / 8
    return np.maximum(found, 0.0)


def compare(reference: Side, current: Side) -> TestResult:
    """Of one stream."""
    return distance(NAME, distances, reference, current, "")
