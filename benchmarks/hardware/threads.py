"""The bar on many threads: run delay of all of them, right, cheap, and never falling when they end.

A process of 512 threads that have worked and wait; it is stopped by SIGSTOP while both ways are read, so that they can
be compared with the sum over its tasks to the nanosecond. Then most of its threads end.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from benchmarks.bars import Result, bar, versions
from pilotfish_agent.hardware import scheduling
from pilotfish_agent.hardware._context import HardwareContext, HostContext
from pilotfish_agent.target.group import ControlGroup
from pilotfish_agent.target.threads import EVERY, ByThread, Counts
from pilotfish_agent.target.tree import ProcessTree
from pilotfish_core.clock import ManualClock
from pilotfish_core.metrics import Sample

THREADS = 512
ENDING = 400
ALLOWED_US = 100.0
MODEL = f"""
import sys, threading, time
go, ends = threading.Event(), threading.Event()
def work(last):
    go.wait()
    for _ in range(3):
        sum(range(3000))
        time.sleep(.001)
    (ends if last else threading.Event()).wait()
threads = [threading.Thread(target=work, args=(i < {ENDING},), daemon=True) for i in range({THREADS - 1})]
for thread in threads: thread.start()
go.set()
time.sleep(.5)
print("worked", flush=True)
sys.stdin.readline()
ends.set()
for thread in threads[:{ENDING}]: thread.join()
print("ended", flush=True)
sys.stdin.readline()
"""


@contextmanager
def _model() -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", MODEL], stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def _cost(work: Callable[[], object], times: int) -> float:
    """Microseconds of our CPU, the median of 5 rounds."""
    rounds = []
    for _ in range(5):
        began = time.process_time_ns()
        for _ in range(times):
            work()
        rounds.append((time.process_time_ns() - began) / times / 1000)
    return statistics.median(rounds)


def _by_tasks(pid: int) -> float:
    """The truth while no thread has ended."""
    delay = 0
    for tid in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{tid}/schedstat", "rb") as file:
            delay += int(file.read().split()[1])
    return delay / 1e9


class _Both:
    """Both ways over one process."""

    def __init__(self, pid: int) -> None:
        self.clock = ManualClock()
        self.tree = ProcessTree(pid, None, clock=self.clock)
        self._collector = scheduling.make(
            HardwareContext(HostContext(self.clock), self.tree, "model", ControlGroup(self.tree))
        )
        self._by_thread = ByThread(self.clock)
        self.tree.scan()

    def taskstats(self) -> tuple[float, ...]:
        return tuple(r.value for r in self._collector.collect() if isinstance(r, Sample) and isinstance(r.value, float))

    def threads(self) -> Counts:
        self.clock.advance(EVERY)
        (counts,) = self._by_thread.read(self.tree).values()
        return counts


@bar(
    f"{THREADS} threads: run delay of all of them",
    f"= the sum over tasks, never falling when threads end, <= {ALLOWED_US:.0f} us by taskstats",
)
def all_threads() -> Result:
    """Values and costs; the fallback's cost and what psutil and the process' own schedstat say are printed."""
    if scheduling._taskstats("/proc") is None:
        return Result("CAP_NET_ADMIN or CONFIG_TASKSTATS is missing", None)
    with _model() as model:
        assert model.stdin is not None
        assert model.stdout is not None
        both = _Both(model.pid)
        model.send_signal(signal.SIGSTOP)
        while psutil.Process(model.pid).status() != psutil.STATUS_STOPPED:
            time.sleep(0.01)
        time.sleep(0.1)
        truth, before, slow = _by_tasks(model.pid), both.taskstats(), both.threads()
        equal = abs(before[0] - truth) < 1e-9 and abs(slow[0] - truth) < 1e-6
        asked, read = _cost(both.taskstats, 200), _cost(both.threads, 3)
        switches = psutil.Process(model.pid).num_ctx_switches()
        with open(f"/proc/{model.pid}/schedstat", "rb") as file:
            main = int(file.read().split()[1]) / 1e9
        model.send_signal(signal.SIGCONT)
        model.stdin.write("\n")
        model.stdin.flush()
        model.stdout.readline()
        both.tree.scan()
        after, later, alone = both.taskstats(), both.threads(), _by_tasks(model.pid)
        left = both.tree.members[0].stat.threads
        kept = all(map(float.__le__, before, after)) and all(map(float.__le__, slow, later))
    measured = (
        f"{asked:.0f} us; delay {before[0]:.4f} s (tasks {truth:.4f}, main thread's schedstat {main:.4f}); with {left} "
        f"threads left {after[0]:.4f} s (tasks alone {alone:.4f}); fallback {slow[0]:.4f}, then {later[0]:.4f}; "
        f"switches {before[1] + before[2]:.0f} "
        f"(psutil {sum(switches)}); fallback {read:.0f} us each {EVERY:g} s"
    )
    holds = equal and kept and asked <= ALLOWED_US and left == THREADS - ENDING
    return Result(measured, holds, versions("psutil"))
