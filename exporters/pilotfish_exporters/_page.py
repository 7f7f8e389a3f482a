"""From samples to clean families, and from families to prometheus_client's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.utils import floatToGoString

from pilotfish_core.metrics import Distribution, Kind, Metric, Sample
from pilotfish_exporters import _safe

Labels = tuple[tuple[str, str], ...]
Value = float | Distribution

# Names that a family takes in either format; a second family must not take one of them again.
_SUFFIXES = {"counter": ("_total", "_created"), "gauge": (), "histogram": ("_bucket", "_sum", "_count", "_created")}


@dataclass(slots=True)
class Group:
    """One family: its name, kind and help, and its series.

    Each series keeps its own declaration, because the buckets of a histogram may differ between models.
    """

    name: str
    kind: Kind
    help: str
    rows: dict[Labels, tuple[Metric, Value]] = field(default_factory=dict)

    def base(self) -> str:
        """The family's name in OpenMetrics: a counter's without ``_total``."""
        return self.name.removesuffix("_total") if self.kind == "counter" else self.name

    def taken(self) -> set[str]:
        """Every name that its series, and its own lines in either format, may have."""
        return {self.base(), *(self.base() + suffix for suffix in _SUFFIXES[self.kind])}

    def series(self) -> int:
        """How many lines with a value it has in the text format."""
        return sum(len(metric.buckets) + 3 if self.kind == "histogram" else 1 for metric, _ in self.rows.values())


def collect(samples: Iterable[Sample], static: Labels, dropped: Counter[str]) -> list[Group]:
    """Clean families in name order; every series left out is counted in ``dropped`` under its family's name.

    Of two samples with the same labels the first stays; so does the first of two kinds under one name, or of two
    families whose series would share a name (`x` and `x_total` in OpenMetrics).
    """
    grouped: dict[tuple[str, Kind], Group] = {}
    for sample in samples:
        metric = sample.metric
        group = grouped.get((metric.name, metric.kind))
        if group is None:
            group = grouped[metric.name, metric.kind] = Group(metric.name, metric.kind, metric.help)
        row = _row(sample, static)
        if row is None or row[0] in group.rows:
            dropped[metric.name] += 1
        else:
            group.rows[row[0]] = (metric, row[1])
    taken: set[str] = set()
    clean: list[Group] = []
    for group in sorted(grouped.values(), key=lambda g: g.name):  # stable: the first kind comes first
        if not group.rows:
            continue
        names = group.taken()
        if taken & names or not group.help.isprintable():
            dropped[group.name] += len(group.rows)
            continue
        taken |= names
        clean.append(group)
    return clean


def _row(sample: Sample, static: Labels) -> tuple[Labels, Value] | None:
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
        if raw is not None
        and (text := _safe.label(raw, _most(metric, name)))  # an empty label is an absent one to Prometheus
    )
    # Sorted: two declarations may name the same labels in another order.
    return tuple(sorted((*own, *(pair for pair in static if pair[0] not in metric.labels)))), value


def _most(metric: Metric, name: str) -> int:
    return _safe.SENTENCE_BYTES if name == metric.sentence else _safe.LABEL_BYTES


def family(group: Group, *, openmetrics: bool) -> Family:
    """The family as prometheus_client's."""
    out = Family(group.base(), group.help, group.kind)
    for labels, (metric, value) in group.rows.items():
        if isinstance(value, Distribution):
            _add_histogram(out, metric, dict(labels), value, openmetrics=openmetrics)
        else:
            out.add_sample(group.name, dict(labels), value)
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
