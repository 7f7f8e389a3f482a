"""The bar on a fork storm: 5,000 children at once, and their deaths.

The whole `Runner` is ticked (tree and all collectors, the kernel's exit records drained) while they live, while they
die and after. The tree samples 256, counts the others, and every end is counted by its cause.
"""

from __future__ import annotations

import gc
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from benchmarks.bars import Result, bar, versions
from pilotfish_agent.hardware._context import HardwareContext, HostContext
from pilotfish_agent.hardware._runner import Runner
from pilotfish_agent.target.exit_feed import Feed
from pilotfish_agent.target.group import ControlGroup
from pilotfish_agent.target.tree import LIMIT, ProcessTree
from pilotfish_core.clock import SystemClock
from pilotfish_core.metrics import Sample

CHILDREN = 5000
ALLOWED_MS = 50.0
PACE = 0.5
MODEL = f"""
import os, signal, sys
print("up", flush=True)
sys.stdin.readline()
read, write = os.pipe()
children = []
for number in range({CHILDREN}):
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(number % 2)
    children.append(child)
print("born", flush=True)
sys.stdin.readline()
os.close(write)
for child in children: os.waitpid(child, 0)
print("dead", flush=True)
sys.stdin.readline()
"""


@contextmanager
def _model() -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", MODEL], stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _told(process: subprocess.Popen[str], word: str) -> Callable[[], bool]:
    """Whether the model has said a word; it is asked to go on."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    out = process.stdout

    def said() -> bool:
        return bool(select.select([out], [], [], 0)[0]) and out.readline() == f"{word}\n"

    return said


class _Ticks:
    """The collectors over the model, ticked at a pace; CPU of each tick in milliseconds."""

    def __init__(self, pid: int) -> None:
        clock = SystemClock()
        self.feed = Feed.of("/sys")
        self.tree = ProcessTree(pid, None, clock=clock)
        self.tree.ends.records = self.feed.reader()
        self.costs: list[float] = []
        self._runner = Runner(HardwareContext(HostContext(clock), self.tree, "model", ControlGroup(self.tree)))
        self.last: dict[tuple[str, str], float] = {}

    def tick(self) -> None:
        began = time.process_time_ns()
        readings = self._runner.collect()
        self.costs.append((time.process_time_ns() - began) / 1e6)
        for one in readings:
            if isinstance(one, Sample) and isinstance(one.value, float):
                self.last[one.metric.name, str(one.labels[-1])] = one.value

    def until(self, over: Callable[[], bool]) -> list[float]:
        """Ticks until something is over, and once more; their costs."""
        self.costs = []
        ended = False
        while not ended:
            ended = over()
            self.tick()
            time.sleep(PACE)
        self.tick()
        return self.costs

    def close(self) -> None:
        self._runner.close()
        self.feed.close()


@bar(
    f"fork storm: CPU of a tick with {CHILDREN} children",
    f"<= {ALLOWED_MS:.0f} ms, every end counted by its cause, or as lost",
)
def storm() -> Result:
    """The dearest tick while they come, live, die; psutil's children of the same moment beside it.

    A second storm where the first was too dear: a machine with other work only ever adds to the CPU of a tick.
    """
    gc.collect()
    gc.freeze()  # as the agent does: what the other rows' modules hold is not looked at during a tick
    worst, right, measured = _storm()
    if right and worst > ALLOWED_MS:
        worst, right, measured = _storm()
    gc.unfreeze()
    return Result(measured, right and worst <= ALLOWED_MS, versions("psutil"))


def _storm() -> tuple[float, bool, str]:
    """Milliseconds of the dearest tick, whether all was counted right, and what was measured."""
    with _model() as model:
        assert model.stdout is not None
        model.stdout.readline()
        ticks = _Ticks(model.pid)
        ticks.tick()
        coming = ticks.until(_told(model, "born"))
        living = [ticks.costs[-1], *(_again(ticks) for _ in range(3))]
        others = ticks.last["pilotfish_processes", "other"]
        began = time.process_time_ns()
        seen = psutil.Process(model.pid).children(recursive=True)
        peer = (time.process_time_ns() - began) / 1e6
        dying = ticks.until(_told(model, "dead"))
        _again(ticks)
        ends = dict(ticks.tree.exits)
        lost = ticks.feed.lost
        ticks.close()
    worst = max(*coming, *living, *dying)
    measured = (
        f"{worst:.0f} ms (coming {max(coming):.0f}, living {statistics.median(living):.0f}, dying {max(dying):.0f}); "
        f"not sampled {others:.0f}; ends zero {ends['exit_zero']}, nonzero {ends['exit_nonzero']}, "
        f"unknown {ends['unknown']}, lost {lost}; psutil children() {peer:.0f} ms for {len(seen)}"
    )
    right = others == CHILDREN + 1 - LIMIT and ticks.last["pilotfish_collector_success", "scheduling"] == 1
    if isinstance(lost, int):  # without CAP_NET_ADMIN those that no sample saw are not counted
        told = sum(ends.values())
        right = right and told <= CHILDREN <= told + lost
        right = right and abs(ends["exit_zero"] - ends["exit_nonzero"]) <= lost + ends["unknown"]
    return worst, right, measured


def _again(ticks: _Ticks) -> float:
    time.sleep(PACE)
    ticks.tick()
    return ticks.costs[-1]
