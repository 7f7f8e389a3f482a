"""Metric declarations: what a part says it exports. The catalogue is assembled from them.

A part's file holds ``METRICS: tuple[Metric, ...]``; nothing is exported that is not declared.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]
PREFIX = "pilotfish_"
_NAME = re.compile(r"pilotfish_[a-z][a-z0-9_]*\Z")
_LABEL = re.compile(r"[a-z][a-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family's declaration.

    Attributes:
        name: full name as scraped, ``pilotfish_<what>_<unit>``; counters end in ``_total``.
        kind: counter, gauge or histogram. An info metric is a gauge ending in ``_info`` with value 1.
        help: one sentence that says what it is and what to do with it.
        labels: label names, in the order in which a Sample gives their values.
        buckets: upper bounds of a histogram, ascending, without +Inf.
        sentence: the label whose values are sentences, which may be longer than other labels; of few series only.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    sentence: str = ""

    def __post_init__(self) -> None:
        """Refuses a declaration that Prometheus' own lint would refuse."""
        if not _NAME.match(self.name):
            raise ValueError(f"metric name {self.name!r}: expected pilotfish_<what>_<unit> in lower case")
        if (self.kind == "counter") != self.name.endswith("_total"):
            raise ValueError(f"metric {self.name!r}: exactly the counters end in _total, this is a {self.kind}")
        if not self.help or self.help[-1] != ".":
            raise ValueError(f"metric {self.name!r}: help must be a sentence that ends with a full stop")
        for label in self.labels:
            if not _LABEL.match(label) or label.startswith("__"):
                raise ValueError(f"metric {self.name!r}: bad label name {label!r}")
        if (self.kind == "histogram") != bool(self.buckets):
            raise ValueError(f"metric {self.name!r}: exactly the histograms have buckets")
        if list(self.buckets) != sorted(set(self.buckets)) or not all(map(math.isfinite, self.buckets)):
            raise ValueError(f"metric {self.name!r}: buckets must be finite and ascending, got {self.buckets}")


Reason = Literal["permission", "not_supported", "no_data", "failed", "disabled", "not_installed"]


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram's value.

    Attributes:
        counts: rows in each bucket, not cumulative, the last one above the last bound: ``len(buckets) + 1``.
        total: sum of the finite values.
    """

    counts: tuple[int, ...]
    total: float


class Sample(NamedTuple):
    """One series' present value. A tuple: hundreds are made each second, at a third of a frozen dataclass's cost.

    Attributes:
        metric: its declaration.
        labels: values in the order of ``metric.labels``; None leaves the label out.
        value: a number, or a Distribution for a histogram.
    """

    metric: Metric
    labels: tuple[str | None, ...]
    value: float | Distribution


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A signal that cannot be read: absent with a reason, never 0.

    Attributes:
        collector: the part that would have produced it.
        signal: the missing metric's name.
        reason: why.
    """

    collector: str
    signal: str
    reason: Reason


Reading = Sample | Unavailable


def told_apart(readings: Collection[Reading]) -> tuple[list[Sample], list[Unavailable]]:
    """What could be read, and what could not."""
    samples = [reading for reading in readings if isinstance(reading, Sample)]
    return samples, [reading for reading in readings if isinstance(reading, Unavailable)]


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """A metric with all its samples of one moment."""

    metric: Metric
    samples: tuple[Sample, ...]


def families(samples: tuple[Sample, ...]) -> tuple[MetricFamily, ...]:
    """Groups samples by metric, in name order."""
    grouped: dict[Metric, list[Sample]] = {}
    for sample in samples:
        grouped.setdefault(sample.metric, []).append(sample)
    return tuple(MetricFamily(m, tuple(grouped[m])) for m in sorted(grouped, key=lambda m: m.name))
