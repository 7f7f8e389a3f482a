"""The dashboards drawn on a real stack: nothing empty, nothing wrong, a renamed metric noticed."""

from __future__ import annotations

import functools
import sys

from benchmarks.bars import Result, bar, versions
from grafana.proof.bundle import MissingError
from grafana.proof.check import PICTURES, RENAMED, Outcome, run

MOST_S = 150.0


@functools.cache
def outcome() -> Outcome | str:
    """One run for both rows; a text where this machine lacks something."""
    try:
        return run(PICTURES)
    except MissingError as error:
        return str(error)


@bar(
    "dashboards drawn with @grafana/ui on a real stack, each value compared with PromQL",
    f"0 empty or still panels, 0 errors, 0 differences, <= {MOST_S:g} s",
)
def drawn() -> Result:
    found = outcome()
    if isinstance(found, str):
        return Result(found, None)
    for problem in found.report.problems:
        print(problem, file=sys.stderr)
    first = f" ({found.report.problems[0][:200]})" if found.report.problems else ""
    holds = not found.report.problems and found.report.dashboards > 0 and found.seconds <= MOST_S
    words = f"{found.report.line()}, {found.seconds:.0f} s{first}"
    return Result(words, holds, versions("playwright", "grafana-foundation-sdk"))


@bar("dashboards with one metric renamed", "drawing them fails")
def renamed() -> Result:
    found = outcome()
    if isinstance(found, str):
        return Result(found, None)
    return Result(found.unnoticed or f"{RENAMED} renamed: its panels have no data", found.unnoticed is None)
