"""Mann-Whitney: the share of pairs in which the batch has the larger value (.5 alike), and its p."""

from __future__ import annotations

from typing import Final

from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.tests._part import Side, TestResult, of_values

NAME: Final = "mann_whitney"
KINDS: Final = ("numeric",)
NEEDS: Final = "values"


def compare(reference: Side, current: Side) -> TestResult:
    """Of one stream's finite values."""
    return of_values(NAME, reference, current, _found)


def _found(a: Floats, b: Floats) -> tuple[float, float | None]:
    from scipy.stats import mannwhitneyu

    found = mannwhitneyu(b, a, method="asymptotic")
    return float(found.statistic) / (len(a) * len(b)), float(found.pvalue)
