"""Wasserstein: how far values have to move on average, in standard deviations of the reference."""

from __future__ import annotations

from typing import Final

import numpy as np

from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.tests._part import Side, TestResult, gaps, of_values

NAME: Final = "wasserstein"
KINDS: Final = ("numeric",)
NEEDS: Final = "values"


def compare(reference: Side, current: Side) -> TestResult:
    """Of one stream's finite values."""
    return of_values(NAME, reference, current, _found)


def _found(a: Floats, b: Floats) -> tuple[float, float | None]:
    apart, widths = gaps(a, b)
    return float((np.abs(apart) * widths).sum()) / float(a.std() or 1.0), None
