"""What the model suffers from on its host: stolen time, pressure, memory and disk that run out, another clock."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from pilotfish_agent.web.numbers import Numbers, percent, share, size
from pilotfish_agent.web.vitals._vital import Vital

STOLEN: Final = 0.1
"""Share of CPU time above which it is marked; as the alert."""
LOW: Final = 0.1
"""Share of memory or disk that is left, below which it is marked."""
ENOUGH: Final = 2**30
"""Bytes on the disk that are room enough for what the agent keeps, however large it is; as the alert."""
PRESSED: Final = 0.1


def vitals(numbers: Numbers) -> Iterator[Vital]:
    """Of the last five minutes, where it is of a time."""
    yield from _cpu(numbers)
    yield from _left(numbers, "Memory left", "host_memory_available_bytes", "host_memory_total_bytes")
    for resource, name in (("memory", "memory"), ("io", "storage")):
        waited = numbers.rate("host_pressure_waiting_seconds_total", resource=resource)
        if waited is not None and waited > PRESSED:
            yield Vital(f"Waiting for {name}", percent(waited), "of the time some task of the host", "warning")
    yield from _left(numbers, "State disk", "state_disk_free_bytes", "state_disk_size_bytes", enough=ENOUGH)
    changes = numbers.total("host_clock_source_changes_total")
    if changes:
        source = ", ".join(numbers.values("host_clock_source_info", "source"))
        note = f"now {source}: " * bool(source) + "a look at the clock may be slow"
        yield Vital("Clock source", f"changed {changes:,.0f} time{'s' * (changes != 1)}", note, "warning")


def _cpu(numbers: Numbers) -> Iterator[Vital]:
    rates = {mode: numbers.rate("host_cpu_seconds_total", mode=mode) for mode in ("busy", "idle", "iowait", "steal")}
    whole = sum(rate for rate in rates.values() if rate is not None)
    busy, steal = share(rates["busy"], whole), share(rates["steal"], whole)
    if busy is not None:
        yield Vital("CPU busy", percent(busy), "last 5 min")
    if steal is not None:
        high = steal > STOLEN
        yield Vital("CPU stolen", percent(steal), "taken by the hypervisor" if high else "", "warning" if high else "")


def _left(numbers: Numbers, name: str, free: str, whole: str, enough: float = math.inf) -> Iterator[Vital]:
    left, size_of = numbers.least(free), numbers.least(whole)
    part = share(left, size_of)
    if left is None or size_of is None or part is None:
        return
    low = part < LOW and left < enough
    yield Vital(name, size(left), f"{percent(part)} of {size(size_of)}" + " are left" * low, "warning" if low else "")
