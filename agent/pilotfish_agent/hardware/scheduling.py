"""Waiting for a CPU, and context switches, of all threads of the process tree.

`/proc/PID/schedstat` and the switches in `/proc/PID/status` are the main thread's only: a process with four busy
threads showed 0.04 s of 12 s. So each process is asked for by taskstats (generic netlink, CAP_NET_ADMIN; 4 us a
process, ended threads included), else every thread's own files are read (`target/threads.py`; its ended threads then
count as last seen).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from pilotfish_agent.hardware._context import Collector, HardwareContext, absent
from pilotfish_agent.target.ledger import Key
from pilotfish_agent.target.members import Refused, per_member
from pilotfish_agent.target.taskstats import Taskstats
from pilotfish_agent.target.threads import NONE, ByThread, Counts, add
from pilotfish_core.metrics import Metric, Reading, Sample

DELAY = Metric(
    "pilotfish_process_run_delay_seconds_total",
    "counter",
    "Time the threads of the model's process tree were ready but waited for a CPU; its rate above .1 a busy thread "
    "says the host or the limit is too small.",
    ("target",),
)
SWITCHES = Metric(
    "pilotfish_process_context_switches_total",
    "counter",
    "Context switches of all threads of the model's process tree; involuntary ones are CPUs taken away.",
    ("target", "kind"),
)
METRICS = (DELAY, SWITCHES)
ENABLE = {"not_supported": "CAP_NET_ADMIN: threads are too many to be read one by one"}


class _Scheduling:
    def __init__(self, context: HardwareContext) -> None:
        self._context = context
        self._sums = _Sums()
        self._taskstats = _taskstats(context.proc)
        self._by_thread = ByThread(context.clock)

    def collect(self) -> Iterable[Reading]:
        tree = self._context.tree
        try:
            if self._taskstats is None:
                found = self._by_thread.read(tree)
            else:
                ask = self._taskstats.read
                found = per_member(tree, lambda member: ask(member.key[0]))
                for key in tree.ended():
                    found.pop(key, None)
        except Refused as refused:
            return absent("scheduling", METRICS, refused.reason)
        ends = tree.ends
        self._sums.end({key: record.waits for key, record in ends.final.items()}, [r.waits for r, _ in ends.unseen])
        delay, voluntary, involuntary = self._sums.update(found, tree.alive.keys())
        target = self._context.target
        return [
            Sample(DELAY, (target,), delay),
            Sample(SWITCHES, (target, "voluntary"), voluntary),
            Sample(SWITCHES, (target, "involuntary"), involuntary),
        ]

    def close(self) -> None:
        if self._taskstats is not None:
            self._taskstats.close()


class _Sums:
    """Sums over processes; what ended ones were last seen with is kept. Nobody inherits these, unlike CPU time."""

    def __init__(self) -> None:
        self._last: dict[Key, Counts] = {}
        self._ended = self._told = NONE

    def end(self, known: Mapping[Key, Counts], unseen: Iterable[Counts]) -> None:
        """What the kernel's records say of processes that have ended, known ones and others."""
        for key, counts in known.items():
            self._last[key] = counts
        for counts in unseen:
            self._ended = add(self._ended, counts)

    def update(self, found: Mapping[Key, Counts], alive: AbstractSet[Key]) -> Counts:
        """The sums now; one that is alive but could not be read keeps its last values."""
        self._last.update(found)
        for key in self._last.keys() - alive:
            self._ended = add(self._ended, self._last.pop(key))
        delay, voluntary, involuntary = self._ended
        for one in self._last.values():
            delay += one[0]
            voluntary += one[1]
            involuntary += one[2]
        told = self._told
        # The kernel counts a thread twice in the instant of its end: what seems to fall then stands still instead.
        self._told = max(told[0], delay), max(told[1], voluntary), max(told[2], involuntary)
        return self._told


def _taskstats(proc: str) -> Taskstats | None:
    """The kernel's accounting, where it may be asked and speaks of the same PIDs as ``proc``."""
    if os.path.realpath(proc) != "/proc":
        return None
    try:
        taskstats = Taskstats()
    except OSError:
        return None
    try:
        taskstats.read(os.getpid())
    except OSError:
        taskstats.close()
        return None
    return taskstats


def make(context: HardwareContext) -> Collector:
    """The collector."""
    return _Scheduling(context)
