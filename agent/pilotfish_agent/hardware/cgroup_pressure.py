"""Pressure (PSI) of the model's control group: how long its tasks waited for CPU, memory and IO, and since when.

Version 2 only, which hybrid systems have beside version 1. The sums are read at each sample; that pressure begins, the
kernel says by a trigger (`target/pressure.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from pilotfish_agent.hardware._context import Collector, HardwareContext
from pilotfish_agent.hardware._group_readings import ENABLE as _ENABLE
from pilotfish_agent.hardware._group_readings import GroupReadings
from pilotfish_agent.target.group import UNIFIED, Group
from pilotfish_agent.target.pressure import THRESHOLDS, WINDOW, Triggers, parse_pressure
from pilotfish_core.events import Event
from pilotfish_core.metrics import Metric, Reading

WAITING = Metric(
    "pilotfish_cgroup_pressure_waiting_seconds_total",
    "counter",
    "Time in which at least one task of the control group waited for the resource; its rate is a share of time.",
    ("target", "resource"),
)
STALLED = Metric(
    "pilotfish_cgroup_pressure_stalled_seconds_total",
    "counter",
    "Time in which all tasks of the control group that had work waited for the resource: nothing went on.",
    ("target", "resource"),
)
FIRED = Metric(
    "pilotfish_cgroup_pressure_events_total",
    "counter",
    "Windows of 2 s in which tasks of the control group waited too long (memory .15 s, io .5 s, cpu 1 s), as the "
    "kernel's trigger tells.",
    ("target", "resource"),
)
METRICS = (WAITING, STALLED, FIRED)
ENABLE = {
    "permission": f"{_ENABLE['permission']}; for pressure events the right to write to its *.pressure files: "
    "root, or the owner of a delegated group",
    "not_supported": "control groups of version 2 (or hybrid), a kernel with CONFIG_PSI and without psi=0, and a group "
    "of the model's own (docs/control-group.md)",
}
_WORDS: Final = "The model's control group waits for %s; `waiting` is the share of the last seconds, 2 or a few more."
BEGAN: Final = {
    "cpu": Event("cpu_pressure", "info", _WORDS % "CPUs, or for its next period"),
    "memory": Event("memory_pressure", "warning", _WORDS % "memory: its limit, or the host's memory, is too small"),
    "io": Event("io_pressure", "info", _WORDS % "storage"),
}
EVENTS = tuple(BEGAN.values())
QUIET: Final = 60.0
"""Seconds without a trigger after which pressure that comes is told anew: one line an episode, not one each 2 s."""

REST: Final = 3
"""Each third sample repeats the last sums, so that a sampler in step with the kernel's 2 s never keeps its triggers
from it for long (`target/pressure.py`): 6 s at a sample each 2 s."""


class _Pressure:
    def __init__(self, context: HardwareContext) -> None:
        self._context = context
        self._readings = GroupReadings("cgroup_pressure", context, UNIFIED, METRICS)
        self._triggers = Triggers()
        self._of: object = None
        self._looks = 0
        self._sums: list[Reading] = []
        self._fired = dict.fromkeys(THRESHOLDS, 0)
        self._last_fired: dict[str, float] = {}
        self._past: dict[str, deque[tuple[float, float]]] = {resource: deque() for resource in THRESHOLDS}

    def collect(self) -> Iterable[Reading]:
        return self._readings.collect(self._read)

    def close(self) -> None:
        self._triggers.close()

    def _read(self, group: Group) -> Iterator[Reading]:
        if self._of != group.identity:
            self._of = group.identity
            self._triggers.arm(group)
            self._sums = []
            for past in self._past.values():
                past.clear()
        fired = self._triggers.fired()
        self._looks += 1
        if fired or not self._sums or not self._triggers.armed or self._looks % REST:
            self._sums = list(self._look(group, fired))
        yield from self._sums
        yield from self._counted()

    def _look(self, group: Group, fired: Sequence[str]) -> Iterator[Reading]:
        """The sums, and words of the triggers that have fired."""
        now = self._context.clock.monotonic()
        for resource in THRESHOLDS:
            some, full = parse_pressure(group.read(f"{resource}.pressure"))
            yield self._readings.count(WAITING, group.identity, some, resource)
            if full is not None:
                yield self._readings.count(STALLED, group.identity, full, resource)
            self._keep(resource, now, some)
            if resource in fired:
                self._tell(resource, now)

    def _counted(self) -> Iterable[Reading]:
        if not self._triggers.armed:
            return self._readings.absent(next(iter(self._triggers.refused.values()), "not_supported"), FIRED)
        return [self._readings.count(FIRED, None, self._fired[r], r) for r in self._triggers.armed]

    def _tell(self, resource: str, now: float) -> None:
        """Counts a trigger, and writes a line when pressure has begun."""
        self._fired[resource] += 1
        began = now - self._last_fired.get(resource, -QUIET) >= QUIET
        self._last_fired[resource] = now
        if began and self._context.events is not None:
            waiting = round(max(self._lately(resource), THRESHOLDS[resource] / WINDOW), 2)
            self._context.events.emit(BEGAN[resource], target=self._context.target, waiting=waiting)

    def _keep(self, resource: str, now: float, some: float) -> None:
        """The last seconds: a window at least, unless what is before it is of before a pause."""
        past = self._past[resource]
        past.append((now, some))
        while len(past) > 2 and (past[1][0] <= now - WINDOW or past[0][0] < now - REST * WINDOW):
            past.popleft()

    def _lately(self, resource: str) -> float:
        """Share of time, as the sums say. They rise every 2 s only, so may lag behind what the trigger has proved."""
        (then, before), (now, some) = self._past[resource][0], self._past[resource][-1]
        return (some - before) / (now - then) if now > then else 0.0


def make(context: HardwareContext) -> Collector:
    """The collector."""
    return _Pressure(context)
