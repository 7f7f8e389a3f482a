"""Kolmogorov-Smirnov distance over the reference's bin edges: at most the exact one, so its p is no smaller."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np

from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.tests._part import Bins, Side, TestResult, distance

NAME: Final = "ks_binned"
KINDS: Final = ("numeric",)
NEEDS: Final = "counts"


def distances(bins: Bins) -> Floats:
    """Of each stream (F,), over its finite values; NaN where bins are in no order, or all values are special."""
    p, q = bins.shares(ordered=True)
    difference = np.cumsum(np.where(np.isfinite(p - q), p - q, 0.0))
    before = np.concatenate(([0.0], difference))[bins.starts]
    found = np.maximum.reduceat(np.abs(difference - np.repeat(before, bins.sizes)), bins.starts)
    ordered = np.where(bins.ordered, 1.0, 0.0)
    enough = (bins.each(ordered * bins.reference) > 0) & (bins.each(ordered * bins.current) > 0)
    return np.where(enough, found, np.nan)


def compare(reference: Side, current: Side) -> TestResult:
    """Of one stream; p by the limit of Kolmogorov's distribution."""
    from scipy.special import kolmogorov

    found = distance(NAME, distances, reference, current, "no finite values on one side")
    if found.statistic is None:
        return found
    m, n = (float(side.counts[: side.ordered].sum()) for side in (reference, current))
    return replace(found, pvalue=float(kolmogorov(math.sqrt(m * n / (m + n)) * found.statistic)))
