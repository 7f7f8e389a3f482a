"""Cramer-von Mises: the squared difference of the two distribution functions, over all values."""

from __future__ import annotations

from typing import Final

from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.tests._part import Side, TestResult, of_values

NAME: Final = "cramer_von_mises"
KINDS: Final = ("numeric",)
NEEDS: Final = "values"


def compare(reference: Side, current: Side) -> TestResult:
    """Of one stream's finite values."""
    return of_values(NAME, reference, current, _found, least=2)


def _found(a: Floats, b: Floats) -> tuple[float, float | None]:
    from scipy.stats import cramervonmises_2samp

    found = cramervonmises_2samp(a, b, method="asymptotic")
    return float(found.statistic), float(found.pvalue)
