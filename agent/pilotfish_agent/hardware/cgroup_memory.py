"""Memory of the model's control group, its limit, and what the limit has done to it.

A group near its limit is no alarm by itself: file cache is charged to it too and fills every limit in time. What the
kernel drops without pain is told beside it, as kubelet leaves it out of its working set (`inactive_file`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from pilotfish_agent.hardware._context import Collector, HardwareContext
from pilotfish_agent.hardware._group_readings import ENABLE as _ENABLE
from pilotfish_agent.hardware._group_readings import GroupReadings
from pilotfish_agent.target.group import Group
from pilotfish_agent.target.groupfs import parse_bytes, parse_keyed
from pilotfish_agent.target.limits import SLOW_EVERY, memory_limit
from pilotfish_core.metrics import Metric, Reading

MEMORY = Metric(
    "pilotfish_cgroup_memory_bytes",
    "gauge",
    "Memory charged to the model's control group, with the file cache and kernel memory that it brought in.",
    ("target",),
)
RECLAIMABLE = Metric(
    "pilotfish_cgroup_memory_reclaimable_bytes",
    "gauge",
    "File cache of the control group not used lately, which the kernel drops first and without pain; read each 10 s.",
    ("target",),
)
LIMIT = Metric(
    "pilotfish_cgroup_memory_limit_bytes",
    "gauge",
    "Memory limit of the model's control group, the least along its path as far as it can be seen; absent without one.",
    ("target",),
)
OOM_KILLS = Metric(
    "pilotfish_cgroup_oom_kills_total",
    "counter",
    "Processes of the model's control group that the out-of-memory killer ended, workers too.",
    ("target",),
)
MEMORY_EVENTS = Metric(
    "pilotfish_cgroup_memory_events_total",
    "counter",
    "How often the control group lost protected memory (low), was held up at memory.high (high), or met its limit "
    "(max); version 2 only.",
    ("target", "kind"),
)
METRICS = (MEMORY, RECLAIMABLE, LIMIT, OOM_KILLS, MEMORY_EVENTS)
ENABLE = {
    **_ENABLE,
    "not_supported": f"{_ENABLE['not_supported']}; memory events: version 2",
    "no_data": "nothing is wrong: the control group has no memory limit",
}
_KINDS: Final = ("low", "high", "max")


class _Memory:
    def __init__(self, context: HardwareContext) -> None:
        self._clock = context.clock
        self._group = context.group
        self._readings = GroupReadings("cgroup_memory", context, "memory", METRICS)
        self._of: object = None
        self._slow: list[Reading] = []
        self._next_slow = 0.0

    def collect(self) -> Iterable[Reading]:
        return self._readings.collect(self._read)

    def _read(self, group: Group) -> Iterator[Reading]:
        usage = parse_bytes(group.read("memory.current" if group.unified else "memory.usage_in_bytes"))
        yield self._readings.gauge(MEMORY, usage)
        now = self._clock.monotonic()
        if self._of != group.identity or now >= self._next_slow:
            self._of, self._next_slow = group.identity, now + SLOW_EVERY
            self._look(group)
        yield from self._slow
        kills = self._group.oom_kills()
        if kills is None:
            yield from self._readings.absent("not_supported", OOM_KILLS)
        else:
            yield self._readings.count(OOM_KILLS, None, kills)
        events = parse_keyed(group.read("memory.events")) if group.unified else {}
        if not events:
            yield from self._readings.absent("not_supported", MEMORY_EVENTS)
        for kind in filter(events.__contains__, _KINDS):
            yield self._readings.count(MEMORY_EVENTS, group.identity, events[kind], kind)

    def _look(self, group: Group) -> None:
        """The limit and the cache."""
        stat = parse_keyed(group.read("memory.stat"))
        cache = stat.get("inactive_file" if group.unified else "total_inactive_file")
        self._slow = [
            self._readings.gauge(RECLAIMABLE, cache),
            self._readings.gauge(LIMIT, memory_limit(group, stat)),
        ]


def make(context: HardwareContext) -> Collector:
    """The collector."""
    return _Memory(context)
