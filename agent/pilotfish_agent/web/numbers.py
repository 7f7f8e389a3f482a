"""The numbers of one moment by the names of their metrics, how far counters have risen lately, and numbers in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from pilotfish_agent.state.past import Rise
from pilotfish_core.metrics import PREFIX, Distribution, Sample
from pilotfish_core.nouns import Snapshot

LATELY_S: Final = 300.0
"""What "lately" is: as the recording rules of `pilotfish rules`."""
COUNTERS: Final = tuple(
    f"{PREFIX}{name}_total"
    for name in (
        "cgroup_cpu_periods",
        "cgroup_cpu_throttled_periods",
        "cgroup_oom_kills",
        "cgroup_pressure_stalled_seconds",
        "cgroup_pressure_waiting_seconds",
        "gpu_throttle_seconds",
        "host_cpu_seconds",
        "host_pressure_waiting_seconds",
        "input_tokens",
        "output_tokens",
        "process_cpu_seconds",
        "process_energy_joules",
        "process_gpu_seconds",
        "process_run_delay_seconds",
        "requests",
    )
)
"""Whose rise the page speaks of."""
Rises = Mapping[str, Iterable[Rise]]
"""By the full name of the metric."""


class Numbers:
    """What a Snapshot has, found by name without `pilotfish_`.

    Args:
        snapshot: of the moment.
        rises: what the history says of `COUNTERS`.
    """

    def __init__(self, snapshot: Snapshot, rises: Rises | None = None) -> None:
        self.snapshot = snapshot
        self._rises = rises or {}
        self._samples: dict[str, list[Sample]] = {}
        for sample in snapshot.samples:
            self._samples.setdefault(sample.metric.name, []).append(sample)

    def samples(self, name: str) -> list[Sample]:
        """All of a metric."""
        return self._samples.get(PREFIX + name, [])

    def each(self, name: str, **labels: str) -> Iterator[tuple[Mapping[str, str | None], float]]:
        """(labels, value) of those that are numbers and have these labels."""
        for sample in self.samples(name):
            if isinstance(sample.value, int | float) and math.isfinite(sample.value):
                found = dict(zip(sample.metric.labels, sample.labels, strict=False))
                if labels.items() <= found.items():
                    yield found, float(sample.value)

    def total(self, name: str, **labels: str) -> float | None:
        """Their sum; None where there is none: absent is not zero."""
        values = [value for _, value in self.each(name, **labels)]
        return sum(values) if values else None

    def most(self, name: str, **labels: str) -> float | None:
        """The largest."""
        return max((value for _, value in self.each(name, **labels)), default=None)

    def least(self, name: str, **labels: str) -> float | None:
        """The smallest."""
        return min((value for _, value in self.each(name, **labels)), default=None)

    def values(self, name: str, label: str, **labels: str) -> list[str]:
        """Values of a label, each once."""
        found = (shown.get(label) for shown, _ in self.each(name, **labels))
        return sorted({word for word in found if word})

    def distributions(self, name: str) -> list[tuple[Mapping[str, str | None], Distribution, tuple[float, ...]]]:
        """(labels, counts, bounds) of a histogram."""
        return [
            (dict(zip(s.metric.labels, s.labels, strict=False)), s.value, s.metric.buckets)
            for s in self.samples(name)
            if isinstance(s.value, Distribution)
        ]

    def risen(self, name: str, **labels: str) -> float | None:
        """By how much counters have risen lately; None where nothing is known."""
        found = self._lately(name, labels)
        return sum(rise.amount for rise in found) if found else None

    def rate(self, name: str, **labels: str) -> float | None:
        """The same a second, of the time in which they are known."""
        found = self._lately(name, labels)
        return sum(rise.amount / rise.seconds for rise in found) if found else None

    def _lately(self, name: str, labels: Mapping[str, str]) -> list[Rise]:
        rises = self._rises.get(PREFIX + name, ())
        return [rise for rise in rises if rise.seconds > 0 and labels.items() <= rise.labels.items()]


def share(part: float | None, whole: float | None) -> float | None:
    """Of a whole; None where one is not known or the whole is nothing."""
    return part / whole if part is not None and whole else None


def size(value: float) -> str:
    """``53.2 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def duration(seconds: float) -> str:
    """``3.2 ms``, ``12 s``, ``4 min``, ``3.5 h``, ``2.1 d``."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def percent(part: float) -> str:
    """``0 %``, ``0.4 %``, ``43 %``."""
    return f"{100 * part:.0f} %" if part == 0 or part >= 0.095 else f"{100 * part:.1f} %"


def joules(value: float) -> str:
    """``3.2 mJ``, ``12 J``, ``4.5 kJ``."""
    for unit, one in (("MJ", 1e6), ("kJ", 1e3), ("J", 1.0), ("mJ", 1e-3)):
        if value >= one:
            return f"{value / one:.3g} {unit}"
    return f"{value * 1e6:.3g} µJ"


def cores(value: float) -> str:
    """``1 core``, ``0.25 cores``."""
    return f"{value:.2g} core{'s' * (value != 1)}" if value < 10 else f"{value:.0f} cores"
