"""What the collectors of a control group share: counters over groups that follow each other, and reasons."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable

from pilotfish_agent.hardware._context import HardwareContext, absent
from pilotfish_agent.hardware._kept import reason
from pilotfish_agent.target.group import Group, Total
from pilotfish_core.metrics import Metric, Reading, Reason, Sample

ENABLE = {
    "permission": "the model's user or CAP_SYS_PTRACE, or the host's /sys/fs/cgroup mounted into the sidecar container",
    "not_supported": "a control group of the model's own, and cgroup files that can be seen (docs/control-group.md)",
}
"""What would make a group readable, for `doctor`; collectors add to it."""


class GroupReadings:
    """The readings of one collector of control groups. One thread uses it.

    Args:
        collector: its name.
        context: the watched tree and its group.
        controller: whose group it reads, as of `ControlGroup.of`.
        metrics: all that it exports.
    """

    def __init__(self, collector: str, context: HardwareContext, controller: str, metrics: tuple[Metric, ...]) -> None:
        self._collector = collector
        self._context = context
        self._controller = controller
        self._metrics = metrics
        self._counters: dict[tuple[str, tuple[str, ...]], _Counter] = {}

    def collect(self, read: Callable[[Group], Iterable[Reading]]) -> list[Reading]:
        """What ``read`` gives of the group, else the reason why there is nothing to read.

        The root of a hierarchy is nobody's own group: it has no limits, and its numbers are the machine's.
        """
        if self._context.tree.root is None:
            return self._between()
        found = self._context.group.of(self._controller)
        if not isinstance(found, Group):
            return self.absent(found)
        if found.is_root:
            return self.absent("not_supported")
        try:
            return list(read(found))
        except OSError as error:
            return self.absent(_reason(error))

    def count(self, metric: Metric, identity: object, reading: float, *labels: str) -> Sample:
        """A counter's sum with what the group ``identity`` says now."""
        counter = self._counters.get((metric.name, labels))
        if counter is None:
            counter = _Counter(Sample(metric, (self._context.target, *labels), 0.0))
            self._counters[metric.name, labels] = counter
        return counter.add(identity, float(reading))

    def gauge(self, metric: Metric, value: float | None) -> Reading:
        """A number, or ``no_data`` where a group has none: no limit is not an endless one."""
        if value is None:
            return self.absent("no_data", metric)[0]
        return Sample(metric, (self._context.target,), float(value))

    def absent(self, why: Reason, *metrics: Metric) -> list[Reading]:
        """One `Unavailable` a metric; for all of the collector's where none is given."""
        return list(absent(self._collector, metrics or self._metrics, why))

    def _between(self) -> list[Reading]:
        """While no process runs counters stand where they are; gauges have nothing to tell."""
        kept = [counter.sample for counter in self._counters.values()]
        counted = {sample.metric.name for sample in kept}
        gone = [metric for metric in self._metrics if metric.name not in counted]
        return [*kept, *absent(self._collector, gone, "no_data")]


class _Counter:
    """One series; a counter that stands still, as most do, is the same `Sample` as before."""

    __slots__ = ("_total", "sample")

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self._total = Total()

    def add(self, identity: object, reading: float) -> Sample:
        value = self._total.add(identity, reading)
        if value != self.sample.value:
            self.sample = Sample(self.sample.metric, self.sample.labels, value)
        return self.sample


def _reason(error: OSError) -> Reason:
    return "no_data" if error.errno == errno.ENODEV else reason(error)  # ENODEV: it has gone since it was found
