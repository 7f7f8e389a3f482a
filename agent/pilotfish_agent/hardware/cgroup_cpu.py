"""CPU limit of the model's control group, and how often it stops the model: `cpu.max` and `cpu.stat`, or `cpu.cfs_*`.

Throttling is counted in the group that has the limit: where only a pod is limited, its containers' own numbers stand
at 0 while all of them wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from pilotfish_agent.hardware._context import Collector, HardwareContext
from pilotfish_agent.hardware._group_readings import ENABLE as _ENABLE
from pilotfish_agent.hardware._group_readings import GroupReadings
from pilotfish_agent.target.group import Group
from pilotfish_agent.target.groupfs import parse_keyed
from pilotfish_agent.target.limits import SLOW_EVERY, cpu_limit
from pilotfish_core.metrics import Metric, Reading

PERIODS = Metric(
    "pilotfish_cgroup_cpu_periods_total",
    "counter",
    "Scheduling periods (.1 s by default) in which the model's control group, under a CPU limit, had work.",
    ("target",),
)
THROTTLED_PERIODS = Metric(
    "pilotfish_cgroup_cpu_throttled_periods_total",
    "counter",
    "Periods in which the control group used up its CPU limit and had to wait for the next: so did requests.",
    ("target",),
)
THROTTLED_SECONDS = Metric(
    "pilotfish_cgroup_cpu_throttled_seconds_total",
    "counter",
    "Time for which the control group was held up by its CPU limit, summed over CPUs.",
    ("target",),
)
LIMIT = Metric(
    "pilotfish_cgroup_cpu_limit_cores",
    "gauge",
    "CPU limit of the model's control group, the least along its path as far as it can be seen; absent without one.",
    ("target",),
)
_COUNTERS: Final = (PERIODS, THROTTLED_PERIODS, THROTTLED_SECONDS)
METRICS = (*_COUNTERS, LIMIT)
ENABLE = {**_ENABLE, "no_data": "nothing is wrong: the control group has no CPU limit"}


class _Cpu:
    def __init__(self, context: HardwareContext) -> None:
        self._clock = context.clock
        self._readings = GroupReadings("cgroup_cpu", context, "cpu", METRICS)
        self._of: object = None
        self._limit: list[Reading] = []
        self._level = 0
        self._next_slow = 0.0

    def collect(self) -> Iterable[Reading]:
        return self._readings.collect(self._read)

    def _read(self, group: Group) -> Iterator[Reading]:
        now = self._clock.monotonic()
        if self._of != group.identity or now >= self._next_slow:
            self._of, self._next_slow = group.identity, now + SLOW_EVERY
            self._look(group)
        yield from self._limit
        stat = parse_keyed(group.read("cpu.stat", self._level))
        if "nr_throttled" not in stat:
            yield from self._readings.absent("not_supported", *_COUNTERS)
            return
        throttled = stat["throttled_usec"] / 1e6 if group.unified else stat["throttled_time"] / 1e9
        identity = (group.identity, self._level)
        for metric, value in zip(_COUNTERS, (stat["nr_periods"], stat["nr_throttled"], throttled), strict=True):
            yield self._readings.count(metric, identity, value)

    def _look(self, group: Group) -> None:
        """The limit and who sets it."""
        try:
            cores, self._level = cpu_limit(group)
        except FileNotFoundError:
            self._level, self._limit = 0, self._readings.absent("not_supported", LIMIT)
        else:
            self._limit = [self._readings.gauge(LIMIT, cores)]


def make(context: HardwareContext) -> Collector:
    """The collector."""
    return _Cpu(context)
