"""The dashboards as files: valid, linted, and drawing only what is exported. That they draw is measured apart."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.metadata import version

from benchmarks.bars import Result, bar, versions
from grafana import check, lint
from pilotfish_agent import catalogue


@bar(
    "dashboards: errors of Grafana's schema, hits of the dashboard-linter's rules, unknown metrics or labels", "0, 0, 0"
)
def files() -> Result:
    boards = check.read()
    schema, hits, unknown = (
        [word for board in boards.values() for word in found(board)]
        for found in (check.schema_errors, lint.hits, check.unknown)
    )
    drawn = sum(1 for board in boards.values() for _ in lint.panels(board))
    asked = sum(1 for board in boards.values() for _ in lint.expressions(board))
    measured = (
        f"{len(schema)}, {len(hits)}, {len(unknown)} in {drawn} panels of {len(boards)} dashboards, {asked} expressions"
    )
    good = len(boards) == 4 and not (schema or hits or unknown)
    return Result(measured, good, versions("grafana-foundation-sdk", "jsonschema"))


@bar("dashboards: expressions that Prometheus does not understand", "0")
def understood() -> Result:
    if shutil.which("promtool") is None:
        return Result("promtool is not installed (make system-deps)", None)
    wrong = check.promql_errors(check.read())
    return Result(f"{len(wrong)} complaints of promtool", not wrong)


@bar("dashboards: exported metrics, renamed one by one, that the check misses although they are drawn", "0")
def renamed() -> Result:
    boards, everything = check.read(), catalogue.metrics()
    drawn = check.drawn(boards)
    missed = []
    for metric in drawn:
        other = replace(metric, name=metric.name.replace("pilotfish_", "pilotfish_new_", 1))
        changed = tuple(other if one is metric else one for one in everything)
        if not any(metric.name in word for board in boards.values() for word in check.unknown(board, changed)):
            missed.append(metric.name)
    words = f"{len(missed)} of {len(drawn)} drawn ({len(everything)} are exported)"
    return Result(words, bool(drawn) and not missed, f"pilotfish {version('pilotfish')}")
