"""The watched processes: since when, how much they use, what they wait for, how they ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pilotfish_agent.web.numbers import Numbers, cores, duration, share, size
from pilotfish_agent.web.vitals._vital import Vital

WAITING: Final = 0.1
"""Of the CPU time in use, above which waiting for a CPU is marked; as on the Hardware dashboard."""
_ROLES: Final = 4


def vitals(numbers: Numbers, trees: Sequence[Mapping[str, Any]]) -> Iterator[Vital]:
    """Of all trees together; each has its pid."""
    for tree in trees:
        if tree.get("pid") is not None:
            yield Vital("Process" if len(trees) == 1 else f"Process {tree['name']}", f"pid {tree['pid']}")
    started = numbers.most("process_start_time_seconds")
    if started is not None and numbers.snapshot.at > started:
        yield Vital("Running for", duration(numbers.snapshot.at - started))
    load, ready = (numbers.most("model_startup_duration_seconds", phase=phase) for phase in ("load", "initialise"))
    if load is not None:
        answered = "" if ready is None else f"; first good answer or probe {duration(ready)} later"
        yield Vital("Start-up", duration(load), f"until it listened{answered}")
    yield from _cpu(numbers)
    memory = numbers.total("process_resident_memory_bytes")
    if memory is not None:
        yield Vital("Memory", size(memory), _swapped(numbers))
    threads = numbers.total("process_threads")
    if threads is not None:
        yield Vital("Threads", f"{threads:,.0f}", _roles(numbers))
    yield from _ends(numbers)


def _cpu(numbers: Numbers) -> Iterator[Vital]:
    used, now = numbers.total("process_cpu_seconds_total"), numbers.rate("process_cpu_seconds_total")
    if used is not None:
        yield Vital("CPU used", duration(used), "" if now is None else f"{cores(now)} in the last 5 min")
    waited = numbers.rate("process_run_delay_seconds_total")
    if waited is not None and now is not None:
        many = (share(waited, now) or 0.0) > WAITING and waited > WAITING
        note = "threads that were ready; too few CPUs" if many else "threads that were ready"
        yield Vital("Waiting for a CPU", f"{waited:.2g}", note, "warning" if many else "")


def _swapped(numbers: Numbers) -> str:
    swapped = numbers.total("process_memory_bytes", kind="swap")
    return f"{size(swapped)} swapped out" if swapped else ""


def _roles(numbers: Numbers) -> str:
    """``1 main, 4 worker``: the most frequent."""
    found: dict[str, float] = {}
    for labels, count in numbers.each("processes"):
        role = labels.get("role") or "process"
        found[role] = found.get(role, 0.0) + count
    ranked = sorted(found.items(), key=lambda one: (-one[1], one[0]))[:_ROLES]
    return ", ".join(f"{count:.0f} {role}" for role, count in ranked if count)


def _ends(numbers: Numbers) -> Iterator[Vital]:
    """What is not there has not ended: zeros say nothing here."""
    restarts = numbers.total("process_restarts_total")
    if restarts:
        yield Vital("Restarts", f"{restarts:,.0f}", tone="warning")
    causes = {cause: numbers.total("process_exits_total", cause=cause) for cause in ("oom", "signal", "exit_nonzero")}
    told = [f"{count:,.0f} {_CAUSES[cause]}" for cause, count in causes.items() if count]
    if told:
        yield Vital("Ended badly", ", ".join(told), tone="critical" if causes["oom"] else "warning")
    rest = {cause: numbers.total("process_exits_total", cause=cause) for cause in ("exit_zero", "unknown")}
    ended = [f"{count:,.0f} {_CAUSES[cause]}" for cause, count in rest.items() if count]
    if ended:
        yield Vital("Ended", ", ".join(ended))


_CAUSES: Final = {
    "oom": "out of memory",
    "signal": "by a signal",
    "exit_nonzero": "with an error",
    "exit_zero": "well",
    "unknown": "unknown",
}
