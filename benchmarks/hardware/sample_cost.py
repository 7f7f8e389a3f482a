"""What one sample of a tree of nine processes costs, beside the best that psutil can do for the same fields.

CPU time of the sampling thread. Back to back the CPU's caches are warm; at the real pace the agent sleeps between two
samples, others run, and each sample starts cold. Both take turns with psutil, so that a busy machine slows both.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import psutil

from benchmarks.bars import Result, bar, versions
from benchmarks.hardware.side_by_side import HOST_PROCESSES, crowd
from pilotfish_agent.hardware._context import HardwareContext, HostContext
from pilotfish_agent.hardware._runner import Runner
from pilotfish_agent.target.group import ControlGroup
from pilotfish_agent.target.tree import ProcessTree
from pilotfish_core.clock import ManualClock

WORKERS = 8
FIELDS = ("cpu", "faults", "files", "io", "memory", "scheduling", "tree")
BACK_TO_BACK, REAL_PACE, TIMES = 250.0, 700.0, 5.0
ROUNDS, PACED_ROUNDS, PACE = 300, 40, 0.25  # seconds between two samples
MODEL = f"""
import mmap, os, threading, time
def serve():
    kept = mmap.mmap(-1, 8 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, len(kept), 4096): kept[at] = 1
    files = [open("/dev/null") for _ in range(30)]
    for _ in range(3): threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    print("up", flush=True)
    while True:
        sum(range(20_000))
        time.sleep(.2)
for _ in range({WORKERS}):
    if os.fork() == 0: break
serve()
"""
"""Each has memory, files, three waiting threads, and works a little five times a second."""


@contextmanager
def model() -> Iterator[int]:
    """The PID of a running tree."""
    command = [sys.executable, "-c", MODEL]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            for _ in range(WORKERS + 1):
                process.stdout.readline()
            yield process.pid
        finally:
            for member in [*psutil.Process(process.pid).children(), psutil.Process(process.pid)]:
                member.kill()


@contextmanager
def ours(pid: int) -> Iterator[Callable[[], object]]:
    """One sample as the agent takes it, at one a second on its clock: kinds of memory are read at each fifth."""
    clock = ManualClock()
    tree = ProcessTree(pid, None, clock=clock)
    runner = Runner(HardwareContext(HostContext(clock), tree, "model", ControlGroup(tree)), FIELDS)

    def sample() -> object:
        clock.advance(1)
        return runner.collect()

    try:
        yield sample
    finally:
        runner.close()


def theirs(pid: int) -> Callable[[], object]:
    """The same fields by psutil's cheapest way: it looks for children each time, and asks each process in one go."""
    root = psutil.Process(pid)

    def sample() -> object:
        found = []
        for process in (root, *root.children(recursive=True)):
            with process.oneshot():
                memory, cpu = process.memory_info(), process.cpu_times()
                files, switches = process.num_fds(), process.num_ctx_switches()
                found.append((memory, cpu, files, switches, process.io_counters(), process.num_threads()))
        return found

    return sample


def cost(sample: Callable[[], object]) -> float:
    """Microseconds of CPU."""
    began = time.thread_time_ns()
    sample()
    return (time.thread_time_ns() - began) / 1e3


def in_turns(pid: int, rounds: int, turn: int, pace: float) -> tuple[float, float]:
    """Medians of ours and of psutil's: a turn of one, a turn of the other, neither in the other's traces."""
    with ours(pid) as sample:
        found: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds // turn):
            for which, costs in zip((sample, theirs(pid)), found, strict=True):
                which()
                for _ in range(turn):
                    if pace:
                        time.sleep(pace)
                    costs.append(cost(which))
        return statistics.median(found[0]), statistics.median(found[1])


@cache
def measured() -> tuple[tuple[float, float], tuple[float, float]]:
    """Back to back, and at the real pace; psutil looks through as many processes as a node has."""
    with crowd(HOST_PROCESSES), model() as pid:
        return in_turns(pid, ROUNDS, 30, 0), in_turns(pid, PACED_ROUNDS, 10, PACE)


def result(ours_us: float, theirs_us: float, limit: float) -> Result:
    """A row."""
    return Result(
        f"{ours_us:.0f} us, psutil {theirs_us:,.0f} us: {theirs_us / ours_us:.1f}x below, {HOST_PROCESSES} on the host",
        ours_us <= limit and theirs_us >= TIMES * ours_us,
        versions("psutil"),
    )


@bar("one sample of 9 processes, back to back", f"median <= {BACK_TO_BACK:.0f} us CPU, {TIMES:.0f}x below psutil")
def back_to_back() -> Result:
    return result(*measured()[0], BACK_TO_BACK)


@bar("one sample of 9 processes, at the real pace", f"median <= {REAL_PACE:.0f} us CPU, {TIMES:.0f}x below psutil")
def real_pace() -> Result:
    return result(*measured()[1], REAL_PACE)
