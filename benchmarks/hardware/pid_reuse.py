"""A thousand times another process gets the PID of one that is watched: nobody may be taken for somebody else.

The kernel is told which PID to give (clone3 with set_tid), mostly within one clock tick, so that not even the start
time tells the two apart. Three ways in which a sampler could be wrong are counted, and psutil's beside them.
"""

from __future__ import annotations

import contextlib

import psutil

from benchmarks.bars import Result, bar, versions
from pilotfish_agent.hardware._context import HardwareContext, HostContext
from pilotfish_agent.hardware._runner import Runner
from pilotfish_agent.target.group import ControlGroup
from pilotfish_agent.target.tree import Member, ProcessTree
from pilotfish_core.clock import ManualClock
from pilotfish_core.metrics import Sample
from tests.hardware.reuse import Reusing, reusing

REUSES = 1000
FIELDS = ("cpu", "faults", "files", "io", "memory", "scheduling", "tree")


class Watch:
    """One tree and its collectors, with the first sample taken."""

    def __init__(self, pid: int) -> None:
        clock = ManualClock()
        self.tree = ProcessTree(pid, None, clock=clock)
        self.runner = Runner(HardwareContext(HostContext(clock), self.tree, "model", ControlGroup(self.tree)), FIELDS)
        self.runner.collect()

    def counters(self) -> dict[tuple[object, ...], object]:
        """What never falls, but the number of exits."""
        return {
            (r.metric.name, *r.labels): r.value
            for r in self.runner.collect()
            if isinstance(r, Sample) and r.metric.kind == "counter" and "exits" not in r.metric.name
        }

    def member(self, pid: int) -> Member | None:
        """Who has this number now."""
        return next((m for m in self.tree.members if m.pid == pid), None)


def stale(old: Member) -> int:
    """Files of a dead member that still answer."""
    answers = 0
    for name in ("stat", "status", "io"):
        with contextlib.suppress(OSError):
            answers += bool(old.files.read(name))
    with contextlib.suppress(OSError):
        answers += bool(old.files.size("fd"))
    return answers


def reuse_once(model: Reusing, above: Watch) -> tuple[int, int]:
    """(samples of the wrong process, whether psutil's object of the old one answered)."""
    root, old, psutils = Watch(model.child), above.member(model.child), psutil.Process(model.child)
    before = root.counters()
    model.reuse()
    wrong = stale(old) if old is not None else 1
    for collector in root.runner._collectors.values():  # the scan was before, the reuse is between it and the reading
        list(collector.collect())
    wrong += root.counters() != before or bool(root.tree.members)
    root.runner.close()
    above.runner.collect()
    above.runner.collect()
    new = above.member(model.child)
    wrong += new is None or new is old or new.stat.comm != f"gen-{model.generation}"
    try:
        return wrong, bool(psutils.cpu_times())
    except psutil.Error:
        return wrong, 0


@bar(f"samples of the wrong process in {REUSES:,} forced PID reuses", "0")
def wrong_process() -> Result:
    with reusing() as model:
        try:
            model.reuse()
        except PermissionError as error:
            return Result(str(error), None)
        above = Watch(model.parent)
        found = [reuse_once(model, above) for _ in range(REUSES)]
        above.runner.close()
    wrong, theirs = sum(w for w, _ in found), sum(t for _, t in found)
    return Result(f"{wrong}; psutil answered for the wrong one {theirs:,} times", wrong == 0, versions("psutil"))
