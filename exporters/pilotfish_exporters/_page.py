"""From samples to clean families, and from families to prometheus_client's own.

A family here is a Metric with rows: label pairs -> value, in the order in which the samples came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.utils import floatToGoString

from pilotfish_core.metrics import Distribution, Metric, Sample
from pilotfish_exporters import _safe

Labels = tuple[tuple[str, str], ...]
Rows = dict[Labels, float | Distribution]
Families = dict[Metric, Rows]

# Names that a family takes in either format; a second family must not take one of them again.
_SUFFIXES = {"counter": ("_total", "_created"), "gauge": (), "histogram": ("_bucket", "_sum", "_count", "_created")}


def collect(samples: Iterable[Sample], static: Labels, dropped: Counter[str]) -> Families:
    """Clean families in name order; every series left out is counted in ``dropped`` under its family's name.

    Of two samples with the same labels the first stays; so does the first of two declarations of one name, or of
    two families whose series would share a name (`x` and `x_total` in OpenMetrics).
    """
    grouped: Families = {}
    for sample in samples:
        row = _row(sample, static)
        rows = grouped.setdefault(sample.metric, {})
        if row is None or row[0] in rows:
            dropped[sample.metric.name] += 1
        else:
            rows[row[0]] = row[1]
    taken: set[str] = set()
    clean: Families = {}
    for metric in sorted(grouped, key=lambda m: m.name):  # stable: the first declaration comes first
        names = taken_names(metric)
        if not grouped[metric]:
            continue
        if taken & names or not metric.help.isprintable():
            dropped[metric.name] += len(grouped[metric])
            continue
        taken |= names
        clean[metric] = grouped[metric]
    return clean


def _row(sample: Sample, static: Labels) -> tuple[Labels, float | Distribution] | None:
    """(label pairs, value) of a sample, or None when it cannot be shown."""
    metric, values = sample.metric, sample.labels
    if len(values) != len(metric.labels) or (metric.kind == "histogram" and "le" in metric.labels):
        return None
    value = (
        _safe.distribution(sample.value, len(metric.buckets))
        if metric.kind == "histogram"
        else _safe.number(metric.kind, sample.value)
    )
    if value is None:
        return None
    own = tuple(
        (name, text)
        for name, raw in zip(metric.labels, values, strict=True)
        if raw is not None and (text := _safe.label(raw))  # an empty label is an absent one to Prometheus
    )
    return own + tuple(pair for pair in static if pair[0] not in metric.labels), value


def taken_names(metric: Metric) -> set[str]:
    """Every name this family's series, and its own line in either format, may have."""
    base = base_name(metric)
    return {base, *(base + suffix for suffix in _SUFFIXES[metric.kind])}


def base_name(metric: Metric) -> str:
    """The family's name in OpenMetrics: a counter's without ``_total``."""
    return metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name


def series(metric: Metric, rows: Rows) -> int:
    """How many lines with a value the family has in the text format."""
    return len(rows) * (len(metric.buckets) + 3 if metric.kind == "histogram" else 1)


def family(metric: Metric, rows: Rows, *, openmetrics: bool) -> Family:
    """The family as prometheus_client's."""
    out = Family(base_name(metric), metric.help, metric.kind)
    for labels, value in rows.items():
        if isinstance(value, Distribution):
            _add_histogram(out, metric, dict(labels), value, openmetrics=openmetrics)
        else:
            out.add_sample(metric.name, dict(labels), value)
    return out


def _add_histogram(
    out: Family, metric: Metric, labels: dict[str, str], value: Distribution, *, openmetrics: bool
) -> None:
    bounds = (*map(floatToGoString, metric.buckets), "+Inf")
    for bound, count in zip(bounds, accumulate(value.counts), strict=True):
        out.add_sample(metric.name + "_bucket", {**labels, "le": bound}, count)
    # OpenMetrics forbids _sum, and then _count, where values may be negative: as a counter it would go down.
    if openmetrics and (metric.buckets[0] < 0 or value.total < 0):
        return
    out.add_sample(metric.name + "_count", labels, sum(value.counts))
    out.add_sample(metric.name + "_sum", labels, value.total)


def own_process(collector: ProcessCollector, static: Labels, dropped: Counter[str]) -> Iterator[Family]:
    """The agent's own standard ``process_*``; where /proc cannot be read they are absent."""
    try:
        found = list(collector.collect())
    except Exception:  # noqa: BLE001 - a library's reading of /proc: its answer to anything odd is to raise
        dropped["process"] += 1
        return
    extra: Mapping[str, str] = dict(static)
    for one in found:
        samples = [s._replace(labels={**extra, **s.labels}) for s in one.samples]
        one.samples = samples
        yield one
