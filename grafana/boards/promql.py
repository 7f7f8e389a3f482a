"""PromQL in words: selectors that follow the dashboards' variables, and the few functions that the panels need."""

from __future__ import annotations

import functools

from pilotfish_agent import catalogue
from pilotfish_alerts import generate
from pilotfish_core.metrics import Metric

EVERYWHERE = ("job", "instance")
"""Labels that Prometheus gives to all that it scrapes."""
VARIABLES = (*EVERYWHERE, "target", "model", "model_version")
"""Variables that stand for a label."""
WINDOW = "$__rate_interval"
RANGE = "$__range"


@functools.cache
def declared() -> dict[str, Metric]:
    """Metrics by name."""
    return {metric.name: metric for metric in catalogue.metrics()}


def matchers(labels: tuple[str, ...], *more: str) -> str:
    """``{job=~"$job",...}`` for those of the labels that have a variable."""
    return "{" + ",".join((*(f'{v}=~"${v}"' for v in VARIABLES if v in (*EVERYWHERE, *labels)), *more)) + "}"


def of(name: str, *more: str, part: str = "") -> str:
    """The series of a metric of ours, as far as the variables choose them.

    Args:
        name: without ``pilotfish_``.
        more: further matchers.
        part: of a histogram: bucket, count or sum.

    Raises:
        KeyError: nothing exports it.
    """
    metric = declared()[f"pilotfish_{name}"]
    return metric.name + (f"_{part}" if part else "") + matchers(metric.labels, *more)


def recorded(name: str) -> str:
    """The series of one of our recording rules; those of a fleet have no instance, so a choice of one shows nothing.

    Args:
        name: without ``pilotfish:``.

    Raises:
        KeyError: no rule makes it.
    """
    labels = {record.name: record.own for record in generate.records()}[f"pilotfish:{name}"]
    return f"pilotfish:{name}" + matchers(tuple(labels))


def up() -> str:
    """Prometheus' own: 1 for an agent that answers."""
    return "up" + matchers(())


def alerts() -> str:
    """Our alerts that fire; the watchdog always does and says nothing."""
    words = ('alertstate="firing"', 'alertname=~"Pilotfish.*"', 'alertname!="PilotfishWatchdog"')
    return "ALERTS" + matchers((), *words)


def rate(series: str, window: str = WINDOW) -> str:
    """Of a counter, a second."""
    return f"rate({series}[{window}])"


def increase(series: str, window: str = RANGE) -> str:
    """Of a counter, over the shown time."""
    return f"increase({series}[{window}])"


def events(series: str, *by: str, window: str = RANGE) -> str:
    """How often something happened, as a whole number: `increase` extrapolates."""
    return f"round({total(increase(series, window), *by)})"


def born(series: str, window: str = WINDOW) -> str:
    """Of a counter that begins at its first event: its series that were not there a window ago, with their count.

    A series that is born at 1 has not increased; without this the first event of each kind would be seen by nobody.
    """
    name, _, rest = series.partition("{")
    alone = f'{{__name__="{name}",{rest}'
    return f"({alone} unless {alone} offset {window})"


def total(expr: str, *by: str) -> str:
    """Sum."""
    return f"{_over('sum', by)} ({expr})"


def most(expr: str, *by: str) -> str:
    """Maximum: of replicas, the worst."""
    return f"{_over('max', by)} ({expr})"


def least(expr: str, *by: str) -> str:
    """Minimum."""
    return f"{_over('min', by)} ({expr})"


def share(part: str, whole: str) -> str:
    """Part of a whole, grouped alike: 0 where the part has not begun, nothing where the whole is 0."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def quantile(q: float, name: str, *by: str, window: str = WINDOW) -> str:
    """Of a histogram; nothing, not NaN, where nothing was counted: no number is below -Inf, NaN is no number."""
    buckets = total(rate(of(name, part="bucket"), window), "le", *by)
    return f"histogram_quantile({q:g}, {buckets}) > -Inf"


def mean(name: str, *by: str, window: str = WINDOW) -> str:
    """Of a histogram."""
    top, bottom = (total(rate(of(name, part=part), window), *by) for part in ("sum", "count"))
    return f"{top} / ({bottom} > 0)"


def top(count: int, expr: str) -> str:
    """The series that were largest in the shown time, the same ones at every step.

    Args:
        count: how many.
        expr: a subquery is made of it, so an aggregation will do.
    """
    return f"{expr} and topk({count}, max_over_time(({expr})[{RANGE}:$__interval] @ end()))"


def _over(word: str, by: tuple[str, ...]) -> str:
    return f"{word} by ({', '.join(by)})" if by else word
