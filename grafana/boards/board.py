"""What all dashboards have: variables, links, annotations, and panels with ids of their own."""

from __future__ import annotations

import json
from typing import Self, cast

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as nouns

from grafana.boards.panels import SOURCE, Panel
from grafana.boards.promql import WINDOW, increase, matchers, most, of

TAG = "pilotfish"
_MODELS = "pilotfish_drift_state|pilotfish_requests_total|pilotfish_server_model_state"
"""Where a model shows: its rows, its calls, its server's word."""


class Board:
    """A dashboard in the making.

    Args:
        name: of the file and the uid.
        title: as Grafana lists it.
        about: what it answers.
    """

    def __init__(self, name: str, title: str, about: str) -> None:
        self.name = name
        self._id = 0
        self._board = dashboard.Dashboard(f"Pilotfish / {title}").uid(f"pilotfish-{name}").description(about)
        self._board.tags([TAG]).readonly().refresh("30s").time("now-1h", "now").timezone("browser")
        self._board.tooltip(nouns.DashboardCursorSync.CROSSHAIR)
        for variable in _variables():
            self._board.with_variable(variable)
        for mark in _annotations():
            self._board.annotation(mark)
        link = dashboard.DashboardLink("Pilotfish").type(nouns.DashboardLinkType.DASHBOARDS).tags([TAG])
        self._board.link(link.include_vars(True).keep_time(True).as_dropdown(False).tooltip("Same time, same choice"))

    def row(self, title: str, *panels: Panel) -> Self:
        """A row, open."""
        self._board.with_row(dashboard.Row(title).id(self._next()))
        for panel in panels:
            self._board.with_panel(self._numbered(panel))
        return self

    def closed(self, title: str, *panels: Panel) -> Self:
        """A row that asks nothing until it is opened, for what not every model has."""
        row = dashboard.Row(title).collapsed(True).id(self._next())
        for panel in panels:
            row.with_panel(self._numbered(panel))
        self._board.with_row(row)
        return self

    def text(self) -> str:
        """The dashboard's JSON."""
        made = self._board.build()
        for shown in (*(made.links or ()), *(made.annotations.list_val or ())):
            shown.placement = None  # the builder hides them in a menu of newer versions
        return json.dumps(made, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"

    def _numbered(self, panel: Panel) -> Builder[nouns.Panel]:
        return cast(Builder[nouns.Panel], panel.id(self._next()))

    def _next(self) -> int:
        self._id += 1
        return self._id


def _variables() -> list[dashboard.DatasourceVariable | dashboard.QueryVariable]:
    models = matchers(("target",), f'__name__=~"{_MODELS}"')
    one_model = matchers(("target", "model"), f'__name__=~"{_MODELS}"')
    return [
        dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        _choice("job", "Job", "label_values(pilotfish_build_info, job)"),
        _choice("instance", "Instance", 'label_values(pilotfish_build_info{job=~"$job"}, instance)'),
        _choice("target", "Process", f"label_values(pilotfish_target_up{matchers(())}, target)"),
        _choice("model", "Model", f"label_values({_without_target(models)}, model)"),
        _choice("model_version", "Version", f"label_values({_without_target(one_model)}, model_version)"),
    ]


def _without_target(text: str) -> str:
    # Rows that the SDK sends have no target: the choice of a process must not hide their model.
    return text.replace('target=~"$target",', "")


def _choice(name: str, label: str, query: str) -> dashboard.QueryVariable:
    # .* and not .+: a series without the label (a model without a version) belongs to All.
    variable = dashboard.QueryVariable(name).label(label).datasource(SOURCE).query(query).definition(query)
    every = nouns.VariableOption(selected=True, text=["All"], value=["$__all"])
    variable.current(every).multi(True).include_all(True).all_value(".*").sort(nouns.VariableSort.ALPHABETICAL_ASC)
    return variable.refresh(nouns.VariableRefresh.ON_TIME_RANGE_CHANGED)


def _annotations() -> list[dashboard.AnnotationQuery]:
    labels = ("instance", "model", "model_version")
    shown = " or ".join(most(expr, *labels) for expr in (of("drift_state"), of("server_model_state")))
    before = " or ".join(most(f"{expr} offset 1m", *labels) for expr in (of("drift_state"), of("server_model_state")))
    # Two ways, because a process that is away for longer than the window has no start time to compare with, and under
    # `run` the agent that counts restarts ends with its model.
    started = f"increase({of('process_restarts_total')}[{WINDOW}]) > 0"
    started += f" or changes({of('process_start_time_seconds')}[{WINDOW}]) > 0"
    alarms = increase(of("drift_alarms_total", 'severity!="info"'), WINDOW) + " > 0"
    return [
        _mark("Restarts", "orange", started, "{{target}} started anew", "on {{instance}}"),
        _mark(
            "Versions", "blue", f"({shown}) unless ({before})", "{{model}} {{model_version}} is new", "on {{instance}}"
        ),
        _mark("Drift alarms", "red", alarms, "{{model}} {{model_version}} drifts", "{{severity}}, on {{instance}}"),
    ]


def _mark(name: str, color: str, expr: str, title: str, text: str) -> dashboard.AnnotationQuery:
    mark = dashboard.AnnotationQuery().name(name).datasource(SOURCE).enable(True).icon_color(color).expr(expr)
    return mark.title_format(title).text_format(text)
