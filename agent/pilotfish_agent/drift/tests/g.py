"""G-test (likelihood ratio) of the bins' shares; empty bins do not count."""

from __future__ import annotations

from typing import Final

from pilotfish_agent.drift.tests._part import EMPTY, Side, TestResult

NAME: Final = "g"
KINDS: Final = ("numeric", "categorical")
NEEDS: Final = "counts"


def compare(reference: Side, current: Side) -> TestResult:
    """Both sides are samples; p by chi-square with one degree less than there are bins that hold rows."""
    from pilotfish_agent.drift.two_sample import g_test

    if not reference.counts.sum() or not current.counts.sum():
        return TestResult(NAME, None, None, EMPTY)
    return TestResult(NAME, *g_test(reference.counts, current.counts))
