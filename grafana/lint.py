"""The rules of Grafana's dashboard-linter (github.com/grafana/dashboard-linter, a Go program), and some of ours."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from grafana.selectors import Selector, parse

Panel = Mapping[str, Any]
Board = Mapping[str, Any]
_QUERY = re.compile(r"label_values\((?:([\s\S]+),\s*)?\w+\)\Z")
_VARIABLES = ("job", "instance")
_COLUMNS = 24
_DRAWN = frozenset({"stat", "gauge", "timeseries", "bargauge", "table", "heatmap"})
"""Kinds of panel that the proof draws."""
_RATES = frozenset({"rate", "irate", "increase"})


def panels(board: Board) -> Iterator[Panel]:
    """All panels but rows, those in closed rows too."""
    for panel in board.get("panels", ()):
        yield from (panel.get("panels") or ()) if panel["type"] == "row" else (panel,)


def expressions(board: Board) -> Iterator[tuple[str, str]]:
    """(where, PromQL) of every panel, annotation and variable."""
    for panel in panels(board):
        for target in panel.get("targets") or ():
            yield f"panel {panel.get('title')!r}, query {target.get('refId')}", target.get("expr", "")
    for mark in board["annotations"].get("list") or ():
        yield f"annotation {mark['name']!r}", mark.get("expr", "")
    for variable in board["templating"].get("list") or ():
        match = _QUERY.match(str(variable.get("query", "")))
        if match and match[1]:
            yield f"variable {variable['name']!r}", match[1]


def hits(board: Board) -> list[str]:
    """``rule: what`` for everything that breaks a rule."""
    return [*_of_board(board), *_of_layout(board), *(hit for panel in panels(board) for hit in _of_panel(panel))]


def _of_board(board: Board) -> Iterator[str]:
    variables = {v["name"]: v for v in board["templating"].get("list") or ()}
    sources = [name for name, v in variables.items() if v["type"] == "datasource"]
    if sources != ["datasource"]:
        yield f"template-datasource-rule: expected one variable named datasource, got {sources}"
    for name in _VARIABLES:
        one = variables.get(name)
        if one is None:
            yield f"template-{name}-rule: there is no variable {name}"
        elif not (one["type"] == "query" and one.get("multi") and one.get("includeAll") and one.get("allValue")):
            yield f"template-{name}-rule: {name} must be a query with multi, all and a value for all"
    for name, one in variables.items():
        if one["type"] != "query":
            continue
        if one.get("refresh") != 2:
            yield f"template-on-time-change-reload-rule: {name} has refresh {one.get('refresh')}, expected 2"
        if not _QUERY.match(str(one.get("query", ""))):
            yield f"template-label-promql-rule: {name} is no label_values(...): {one.get('query')}"
        if (one.get("datasource") or {}).get("uid") != "${datasource}":
            yield f"panel-datasource-rule: variable {name} does not use $datasource"
    if board.get("editable", True):
        yield "uneditable-dashboard: editable must be false, the file is the source"
    for where, expr in expressions(board):
        try:
            parse(expr)
        except ValueError as error:
            yield f"target-promql-rule: {where}: {error}"


def _of_panel(panel: Panel) -> Iterator[str]:
    title = panel.get("title") or f"without a title, id {panel.get('id')}"
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    targets = panel.get("targets") or []
    if not targets:
        yield f"panel-no-targets-rule: {title}"
    if not panel.get("title") or not panel.get("description"):
        yield f"panel-title-description-rule: {title}"
    if (panel.get("datasource") or {}).get("uid") != "${datasource}":
        yield f"panel-datasource-rule: {title}"
    if not defaults.get("unit"):
        yield f"panel-units-rule: {title}"
    if not defaults.get("noValue"):
        yield f"our-no-value-rule: {title} says nothing where there is nothing"
    if panel["type"] not in _DRAWN:
        yield f"our-kind-rule: {title} is a {panel['type']}, which the proof does not draw"
    letters = [target.get("refId") for target in targets]
    if letters != [chr(ord("A") + i) for i in range(len(targets))]:
        yield f"our-ref-id-rule: {title} has {letters}"
    if panel["type"] == "timeseries" and "lastNotNull" not in panel["options"]["legend"].get("calcs", ()):
        yield f"our-legend-rule: {title} has no last values in its legend"
    for target in targets:
        yield from (f"{hit}: {title}, {target.get('refId')}" for hit in _of_expression(target.get("expr", "")))


def _of_expression(expr: str) -> Iterator[str]:
    try:
        selectors = parse(expr).selectors
    except ValueError:
        return  # said by the rule for all expressions
    for selector in selectors:
        written = {(label, operator, value) for label, operator, value in selector.matchers}
        for name in _VARIABLES:
            if (name, "=~", f"${name}") not in written:
                yield f"target-{name}-rule"
        inside = _RATES.intersection(selector.inside[:1])
        # The linter accepts $__rate_interval alone; a panel of the whole shown time has $__range.
        if inside and selector.ranged not in {"$__rate_interval", "$__range"}:
            yield "target-rate-interval-rule"
        if _counts(selector) and not inside:
            yield "target-counter-agg-rule"


def _counts(selector: Selector) -> bool:
    return selector.name.endswith(("_total", "_bucket", "_count", "_sum"))


def _of_layout(board: Board) -> Iterator[str]:
    every = [p for panel in board.get("panels", ()) for p in (panel, *(panel.get("panels") or ()))]
    ids = Counter(panel.get("id") for panel in every)
    yield from (f"our-id-rule: id {found} is used {n} times" for found, n in ids.items() if n > 1 or not found)
    taken: dict[tuple[int, int], str] = {}
    for panel in every:
        place, title = panel["gridPos"], str(panel.get("title"))
        if place["x"] + place["w"] > _COLUMNS:
            yield f"our-grid-rule: {title} ends right of column {_COLUMNS}"
        cells = [
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        for other in sorted({taken[cell] for cell in cells if cell in taken}):
            yield f"our-grid-rule: {title} covers {other}"
        taken.update(dict.fromkeys(cells, title))
