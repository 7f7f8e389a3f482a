"""How much of the CPU of short-lived workers a sampler of live processes finds, ours and psutil's, in one run.

A model forks workers that each compute for 80 ms and end; both samplers look once a second. The truth is the model's
own `getrusage` at the end. Per-process sampling counts each process as it was last seen.
"""

from __future__ import annotations

import contextlib
import select
import subprocess
import sys

import psutil

from benchmarks.bars import Result, bar, versions
from pilotfish_agent.hardware._context import HardwareContext, HostContext
from pilotfish_agent.hardware._runner import Runner
from pilotfish_agent.hardware.cpu import CPU
from pilotfish_agent.target.group import ControlGroup
from pilotfish_agent.target.tree import ProcessTree
from pilotfish_core.clock import SystemClock
from pilotfish_core.metrics import Sample

WORKERS, PERIOD = 60, 1.0
MOST_ERROR, MOST_FOUND = 0.03, 0.5
MODEL = f"""
import os, resource, sys, time
for _ in range({WORKERS}):
    worker = os.fork()
    if worker == 0:
        while time.process_time() < .08: pass
        os._exit(0)
    os.waitpid(worker, 0)
    time.sleep(.02)
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(sum(u.ru_utime + u.ru_stime for u in used), flush=True)
sys.stdin.read()
"""


class PerProcess:
    """What psutil tells of each live process, kept when it ends."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._seen: dict[psutil.Process, float] = {}

    def sample(self) -> float:
        """CPU seconds of all that were ever seen."""
        for process in (self._root, *self._root.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                self._seen[process] = times.user + times.system
        return sum(self._seen.values())


def ours(runner: Runner) -> float:
    """CPU seconds of the tree."""
    found = [r.value for r in runner.collect() if isinstance(r, Sample) and r.metric is CPU]
    return sum(value for value in found if isinstance(value, float))


@bar(
    "CPU of workers that live 80 ms",
    f"error <= {MOST_ERROR:.0%}, psutil per process finds under {MOST_FOUND:.0%} in the same run",
)
def short_workers() -> Result:
    pipe, clock = subprocess.PIPE, SystemClock()
    with subprocess.Popen([sys.executable, "-c", MODEL], stdin=pipe, stdout=pipe, text=True) as process:
        tree = ProcessTree(process.pid, None, clock=clock)
        runner = Runner(HardwareContext(HostContext(clock), tree, "model", ControlGroup(tree)), ("cpu",))
        peer = PerProcess(process.pid)
        assert process.stdout is not None
        while not select.select([process.stdout], [], [], PERIOD)[0]:
            ours(runner)
            peer.sample()
        truth = float(process.stdout.readline())
        found, theirs = ours(runner) / truth, peer.sample() / truth
        runner.close()
        process.communicate()
    return Result(
        f"{found:.1%} of {truth:.1f} s found, psutil {theirs:.1%}",
        abs(1 - found) <= MOST_ERROR and theirs < MOST_FOUND,
        versions("psutil"),
    )
