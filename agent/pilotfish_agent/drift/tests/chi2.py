"""Pearson's chi-square test of the bins' shares; empty bins do not count."""

from __future__ import annotations

from typing import Final

from pilotfish_agent.drift.tests._part import EMPTY, Side, TestResult

NAME: Final = "chi2"
KINDS: Final = ("numeric", "categorical")
NEEDS: Final = "counts"


def compare(reference: Side, current: Side) -> TestResult:
    """Both sides are samples; p by chi-square with one degree less than there are bins that hold rows."""
    from scipy.special import chdtrc

    r, c = reference.counts, current.counts
    m, n = float(r.sum()), float(c.sum())
    if not m or not n:
        return TestResult(NAME, None, None, EMPTY)
    held = r + c > 0
    # With shares p and q of the two sides: sum of (p - q)^2 / (r + c), times m n.
    statistic = m * n * float(((r[held] / m - c[held] / n) ** 2 / (r + c)[held]).sum())
    degrees = int(held.sum()) - 1
    return TestResult(NAME, statistic, float(chdtrc(degrees, statistic)) if degrees else 1.0)
