"""The control group on the Hardware board: limits, how near they are, and what happens at them."""

from __future__ import annotations

from grafana.boards.panels import Panel, ask, course
from grafana.boards.promql import WINDOW, events, most, of, rate, share, total

_ONE = ("instance", "target")
_NAME = "{{target}} on {{instance}}"
_NONE = "no control group, or it cannot be read"
_NO_LIMIT = "no CPU limit"
_PRESSED = ((None, "green"), (0.1, "orange"))


def throttled(*by: str) -> str:
    """Share of the CPU periods in which a group ran into its limit; of several together, of all their periods."""
    ran = total(rate(of("cgroup_cpu_periods_total")), *by)
    return share(total(rate(of("cgroup_cpu_throttled_periods_total")), *by), ran)


def filled(*by: str) -> str:
    """Memory of a group that the kernel cannot drop without pain, over its limit: the working set of kubelet."""
    used, cache, limit = (
        f"max by (job, instance, target) ({of(f'cgroup_memory_{what}bytes')})"
        for what in ("", "reclaimable_", "limit_")
    )
    return most(f"({used} - ({cache} or 0 * {used})) / {limit}", *by)


def panels() -> list[Panel]:
    """CPU, then memory, then pressure, then what was killed."""
    return [*_cpu(), *_memory(), *_pressure()]


def _cpu() -> list[Panel]:
    return [
        course(
            "CPU cores against the limit",
            "Well below the limit and throttled all the same: the work comes in bursts, or more threads run than the "
            "limit has CPUs. Set OMP_NUM_THREADS or the server's workers to the limit, or raise it.",
            ask(total(rate(of("process_cpu_seconds_total")), *_ONE), _NAME),
            ask(most(of("cgroup_cpu_limit_cores"), *_ONE), _NAME + " limit"),
            w=8,
            empty=_NONE,
        ),
        course(
            "Throttled",
            "Share of the CPU periods (100 ms) in which the group had used up its limit and stood still until the "
            "next: the tail of the latency. Over the line the alert fires: fewer threads or a higher limit.",
            ask(throttled(*_ONE), _NAME),
            unit="percentunit",
            steps=((None, "green"), (0.25, "orange")),
            w=8,
            empty=_NO_LIMIT,
        ),
        course(
            "Standing still at the CPU limit",
            "Seconds a second, summed over CPUs, that the group was held back. Compare with the duration of calls.",
            ask(total(rate(of("cgroup_cpu_throttled_seconds_total")), *_ONE), _NAME),
            w=8,
            empty=_NO_LIMIT,
        ),
    ]


def _memory() -> list[Panel]:
    return [
        course(
            "Memory against the limit",
            "With page cache; what of it is reclaimable the kernel drops first. At the limit it stalls the group, then "
            "kills the largest process: raise the limit, or load fewer workers.",
            ask(most(of("cgroup_memory_bytes"), *_ONE), _NAME),
            ask(most(of("cgroup_memory_reclaimable_bytes"), *_ONE), _NAME + " reclaimable"),
            ask(most(of("cgroup_memory_limit_bytes"), *_ONE), _NAME + " limit"),
            unit="bytes",
            w=8,
            empty=_NONE,
        ),
        course(
            "Memory, share of the limit",
            "Without cache that can be dropped. Over the line little is left for the next load: look at memory by kind "
            "for what grows.",
            ask(filled(*_ONE), _NAME),
            unit="percentunit",
            steps=((None, "green"), (0.9, "red")),
            high=1,
            w=8,
            empty="no memory limit",
        ),
        course(
            "Killed for memory",
            "By the kernel, in the group (kills) and among the watched processes (ends). A server with workers "
            "lives on and answers nothing: raise the limit or lower the number of workers.",
            ask(events(of("cgroup_oom_kills_total"), *_ONE, window=WINDOW), _NAME + " kills"),
            ask(events(of("process_exits_total", 'cause="oom"'), *_ONE, window=WINDOW), _NAME + " ends"),
            bars=True,
            w=8,
            empty=_NONE,
        ),
    ]


def _pressure() -> list[Panel]:
    name = _NAME + " {{resource}}"
    return [
        course(
            "Pressure: some task waits",
            "Share of the time in which at least one task of the group waited for the resource. cpu: the limit or the "
            "host is too small; memory: it reclaims or swaps; io: storage is slow.",
            ask(total(rate(of("cgroup_pressure_waiting_seconds_total")), *_ONE, "resource"), name),
            unit="percentunit",
            steps=_PRESSED,
            w=8,
            empty="no pressure information: kernel 4.20 with psi=1",
        ),
        course(
            "Pressure: all tasks stand",
            "Share of the time in which every task waited: nothing was computed. Of memory, kills are near.",
            ask(total(rate(of("cgroup_pressure_stalled_seconds_total")), *_ONE, "resource"), name),
            unit="percentunit",
            steps=_PRESSED,
            w=8,
            empty="no pressure information: kernel 4.20 with psi=1",
        ),
        course(
            "Events of the group",
            "Windows in which, as the kernel tells, the group waited too long, and meetings of memory with its limits: "
            "stalls that are shorter than a scrape show here.",
            ask(
                events(of("cgroup_pressure_events_total"), *_ONE, "resource", window=WINDOW),
                _NAME + " {{resource}} pressure",
            ),
            ask(events(of("cgroup_memory_events_total"), *_ONE, "kind", window=WINDOW), _NAME + " memory {{kind}}"),
            bars=True,
            w=8,
            empty="no pressure triggers here",
        ),
    ]
