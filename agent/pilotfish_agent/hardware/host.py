"""What the machine does to the model: CPU taken away, waiting for memory and storage, a full disk, another clock."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import astuple, fields
from typing import Final

from pilotfish_agent.hardware._context import HOST, Collector, HostContext, absent
from pilotfish_agent.hardware._host_cpu import Cpu, parse_cpu
from pilotfish_agent.hardware._kept import KeptFile, reason
from pilotfish_agent.target.pressure import parse_pressure
from pilotfish_agent.target.procfs import parse_fields
from pilotfish_core.metrics import Metric, Reading, Sample

SCOPE = HOST
EVERY = 5.0
"""Seconds: sums, and what changes slowly; a third of the usual time between two scrapes."""
CPU = Metric(
    "pilotfish_host_cpu_seconds_total",
    "counter",
    "CPU time of all of the machine's processors; steal is what the hypervisor gave to others: the model stood still.",
    ("mode",),
)
WAITING = Metric(
    "pilotfish_host_pressure_waiting_seconds_total",
    "counter",
    "Time in which at least one task of the machine waited for the resource; its rate is a share of time.",
    ("resource",),
)
STALLED = Metric(
    "pilotfish_host_pressure_stalled_seconds_total",
    "counter",
    "Time in which all tasks of the machine that had work waited for the resource: nothing went on.",
    ("resource",),
)
AVAILABLE = Metric(
    "pilotfish_host_memory_available_bytes",
    "gauge",
    "Memory that programs can still have without swapping, as the kernel estimates it.",
)
TOTAL = Metric("pilotfish_host_memory_total_bytes", "gauge", "Memory of the machine.")
FREE = Metric(
    "pilotfish_state_disk_free_bytes",
    "gauge",
    "Room left to us where the agent keeps its state; without it references and history are lost at a restart.",
)
SIZE = Metric("pilotfish_state_disk_size_bytes", "gauge", "Size of the file system where the agent keeps its state.")
SOURCE = Metric(
    "pilotfish_host_clock_source_info",
    "gauge",
    "What the kernel reads time from; with hpet or acpi_pm each look at the clock is a slow system call.",
    ("source",),
)
CHANGES = Metric(
    "pilotfish_host_clock_source_changes_total",
    "counter",
    "Changes of the clock source since the agent started; the kernel leaves one that it finds unreliable.",
)
METRICS = (CPU, WAITING, STALLED, AVAILABLE, TOTAL, FREE, SIZE, SOURCE, CHANGES)
ENABLE = {
    "not_supported": "pressure: a kernel with CONFIG_PSI and without psi=0; the clock source: /sys in the container",
    "disabled": "a state folder",
}
SLOW_EVERY: Final = 10.0
"""Seconds between looks at what changes slowly: the disk and the clock source."""
_MODES: Final = tuple(field.name for field in fields(Cpu))
_PRESSURES: Final = ("cpu", "memory", "io")
_CLOCK: Final = "devices/system/clocksource/clocksource0/current_clocksource"


class _Host:
    def __init__(self, context: HostContext) -> None:
        self._context = context
        self._stat = KeptFile(f"{context.proc}/stat")
        self._memory = KeptFile(f"{context.proc}/meminfo")
        self._pressure = {name: KeptFile(f"{context.proc}/pressure/{name}") for name in _PRESSURES}
        self._clock = KeptFile(f"{context.sys}/{_CLOCK}")
        self._highest: tuple[float, ...] = (0.0,) * len(_MODES)
        self._source: str | None = None
        self._changes = 0
        self._slow: tuple[Reading, ...] = ()
        self._next_slow = 0.0

    def collect(self) -> Iterable[Reading]:
        now = self._context.clock.monotonic()
        if now >= self._next_slow:
            self._next_slow = now + SLOW_EVERY
            self._slow = (*self._disk(), *self._clocks())
        return [*self._cpu(), *self._pressures(), *self._memories(), *self._slow]

    def close(self) -> None:
        for file in (self._stat, self._memory, self._clock, *self._pressure.values()):
            file.close()

    def _cpu(self) -> Iterable[Reading]:
        try:
            found = parse_cpu(self._stat.read())
        except OSError as error:
            return absent("host", (CPU,), reason(error))
        self._highest = tuple(map(max, self._highest, astuple(found)))
        return [Sample(CPU, (mode,), value) for mode, value in zip(_MODES, self._highest, strict=True)]

    def _memories(self) -> Iterable[Reading]:
        try:
            total, available = parse_fields(self._memory.read(), (b"MemTotal", b"MemAvailable"))
        except OSError as error:
            return absent("host", (TOTAL, AVAILABLE), reason(error))
        if total is None or available is None:
            return absent("host", (TOTAL, AVAILABLE), "not_supported")
        return [Sample(TOTAL, (), 1024.0 * total), Sample(AVAILABLE, (), 1024.0 * available)]

    def _pressures(self) -> Iterable[Reading]:
        for resource, file in self._pressure.items():
            try:
                some, full = parse_pressure(file.read())
            except OSError as error:
                yield from absent("host", (WAITING, STALLED), reason(error))
                return
            yield Sample(WAITING, (resource,), some)
            if full is not None and resource != "cpu":  # of the whole machine's CPUs it means nothing, and reads 0
                yield Sample(STALLED, (resource,), full)

    def _disk(self) -> Iterable[Reading]:
        if self._context.state is None:
            return absent("host", (FREE, SIZE), "disabled")
        try:
            found = os.statvfs(self._context.state)
        except FileNotFoundError:
            return absent("host", (FREE, SIZE), "no_data")
        except OSError as error:
            return absent("host", (FREE, SIZE), reason(error))
        free, size = (float(blocks * found.f_frsize) for blocks in (found.f_bavail, found.f_blocks))
        return [Sample(FREE, (), free), Sample(SIZE, (), size)]

    def _clocks(self) -> Iterable[Reading]:
        try:
            source = self._clock.read().decode("ascii", "replace").strip()
        except OSError as error:
            return absent("host", (SOURCE, CHANGES), reason(error))
        self._changes += self._source not in (None, source)
        self._source = source
        return [Sample(SOURCE, (source,), 1.0), Sample(CHANGES, (), float(self._changes))]


def make(context: HostContext) -> Collector:
    """The collector."""
    return _Host(context)
