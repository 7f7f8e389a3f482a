"""Kolmogorov-Smirnov: the largest difference of the two distribution functions."""

from __future__ import annotations

from typing import Final

from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.tests._part import Side, TestResult, of_values

NAME: Final = "ks"
KINDS: Final = ("numeric",)
NEEDS: Final = "values"
EXACT_ROWS: Final = 1_000
"""Beyond it the limit distribution is good, and the exact one slow."""


def compare(reference: Side, current: Side) -> TestResult:
    """Of one stream's finite values; with many ties p is too large, never too small."""
    return of_values(NAME, reference, current, _found)


def _found(a: Floats, b: Floats) -> tuple[float, float | None]:
    from scipy.stats import ks_2samp

    found = ks_2samp(a, b, method="exact" if max(len(a), len(b)) <= EXACT_ROWS else "asymp")
    return float(found.statistic), float(found.pvalue)
