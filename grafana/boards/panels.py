"""The kinds of panel, dressed alike: title, what to do, unit, thresholds, a word for no data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    gauge,
    heatmap,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as nouns
from grafana_foundation_sdk.models import heatmap as heat
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

SOURCE = kinds.DataSourceRef(type_val="prometheus", uid="${datasource}")
Query = prometheus.Dataquery
Steps = Sequence[tuple[float | None, str]]
"""(from this value on, color); the first is None: from the bottom."""
CALM: Steps = ((None, "green"),)
PLAIN: Steps = ((None, "text"),)
ANY_IS_BAD: Steps = ((None, "green"), (1, "red"))
LAST = ["lastNotNull"]
_GAP = "-"  # in a cell; a panel's own word is for a table without rows


class Panel(Protocol):
    """What all panel builders of the SDK can do; they share no class that says so."""

    def id(self, id_val: int) -> Self:
        """With its number."""

    def build(self) -> nouns.Panel:
        """The panel."""


def ask(expr: str, legend: str = "") -> Query:
    """A query over the shown time."""
    return prometheus.Dataquery().expr(expr).legend_format(legend).editor_mode(QueryEditorMode.CODE).range()


def now(expr: str, legend: str = "") -> Query:
    """A query at the end of the shown time only."""
    return ask(expr, legend).instant()


def rows(expr: str) -> Query:
    """A query whose series become rows of a table."""
    return now(expr).format(PromQueryFormat.TABLE)


def number(
    title: str,
    todo: str,
    *queries: Query,
    unit: str = "short",
    steps: Steps = CALM,
    w: int = 4,
    h: int = 4,
    empty: str = "no data",
    words: Mapping[str, str] | None = None,
    line: bool = False,
) -> Panel:
    """One big number (a stat), one for each query; `words` stand in place of values, `line` draws its course behind it.

    As with all panels here: ``todo`` says what it is and what to do about it, ``unit`` is Grafana's name of the unit,
    ``w`` and ``h`` are columns of 24 and rows, ``empty`` is shown where there is nothing.
    """
    mode = kinds.BigValueGraphMode.AREA if line else kinds.BigValueGraphMode.NONE
    panel = stat.Panel().thresholds(_thresholds(steps)).graph_mode(mode).color_mode(kinds.BigValueColorMode.VALUE)
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(LAST)).orientation(kinds.VizOrientation.AUTO)
    panel = panel.text_mode(kinds.BigValueTextMode.AUTO)
    if words:
        texts = {value: nouns.ValueMappingResult(text=text, index=i) for i, (value, text) in enumerate(words.items())}
        panel = panel.mappings([nouns.ValueMap(options=texts)])
    return _dress(panel, title, todo, queries, unit, w, h, empty)


def course(
    title: str,
    todo: str,
    *queries: Query,
    unit: str = "short",
    w: int = 12,
    h: int = 8,
    steps: Steps = (),
    stacked: bool = False,
    bars: bool = False,
    empty: str = "no data",
    low: float | None = 0,
    high: float | None = None,
) -> Panel:
    """Lines over time, with a legend that has each line's last value.

    ``steps`` are lines where something begins to be wrong; ``stacked``: on top of each other; ``bars``: for what
    happens now and then; ``low`` and ``high``: of the axis, unless the data go beyond.
    """
    legend = common.VizLegendOptions().display_mode(kinds.LegendDisplayMode.TABLE).show_legend(True)
    legend = legend.placement(kinds.LegendPlacement.BOTTOM).calcs(["lastNotNull", "max"])
    tooltip = common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING)
    panel = timeseries.Panel().legend(legend).tooltip(tooltip).line_width(1).show_points(kinds.VisibilityMode.AUTO)
    panel = panel.fill_opacity(60 if bars else 20 if stacked else 8)
    panel = panel.draw_style(kinds.GraphDrawStyle.BARS if bars else kinds.GraphDrawStyle.LINE)
    if low is not None:
        panel = panel.axis_soft_min(low)
    if high is not None:
        panel = panel.axis_soft_max(high)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL).group("A"))
    mode = kinds.GraphThresholdsStyleMode.DASHED if steps else kinds.GraphThresholdsStyleMode.OFF
    panel = panel.thresholds(_thresholds(steps or PLAIN))
    panel = panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(mode))
    return _dress(panel, title, todo, queries, unit, w, h, empty)


def dial(
    title: str,
    todo: str,
    *queries: Query,
    unit: str = "percentunit",
    steps: Steps = CALM,
    w: int = 6,
    h: int = 8,
    high: float = 1,
    empty: str = "no data",
) -> Panel:
    """A gauge, for what has a known end."""
    panel = gauge.Panel().min(0).max(high).thresholds(_thresholds(steps)).show_threshold_markers(True)
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(LAST)).orientation(kinds.VizOrientation.AUTO)
    return _dress(panel, title, todo, queries, unit, w, h, empty)


def bars(
    title: str,
    todo: str,
    *queries: Query,
    unit: str = "short",
    steps: Steps = CALM,
    w: int = 12,
    h: int = 8,
    high: float | None = None,
    empty: str = "no data",
) -> Panel:
    """One bar a series."""
    panel = bargauge.Panel().min(0).thresholds(_thresholds(steps)).display_mode(kinds.BarGaugeDisplayMode.BASIC)
    panel = panel.orientation(kinds.VizOrientation.HORIZONTAL).reduce_options(common.ReduceDataOptions().calcs(LAST))
    panel = panel.value_mode(kinds.BarGaugeValueMode.TEXT).show_unfilled(True)
    if high is not None:
        panel = panel.max(high)
    return _dress(panel, title, todo, queries, unit, w, h, empty)


def buckets(title: str, todo: str, expr: str, unit: str, w: int = 12, h: int = 8, empty: str = "no data") -> Panel:
    """A histogram over time (a heatmap). ``expr`` gives one series a bucket, with the label ``le``."""
    query = ask(expr, "{{le}}").format(PromQueryFormat.HEATMAP)
    colors = _colors()
    panel = heatmap.Panel().calculate(False).color(colors).y_axis(heatmap.YAxisConfig().unit(unit)).hide_legend()
    return _dress(panel, title, todo, (query,), unit, w, h, empty)


def sheet(
    title: str,
    todo: str,
    *columns: tuple[str, str, Query],
    w: int = 24,
    h: int = 8,
    unit: str = "short",
    order: Sequence[str] = (),
    hidden: Sequence[str] = (),
    widths: Mapping[str, int] | None = None,
    empty: str = "no data",
) -> Panel:
    """A table: queries that have the same labels become its columns.

    ``columns`` are (heading, unit, query); an empty heading hides the value, for a query whose labels are the news.
    ``order``: labels, as columns in that order before the values. ``hidden``: labels that are not shown.
    ``widths``: pixels of some columns, by label or heading; the others share the rest, none below 150.
    """
    panel = table.Panel().show_header(True).cell_height(kinds.TableCellHeight.SM)
    several = len(columns) > 1
    names = [f"Value #{_letter(i)}" if several else "Value" for i in range(len(columns))]
    panel = panel.override_by_field_type("string", [nouns.DynamicConfigValue("noValue", _GAP)])
    headings = {heading for heading, _, _ in columns}
    for label, pixels in {k: v for k, v in (widths or {}).items() if k not in headings}.items():
        panel = panel.override_by_name(label, [nouns.DynamicConfigValue("custom.width", pixels)])
    excluded = dict.fromkeys(("Time", *hidden), True)
    for name, (heading, its_unit, _) in zip(names, columns, strict=True):
        if not heading:
            excluded[name] = True
            continue
        words: dict[str, Any] = {"displayName": heading, "unit": its_unit, "noValue": _GAP}
        if widths and heading in widths:
            words["custom.width"] = widths[heading]
        panel = panel.override_by_name(name, [nouns.DynamicConfigValue(k, v) for k, v in words.items()])
    if several:
        panel = panel.with_transformation(nouns.DataTransformerConfig(id_val="merge", options={}))
    places = {name: i for i, name in enumerate((*order, *names))}
    arranged = {"excludeByName": excluded, "indexByName": places, "renameByName": {}}
    panel = panel.with_transformation(nouns.DataTransformerConfig(id_val="organize", options=arranged))
    return _dress(panel, title, todo, [query for _, _, query in columns], unit, w, h, empty)


def _dress(panel: Any, title: str, todo: str, queries: Sequence[Query], unit: str, w: int, h: int, empty: str) -> Panel:
    panel = panel.title(title).description(todo).unit(unit).datasource(SOURCE).span(w).height(h).no_value(empty)
    for i, query in enumerate(queries):
        panel = panel.with_target(query.datasource(SOURCE).ref_id(_letter(i)))
    dressed: Panel = panel
    return dressed


def _letter(i: int) -> str:
    return chr(ord("A") + i)


def _thresholds(steps: Steps) -> Builder[nouns.ThresholdsConfig]:
    made = [nouns.Threshold(value=value, color=color) for value, color in steps]
    return dashboard.ThresholdsConfig().mode(nouns.ThresholdsMode.ABSOLUTE).steps(made)


def _colors() -> Builder[heat.HeatmapColorOptions]:
    options = heatmap.HeatmapColorOptions().mode(heat.HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
    return options.fill("dark-orange").scale(heat.HeatmapColorScale.EXPONENTIAL).exponent(0.5).reverse(False)
