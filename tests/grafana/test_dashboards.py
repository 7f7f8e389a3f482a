"""The committed dashboards: what the builders make, valid, and drawing only what is exported."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from grafana import check, lint
from grafana.boards import __main__ as boards
from grafana.boards import promql
from pilotfish_agent import catalogue
from tests.system import needs

COMMITTED = check.read()
each_board = pytest.mark.parametrize("name", sorted(COMMITTED))


def test_the_committed_files_are_what_the_builders_make() -> None:
    """Nobody edits the JSON: `python -m grafana.boards` writes it."""
    committed = {name: (check.DASHBOARDS / name).read_text(encoding="utf-8") for name in COMMITTED}
    assert committed == boards.texts()


@each_board
def test_grafanas_own_schema_takes_each_dashboard(name: str) -> None:
    """Classic JSON of schema version 42, without an error."""
    assert COMMITTED[name]["schemaVersion"] == 42
    assert check.schema_errors(COMMITTED[name]) == []


def test_the_schema_is_not_a_formality() -> None:
    """A misspelt key, a number in place of a text and a panel without a type are found."""
    spoils: tuple[Callable[[Any], Any], ...] = (
        lambda b: b.update(titel="x"),
        lambda b: b["panels"][1].update(title=5),
        lambda b: b["panels"][1].pop("type"),
        lambda b: b["templating"]["list"][1].update(refresh="often"),
    )
    for spoil in spoils:
        board = spoilt("overview.json")
        spoil(board)
        assert check.schema_errors(board)


@each_board
def test_no_rule_of_the_dashboard_linter_is_broken(name: str) -> None:
    """None of Grafana's, none of ours."""
    assert lint.hits(COMMITTED[name]) == []


@pytest.mark.parametrize(
    ("rule", "expr"),
    [
        ("target-job-rule", 'up{instance=~"$instance"}'),
        ("target-instance-rule", 'up{job=~"$job"}'),
        ("target-job-rule", 'up{job="$job",instance=~"$instance"}'),
        ("target-rate-interval-rule", 'rate(x_total{job=~"$job",instance=~"$instance"}[5m])'),
        ("target-counter-agg-rule", 'sum(x_total{job=~"$job",instance=~"$instance"})'),
        ("target-counter-agg-rule", 'sum by (le) (x_bucket{job=~"$job",instance=~"$instance"})'),
        ("target-promql-rule", 'up{job=~"$job",instance=~"$instance"} ; 1'),
        ("target-promql-rule", 'sum(up{job=~"$job",instance=~"$instance"}'),
    ],
)
def test_each_rule_for_expressions_can_be_broken(rule: str, expr: str) -> None:
    """The linter's rules are alive: an expression that breaks one is named with it."""
    board = spoilt("overview.json")
    next(lint.panels(board))["targets"][0]["expr"] = expr
    assert any(hit.startswith(rule) for hit in lint.hits(board)), lint.hits(board)


@pytest.mark.parametrize(
    ("rule", "spoil"),
    [
        ("panel-title-description-rule", lambda b, p: p.pop("description")),
        ("panel-units-rule", lambda b, p: p["fieldConfig"]["defaults"].pop("unit")),
        ("panel-no-targets-rule", lambda b, p: p.update(targets=[])),
        ("panel-datasource-rule", lambda b, p: p["datasource"].update(uid="prometheus")),
        ("our-no-value-rule", lambda b, p: p["fieldConfig"]["defaults"].pop("noValue")),
        ("our-ref-id-rule", lambda b, p: p["targets"][0].update(refId="")),
        ("our-kind-rule", lambda b, p: p.update(type="piechart")),
        ("our-id-rule", lambda b, p: p.update(id=1)),
        ("our-grid-rule", lambda b, p: p["gridPos"].update(w=24)),
        ("uneditable-dashboard", lambda b, p: b.update(editable=True)),
        ("template-job-rule", lambda b, p: b["templating"]["list"][1].update(multi=False)),
        ("template-instance-rule", lambda b, p: b["templating"]["list"].pop(2)),
        ("template-datasource-rule", lambda b, p: b["templating"]["list"].pop(0)),
        ("template-on-time-change-reload-rule", lambda b, p: b["templating"]["list"][1].update(refresh=1)),
        ("template-label-promql-rule", lambda b, p: b["templating"]["list"][1].update(query="label_names()")),
    ],
)
def test_each_rule_for_dashboards_can_be_broken(rule: str, spoil: Any) -> None:
    """So are those for panels, variables and the layout."""
    board = spoilt("overview.json")
    spoil(board, next(lint.panels(board)))
    assert any(hit.startswith(rule) for hit in lint.hits(board)), lint.hits(board)


@each_board
def test_every_metric_and_label_is_exported(name: str) -> None:
    """Nothing is drawn that no part declares."""
    assert check.unknown(COMMITTED[name]) == []


def test_renaming_any_drawn_metric_makes_the_check_fail() -> None:
    """Each in turn, by name; so does a label that is taken away."""
    everything = catalogue.metrics()
    used = check.drawn(COMMITTED)
    assert len(used) > 60
    for metric in used:
        name = metric.name.removesuffix("_total") + "_renamed" + ("_total" if metric.kind == "counter" else "")
        renamed = tuple(replace(m, name=name) if m is metric else m for m in everything)
        found = [word for board in COMMITTED.values() for word in check.unknown(board, renamed)]
        assert any(f"nothing exports {metric.name}" in word for word in found), metric.name
    without = tuple(replace(m, labels=("mode",)) if m.name.endswith("cpu_seconds_total") else m for m in everything)
    assert any("has no label target" in word for word in check.unknown(COMMITTED["hardware.json"], without))


def test_hardly_anything_that_is_exported_is_left_out() -> None:
    """A metric that no dashboard shows is one that nobody sees; a new one need not be drawn at once."""
    assert len(check.drawn(COMMITTED)) >= 0.9 * len(catalogue.metrics())


@needs("promtool", package="prometheus")
def test_prometheus_understands_every_expression() -> None:
    """All in one call; one that is wrong is named."""
    assert check.promql_errors(COMMITTED) == []
    board = spoilt("drift.json")
    next(lint.panels(board))["targets"][0]["expr"] = "sum(up"
    assert any("unclosed left parenthesis" in line for line in check.promql_errors({"drift.json": board}))


def test_the_builders_refuse_a_metric_that_nobody_declares() -> None:
    """A typing error ends the build, not a reader's patience."""
    with pytest.raises(KeyError, match="pilotfish_drift_evidense_ratio"):
        promql.of("drift_evidense_ratio")


def test_links_keep_time_and_choices_and_every_mark_is_there() -> None:
    """From each dashboard to the others; restarts, versions and drift on all of them."""
    for board in COMMITTED.values():
        assert [(link["keepTime"], link["includeVars"]) for link in board["links"]] == [(True, True)]
        assert {mark["name"] for mark in board["annotations"]["list"]} == {"Restarts", "Versions", "Drift alarms"}
        names = [v["name"] for v in board["templating"]["list"]]
        assert names == ["datasource", "job", "instance", "target", "model", "model_version"]


@needs("promtool", package="prometheus")
def test_the_check_command_names_what_is_wrong() -> None:
    """`python -m grafana.check` is silent and 0 for the committed ones."""
    checked = subprocess.run((sys.executable, "-m", "grafana.check"), capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def spoilt(name: str) -> dict[str, Any]:
    """A copy to break."""
    return copy.deepcopy(COMMITTED[name])
