"""The machine around the model: what a sample of it costs, and whether it is what the kernel's files say."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil

from benchmarks.bars import Result, bar, versions
from pilotfish_agent.hardware import host
from pilotfish_agent.hardware._context import HostContext
from pilotfish_agent.target.procfs import CLOCK_TICKS
from pilotfish_core.clock import SystemClock
from pilotfish_core.metrics import Sample

MOST: Final = 60.0  # us
ROUNDS: Final = 400
LOOKS: Final = 200


def cost(work: Callable[[], object]) -> float:
    """Microseconds of CPU, median."""
    spent = []
    for _ in range(ROUNDS):
        before = time.thread_time_ns()
        work()
        spent.append((time.thread_time_ns() - before) / 1_000)
    return statistics.median(spent)


def with_psutil() -> None:
    """The same fields, as far as psutil has them: it knows no pressure and no clock source."""
    psutil.cpu_times()
    psutil.virtual_memory()


def kernel() -> dict[tuple[str, str], float]:
    """The counters as the kernel's files have them, read plainly."""
    words = [int(word) / CLOCK_TICKS for word in Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()[1:9]]
    found = {("pilotfish_host_cpu_seconds_total", "busy"): sum((*words[:3], *words[5:7]))}
    found["pilotfish_host_cpu_seconds_total", "steal"] = words[7]
    for resource in ("cpu", "memory", "io"):
        path = Path("/proc/pressure", resource)
        for line in path.read_text("ascii").splitlines() if path.exists() else ():
            kind, seconds = line.split()[0], int(line.rpartition("=")[2]) / 1e6
            if kind == "some":
                found["pilotfish_host_pressure_waiting_seconds_total", resource] = seconds
            elif resource != "cpu":
                found["pilotfish_host_pressure_stalled_seconds_total", resource] = seconds
    return found


@bar("host: CPU, pressure, memory, disk, clock source: one sample", f"<= {MOST:.0f} us CPU; psutil printed")
def sample() -> Result:
    collector = host.make(HostContext(SystemClock(), state="/tmp"))
    ours, theirs = cost(lambda: list(collector.collect())), cost(with_psutil)
    return Result(f"{ours:.0f} us; psutil {theirs:.0f} us for CPU and memory alone", ours <= MOST, versions("psutil"))


@bar("host: steal and pressure beside the kernel's own files", "each value between two plain readings of the file")
def equal() -> Result:
    collector = host.make(HostContext(SystemClock()))
    wrong, compared = [], 0
    for _ in range(LOOKS):
        before = kernel()
        found = {
            (r.metric.name, str(r.labels[0])): r.value
            for r in collector.collect()
            if isinstance(r, Sample) and r.labels
        }
        after = kernel()
        for key, low in before.items():
            value = found.get(key)
            compared += 1
            if not isinstance(value, float) or not low - 1e-9 <= value <= after[key] + 1e-9:
                wrong.append(f"{key}: {low} {value} {after[key]}")
    missing = "" if ("pilotfish_host_pressure_waiting_seconds_total", "io") in before else "; no pressure files here"
    return Result(f"{len(wrong)} of {compared} differ{missing}{': ' if wrong else ''}{'; '.join(wrong[:3])}", not wrong)
