"""Waiting for a CPU, and context switches, of all threads of the process tree.

`/proc/PID/schedstat` and the switches in `/proc/PID/status` are the main thread's only: a process with four busy
threads showed 0.04 s of 12 s. So each process is asked for by taskstats (generic netlink, CAP_NET_ADMIN; 6 us a
process, ended threads included), else every thread's own file is read (its ended threads then count as last seen).
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from pilotfish_agent.hardware._context import Collector, HardwareContext, Refused, absent, per_member
from pilotfish_agent.hardware._ledger import Ledger, Values
from pilotfish_agent.hardware._procfs import parse_fields
from pilotfish_agent.hardware._taskstats import Taskstats
from pilotfish_agent.hardware._tree import Member, ProcessTree
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
_THREADS = 256
"""Threads read one by one in the fallback: 20 us each, so 5 ms a sample at most; beyond, the signal is absent."""
_NONE: Values = (0.0, 0.0, 0.0)


class _Scheduling:
    def __init__(self, context: HardwareContext) -> None:
        self._context = context
        self._ledger = Ledger(3)
        self._taskstats = _taskstats(context.proc)
        self._by_thread = _ByThread()

    def collect(self) -> Iterable[Reading]:
        tree = self._context.tree
        try:
            if self._taskstats is None:
                self._by_thread.begin(tree)
            found = per_member(tree, self._read)
        except Refused as refused:
            return absent("scheduling", METRICS, refused.reason)
        delay, voluntary, involuntary = self._ledger.update(tree.alive, {k: (v, _NONE) for k, v in found.items()})
        target = self._context.target
        return [
            Sample(DELAY, (target,), delay),
            Sample(SWITCHES, (target, "voluntary"), voluntary),
            Sample(SWITCHES, (target, "involuntary"), involuntary),
        ]

    def _read(self, member: Member) -> Values:
        return self._by_thread(member) if self._taskstats is None else self._taskstats.read(member.pid)

    def close(self) -> None:
        if self._taskstats is not None:
            self._taskstats.close()


class _ByThread:
    """Sums over the files of each thread; what ended threads were last seen with is kept."""

    def __init__(self) -> None:
        self._threads: dict[tuple[int, int], Ledger] = {}

    def begin(self, tree: ProcessTree) -> None:
        """Forgets processes that have gone.

        Raises:
            Refused: there are more threads than this way can afford.
        """
        if sum(m.stat.threads for m in tree.members) > _THREADS:
            raise Refused("not_supported")
        self._threads = {k: v for k, v in self._threads.items() if k in tree.alive}

    def __call__(self, member: Member) -> Values:
        """Seconds of delay, voluntary and involuntary switches of one process."""
        folder = member.files.open("task")
        try:
            tids = os.listdir(folder)
        finally:
            os.close(folder)
        readings = {}
        for tid in tids:
            try:
                readings[int(tid), 0] = (_thread(member, tid), _NONE)
            except (FileNotFoundError, ProcessLookupError):
                if tid == str(member.pid):
                    raise
        ledger = self._threads.setdefault(member.key, Ledger(3))
        return ledger.update(dict.fromkeys(readings), readings)


def _thread(member: Member, tid: str) -> Values:
    delay = member.files.read_once(f"task/{tid}/schedstat").split()
    switches = parse_fields(
        member.files.read_once(f"task/{tid}/status"), (b"voluntary_ctxt_switches", b"nonvoluntary_ctxt_switches")
    )
    return int(delay[1]) / 1e9, float(switches[0] or 0), float(switches[1] or 0)


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
