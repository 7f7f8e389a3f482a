"""The control group: what the process may use, how often it was held back, and whether the kernel killed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pilotfish_agent.web.numbers import Numbers, cores, percent, share, size
from pilotfish_agent.web.vitals._vital import Vital

THROTTLED: Final = 0.25
"""Share of periods above which throttling is marked; as the alert."""
FULL: Final = 0.9
"""Share of the limit above which memory that cannot be dropped is marked; file cache fills every limit in time."""
STALLED: Final = 0.1
"""Share of time above which pressure is marked."""


def vitals(numbers: Numbers, target: str) -> Iterator[Vital]:
    """Of one watched tree."""
    limit = numbers.total("cgroup_cpu_limit_cores", target=target)
    if limit is not None:
        yield Vital("CPU limit", cores(limit))
    yield from _throttled(numbers, target)
    yield from _memory(numbers, target)
    yield from _pressure(numbers, target)
    kills = numbers.total("cgroup_oom_kills_total", target=target)
    if kills is not None:
        lately = numbers.risen("cgroup_oom_kills_total", target=target)
        note = f"{lately:,.0f} in the last 5 min" if lately else "since the group began" if kills else ""
        yield Vital("OOM kills", f"{kills:,.0f}", note, "critical" if lately else "")


def _throttled(numbers: Numbers, target: str) -> Iterator[Vital]:
    """Lately where that is known, else since the group was made."""
    lately, parts = (
        "in the last 5 min",
        [numbers.risen(f"cgroup_cpu_{what}_total", target=target) for what in ("throttled_periods", "periods")],
    )
    if parts[1] is None:
        lately = "since the group began"
        parts = [numbers.total(f"cgroup_cpu_{what}_total", target=target) for what in ("throttled_periods", "periods")]
    part = share(*parts)
    if part is not None:
        words = "of CPU periods" + (": the limit is too small" if part > THROTTLED else "")
        yield Vital("Throttled", percent(part), f"{words}, {lately}", "warning" if part > THROTTLED else "")


def _memory(numbers: Numbers, target: str) -> Iterator[Vital]:
    used = numbers.total("cgroup_memory_bytes", target=target)
    if used is None:
        return
    limit = numbers.total("cgroup_memory_limit_bytes", target=target)
    cache = numbers.total("cgroup_memory_reclaimable_bytes", target=target)
    note = f"{size(cache)} of it can be dropped" if cache else ""
    part = share(used - (cache or 0.0), limit)
    if limit is None or part is None:
        yield Vital("Memory of the group", size(used), note)
        return
    full = part > FULL
    words = [
        f"of {size(limit)}",
        note,
        f"{percent(part)} cannot be dropped: at the limit the kernel kills" if full else "",
    ]
    yield Vital("Memory of the group", size(used), ", ".join(filter(None, words)), "warning" if full else "")


def _pressure(numbers: Numbers, target: str) -> Iterator[Vital]:
    """Share of the time in which some task waited, by resource."""
    found = {
        resource: rate
        for resource in ("cpu", "memory", "io")
        if (rate := numbers.rate("cgroup_pressure_waiting_seconds_total", target=target, resource=resource)) is not None
    }
    if not found:
        return
    ranked = sorted(found.items(), key=lambda one: -one[1])
    (worst, high), others = ranked[0], [f"{_SHORT[name]} {percent(rate)}" for name, rate in ranked[1:] if rate >= 0.001]
    note = "; ".join(["of the time some task waited, last 5 min", *others])
    yield Vital("Pressure", f"{_SHORT[worst]} {percent(high)}", note, "warning" if high > STALLED else "")


_SHORT: Final = {"cpu": "CPU", "memory": "memory", "io": "storage"}
