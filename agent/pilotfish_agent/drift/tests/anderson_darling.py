"""Anderson-Darling: as Cramer-von Mises, with more weight in the tails."""

from __future__ import annotations

import math
import warnings
from typing import Final

from pilotfish_agent.drift.layout import Floats
from pilotfish_agent.drift.tests._part import Side, TestResult, of_values

NAME: Final = "anderson_darling"
KINDS: Final = ("numeric",)
NEEDS: Final = "values"


def compare(reference: Side, current: Side) -> TestResult:
    """Of one stream's finite values; scipy's table ends at p = .001 and .25: what is beyond is given as these."""
    return of_values(NAME, reference, current, _found, least=2)


def _found(a: Floats, b: Floats) -> tuple[float, float | None]:
    from scipy.stats import anderson_ksamp

    if a[0] == a[-1] == b[0] == b[-1]:  # scipy raises
        return math.nan, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that p is beyond the table
        try:
            found = anderson_ksamp([a, b], variant="midrank")
        except TypeError:  # scipy before 1.17, where it has no name
            found = anderson_ksamp([a, b])
    return float(found.statistic), float(found.pvalue)
