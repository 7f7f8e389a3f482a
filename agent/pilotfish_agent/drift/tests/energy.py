"""Energy distance of the two sides, in units of the root of the reference's standard deviation."""

from __future__ import annotations

from typing import Final

from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.tests._part import Side, TestResult, gaps, of_values

NAME: Final = "energy"
KINDS: Final = ("numeric",)
NEEDS: Final = "values"


def compare(reference: Side, current: Side) -> TestResult:
    """Of one stream's finite values."""
    return of_values(NAME, reference, current, _found)


def _found(a: Floats, b: Floats) -> tuple[float, float | None]:
    apart, widths = gaps(a, b)
    return float(2 * (apart * apart * widths).sum()) ** 0.5 / float(a.std() or 1.0) ** 0.5, None
